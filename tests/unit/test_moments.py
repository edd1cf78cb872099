"""Moments: that they merge exactly, that an offset costs nothing, and that a file gives back what it was given."""

from __future__ import annotations

from functools import reduce
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from job.pca.moments import Folded, Moments, load_folded, load_moments, merge_all, moments_of, save_folded, save_moments

ROWS, LENGTH = 40, 5
OFFSETS = (0.0, 1e4, 1e6, 1e8)

Rows = NDArray[np.float64]


def matrices(rows: int = ROWS, length: int = LENGTH) -> st.SearchStrategy[Rows]:
    return arrays(np.float64, (rows, length), elements=st.floats(-1e3, 1e3))


def cuts(rows: int = ROWS) -> st.SearchStrategy[list[int]]:
    """Where to cut; a place given twice makes an empty part."""
    return st.lists(st.integers(0, rows), max_size=8).map(sorted)


def rows_on_a_grid(count: int, length: int, *, seed: int = 0) -> Rows:
    """Rows that are multiples of 2^-20, so that adding an offset below 2^32 is exact; deviations fall from 10 to 0.5."""
    rows = np.random.default_rng(seed).normal(size=(count, length)) * np.geomspace(10, 0.5, length)
    return np.round(rows * 2**20) / 2**20


def same(one: Moments, other: Moments) -> bool:
    return one.count == other.count and np.array_equal(one.mean, other.mean) and np.array_equal(one.scatter, other.scatter)


def assert_close(one: Moments, other: Moments) -> None:
    """Up to rounding: entries of 40 rows of at most 1e3 scatter by at most 4e7, of which eps is 1e-8."""
    assert one.count == other.count
    np.testing.assert_allclose(one.mean, other.mean, rtol=1e-12, atol=1e-11)
    np.testing.assert_allclose(one.scatter, other.scatter, rtol=1e-9, atol=1e-6)


@given(rows=matrices())
def test_moments_are_count_mean_and_centred_scatter(rows: Rows) -> None:
    exact = rows.astype(np.longdouble)
    centred = exact - exact.mean(axis=0)
    oracle = Moments(ROWS, exact.mean(axis=0).astype(np.float64), (centred.T @ centred).astype(np.float64))
    assert_close(moments_of(rows), oracle)


@given(rows=matrices(), cuts=cuts())
def test_any_partitioning_gives_the_moments_of_the_whole(rows: Rows, cuts: list[int]) -> None:
    assert_close(merge_all(map(moments_of, np.split(rows, cuts)), length=LENGTH), moments_of(rows))


@given(rows=matrices(), cuts=cuts(), random=st.randoms(use_true_random=False))
def test_any_order_of_merging_gives_the_moments_of_the_whole(rows: Rows, cuts: list[int], random: np.random.Generator) -> None:
    parts = [moments_of(part) for part in np.split(rows, cuts)]
    while len(parts) > 1:  # any pair next, so any tree, not only one after the other
        random.shuffle(parts)
        parts.append(parts.pop().merge(parts.pop()))
    assert_close(parts[0], moments_of(rows))


@given(rows=matrices(), order=st.permutations(range(ROWS)))
def test_the_order_of_rows_does_not_matter(rows: Rows, order: list[int]) -> None:
    assert_close(moments_of(rows[order]), moments_of(rows))


@given(rows=matrices())
def test_row_by_row_is_as_good_as_all_at_once(rows: Rows) -> None:
    assert_close(reduce(Moments.merge, (moments_of(row[None]) for row in rows)), moments_of(rows))


@given(rows=matrices(7))
def test_merging_with_no_rows_changes_nothing(rows: Rows) -> None:
    moments, nothing = moments_of(rows), Moments.empty(LENGTH)
    assert same(moments.merge(nothing), moments)
    assert same(nothing.merge(moments), moments)


def test_no_rows_have_moments() -> None:
    assert same(moments_of(np.empty((0, 3))), Moments.empty(3))


