"""From Keras to a flatbuffer that says the same."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from bootstrap import compile as compiling
from bootstrap.backbones import BACKBONES, Backbone
from bootstrap.cli import main
from bootstrap.compile import Recipe, compile_model
from bootstrap.errors import BootstrapError, UsageError
from job.contract import FLATBUFFER, KERAS_MODEL, MODEL_CARD, ModelCard
from job.features.litert import load_litert
from job.features.stage import open_network

MOBILENET = BACKBONES["MobileNetV2"]

# Keras and XNNPACK add up float32 products in another order, through some 50 layers; seen: 7e-6 of the largest feature.
PARITY = 1e-4


def noise(n: int, *, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, 224, 224, 3), dtype=np.uint8)


def card_in(folder: Path) -> ModelCard:
    return ModelCard.from_json((folder / MODEL_CARD).read_text())


def test_a_compiled_model_is_three_files_and_its_card_describes_it(small):
    assert {file.name for file in small.iterdir()} == {FLATBUFFER, MODEL_CARD, KERAS_MODEL}
    card = card_in(small)
    assert (card.backbone, card.alpha, card.feature_length, card.input_size) == ("MobileNetV2", 0.35, 1280, 224)
    assert card.is_random
    assert card.parity_error <= PARITY
    assert open_network(small, engine="litert").card == card


def test_the_same_recipe_gives_the_same_bytes(small, tmp_path):
    compile_model(Recipe(MOBILENET, "random:7", alpha=0.35), out=tmp_path / "again")
    assert (tmp_path / "again" / FLATBUFFER).read_bytes() == (small / FLATBUFFER).read_bytes()


def test_another_seed_gives_another_model(small, tmp_path):
    card = compile_model(Recipe(MOBILENET, "random:8", alpha=0.35), out=tmp_path / "other")
    assert card.sha256 != card_in(small).sha256


@pytest.mark.parametrize("name", sorted(set(BACKBONES) - {"MobileNetV2"}))
def test_every_backbone_of_the_table_compiles_within_the_tolerance(name, tmp_path):
    card = compile_model(Recipe(BACKBONES[name], "random:0"), out=tmp_path / name)
    assert card.feature_length == BACKBONES[name].feature_length
    assert card.parity_error <= PARITY
    features = load_litert(tmp_path / name / FLATBUFFER)(noise(1))
    assert features.shape == (1, card.feature_length)


def test_weights_with_a_taller_classifier_are_cut_at_the_pool_as_well(tmp_path):
    """MobileNetV3's classifier has layers between pool and logits, so that layers[-2] is not the pool."""
    import keras

    keras.utils.set_random_seed(3)
    legacy_h5(keras.applications.MobileNetV3Large(weights=None, include_top=True), tmp_path / "kernels.h5")
    card = compile_model(Recipe(BACKBONES["MobileNetV3Large"], str(tmp_path / "kernels.h5")), out=tmp_path / "model")
    assert card.feature_length == BACKBONES["MobileNetV3Large"].feature_length


def test_weights_with_the_classifier_give_the_pooled_features_below_it(tmp_path):
    """The notebook's way: include_top=True, cut at layers[-2]."""
    import keras

    keras.utils.set_random_seed(3)
    whole = keras.applications.MobileNetV2(weights=None, include_top=True, alpha=0.35)
    legacy_h5(whole, tmp_path / "kernels.h5")
    compile_model(Recipe(MOBILENET, str(tmp_path / "kernels.h5"), alpha=0.35), out=tmp_path / "model")
    pixels = noise(3)
    cut = keras.Model(whole.input, whole.layers[-2].output)
    expected = np.asarray(cut(pixels.astype(np.float32) / 127.5 - 1, training=False))
    embed = load_litert(tmp_path / "model" / FLATBUFFER)
    got = np.concatenate([embed(row[None]) for row in pixels])
    np.testing.assert_allclose(got, expected, atol=PARITY * np.abs(expected).max())


def legacy_h5(model, file: Path) -> None:
    """Writes weights as Keras 2 did, which is what the published files are."""
    import h5py
    from keras.src.legacy.saving import legacy_h5_format

    with h5py.File(file, "w") as sink:
        legacy_h5_format.save_weights_to_hdf5_group(sink, model)


def test_a_flatbuffer_without_its_weights_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(compiling, "convert", lambda _network, _backbone: b"\0" * 189_000)
    with pytest.raises(BootstrapError, match="189,000 bytes"):
        compile_model(Recipe(MOBILENET, "random:7", alpha=0.35), out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_flatbuffer_that_disagrees_with_keras_is_refused(monkeypatch, tmp_path, small):
    wrong = Backbone("MobileNetV2", "efficientnet_v2", 1280, has_alpha=True)  # preprocesses otherwise
    flatbuffer = (small / FLATBUFFER).read_bytes()
    monkeypatch.setattr(compiling, "convert", lambda _network, _backbone: flatbuffer)
    with pytest.raises(BootstrapError, match="differ from Keras"):
        compile_model(Recipe(wrong, "random:7", alpha=0.35), out=tmp_path / "out")


def test_weights_of_another_width_are_refused_with_a_hint(tmp_path, shared_data, capsys):
    weights = shared_data / "weights" / "mobilenet_v2_0.35_224_no_top.h5"
    assert main(["compile", "--weights", str(weights), "--out", str(tmp_path / "out")]) == 1
    error, hint = capsys.readouterr().err.splitlines()
    assert "does not fit MobileNetV2 at --alpha 1" in error
    assert "--alpha" in hint


@pytest.mark.parametrize("weights", ["nowhere.h5", "random:", "random:-1", "random:x"])
def test_weights_that_are_none_are_a_usage_error(weights, tmp_path):
    with pytest.raises(UsageError, match=weights):
        compile_model(Recipe(MOBILENET, weights), out=tmp_path / "out")


def test_a_file_that_is_no_weights_is_refused(tmp_path):
    (tmp_path / "text.h5").write_text("not weights")
    with pytest.raises(BootstrapError, match=r"text\.h5"):
        compile_model(Recipe(MOBILENET, str(tmp_path / "text.h5")), out=tmp_path / "out")


def test_a_folder_with_other_things_in_it_is_never_replaced(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(BootstrapError, match="other things"):
        compile_model(Recipe(MOBILENET, "random:0"), out=tmp_path)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_the_real_weights_agree_with_keras_on_real_pictures(shared_data, tmp_path):
    weights = shared_data / "weights" / "mobilenet_v2_1.0_224_no_top.h5"
    recipe = Recipe(MOBILENET, str(weights), parity_images=shared_data / "fruits")
    card = compile_model(recipe, out=tmp_path / "model")
    assert card.parity_images > 50
    assert card.parity_error <= PARITY
    assert (tmp_path / "model" / FLATBUFFER).stat().st_size > 8_000_000
    assert json.loads((tmp_path / "model" / MODEL_CARD).read_text())["weights_sha256"].startswith("4fdbcae7")
