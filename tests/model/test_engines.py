"""The engines against TensorFlow and against each other, on real Spark."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from job.errors import BadModel
from job.features.stage import open_network
from tests.model.test_compile import PARITY, noise
from tests.spark.conftest import ended, java, process, read, rows  # noqa: F401  java is a fixture

pytestmark = pytest.mark.usefixtures("java")


def run(*argv: object) -> None:
    with ended(process(*argv)) as running:
        _, err = running.communicate(timeout=300)
    assert running.returncode == 0, err


def test_keras_engine_and_litert_engine_agree(small):
    litert, keras = (open_network(small, engine=engine).load(small) for engine in ("litert", "keras"))
    pixels = noise(5)
    expected = keras(pixels)
    got = np.concatenate([litert(row[None]) for row in pixels])
    np.testing.assert_allclose(got, expected, atol=PARITY * np.abs(expected).max())


def test_a_run_gives_the_features_that_the_notebook_computes(compiled, shared_data, tmp_path):
    """Written anew from the notebook: Pillow, preprocess_input, MobileNetV2 to its average pool."""
    import keras

    folder = shared_data / "fruits_seed_classes" / "Apple_Golden_1"
    run("featurize", "--images", folder, "--results", tmp_path / "r", "--model", compiled(1.0), "--limit", "40")
    table = read(tmp_path / "r" / "features")
    network = keras.applications.MobileNetV2(
        weights=str(shared_data / "weights" / "mobilenet_v2_1.0_224_no_top.h5"),
        include_top=False,
        pooling="avg",
        input_shape=(224, 224, 3),
    )
    pictures = np.stack([np.asarray(Image.open(path).resize([224, 224]), np.float32) for path in table["path"].to_pylist()])
    expected = network.predict(keras.applications.mobilenet_v2.preprocess_input(pictures), verbose=0)
    np.testing.assert_allclose(rows(table), expected, atol=PARITY * np.abs(expected).max())


def test_the_keras_engine_runs_the_whole_job(small, tmp_path):
    (tmp_path / "images" / "a").mkdir(parents=True)
    for number in range(6):
        Image.fromarray(noise(1, seed=number)[0]).save(tmp_path / "images" / "a" / f"{number}.png")
    for engine in ("keras", "litert"):
        run("run", "--images", tmp_path / "images", "--results", tmp_path / engine, "--model", small, "--engine", engine)
    expected = rows(read(tmp_path / "keras" / "features"))
    got = rows(read(tmp_path / "litert" / "features"))
    np.testing.assert_allclose(got, expected, atol=PARITY * np.abs(expected).max())


def test_a_flatbuffer_that_was_exchanged_is_refused(small, tmp_path):
    (tmp_path / "model.tflite").write_bytes((small / "model.tflite").read_bytes() + b"\0")
    (tmp_path / "model.json").write_bytes((small / "model.json").read_bytes())
    with pytest.raises(BadModel, match="not the file that its model card describes"):
        open_network(tmp_path, engine="litert")


def test_a_missing_model_or_card_says_what_makes_one(tmp_path):
    with pytest.raises(BadModel, match=r"model\.tflite: No such file") as failure:
        open_network(tmp_path / "model.tflite", engine="litert")
    assert "bootstrap compile" in failure.value.hint
