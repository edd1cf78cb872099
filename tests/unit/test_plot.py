"""The plot of a results folder: what is drawn, what is said, and what is refused."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from PIL import Image

from bootstrap import results as results_module
from bootstrap.errors import BootstrapError, UsageError
from bootstrap.plot import MOST_LABELS, draw, group, plot_results
from bootstrap.results import Origin, Points, Spectrum, read_origin, read_points

if TYPE_CHECKING:
    from matplotlib.figure import Figure

pytest.importorskip("matplotlib")

EIGENVALUES = np.array([5.0, 3.0, 1.0, 0.6, 0.4])  # shares 50, 30, 10, 6 and 4 %


def write_projections(folder: Path, rows: NDArray[np.float64], labels: Sequence[str | None], *, name: str = "part-000000") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    table = pa.table(
        {
            "path": [f"/images/{place}.jpg" for place in range(len(rows))],
            "label": pa.array(labels, pa.string()),
            "projection": pa.array(rows.tolist(), pa.list_(pa.float32())),
        }
    )
    pq.write_table(table, folder / f"{name}.parquet")


def write_results(root: Path, *, rows: int = 30, k: int = 3) -> Path:
    write_projections(
        root / "projections", np.random.default_rng(0).normal(size=(rows, k)), ["a", "b", None] * (rows // 3) + ["a"] * (rows % 3)
    )
    (root / "pca").mkdir()
    np.savez(root / "pca" / "model.npz", eigenvalues=EIGENVALUES, explained_ratio=EIGENVALUES[:k] / EIGENVALUES.sum())
    return root


def points_of(labels: Sequence[str | None], *, k: int = 2) -> Points:
    return Points(np.random.default_rng(0).normal(size=(len(labels), k)), labels, Counter(labels))


def drawn(points: Points, *, origin: Origin | None = None) -> Figure:
    return draw(points, Spectrum(EIGENVALUES / EIGENVALUES.sum(), points.places.shape[1]), origin or Origin())


def legend_of(figure: Figure) -> list[str]:
    legend = figure.axes[0].get_legend()
    return [text.get_text() for text in legend.get_texts()] if legend else []


# --- the file ---


@pytest.mark.parametrize("k", [1, 2, 3])
def test_a_png_is_written_for_any_number_of_components(tmp_path: Path, k: int) -> None:
    plot_results(write_results(tmp_path / "results", k=k), out=tmp_path / "new" / "plot.png")
    with Image.open(tmp_path / "new" / "plot.png") as image:
        assert image.format == "PNG"
        assert image.width > 1500


def test_one_row_is_enough_for_a_plot(tmp_path: Path) -> None:
    plot_results(write_results(tmp_path / "results", rows=1), out=tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size


def test_the_same_results_give_the_same_bytes(tmp_path: Path) -> None:
    results = write_results(tmp_path / "results")
    for name in ("a.png", "b.png"):
        plot_results(results, out=tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_a_failed_drawing_leaves_the_old_file_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop_halfway(_: Figure, file: Path, **_options: object) -> None:
        file.write_text("half")
        raise OSError("disk full")

    results = write_results(tmp_path / "results")
    (tmp_path / "plot.png").write_text("old")
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", stop_halfway)
    with pytest.raises(OSError, match="disk full"):
        plot_results(results, out=tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_text() == "old"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["plot.png", "results"]


def test_pyplot_is_not_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)  # importing it would raise
    plot_results(write_results(tmp_path / "results"), out=tmp_path / "plot.png")


# --- reading ---


def test_files_are_read_in_order_of_name_and_hidden_ones_are_not(tmp_path: Path) -> None:
    for name, label in (("part-000001", "second"), ("part-000000", "first"), ("_part-000002", "half written"), (".part", "hidden")):
        write_projections(tmp_path, np.zeros((1, 2)), [label], name=name)
    assert read_points(tmp_path).labels == ["first", "second"]


def test_the_first_two_components_are_read(tmp_path: Path) -> None:
    write_projections(tmp_path, np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]), ["a", None])
    np.testing.assert_array_equal(read_points(tmp_path).places, [[1, 2], [4, 5]])


def test_a_file_without_rows_changes_nothing(tmp_path: Path) -> None:
    write_projections(tmp_path, np.empty((0, 2)), [], name="part-000000")
    write_projections(tmp_path, np.ones((2, 2)), ["a", "b"], name="part-000001")
    assert read_points(tmp_path).places.shape == (2, 2)


def test_a_sample_keeps_each_point_with_its_label_and_counts_all_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results_module, "MOST_POINTS", 10)
    for part in range(3):  # the first component repeats the label
        numbers = np.arange(20 * part, 20 * part + 20)
        write_projections(tmp_path, np.stack([numbers, numbers], axis=1), [str(number) for number in numbers], name=f"part-{part}")
    points = read_points(tmp_path)
    assert [str(int(place)) for place in points.places[:, 0]] == points.labels
    assert len(set(points.labels)) == 10
    assert points.counts.total() == 60


def test_a_sample_is_the_same_every_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results_module, "MOST_POINTS", 5)
    write_projections(tmp_path, np.zeros((50, 2)), [str(number) for number in range(50)])
    assert read_points(tmp_path).labels == read_points(tmp_path).labels


def test_the_summary_says_where_features_come_from(tmp_path: Path) -> None:
    summary = {"featurize": {"model": {"backbone": "MobileNetV2"}, "random_weights": True}, "project": {"centered": False}}
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    assert read_origin(tmp_path / "summary.json") == Origin("MobileNetV2", random_weights=True, centered=False)


@pytest.mark.parametrize("text", ["", "[]", '{"featurize": null}', '{"featurize": 7}', '{"featurize": {"model": "x"}}'])
def test_a_summary_of_another_make_is_ignored(tmp_path: Path, text: str) -> None:
    (tmp_path / "summary.json").write_text(text)
    assert read_origin(tmp_path / "summary.json") == Origin()


# --- the scatter ---


def test_axes_say_how_much_their_components_explain() -> None:
    scatter = drawn(points_of(["a", "b"])).axes[0]
    assert (scatter.get_xlabel(), scatter.get_ylabel()) == ("PC1 (50.0 %)", "PC2 (30.0 %)")


def test_a_single_component_stands_against_the_image_label_by_label() -> None:
    scatter = drawn(points_of(["b", "a", "b"], k=1)).axes[0]
    assert (scatter.get_xlabel(), scatter.get_ylabel()) == ("image, label by label", "PC1 (50.0 %)")
    a, b = scatter.collections
    assert [np.asarray(each.get_offsets())[:, 0].tolist() for each in (a, b)] == [[1], [2, 3]]


def test_projections_that_are_not_centred_say_so() -> None:
    assert "not centred" in drawn(points_of(["a"]), origin=Origin(centered=False)).axes[0].get_xlabel()


def test_random_weights_are_in_the_title() -> None:
    assert "RANDOM WEIGHTS" in drawn(points_of(["a"]), origin=Origin("MobileNetV2", random_weights=True)).get_suptitle()


def test_a_sample_says_so_in_its_title() -> None:
    points = Points(np.zeros((2, 2)), ["a", "b"], Counter({"a": 70_000, "b": 1}))
    assert "2 of 70,001 images" in drawn(points).axes[0].get_title(loc="left")


def test_the_legend_lists_labels_by_name_and_the_unlabelled_last() -> None:
    assert legend_of(drawn(points_of(["pear", None, "apple"]))) == ["apple", "pear", "no label"]


def test_images_without_any_label_need_no_legend() -> None:
    assert legend_of(drawn(points_of([None, None]))) == []


def test_labels_in_the_legend_are_one_short_line_and_no_formula() -> None:
    label = r"\$x^2\$"
    assert legend_of(drawn(points_of(["$x^2$", "_private", "two\nlines", "n" * 99]))) == [
        label,
        "_private",
        "n" * 23 + "…",
        "two\N{REPLACEMENT CHARACTER}lines",
    ]


def test_a_label_that_the_font_lacks_raises_no_warning(tmp_path: Path) -> None:
    results = write_results(tmp_path / "results")
    write_projections(results / "projections", np.zeros((1, 3)), ["果物"])
    plot_results(results, out=tmp_path / "plot.png")  # warnings are errors here


def test_as_many_labels_as_the_palette_has_all_look_different() -> None:
    groups = group(points_of([f"label {number:02}" for number in range(MOST_LABELS)]))
    assert len({(each.colour, each.marker) for each in groups}) == MOST_LABELS


def test_of_too_many_labels_the_most_frequent_are_coloured_and_the_rest_is_grey() -> None:
    labels = [f"label {number:02}" for number in range(20)] + [f"label {number:02}" for number in range(8, 20)]
    names = [each.name for each in group(points_of(labels))]
    assert names == [*(f"label {number:02}" for number in range(8, 20)), "8 other labels"]


@pytest.mark.parametrize("labels", [["a", "b", "a"], [None] * 3, ["a", None], [*map(str, range(30)), None, None]])
def test_every_row_is_in_one_group(labels: list[str | None]) -> None:
    rows = np.concatenate([each.rows for each in group(points_of(labels))])
    assert sorted(rows) == list(range(len(labels)))


# --- the scree curve ---


def test_a_share_is_passed_where_the_sum_is_strictly_above_it() -> None:
    spectrum = Spectrum(np.array([0.5, 0.25, 0.125, 0.125]), 2)  # exact in binary
    assert [spectrum.needed(share) for share in (0.4, 0.5, 0.75, 0.8, 0.99)] == [1, 2, 3, 3, 4]


def test_the_margin_says_how_many_components_each_share_takes() -> None:
    scree = drawn(points_of(["a"])).axes[1]
    assert [text.get_text() for text in scree.texts] == ["3 for 80 %", "4 for 90 %", "4 for 95 %", "5 for 99 %"]


def test_the_scree_legend_says_what_the_kept_components_explain() -> None:
    legend = drawn(points_of(["a"])).axes[1].get_legend()
    assert legend is not None
    assert "2 kept: 80.0 %" in [text.get_text() for text in legend.get_texts()]


@pytest.mark.parametrize(("d", "scale"), [(1, "linear"), (5, "linear"), (400, "log")])
def test_many_components_stand_on_a_logarithmic_scale(d: int, scale: str) -> None:
    figure = draw(points_of(["a"], k=min(d, 2)), Spectrum(np.full(d, 1 / d), 1), Origin())
    assert figure.axes[1].get_xscale() == scale


# --- refusals ---


def test_results_without_projections_are_refused_with_a_hint(tmp_path: Path) -> None:
    with pytest.raises(BootstrapError, match="no projections") as caught:
        plot_results(tmp_path, out=tmp_path / "plot.png")
    assert "job run" in caught.value.hint


def test_projections_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    results = write_results(tmp_path)
    (results / "projections" / "part-000000.parquet").write_bytes(b"PAR1 no more")
    with pytest.raises(BootstrapError, match="cannot be read"):
        plot_results(results, out=tmp_path / "plot.png")


@pytest.mark.parametrize("damage", ["missing", "cut", "empty", "without arrays", "without variance"])
def test_results_without_a_whole_model_are_refused(tmp_path: Path, damage: str) -> None:
    results = write_results(tmp_path)
    model = results / "pca" / "model.npz"
    if damage == "missing":
        model.unlink()
    elif damage == "cut":
        model.write_bytes(model.read_bytes()[:100])
    elif damage == "empty":
        model.write_bytes(b"")
    else:
        arrays = {"eigenvalues": np.zeros(3), "explained_ratio": np.zeros(1)} if damage == "without variance" else {}
        np.savez(model, allow_pickle=False, **arrays)
    with pytest.raises(BootstrapError, match="PCA model") as caught:
        plot_results(results, out=tmp_path / "plot.png")
    assert "job fit" in caught.value.hint


def test_a_folder_in_the_place_of_the_png_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        plot_results(write_results(tmp_path / "results"), out=tmp_path)


def test_a_missing_matplotlib_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(BootstrapError, match="matplotlib") as caught:
        plot_results(write_results(tmp_path / "results"), out=tmp_path / "plot.png")
    assert "pip install" in caught.value.hint