def test_merging_nothing_at_all_gives_moments_of_no_rows() -> None:
    assert same(merge_all([], length=3), Moments.empty(3))


def test_one_row_is_its_own_mean_and_does_not_scatter() -> None:
    row = np.array([[0.1, 1e8, -3.0]])
    assert same(moments_of(row), Moments(1, row[0], np.zeros((3, 3))))


def test_equal_rows_do_not_scatter_however_they_are_merged() -> None:
    parts = [moments_of(np.full((count, 3), 1e6 + 0.1)) for count in range(1, 25)]
    assert not merge_all(parts, length=3).scatter.any()


@given(rows=matrices(12), cuts=cuts(12))
def test_scatter_stays_exactly_symmetric(rows: Rows, cuts: list[int]) -> None:
    scatter = merge_all(map(moments_of, np.split(rows, cuts)), length=LENGTH).scatter
    np.testing.assert_array_equal(scatter, scatter.T)


@pytest.mark.parametrize("offset", OFFSETS)  # at 1e8 the sum-of-squares formula gives negative variances
def test_a_large_common_offset_costs_the_scatter_no_precision(offset: float) -> None:
    rows = rows_on_a_grid(1000, 16)
    exact = rows.astype(np.longdouble)  # without the offset: adding it was exact
    centred = exact - exact.mean(axis=0)
    # The mean is rounded to eps * offset, 2e-8 at the worst; that enters the scatter squared.
    scale = np.sqrt(np.outer(*[np.square(centred).sum(axis=0)] * 2)).astype(np.float64)
    error = np.abs(moments_of(rows + offset).scatter - (centred.T @ centred).astype(np.float64)) / scale
    assert error.max() < 1e-12


@pytest.mark.parametrize(("offset", "tolerance"), [(0.0, 1e-12), (1e4, 1e-11), (1e6, 1e-9), (1e8, 1e-7)])
def test_merged_partitions_have_the_eigenvalues_of_rows_without_the_offset(offset: float, tolerance: float) -> None:
    # A partition's mean is rounded to eps * offset, and the gap between two means enters the scatter once: so the error
    # grows with the offset. 1e-9 at 1e6 is the promise of the job; the others are the same promise scaled.
    rows = rows_on_a_grid(2400, 64)
    oracle = np.linalg.eigvalsh(np.cov(rows, rowvar=False))
    parts = np.array_split(rows + offset, 24)
    merged = merge_all(map(moments_of, parts), length=64)
    np.testing.assert_allclose(np.linalg.eigvalsh(merged.scatter / (merged.count - 1)), oracle, rtol=tolerance)


def test_partitions_that_have_nothing_in_common_merge_as_well() -> None:
    # Rows sorted by every feature: the means of partitions lie apart, and merging is where the scatter comes from.
    rows = np.sort(rows_on_a_grid(2400, 16), axis=0) + 1e6
    oracle = np.linalg.eigvalsh(np.cov(rows - 1e6, rowvar=False))
    merged = merge_all(map(moments_of, np.split(rows, [1, 2, 5, 900, 901, 2399])), length=16)
    # The smallest are five hundred times smaller than the largest, against which a symmetric solver errs.
    np.testing.assert_allclose(np.linalg.eigvalsh(merged.scatter / (merged.count - 1)), oracle, rtol=1e-9, atol=1e-12 * oracle[-1])


def test_float32_rows_have_the_moments_of_the_same_numbers_in_float64() -> None:
    rows = np.random.default_rng(1).normal(size=(300, 8)).astype(np.float32)
    moments = moments_of(rows)
    assert moments.mean.dtype == moments.scatter.dtype == np.float64
    assert same(moments, moments_of(rows.astype(np.float64)))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_are_left_as_they_were(dtype: type[np.floating]) -> None:
    rows = rows_on_a_grid(20, 4).astype(dtype)
    before = rows.copy()
    moments_of(rows)
    np.testing.assert_array_equal(rows, before)


