"""Features of half precision: what rounding does to numbers, to rows, to files, and to who goes on from whom."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast, get_args

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from job.config import Command, FeaturizeConfig
from job.contract import Precision
from job.decode.options import Decoding
from job.features import stage
from job.features.litert import Features
from job.features.precision import is_rounded, kept_bits, rounded
from job.features.stage import Embedded, Stopwatch, embed_images
from job.report.plan import describe
from job.report.summary import settings_of
from job.report.table import table
from job.sinks.tables import COMPRESSION, ELEMENTS, features_table, write_table
from job.sources.listing import ImageSource
from tests.conftest import REPOSITORY
from tests.unit.test_features import Network, image, jpeg, png
from tests.unit.test_summary import FEATURIZE, SUMMARY

FLOAT16 = np.finfo(np.float16)
FLOAT32 = np.finfo(np.float32)


def floats(smallest: float, largest: float) -> st.SearchStrategy[Features]:
    """Features of either sign, of magnitudes between these."""
    magnitudes = st.floats(smallest, largest, width=32)
    return arrays(np.float32, st.integers(0, 50), elements=magnitudes | magnitudes.map(lambda x: -x))


@given(features=floats(float(FLOAT16.smallest_normal), 65_504.0))
def test_where_float16_is_normal_a_feature_is_what_float16_makes_of_it(features: Features) -> None:
    np.testing.assert_array_equal(rounded(features), features.astype(np.float16).astype(np.float32))


@given(features=floats(float(FLOAT32.smallest_normal), 2.0**127))
def test_a_feature_moves_by_no_more_than_half_a_unit_of_its_eleventh_bit(features: Features) -> None:
    exact = features.astype(np.float64)
    assert (np.abs(rounded(features) - exact) <= 2.0**-11 * np.abs(exact)).all()


@given(features=floats(0.0, 2.0**127))
def test_rounding_again_changes_nothing_and_rounded_ones_are_known(features: Features) -> None:
    once = rounded(features)
    assert is_rounded(once)
    assert rounded(once).tobytes() == once.tobytes()
    assert is_rounded(features) == (once.tobytes() == features.tobytes())


def test_the_middle_between_two_goes_to_the_even_one() -> None:
    unit = 2.0**-10
    middles = np.array([1 + unit / 2, 1 + 3 * unit / 2, -1 - unit / 2], np.float32)
    assert rounded(middles).tolist() == [1, 1 + 2 * unit, -1]


def test_single_precision_is_left_as_it_is() -> None:
    features = np.array([1 / 3, 0.1], np.float32)
    assert kept_bits(features, "single") is features


# --- rows -----------------------------------------------------------------------------------------------------------


class Thirds(Network):
    """Means of each channel by three, which need all bits of a float32."""

    def load(self, folder: Path) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
        embed = super().load(folder)
        return lambda pixels: embed(pixels) / np.float32(3)


def embedded(network: Network, *, precision: Precision) -> list[Embedded]:
    """A black picture, and some of noise."""
    pictures = [image("black", png(0)), *(image(str(seed), jpeg(seed)) for seed in range(6))]
    return list(
        embed_images(
            pictures,
            network=cast("stage.Network", network),
            folder=Path(),
            how=Decoding(),
            watch=Stopwatch(),
            precision=precision,
        )
    )


@pytest.mark.parametrize("batch", [1, 4])
def test_rows_have_rounded_features_and_say_how_far_that_took_them(batch: int) -> None:
    black = -1.0  # the first sample of no picture, so that a black one has features
    half, single = (embedded(Thirds(batch, poison=black), precision=precision) for precision in ("half", "single"))
    for kept, exact in zip(half[1:], single[1:], strict=True):
        assert kept.features is not None
        assert exact.features is not None
        np.testing.assert_array_equal(kept.features, rounded(exact.features))
        distance = np.linalg.norm(kept.features - exact.features) / np.linalg.norm(exact.features)
        assert kept.rounding_error == pytest.approx(distance, rel=1e-3)
        assert 0 < distance <= 2**-11
    assert [row.rounding_error for row in (half[0], *single)] == [None] * 8, "of zeros nothing is relative; unrounded ones have no error"


@pytest.mark.parametrize("bits", [0x7FFFFFFF, 0xFFFFFFFF, 0x7F800000, 0x7F7FFFFF], ids=["NaN", "-NaN", "infinity", "largest"])
def test_what_is_not_finite_before_or_after_rounding_is_a_fault(bits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A NaN of all ones would be rounded to -0, and the largest float32 to infinity."""
    feature = np.array([[bits]], np.uint32).view(np.float32)
    monkeypatch.setattr(Network, "load", lambda _network, _folder: lambda _pixels: feature)
    assert {row.fault.reason.value if row.fault else None for row in embedded(Network(1), precision="half")} == {"not_finite"}


