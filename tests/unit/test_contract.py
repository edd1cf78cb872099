"""Names that cross borders: the model card and where it lies."""

from __future__ import annotations

import json
from dataclasses import asdict, fields, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from job import contract
from job.contract import ModelCard, card_of

CARD = ModelCard(
    backbone="MobileNetV2",
    alpha=0.35,
    preprocess="mobilenet_v2",
    weights="imagenet",
    weights_sha256="ab" * 32,
    input_size=224,
    feature_length=1280,
    sha256="0123456789abcdef" * 4,
    parity_error=3.8e-7,
    parity_images=12,
    versions={"tensorflow": "2.21.0", "keras": "3.15.1"},
)


@given(card=st.builds(ModelCard, alpha=st.none() | st.floats(0.1, 2), parity_error=st.floats(0, 1)))
def test_a_card_is_read_back_as_it_was_written(card: ModelCard) -> None:
    assert ModelCard.from_json(card.to_json()) == card


@pytest.mark.parametrize("missing", [field.name for field in fields(ModelCard)])
def test_a_card_without_one_of_its_fields_is_none(missing: str) -> None:
    values = asdict(CARD)
    del values[missing]
    with pytest.raises(ValueError, match=missing):
        ModelCard.from_json(json.dumps(values))


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "3", '"MobileNetV2"', "{}"])
def test_what_is_no_card_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        ModelCard.from_json(text)


def test_a_card_of_a_later_version_may_say_more() -> None:
    assert ModelCard.from_json(json.dumps(asdict(CARD) | {"quantized": False})) == CARD


def test_a_card_ends_its_last_line_and_lists_fields_in_order() -> None:
    text = CARD.to_json()
    assert text.endswith("}\n")
    assert list(json.loads(text)) == [field.name for field in fields(ModelCard)]


def test_the_digest_is_the_beginning_of_the_flatbuffer_s_sha256() -> None:
    assert CARD.digest == "0123456789ab"
    assert len(CARD.digest) == contract.DIGEST_LENGTH


@pytest.mark.parametrize(
    ("weights", "is_random"), [("random:7", True), ("random:", True), ("imagenet", False), ("random.h5", False), ("my-random:1.h5", False)]
)
def test_random_weights_are_known_by_their_prefix(weights: str, is_random: bool) -> None:
    assert replace(CARD, weights=weights).is_random is is_random


@pytest.mark.parametrize(
    ("flatbuffer", "card"),
    [
        ("build/model/model.tflite", "build/model/model.json"),
        ("/models/small.tflite", "/models/small.json"),
        ("/models/small.v2.tflite", "/models/small.v2.json"),
        ("model.tflite", "model.json"),
    ],
)
def test_a_card_lies_beside_its_flatbuffer(flatbuffer: str, card: str) -> None:
    assert card_of(Path(flatbuffer)) == Path(card)


def test_names_of_results_are_those_that_other_tools_rely_on() -> None:
    names = (contract.FEATURES, contract.FAULTS, contract.PCA, contract.PROJECTIONS, contract.PROJECTIONS_CSV, contract.SUMMARY)
    assert names == ("features", "faults", "pca", "projections", "projections.csv", "summary.json")
    assert (contract.PCA_ARRAYS, contract.PCA_CARD) == ("model.npz", "model.json")


def test_what_lies_among_parquet_files_is_hidden_from_their_readers() -> None:
    assert contract.FEATURIZE_CARD.startswith("_")
    assert contract.PROJECT_CARD.startswith("_")