@pytest.mark.parametrize("count", [0, 1, 2, 30])
def test_a_file_gives_back_exactly_what_was_saved(tmp_path: Path, count: int) -> None:
    moments = moments_of(rows_on_a_grid(count, 7) + 1e6 / 3)
    save_moments(moments, tmp_path / "moments.npy")
    assert same(load_moments(tmp_path / "moments.npy"), moments)


def test_a_file_gives_back_exactly_what_was_merged_and_saved(tmp_path: Path) -> None:
    moments = merge_all(map(moments_of, np.array_split(rows_on_a_grid(240, 20) / 3, 24)), length=20)
    save_moments(moments, tmp_path / "moments.npy")
    assert same(load_moments(tmp_path / "moments.npy"), moments)


def test_a_file_has_exactly_the_name_it_was_given(tmp_path: Path) -> None:
    save_moments(Moments.empty(2), tmp_path / "moments")
    assert [file.name for file in tmp_path.iterdir()] == ["moments"]


def test_a_file_is_one_array_that_any_numpy_reads(tmp_path: Path) -> None:
    moments = moments_of(rows_on_a_grid(10, 7))
    save_moments(moments, tmp_path / "moments.npy")
    array = np.load(tmp_path / "moments.npy", allow_pickle=False)
    assert array.dtype == np.float64
    np.testing.assert_array_equal(array, np.vstack([np.full(7, 10), moments.mean, moments.scatter]))


def test_moments_read_from_a_file_outlive_it(tmp_path: Path) -> None:
    moments = moments_of(rows_on_a_grid(10, 7))
    save_moments(moments, tmp_path / "moments.npy")
    read = load_moments(tmp_path / "moments.npy")
    (tmp_path / "moments.npy").unlink()
    assert same(read.merge(Moments.empty(7)), moments)


@given(sizes=st.lists(st.integers(0, 9), max_size=8))
def test_folding_handfuls_gives_the_moments_of_the_whole(sizes: list[int]) -> None:
    rows = np.random.default_rng(3).normal(size=(sum(sizes), 4))
    folded = Folded.nothing(4)
    for part in np.split(rows, np.cumsum(sizes)[:-1]) if sizes else []:
        folded = folded.fold(part)
        assert len(folded.rows) <= 4, "no more rows are held than moments would take"
    whole = moments_of(rows) if len(rows) else Moments.empty(4)
    assert folded.total.count == whole.count
    # sums of some 70 numbers of size 1, in another order
    np.testing.assert_allclose(folded.total.mean, whole.mean, atol=1e-13)
    np.testing.assert_allclose(folded.total.scatter, whole.scatter, atol=1e-12)


@given(ones=st.integers(0, 12), others=st.integers(0, 12))
def test_merging_folded_rows_is_folding_all_of_them(ones: int, others: int) -> None:
    rows = np.random.default_rng(4).normal(size=(ones + others, 4))
    nothing = Folded.nothing(4)
    merged = nothing.fold(rows[:ones]).merge(nothing.fold(rows[ones:])).total
    np.testing.assert_allclose(merged.scatter, nothing.fold(rows).total.scatter, atol=1e-12)


@pytest.mark.parametrize(("count", "ending"), [(0, ".rows.npy"), (4, ".rows.npy"), (5, ".moments.npy"), (7, ".moments.npy")])
def test_few_rows_are_kept_as_rows_and_many_as_moments(tmp_path: Path, count: int, ending: str) -> None:
    rows = np.random.default_rng(5).normal(size=(count, 4)).astype(np.float32)
    folded = Folded.nothing(4).fold(rows[:5]).fold(rows[5:])
    file = save_folded(folded, tmp_path / "00001")
    assert file.name == f"00001{ending}"
    assert same(load_folded(file).total, folded.total)
