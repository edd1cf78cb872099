"""Moments that fits keep, and fits that merge them, against NumPy on all rows together."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from job.config import Command, FitConfig
from job.contract import PCA_CARD
from job.errors import BadFeatures
from job.pca.dataset import FeatureSet, open_others
from job.pca.kept import INDEX, POOLED, Kept, Label, moments_of_each, open_kept, write_index
from job.pca.moments import Folded, merge_all, moments_of, save_folded, save_moments
from job.pca.solver import solve
from job.report.plan import check, describe

LENGTH = 5
HERE = FeatureSet((), (), LENGTH, "abc")

Rows = NDArray[np.float32]


def rows_of(seed: int, count: int = 30, length: int = LENGTH) -> Rows:
    random = np.random.default_rng(seed)
    return (random.normal(size=(count, length)) * np.arange(1, length + 1) + random.normal(size=length)).astype(np.float32)


def keep(folder: Path, rows: dict[Label, Rows], *, model: str = "abc", apart: bool = True) -> Kept:
    """What a fit of these rows leaves in its pca/moments."""
    folder.mkdir(parents=True)
    length = next(iter(rows.values())).shape[1]
    names = {
        label: save_folded(Folded.nothing(length).fold(part), folder / f"{place:05}").name
        for place, (label, part) in enumerate(rows.items())
    }
    save_moments(moments_of(np.concatenate(list(rows.values()))), folder / POOLED)
    kept = Kept(folder, f"fingerprint of {folder}", model, names if apart else None, ())
    write_index(kept)
    folder.with_name(PCA_CARD).write_text("{}")
    return kept


@given(seeds=st.lists(st.tuples(st.integers(0, 99), st.integers(1, 12)), min_size=1, max_size=5), offset=st.sampled_from([0.0, 1e4]))
def test_a_merged_fit_is_the_fit_of_all_rows(tmp_path_factory: pytest.TempPathFactory, seeds: list[tuple[int, int]], offset: float) -> None:
    root = tmp_path_factory.mktemp("kept")
    sets = [rows_of(seed, count) + np.float32(offset) for seed, count in [*seeds, (1000, 9)]]
    kept = [keep(root / str(place), {"x": rows}) for place, rows in enumerate(sets)]
    model = solve(merge_all(moments_of_each(kept, only=None), length=LENGTH), components=LENGTH)
    together = np.concatenate(sets).astype(np.float64)
    assert model.rows == len(together)
    np.testing.assert_allclose(model.mean, together.mean(axis=0), rtol=1e-10, atol=1e-10)
    covariance = np.cov(together, rowvar=False)
    spread = np.abs(covariance).max()
    np.testing.assert_allclose(model.eigenvalues, np.linalg.eigvalsh(covariance)[::-1], rtol=1e-10, atol=1e-10 * spread)
    rebuilt = model.components.T * model.explained_variance @ model.components
    np.testing.assert_allclose(rebuilt, covariance, rtol=1e-10, atol=1e-10 * spread)


@pytest.mark.parametrize("only", [{"a"}, {"b"}, {"a", "b"}, {"c"}, {"a", "b", "c"}])
def test_labels_are_taken_from_wherever_they_are(tmp_path: Path, only: set[str]) -> None:
    # of c more rows than features, so that they are kept as moments; a label may be null
    one = keep(tmp_path / "one", {"a": rows_of(1, 3), "b": rows_of(2, 3), None: rows_of(3, 3)})
    other = keep(tmp_path / "other", {"b": rows_of(4, 3), "c": rows_of(5, 30)})
    found = merge_all(moments_of_each([one, other], only=frozenset(only)), length=LENGTH)
    every = {"a": [rows_of(1, 3)], "b": [rows_of(2, 3), rows_of(4, 3)], "c": [rows_of(5, 30)]}
    wanted = np.concatenate([part for label in sorted(only) for part in every[label]]).astype(np.float64)
    assert found.count == len(wanted)
    np.testing.assert_allclose(found.mean, wanted.mean(axis=0), rtol=1e-10, atol=1e-10)
    centred = wanted - wanted.mean(axis=0)
    np.testing.assert_allclose(found.scatter, centred.T @ centred, rtol=1e-10, atol=1e-8)


def test_a_label_that_is_nowhere_is_named_with_those_that_are(tmp_path: Path) -> None:
    kept = [keep(tmp_path / "one", {"a": rows_of(1), None: rows_of(2)}), keep(tmp_path / "other", {"b": rows_of(3)})]
    with pytest.raises(BadFeatures, match="label fig") as failure:
        moments_of_each(kept, only=frozenset({"a", "fig"}))
    assert failure.value.hint == "labels here: a, b"


def test_an_index_says_what_was_written(tmp_path: Path) -> None:
    kept = keep(tmp_path / "out" / "pca" / "moments", {"a": rows_of(1), None: rows_of(2)})
    assert open_kept(kept.folder) == open_kept(tmp_path / "out") == kept


def without_network(kept: Kept) -> None:
    index = json.loads((kept.folder / INDEX).read_text())
    del index["model"]
    (kept.folder / INDEX).write_text(json.dumps(index))


def cut(kept: Kept) -> None:
    (kept.folder / POOLED).write_bytes((kept.folder / POOLED).read_bytes()[:200])


@pytest.mark.parametrize(
    ("spoil", "said", "hint"),
    [
        (lambda kept: (kept.folder / INDEX).unlink(), "no moments in", "job fit"),
        (lambda kept: (kept.folder / INDEX).write_text("{"), "do not say", "job fit"),
        (without_network, "do not say of which network", "job fit"),
        (cut, "damaged", "remove"),
        (lambda kept: (kept.folder / POOLED).unlink(), "damaged", "remove"),
    ],
)
def test_moments_that_cannot_be_used_are_refused(tmp_path: Path, spoil: Callable[[Kept], object], said: str, hint: str) -> None:
    spoil(keep(tmp_path / "out" / "pca" / "moments", {"a": rows_of(1)}))
    with pytest.raises(BadFeatures, match=said) as failure:
        open_others([tmp_path / "out"], HERE, only=None)
    assert "\n" not in str(failure.value)
    assert hint in failure.value.hint


def test_a_damaged_label_is_refused(tmp_path: Path) -> None:
    kept = keep(tmp_path / "out", {"a": rows_of(1, 3)})
    (kept.folder / "00000.rows.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(BadFeatures, match="damaged"):
        kept.moments(frozenset("a"))


def test_moments_of_another_network_are_refused(tmp_path: Path) -> None:
    keep(tmp_path / "out", {"a": rows_of(1)}, model="def")
    with pytest.raises(BadFeatures, match=r"network def, others are of abc"):
        open_others([tmp_path / "out"], HERE, only=None)


def test_moments_of_two_networks_are_refused_where_the_features_do_not_say_theirs(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("abc", "def")]
    for seed, folder in enumerate(folders):
        keep(folder, {"a": rows_of(seed)}, model=folder.name)
    nameless = FeatureSet((), (), LENGTH, "")
    assert len(open_others(folders[:1], nameless, only=None)) == 1
    with pytest.raises(BadFeatures, match="network def, others are of abc"):
        open_others(folders, nameless, only=None)


def test_moments_of_another_length_are_refused(tmp_path: Path) -> None:
    keep(tmp_path / "out", {"a": rows_of(1, length=LENGTH + 1)})
    with pytest.raises(BadFeatures, match=f"{LENGTH + 1} features, here are {LENGTH}"):
        open_others([tmp_path / "out"], HERE, only=None)


def test_labels_that_were_not_kept_apart_cannot_be_chosen(tmp_path: Path) -> None:
    kept = keep(tmp_path / "out", {"a": rows_of(1), "b": rows_of(2)}, apart=False)
    assert open_others([kept.folder], HERE, only=None) == (kept,)
    with pytest.raises(BadFeatures, match="--label-cap") as failure:
        open_others([kept.folder], HERE, only=frozenset("a"))
    assert "--only-labels" in failure.value.hint


def test_a_copy_does_not_count_again(tmp_path: Path) -> None:
    kept = keep(tmp_path / "out", {"a": rows_of(1)})
    copy = keep(tmp_path / "copy", {"a": rows_of(1)})
    write_index(Kept(copy.folder, kept.features, copy.model, copy.names, ()))
    with pytest.raises(BadFeatures, match="count already"):
        open_others([kept.folder, copy.folder], HERE, only=None)
    write_index(Kept(copy.folder, HERE.fingerprint, copy.model, copy.names, ()))
    with pytest.raises(BadFeatures, match="count already"):
        open_others([copy.folder], HERE, only=None)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Results with 7 rows of features and nothing fitted."""
    (tmp_path / "results" / "features").mkdir(parents=True)
    columns = {"path": ["x"] * 7, "label": ["a"] * 7, "model": ["abc"] * 7}
    table = pa.table({**columns, "features": pa.array(list(rows_of(0, 7)), pa.list_(pa.float32()))})
    pq.write_table(table, tmp_path / "results" / "features" / "a.parquet")
    return tmp_path / "results"


def test_a_plan_says_what_would_be_merged(results: Path, tmp_path: Path) -> None:
    keep(tmp_path / "old" / "pca" / "moments", {"a": rows_of(1, 1234)})
    plan = describe(Command(results, fit=FitConfig(others=(tmp_path / "old",)))).splitlines()
    assert f"merge    moments of 1,234 rows in {tmp_path / 'old' / 'pca' / 'moments'}" in plan
    assert not any(line.startswith("merge") for line in describe(Command(results, fit=FitConfig())).splitlines())


def test_what_cannot_be_merged_is_known_before_anything_starts(results: Path, tmp_path: Path) -> None:
    with pytest.raises(BadFeatures, match="no moments in"):
        check(Command(results, fit=FitConfig(others=(tmp_path / "nowhere",))))