# --- files ----------------------------------------------------------------------------------------------------------


def file_of(features: Features, file: Path) -> Path:
    """A file of these features (n, d), as the job writes it."""
    rows = [Embedded(image(f"{place}.jpg", b"0"), 1, 1, "JPEG", row) for place, row in enumerate(features)]
    network = SimpleNamespace(card=SimpleNamespace(feature_length=features.shape[1], digest="0"))
    write_table(features_table(rows, network=cast("stage.Network", network)), file=file, settings="")
    return file


def test_a_file_of_rounded_features_is_at_most_two_thirds_as_large(tmp_path: Path) -> None:
    """Of 32 bits of a normal random number 11 are left, and the exponent's few: by theory less than a half."""
    features = np.random.default_rng(0).standard_normal((500, 1280), np.float32)
    single, half = file_of(features, tmp_path / "single.parquet"), file_of(rounded(features), tmp_path / "half.parquet")
    assert half.stat().st_size <= single.stat().st_size * 2 / 3
    assert pq.read_table(half)["features"].combine_chunks().flatten().to_numpy().tobytes() == rounded(features).tobytes()


def test_only_rounded_features_have_a_dictionary(tmp_path: Path) -> None:
    features = np.random.default_rng(0).standard_normal((50, 64), np.float32)
    for name, rows in (("single", features), ("half", rounded(features))):
        footer = pq.read_metadata(file_of(rows, tmp_path / f"{name}.parquet")).row_group(0)
        (column,) = (each for each in map(footer.column, range(footer.num_columns)) if each.path_in_schema == ELEMENTS)
        assert column.has_dictionary_page == (name == "half")
        assert column.compression.lower() == COMPRESSION["compression"]


# --- who goes on from whom ------------------------------------------------------------------------------------------

CONFIG = FeaturizeConfig(ImageSource(("/photos",)), Path("/model.tflite"))
NETWORK = cast("stage.Network", SimpleNamespace(card=SimpleNamespace(sha256="0" * 64)))


def test_rows_of_another_precision_are_others() -> None:
    assert settings_of(replace(CONFIG, precision="half"), NETWORK) != settings_of(CONFIG, NETWORK)


def test_rows_that_are_older_than_the_choice_are_single_ones() -> None:
    """Printed by the code before there was --precision, for the same configuration."""
    assert settings_of(CONFIG, NETWORK) == "43f842371644"


# --- what is said ---------------------------------------------------------------------------------------------------


def test_the_table_tells_half_precision_and_its_error_in_one_row() -> None:
    said = SUMMARY | {"featurize": FEATURIZE | {"rounding_error": {"count": 3, "median": 0.00021, "max": 0.00024}}}
    lines = table(said).splitlines()
    assert [line for line in lines if line not in table(SUMMARY).splitlines()] == ["precision   half: error in features at most 0.024%"]


def test_a_dry_run_tells_half_precision(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    model = REPOSITORY / "tests" / "spark" / "tiny" / "model.tflite"
    single = FeaturizeConfig(ImageSource((str(tmp_path / "images"),)), model)
    plans = [describe(Command(tmp_path / "results", featurize=replace(single, precision=each))) for each in get_args(Precision)]
    assert ["half precision" in plan for plan in plans] == [False, True]


@pytest.mark.parametrize("error", [None, {"count": 0, "median": None, "max": None}])
def test_where_no_feature_was_rounded_the_table_does_not_mention_it(error: dict[str, object] | None) -> None:
    assert table(SUMMARY | {"featurize": FEATURIZE | {"rounding_error": error}}) == table(SUMMARY)
