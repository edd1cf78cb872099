"""Principal components against scikit-learn's, the laws that any PCA obeys, and the model file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from job import contract
from job.errors import BadFeatures, NotEnoughRows
from job.pca.model import SHARES, PcaModel, components_for, load_model, save_model
from job.pca.moments import Moments, merge_all, moments_of
from job.pca.solver import fix_signs, solve

Rows = NDArray[np.float64]

ROWS, LENGTH = 300, 40
# Eigenvalues here lie a fifth apart, so eigenvectors are good to some eps / gap: 1e-13. What is left is room for BLAS.
EXACT = {"rtol": 1e-9, "atol": 1e-10}


def planted_rows(count: int = ROWS, length: int = LENGTH, *, seed: int = 0) -> Rows:
    """Rows of known, well separated variances in directions that are not the axes, away from the origin."""
    rng = np.random.default_rng(seed)
    directions, _ = np.linalg.qr(rng.normal(size=(length, length)))
    return (rng.normal(size=(count, length)) * np.geomspace(10, 0.5, length)) @ directions + rng.normal(size=length)


def fitted(rows: Rows, components: int | float, *, standardize: bool = False, centered: bool = True) -> PcaModel:
    return solve(moments_of(rows), components=components, standardize=standardize, centered=centered)


def sklearn_pca(components: int | float) -> PCA:
    return PCA(n_components=components, svd_solver="full")  # "auto" is randomized here: no oracle


def with_exact_variances(*deviations: float, rows: int) -> Rows:
    """`rows` rows whose covariance, over rows - 1, is exactly diagonal where rows - 1 is a power of two."""
    axes = np.diag(deviations)
    corners = np.concatenate([axes, axes, -axes, -axes])
    return np.concatenate([corners, np.zeros((rows - len(corners), len(deviations)))])


# Five variances in the proportions 4 : 1 : 1 : 1 : 1, every share of which is a binary fraction: 0.5, 0.625, 0.75, 0.875, 1.
HALVES = with_exact_variances(2.0, 1.0, 1.0, 1.0, 1.0, rows=33)


# --- against scikit-learn -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("components", [1, 4, LENGTH])
def test_components_are_those_of_scikit_learn_with_their_signs(components: int) -> None:
    rows = planted_rows()
    np.testing.assert_allclose(fitted(rows, components).components, sklearn_pca(components).fit(rows).components_, **EXACT)


def test_variances_and_ratios_are_those_of_scikit_learn() -> None:
    rows = planted_rows()
    model, oracle = fitted(rows, 7), sklearn_pca(7).fit(rows)
    np.testing.assert_allclose(model.explained_variance, oracle.explained_variance_, rtol=1e-11)
    np.testing.assert_allclose(model.explained_ratio, oracle.explained_variance_ratio_, rtol=1e-11)
    np.testing.assert_allclose(model.mean, oracle.mean_, rtol=1e-12)


def test_all_eigenvalues_are_kept_however_few_components_are() -> None:
    rows = planted_rows()
    np.testing.assert_allclose(fitted(rows, 2).eigenvalues, sklearn_pca(LENGTH).fit(rows).explained_variance_, rtol=1e-11)


@pytest.mark.parametrize("share", [0.01, 0.5, 0.8, 0.9, 0.95, 0.99, 0.9999])
def test_a_share_of_variance_chooses_as_many_components_as_scikit_learn(share: float) -> None:
    rows = planted_rows()
    model, oracle = fitted(rows, share), sklearn_pca(share).fit(rows)
    assert len(model.components) == oracle.n_components_
    np.testing.assert_allclose(model.components, oracle.components_, **EXACT)


@pytest.mark.parametrize(("share", "components"), [(0.4999, 1), (0.5, 2), (0.6249, 2), (0.625, 3), (0.75, 4), (0.875, 5)])
def test_a_share_that_is_hit_exactly_takes_one_component_more(share: float, components: int) -> None:
    assert len(fitted(HALVES, share).components) == components
    assert sklearn_pca(share).fit(HALVES).n_components_ == components


def test_float32_features_have_the_components_of_the_same_numbers_in_float64() -> None:
    rows = planted_rows().astype(np.float32)
    model = solve(moments_of(rows), components=5)
    assert model.components.dtype == np.float64
    np.testing.assert_allclose(model.components, sklearn_pca(5).fit(rows.astype(np.float64)).components_, **EXACT)


def test_standardized_components_are_those_of_scaler_and_pca() -> None:
    rows = planted_rows() * np.geomspace(1e-3, 1e3, LENGTH) + 5.0
    pipeline = make_pipeline(StandardScaler(), sklearn_pca(6)).fit(rows)
    model = fitted(rows, 6, standardize=True)
    np.testing.assert_allclose(model.components, pipeline[-1].components_, **EXACT)
    np.testing.assert_allclose(model.explained_variance, pipeline[-1].explained_variance_, rtol=1e-10)
    np.testing.assert_allclose(model.explained_ratio, pipeline[-1].explained_variance_ratio_, rtol=1e-10)


@pytest.mark.parametrize("constant", [0.0, 0.1, -7e6])
def test_standardizing_leaves_a_constant_feature_alone(constant: float) -> None:
    rows = planted_rows()
    rows[:, 3] = constant
    pipeline = make_pipeline(StandardScaler(), sklearn_pca(6)).fit(rows)
    # From partitions, as a run has it: their means must not make a constant vary.
    model = solve(merge_all(map(moments_of, np.array_split(rows, 24)), length=LENGTH), components=6, standardize=True)
    assert model.scale[3] == 1
    np.testing.assert_allclose(model.components, pipeline[-1].components_, **EXACT)
    np.testing.assert_allclose(model.project(rows), pipeline.transform(rows), rtol=1e-9, atol=1e-8)


@pytest.mark.parametrize("standardize", [False, True])
def test_projections_are_what_scikit_learn_transforms_to(standardize: bool) -> None:
    rows, unseen = planted_rows(), planted_rows(50, seed=1)
    oracle = make_pipeline(StandardScaler(), sklearn_pca(6)) if standardize else sklearn_pca(6)
    expected = oracle.fit(rows).transform(unseen)
    np.testing.assert_allclose(fitted(rows, 6, standardize=standardize).project(unseen), expected, rtol=1e-9, atol=1e-9)


def test_fewer_rows_than_features_are_fitted_as_scikit_learn_does() -> None:
    rows = planted_rows(10)
    model, oracle = fitted(rows, 9), sklearn_pca(9).fit(rows)
    np.testing.assert_allclose(model.explained_variance, oracle.explained_variance_, rtol=1e-9)
    np.testing.assert_allclose(model.components, oracle.components_, rtol=1e-7, atol=1e-8)  # gaps are what ten rows leave


# --- laws -----------------------------------------------------------------------------------------------------------


def matrices() -> st.SearchStrategy[Rows]:
    """12 rows of 5 features: integers, so that degenerate ones (constant, repeated, collinear) come up often."""
    return arrays(np.int64, (12, 5), elements=st.integers(-50, 50)).map(lambda rows: rows.astype(np.float64))


def vary(rows: Rows) -> bool:
    return bool((rows != rows[0]).any())


@given(rows=matrices(), components=st.integers(1, 5), standardize=st.booleans())
def test_components_are_orthonormal(rows: Rows, components: int, standardize: bool) -> None:
    assume(vary(rows))
    vectors = fitted(rows, components, standardize=standardize).components
    np.testing.assert_allclose(vectors @ vectors.T, np.eye(components), atol=1e-13)  # some eps, times 5 features


@given(rows=matrices(), standardize=st.booleans())
def test_the_largest_entry_of_each_component_is_positive(rows: Rows, standardize: bool) -> None:
    assume(vary(rows))
    vectors = fitted(rows, 5, standardize=standardize).components
    assert (vectors[np.arange(5), np.abs(vectors).argmax(axis=1)] > 0).all()


@given(rows=matrices(), components=st.integers(1, 5), standardize=st.booleans())
def test_ratios_fall_and_sum_to_at_most_one(rows: Rows, components: int, standardize: bool) -> None:
    assume(vary(rows))
    ratios = fitted(rows, components, standardize=standardize).explained_ratio
    assert (ratios >= 0).all()
    assert (np.diff(ratios) <= 0).all()
    assert ratios.sum() <= 1 + 1e-15  # a rounding of five terms


@given(rows=matrices(), standardize=st.booleans())
def test_all_eigenvalues_together_are_all_the_variance(rows: Rows, standardize: bool) -> None:
    assume(vary(rows))
    model = fitted(rows, 1, standardize=standardize)
    total = (rows / model.scale).var(axis=0, ddof=1).sum()
    assert model.eigenvalues.sum() == pytest.approx(total, rel=1e-12)


@given(rows=matrices(), components=st.integers(1, 5), standardize=st.booleans())
def test_project_then_restore_loses_the_variance_of_dropped_components(rows: Rows, components: int, standardize: bool) -> None:
    assume(vary(rows))
    model = fitted(rows, components, standardize=standardize)
    scaled = (rows - model.mean) / model.scale
    lost = scaled - model.project(rows) @ model.components
    # Both sides are rounded to eps of the whole variance, some 1e3, squared and summed over 60 numbers.
    assert np.square(lost).sum() / 11 == pytest.approx(model.eigenvalues[components:].sum(), rel=1e-9, abs=1e-9)


@given(rows=matrices(), components=st.integers(1, 5))
def test_projections_vary_as_the_model_says_and_not_with_one_another(rows: Rows, components: int) -> None:
    assume(vary(rows))
    model = fitted(rows, components)
    covariance = np.cov(model.project(rows), rowvar=False).reshape(components, components)
    np.testing.assert_allclose(covariance, np.diag(model.explained_variance), atol=1e-10)  # eps of variances up to 1e4


@given(share=st.floats(0.001, 0.999), eigenvalues=st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=20))
def test_a_share_is_exceeded_by_its_components_and_not_by_one_fewer(share: float, eigenvalues: list[float]) -> None:
    falling = np.sort(eigenvalues)[::-1]
    chosen = components_for(share, falling)
    cumulated = np.cumsum(falling / falling.sum())
    assert cumulated[chosen - 1] > share or chosen == len(falling)
    assert chosen == 1 or cumulated[chosen - 2] <= share


@pytest.mark.parametrize("parts", [2, 24, ROWS])
def test_partitions_and_their_order_do_not_change_the_model(parts: int) -> None:
    rows = planted_rows()
    order = np.random.default_rng(parts).permutation(parts)
    moments = [moments_of(part) for part in np.array_split(rows, parts)]
    merged = solve(merge_all((moments[place] for place in order), length=LENGTH), components=8)
    np.testing.assert_allclose(merged.components, fitted(rows, 8).components, **EXACT)


def test_signs_of_tied_entries_follow_the_first() -> None:
    signed = fix_signs(np.array([[-0.5, 0.5, 0.5, -0.5], [0.0, -1.0, 0.0, 1.0], [0.5, -0.5, 0.5, 0.5]]))
    np.testing.assert_array_equal(signed, [[0.5, -0.5, -0.5, 0.5], [0.0, 1.0, 0.0, -1.0], [0.5, -0.5, 0.5, 0.5]])


def test_an_offset_of_a_million_changes_neither_eigenvalues_nor_projections() -> None:
    rows = np.round(planted_rows(2400) * 2**20) / 2**20  # so that adding a million is exact
    moved = rows + 1e6
    oracle = sklearn_pca(LENGTH).fit(rows)
    model = solve(merge_all(map(moments_of, np.array_split(moved, 24)), length=LENGTH), components=LENGTH)
    np.testing.assert_allclose(model.eigenvalues, oracle.explained_variance_, rtol=1e-9)
    # A projection is the difference of two numbers near 1e6 * sqrt(d), each rounded to eps of that: 1e-9.
    np.testing.assert_allclose(model.project(moved), oracle.transform(rows), atol=2e-7)


# --- how many components --------------------------------------------------------------------------------------------


def test_every_fit_says_how_many_components_80_90_95_and_99_percent_need() -> None:
    assert list(fitted(planted_rows(), 1).components_for) == ["80%", "90%", "95%", "99%"]


@pytest.mark.parametrize("share", SHARES)
def test_what_a_fit_says_a_share_needs_is_what_asking_for_it_gives(share: float) -> None:
    rows = planted_rows()
    assert fitted(rows, 1).components_for[f"{share:.0%}"] == len(fitted(rows, share).components)


def test_a_count_and_a_share_are_recorded_as_what_they_were() -> None:
    assert [(model.chosen_by, model.asked) for model in (fitted(HALVES, 3), fitted(HALVES, 0.6))] == [("count", 3), ("share", 0.6)]


@pytest.mark.parametrize(("rows", "length", "most"), [(10, 40, 9), (11, 10, 10), (10, 10, 9), (2, 3, 1), (50, 3, 3)])
def test_as_many_components_as_can_carry_variance_are_fitted(rows: int, length: int, most: int) -> None:
    assert fitted(planted_rows(rows, length), most).components.shape == (most, length)


@pytest.mark.parametrize(("rows", "length", "most"), [(10, 40, 9), (11, 10, 10), (10, 10, 9), (2, 3, 1), (50, 3, 3)])
def test_one_component_more_is_refused_with_the_numbers(rows: int, length: int, most: int) -> None:
    with pytest.raises(NotEnoughRows) as refused:
        fitted(planted_rows(rows, length), most + 1)
    assert {str(most + 1), str(rows), str(length), str(most)} <= set(str(refused.value).replace(";", " ").split())
    assert refused.value.hint


def test_a_share_never_takes_more_components_than_carry_variance() -> None:
    # Three rows vary in two directions. What they seem to vary in a third is rounding, and would be needed for this share.
    moments = Moments(3, np.zeros(3), np.diag([1.0, 0.5, 1e-13]))
    assert len(solve(moments, components=1 - 1e-15).components) == 2


@pytest.mark.parametrize("components", [1, 0.95])
@pytest.mark.parametrize("count", [0, 1])
def test_no_image_or_one_is_too_few(count: int, components: int | float) -> None:
    with pytest.raises(NotEnoughRows, match=rf"^{count} usable image{'s' if count == 0 else ''};"):
        fitted(planted_rows()[:count], components)


@pytest.mark.parametrize("standardize", [False, True])
@pytest.mark.parametrize("components", [2, 0.95])
@pytest.mark.parametrize("value", [0.0, 0.1, 1e6 + 1 / 3])
def test_rows_that_are_all_the_same_are_refused(value: float, components: int | float, standardize: bool) -> None:
    moments = merge_all((moments_of(np.full((count, 4), value)) for count in (1, 5, 6)), length=4)
    with pytest.raises(NotEnoughRows, match="all 12 usable images are the same"):
        solve(moments, components=components, standardize=standardize)


def test_a_constant_feature_has_no_part_in_any_component_that_carries_variance() -> None:
    rows = planted_rows(50, 6)
    rows[:, 2] = 0.3
    np.testing.assert_allclose(fitted(rows, 5).components[:, 2], 0, atol=1e-12)


def test_one_feature_that_varies_is_the_component() -> None:
    rows = np.full((9, 4), 0.3)
    rows[:, 1] = np.arange(9)
    model = fitted(rows, 1)
    np.testing.assert_allclose(model.components, [[0, 1, 0, 0]], atol=1e-15)
    assert model.explained_ratio == pytest.approx([1.0])
    assert set(model.components_for.values()) == {1}


# --- projecting -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("standardize", [False, True])
def test_an_uncentered_projection_is_a_product_and_nothing_else(standardize: bool) -> None:
    rows = planted_rows()
    model = fitted(rows, 3, standardize=standardize, centered=False)
    np.testing.assert_allclose(model.project(rows), (rows / model.scale) @ model.components.T, **EXACT)


@pytest.mark.parametrize("centered", [False, True])
def test_a_projection_can_overrule_what_the_fit_recorded(centered: bool) -> None:
    rows = planted_rows()
    recorded = fitted(rows, 3, centered=centered).project(rows)
    np.testing.assert_array_equal(fitted(rows, 3, centered=not centered).project(rows, centered=centered), recorded)


def test_centred_and_uncentred_projections_differ_by_one_vector() -> None:
    rows = planted_rows()
    model = fitted(rows, 3)
    gap = model.project(rows, centered=False) - model.project(rows)
    np.testing.assert_allclose(gap, np.tile(model.mean @ model.components.T, (ROWS, 1)), **EXACT)


@pytest.mark.parametrize("count", [0, 1])
def test_no_rows_and_one_row_are_projected(count: int) -> None:
    rows = planted_rows()
    model = fitted(rows, 3)
    np.testing.assert_allclose(model.project(rows[:count]), model.project(rows)[:count], **EXACT)
    assert model.project(rows[:count]).shape == (count, 3)


def test_projecting_leaves_rows_as_they_were() -> None:
    rows = planted_rows()
    before = rows.copy()
    fitted(rows, 3, standardize=True).project(rows)
    np.testing.assert_array_equal(rows, before)


def test_features_of_another_length_are_refused_with_both_lengths() -> None:
    with pytest.raises(BadFeatures, match="length 7, a model of 40") as refused:
        fitted(planted_rows(), 3).project(np.zeros((2, 7)))
    assert refused.value.hint


# --- the model file -------------------------------------------------------------------------------------------------


def assert_same(one: PcaModel, other: PcaModel) -> None:
    for name in PcaModel.__slots__:
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    save_model(fitted(planted_rows(), 4), tmp_path, account={})
    return tmp_path


@pytest.mark.parametrize("components", [4, 0.9])
@pytest.mark.parametrize("standardize", [False, True])
@pytest.mark.parametrize("centered", [False, True])
def test_a_model_is_read_back_exactly(tmp_path: Path, components: int | float, standardize: bool, centered: bool) -> None:
    model = fitted(planted_rows(), components, standardize=standardize, centered=centered)
    save_model(model, tmp_path, account={"seconds": 1.5})
    assert_same(load_model(tmp_path), model)


def test_the_arrays_that_other_tools_read_are_float64_of_the_promised_shapes(saved: Path) -> None:
    with np.load(saved / contract.PCA_ARRAYS) as arrays:
        shapes = {name: arrays[name].shape for name in arrays.files}
        assert {arrays[name].dtype for name in arrays.files} == {np.dtype(np.float64)}
    promised = {"components": (4, LENGTH), "mean": (LENGTH,), "explained_variance": (4,), "explained_ratio": (4,), "eigenvalues": (LENGTH,)}
    assert promised.items() <= shapes.items()


def test_the_card_says_rows_sizes_and_how_many_components_were_chosen(saved: Path) -> None:
    card = json.loads((saved / contract.PCA_CARD).read_text())
    assert (card["rows"], card["k"], card["d"], card["chosen_by"], card["asked"]) == (ROWS, 4, LENGTH, "count", 4)
    assert card["components_for"] == fitted(planted_rows(), 4).components_for


def test_the_card_holds_what_else_it_is_told(tmp_path: Path) -> None:
    save_model(fitted(planted_rows(), 4), tmp_path, account={"seconds": 1.5, "labels": ["a", "b"]})
    card = json.loads((tmp_path / contract.PCA_CARD).read_text())
    assert (card["seconds"], card["labels"]) == (1.5, ["a", "b"])


@pytest.mark.parametrize("name", [contract.PCA_ARRAYS, contract.PCA_CARD])
def test_half_a_model_is_none(saved: Path, name: str) -> None:
    (saved / name).unlink()
    with pytest.raises(BadFeatures, match="no PCA model") as refused:
        load_model(saved)
    assert "fit" in refused.value.hint


def test_a_missing_folder_holds_no_model(tmp_path: Path) -> None:
    with pytest.raises(BadFeatures, match="no PCA model"):
        load_model(tmp_path / "nowhere")


DAMAGES = {
    "empty": lambda whole: whole[:0],
    "cut in half": lambda whole: whole[: len(whole) // 2],
    "text": lambda whole: b"not what was promised\n" + whole,
    "zeroed in the middle": lambda whole: whole[:300] + bytes(40) + whole[340:],
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_arrays_are_no_model(saved: Path, damage: str) -> None:
    arrays = saved / contract.PCA_ARRAYS
    arrays.write_bytes(DAMAGES[damage](arrays.read_bytes()))
    with pytest.raises(BadFeatures, match="no PCA model"):
        load_model(saved)


@pytest.mark.parametrize("card", ["", "{", "[]", "null", "{}", '{"rows": 3}', "\x00\xff"])
def test_a_damaged_card_is_no_model(saved: Path, card: str) -> None:
    (saved / contract.PCA_CARD).write_text(card, encoding="latin-1")
    with pytest.raises(BadFeatures, match="no PCA model"):
        load_model(saved)


def test_arrays_without_components_are_no_model(saved: Path) -> None:
    with (saved / contract.PCA_ARRAYS).open("wb") as sink:
        np.savez(sink, mean=np.zeros(3))
    with pytest.raises(BadFeatures, match="no PCA model"):
        load_model(saved)
