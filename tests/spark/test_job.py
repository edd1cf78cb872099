"""The job on real Spark, against NumPy and scikit-learn."""

from __future__ import annotations

import csv
import json
import os
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.decomposition import PCA

from job import pipeline
from job.errors import BadFeatures, BadModel, NoImages, NotEnoughRows, ResultsExist, StorageFailed, TooManyFaults
from job.pca import stage as pca_stage
from job.pca.model import load_model
from job.sources import listing
from tests.spark.conftest import MODEL, add_broken, grid_means, picture, read, rows

NAMES = {"features", "faults", "pca", "projections", "projections.csv", "summary.json"}


@pytest.fixture
def mixed(pictures: Path, tmp_path: Path) -> Path:
    """The pictures with six broken files among them."""
    root = tmp_path / "mixed"
    shutil.copytree(pictures, root)
    assert add_broken(root) == 6
    return root


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return tmp_path / "results"


def test_a_run_leaves_exactly_the_documented_names(job, pictures, results):
    job("run", "--images", pictures, "--results", results)
    assert {entry.name for entry in results.iterdir()} == NAMES


def test_features_are_the_networks_and_keep_path_and_label(job, pictures, results):
    job("featurize", "--images", pictures, "--results", results)
    table = read(results / "features")
    paths = sorted(str(file) for file in pictures.rglob("*.png"))
    assert table["path"].to_pylist() == paths
    assert table["label"].to_pylist() == [Path(path).parent.name for path in paths]
    # float32 means of 64 numbers below 1 that are added up in another order
    np.testing.assert_allclose(rows(table), [grid_means(path) for path in paths], atol=1e-6)


def test_each_row_identifies_its_image_and_model(job, pictures, results):
    job("featurize", "--images", pictures, "--results", results)
    for row in read(results / "features").to_pylist():
        status = Path(row["path"]).stat()
        assert (row["size"], row["width"], row["height"], row["format"]) == (status.st_size, 48, 40, "PNG")
        assert int(row["modified"].timestamp() * 1e6) == pytest.approx(status.st_mtime_ns // 1000, abs=1)
        assert row["model"] == json.loads(MODEL.with_name("model.json").read_text())["sha256"][:12]


def test_every_image_listed_is_a_row_of_features_or_of_faults(job, mixed, results):
    summary = job("run", "--images", mixed, "--results", results)["featurize"]
    assert (summary["images"], summary["features"], summary["faults"]) == (66, 60, 6)
    assert summary["faults_by_reason"] == {"empty": 2, "not_an_image": 2, "truncated": 2}
    features, faults = read(results / "features"), read(results / "faults")
    assert sorted(features["path"].to_pylist() + faults["path"].to_pylist()) == sorted(
        str(file) for file in mixed.rglob("*") if file.is_file()
    )
    assert {row["reason"] for row in faults.to_pylist()} == {"empty", "not_an_image", "truncated"}


def test_a_run_says_where_its_workers_time_went(job, mixed, results):
    seconds = job("featurize", "--images", mixed, "--results", results)["featurize"]["worker_seconds"]
    assert list(seconds) == ["start", "read", "decode", "resize", "infer", "arrow", "parquet"]
    assert all(spent >= 0 for spent in seconds.values())


def test_a_bad_image_leaves_its_neighbours_bit_identical(job, pictures, mixed, tmp_path):
    job("featurize", "--images", pictures, "--results", tmp_path / "good")
    job("featurize", "--images", mixed, "--results", tmp_path / "mixed-results")
    good, among_bad = read(tmp_path / "good" / "features"), read(tmp_path / "mixed-results" / "features")
    np.testing.assert_array_equal(rows(good), rows(among_bad))


def test_faults_are_written_even_when_there_are_none(job, pictures, results):
    job("featurize", "--images", pictures, "--results", results)
    assert read(results / "faults").num_rows == 0


def test_components_and_projections_are_those_of_scikit_learn(job, pictures, results):
    job("run", "--images", pictures, "--results", results, "--components", "5")
    table = read(results / "features")
    oracle = PCA(5, svd_solver="full").fit(rows(table).astype(np.float64))
    model = load_model(results / "pca")
    # eps * largest eigenvalue / smallest gap is some 1e-12 here
    np.testing.assert_allclose(model.components, oracle.components_, atol=1e-9)
    np.testing.assert_allclose(model.explained_variance, oracle.explained_variance_, rtol=1e-9)
    projections = read(results / "projections")
    assert projections["path"].to_pylist() == table["path"].to_pylist()
    # stored as float32
    np.testing.assert_allclose(rows(projections, "projection"), oracle.transform(rows(table).astype(np.float64)), atol=1e-6)


def test_uncentered_projections_are_those_of_mllib(job, pictures, results):
    job("run", "--images", pictures, "--results", results, "--uncentered-projection")
    expected = rows(read(results / "features")).astype(np.float64) @ load_model(results / "pca").components.T
    np.testing.assert_allclose(rows(read(results / "projections"), "projection"), expected, atol=1e-6)


def test_the_sheet_says_what_the_projections_say(job, pictures, results):
    job("run", "--images", pictures, "--results", results, "--components", "3")
    (part,) = (results / "projections.csv").glob("part-*.csv")
    with part.open(newline="", encoding="utf-8") as text:
        header, *lines = csv.reader(text)
    assert header == ["path", "label", "pc1", "pc2", "pc3"]
    assert part.read_bytes().startswith(b"path,label,pc1,pc2,pc3\r\n")
    table = pq.read_table(results / "projections").to_pylist()
    assert [(line[0], line[1]) for line in lines] == [(row["path"], row["label"]) for row in table]
    numbers = [[np.float32(cell) for cell in line[2:]] for line in lines]
    np.testing.assert_array_equal(numbers, [row["projection"] for row in table])


def test_components_by_share_of_variance(job, pictures, results):
    job("run", "--images", pictures, "--results", results, "--components", "0.9")
    model = load_model(results / "pca")
    oracle = PCA(0.9, svd_solver="full").fit(rows(read(results / "features")).astype(np.float64))
    assert len(model.components) == oracle.n_components_
    assert json.loads((results / "pca" / "model.json").read_text())["chosen_by"] == "share"


def test_other_components_never_run_the_network_or_read_the_features_again(job, pictures, results):
    job("run", "--images", pictures, "--results", results)
    summary = job("fit", "--results", results, "--components", "7", "--overwrite")
    assert summary["fit"]["moments_from"] == "moments"
    assert summary["fit"]["k"] == 7
    assert summary["project"] is None, "projections of the old model are gone with it"


@pytest.mark.parametrize(("cap", "source"), [(32, "moments"), (1, "features")])
def test_some_labels_can_be_fitted_alone(job, pictures, results, cap, source):
    job("run", "--images", pictures, "--results", results, "--label-cap", cap)
    summary = job("fit", "--results", results, "--only-labels", "apple,quince", "--overwrite", "--label-cap", cap)
    assert summary["fit"]["moments_from"] == source
    table = read(results / "features")
    chosen = np.array([label in ("apple", "quince") for label in table["label"].to_pylist()])
    oracle = PCA(4, svd_solver="full").fit(rows(table)[chosen].astype(np.float64))
    np.testing.assert_allclose(load_model(results / "pca").components, oracle.components_, atol=1e-9)


@pytest.mark.parametrize("cap", [32, 1])
def test_a_label_that_no_image_has_is_named(job, pictures, results, cap):
    job("run", "--images", pictures, "--results", results, "--label-cap", cap)
    with pytest.raises(BadFeatures, match="fig"):
        job("fit", "--results", results, "--only-labels", "fig", "--overwrite")


def test_one_core_and_two_give_the_same_model(job, sc, pictures, results, tmp_path, monkeypatch):
    job("run", "--images", pictures, "--results", results)
    monkeypatch.setattr(type(sc), "defaultParallelism", 7)
    job("run", "--images", pictures, "--results", tmp_path / "other")
    one, other = load_model(results / "pca"), load_model(tmp_path / "other" / "pca")
    np.testing.assert_allclose(one.components, other.components, atol=1e-10)
    np.testing.assert_array_equal(rows(read(results / "features")), rows(read(tmp_path / "other" / "features")))


def test_results_are_not_replaced_unasked(job, pictures, results):
    job("run", "--images", pictures, "--results", results)
    before = (results / "summary.json").read_bytes()
    otherwise = {
        ("run", "--images", pictures, "--apply-orientation"): "features, faults, pca, projections",
        ("run", "--images", pictures / "apple"): "features, faults, pca, projections",
        ("run", "--images", pictures, "--limit", "50"): "features, faults, pca, projections",
        ("run", "--images", pictures, "--components", "3"): "pca",
        ("fit", "--standardize"): "pca, projections",
        ("project", "--uncentered-projection"): "projections",
    }
    for verb, names in otherwise.items():
        with pytest.raises(ResultsExist, match=f"already holds {names}"):
            job(*verb, "--results", results)
    assert (results / "summary.json").read_bytes() == before


def test_overwriting_replaces_everything(job, pictures, mixed, results):
    job("run", "--images", mixed, "--results", results)
    job("featurize", "--images", pictures / "apple", "--results", results, "--overwrite")
    assert {entry.name for entry in results.iterdir()} == {"features", "faults", "summary.json"}
    assert read(results / "features").num_rows == 20
    assert read(results / "faults").num_rows == 0


def test_a_failed_run_leaves_the_old_results(job, pictures, results, tmp_path):
    job("run", "--images", pictures, "--results", results)
    with pytest.raises(StorageFailed):
        job("run", "--images", tmp_path / "nowhere", "--results", results, "--overwrite")
    assert read(results / "features").num_rows == 60


@pytest.mark.parametrize("limit", ["1%", "5"])
def test_too_many_faults_fail_the_run_once_all_is_written(job, mixed, results, limit):
    with pytest.raises(TooManyFaults, match=r"6 of 66 .* 2 of them"):
        job("run", "--images", mixed, "--results", results, "--max-faults", limit)
    assert (read(results / "features").num_rows, read(results / "faults").num_rows) == (60, 6)
    assert not (results / "pca").exists()


def test_tolerated_faults_do_not(job, mixed, results):
    job("run", "--images", mixed, "--results", results, "--max-faults", "10%")
    assert (results / "projections").is_dir()


def test_classes_and_limit_choose_the_first_by_name(job, pictures, tmp_path):
    job("featurize", "--images", pictures, "--results", tmp_path / "classes", "--classes", "2")
    assert set(read(tmp_path / "classes" / "features")["label"].to_pylist()) == {"apple", 'pear, "Abate"'}
    job("featurize", "--images", pictures, "--results", tmp_path / "limit", "--limit", "25")
    expected = sorted(str(file) for file in pictures.rglob("*.png"))[:25]
    assert read(tmp_path / "limit" / "features")["path"].to_pylist() == expected
    job("featurize", "--images", pictures, "--results", tmp_path / "both", "--classes", "1", "--limit", "3")
    assert read(tmp_path / "both" / "features")["path"].to_pylist() == expected[:3]


def test_labels_may_be_none(job, pictures, results):
    job("run", "--images", pictures, "--results", results, "--labels-from", "none")
    assert read(results / "features")["label"].null_count == 60
    assert read(results / "projections")["label"].null_count == 60


def test_include_reads_only_such_names(job, mixed, results):
    summary = job("featurize", "--images", mixed, "--results", results, "--include", "0*.png", "--include", "text.*")
    assert (summary["featurize"]["features"], summary["featurize"]["faults"]) == (30, 2)


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """12 JPEGs large enough for their decoder to scale them, and a PNG that it leaves alone."""
    root = tmp_path / "photographs"
    root.mkdir()
    for number in range(12):
        picture(number, size=(320, 240)).save(root / f"{number:02}.jpg", quality=60)
    picture(99).save(root / "99.png")
    return root


def test_a_run_with_fast_decoding_records_its_error_on_its_own_pictures(job, photographs, tmp_path):
    plain = job("featurize", "--images", photographs, "--results", tmp_path / "plain")["featurize"]
    fast = job("featurize", "--images", photographs, "--results", tmp_path / "fast", "--fast-decode")["featurize"]
    assert plain["fast_decode_error"] is None
    found, wanted = (rows(read(tmp_path / name / "features")) for name in ("fast", "plain"))
    errors = np.linalg.norm(found - wanted, axis=1) / np.linalg.norm(wanted, axis=1)
    measured = fast["fast_decode_error"]
    assert 1 <= measured["count"] <= 12
    assert np.isclose(errors, measured["max"], rtol=1e-5).any(), "one picture's, from the features that were written"
    assert 0 < measured["median"] <= measured["max"]
    assert fast["worker_seconds"]["compare"] > 0


def test_fast_decoding_of_what_no_decoder_scales_measures_nothing(job, pictures, results):
    summary = job("featurize", "--images", pictures, "--results", results, "--fast-decode")
    assert summary["featurize"]["fast_decode_error"] == {"count": 0, "median": None, "max": None}


def test_half_precision_is_float16_s_in_features_and_nearly_the_same_components(sc, job, pictures, tmp_path):
    from pyspark.sql import SparkSession

    single, half = (
        job("run", "--images", pictures, "--results", tmp_path / precision, "--precision", precision)["featurize"]
        for precision in ("single", "half")
    )
    exact, kept = (rows(read(tmp_path / precision / "features")) for precision in ("single", "half"))
    np.testing.assert_array_equal(kept, exact.astype(np.float16), "means of colours are above float16's smallest normal number")
    by_spark = SparkSession(sc).read.parquet(str(tmp_path / "half" / "features")).orderBy("path").collect()
    np.testing.assert_array_equal([row["features"] for row in by_spark], kept)
    errors = np.linalg.norm(kept - exact, axis=1) / np.linalg.norm(exact, axis=1)
    assert half["rounding_error"]["max"] == pytest.approx(errors.max(), rel=1e-3)
    assert 0 < half["rounding_error"]["median"] <= errors.max() <= 2**-11
    assert single["rounding_error"] is None
    assert half["config"]["precision"] == "half"
    few, many = (load_model(tmp_path / precision / "pca") for precision in ("half", "single"))
    oracle = PCA(4, svd_solver="full").fit(kept.astype(np.float64))
    np.testing.assert_allclose(few.components, oracle.components_, atol=1e-9, err_msg="they are fitted on what is stored")
    # Rounding turns an axis by its relative size, 2**-12 or so, over the relative gap between variances, here some tenths
    assert (np.abs(np.sum(few.components * many.components, axis=1)) > 1 - 1e-5).all()
    np.testing.assert_allclose(few.explained_ratio, many.explained_ratio, atol=1e-4)


def test_rows_of_half_precision_that_are_written_again_stay_rounded_and_small(job, pictures, tmp_path):
    images = shutil.copytree(pictures, tmp_path / "images")
    flags = ("--images", images, "--results", tmp_path / "results", "--precision", "half")
    job("featurize", *flags)
    before = {row["path"]: row["features"] for row in read(tmp_path / "results" / "features").to_pylist()}
    gone = images / "apple" / "00.png"
    gone.unlink()
    assert job("featurize", *flags)["featurize"]["stayed"] == 59
    after = {row["path"]: row["features"] for row in read(tmp_path / "results" / "features").to_pylist()}
    assert after == {path: row for path, row in before.items() if path != str(gone)}
    for file in (tmp_path / "results" / "features").glob("*.parquet"):
        assert pq.read_metadata(file).row_group(0).column(2).has_dictionary_page


def test_several_folders_make_one_dataset(job, pictures, results):
    job("featurize", "--images", pictures / "apple", "--images", pictures / "quince", "--results", results)
    assert sorted(set(read(results / "features")["label"].to_pylist())) == ["apple", "quince"]


def test_no_images_is_said(job, pictures, results):
    with pytest.raises(NoImages, match=r"\*\.tif"):
        job("run", "--images", pictures, "--results", results, "--include", "*.tif")
    assert not results.exists()


def test_a_name_that_is_not_utf8_keeps_its_row(job, tmp_path, results):
    (tmp_path / "odd").mkdir()
    for name in (b"caf\xe9.png", b"plain.png", b"line\nbreak.png"):
        picture(len(name)).save(os.fsdecode(os.fsencode(tmp_path / "odd") + b"/" + name), "PNG")
    job("run", "--images", tmp_path / "odd", "--results", results, "--components", "1")
    names = {Path(path).name for path in read(results / "projections")["path"].to_pylist()}
    assert names == {"caf\\xe9.png", "plain.png", "line\nbreak.png"}


def test_one_image_has_features_and_no_components(job, tmp_path, results):
    (tmp_path / "one").mkdir()
    picture(1).save(tmp_path / "one" / "a.png")
    with pytest.raises(NotEnoughRows, match="1 usable image;"):
        job("run", "--images", tmp_path / "one", "--results", results)
    assert read(results / "features").num_rows == 1
    assert json.loads((results / "summary.json").read_text())["fit"] is None


def test_no_usable_image_leaves_faults_and_says_so(job, tmp_path, results):
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.jpg").write_bytes(b"")
    with pytest.raises(NotEnoughRows, match="0 usable images"):
        job("run", "--images", tmp_path / "bad", "--results", results)
    assert read(results / "faults").num_rows == 1
    assert read(results / "features").num_rows == 0


def test_a_model_projects_features_that_it_never_saw(job, pictures, results, tmp_path):
    job("run", "--images", pictures / "apple", "--results", results)
    job("featurize", "--images", pictures / "quince", "--results", tmp_path / "other")
    job("project", "--results", results, "--features", tmp_path / "other", "--overwrite")
    table = read(tmp_path / "other" / "features")
    expected = load_model(results / "pca").project(rows(table))
    np.testing.assert_allclose(rows(read(results / "projections"), "projection"), expected, atol=1e-6)
    assert read(results / "projections")["path"].to_pylist() == table["path"].to_pylist()


def write_features(folder: Path, features: np.ndarray, *, model: str = "abc") -> None:
    folder.mkdir(parents=True)
    n = len(features)
    columns = {"path": [f"{i}.png" for i in range(n)], "label": ["x"] * n, "model": [model] * n}
    pq.write_table(pa.table({**columns, "features": pa.array(list(features), pa.list_(pa.float32()))}), folder / "a.parquet")


def test_features_of_another_network_are_refused(job, pictures, results, tmp_path):
    job("run", "--images", pictures, "--results", results)
    write_features(tmp_path / "other", np.ones((3, 48), np.float32))
    with pytest.raises(BadFeatures, match="network"):
        job("project", "--results", results, "--features", tmp_path / "other", "--overwrite")


def test_features_that_are_not_numbers_are_counted_and_named(job, results):
    features = np.random.default_rng(0).normal(size=(9, 5)).astype(np.float32)
    features[4, 2] = np.nan
    write_features(results / "features", features)
    with pytest.raises(BadFeatures, match=r"1 of these 9 rows .* 4\.png"):
        job("fit", "--results", results, "--components", "2")


def test_features_that_are_all_the_same_have_no_components(job, results):
    write_features(results / "features", np.full((9, 5), 0.1, np.float32))
    with pytest.raises(NotEnoughRows, match="the same"):
        job("fit", "--results", results, "--components", "2")


def test_a_large_offset_costs_the_fit_no_precision(job, results):
    # float32 holds these integers exactly, so the uncompromised answer is that of the same rows without the offset
    features = np.random.default_rng(0).integers(-8, 8, (5000, 6)).astype(np.float32)
    write_features(results / "features", features + np.float32(1e6))
    job("fit", "--results", results, "--components", "6")
    oracle = PCA(6, svd_solver="full").fit(features.astype(np.float64))
    np.testing.assert_allclose(load_model(results / "pca").explained_variance, oracle.explained_variance_, rtol=1e-9)


def test_spark_sql_reads_every_dataset(sc, job, mixed, results):
    from pyspark.sql import SparkSession

    job("run", "--images", mixed, "--results", results)
    spark = SparkSession(sc)
    features = spark.read.parquet(str(results / "features"))
    assert features.count() == 60
    assert features.schema["features"].dataType.simpleString() == "array<float>"
    assert len(features.first()["features"]) == 48
    assert spark.read.parquet(str(results / "faults")).count() == 6
    assert spark.read.parquet(str(results / "projections")).count() == 60
    assert spark.read.csv(str(results / "projections.csv"), header=True, escape='"', multiLine=True).count() == 60


def test_an_empty_folder_has_no_images(job, tmp_path, results):
    (tmp_path / "empty" / "_temporary").mkdir(parents=True)
    with pytest.raises(NoImages):
        job("featurize", "--images", tmp_path / "empty", "--results", results)


@pytest.mark.parametrize("cap", [32, 1])
def test_a_label_that_some_image_has_does_not_hide_one_that_none_has(job, pictures, results, cap):
    job("run", "--images", pictures, "--results", results, "--label-cap", cap)
    with pytest.raises(BadFeatures, match="fig"):
        job("fit", "--results", results, "--only-labels", "apple,fig", "--overwrite")


@pytest.mark.parametrize("many", [64, 1])
@pytest.mark.parametrize("cap", [32, 2, 1])
def test_any_number_of_fold_tasks_gives_the_same_model(job, pictures, results, monkeypatch, cap, many):
    """60 rows in as many tasks as there are files; below three labels to keep, some tasks overflow and some do not.

    Where there are more than `many`, groups of them are put together first.
    """
    monkeypatch.setattr(listing, "SMALLEST_SHARE", 4)
    monkeypatch.setattr(pca_stage, "MANY_SHARES", many)
    monkeypatch.setattr(pca_stage, "ROWS_PER_TASK", 1)
    monkeypatch.setattr(pca_stage, "TASKS_PER_SLOT", 100)
    job("run", "--images", pictures, "--results", results, "--label-cap", cap)
    assert len(list((results / "features").glob("*.parquet"))) > 4
    table = read(results / "features")
    oracle = PCA(4, svd_solver="full").fit(rows(table).astype(np.float64))
    np.testing.assert_allclose(load_model(results / "pca").components, oracle.components_, atol=1e-9)
    job("fit", "--results", results, "--only-labels", "apple", "--overwrite")
    apples = np.array([label == "apple" for label in table["label"].to_pylist()])
    oracle = PCA(4, svd_solver="full").fit(rows(table)[apples].astype(np.float64))
    np.testing.assert_allclose(load_model(results / "pca").components, oracle.components_, atol=1e-9)


@pytest.mark.parametrize("cap", [32, 1])
def test_a_fit_with_earlier_results_is_that_of_all_images_and_reads_none_of_their_features(job, pictures, results, tmp_path, cap):
    labels = sorted(folder.name for folder in pictures.iterdir())
    for number, label in enumerate(labels[:2]):
        job("run", "--images", pictures / label, "--results", tmp_path / f"old{number}")
        shutil.rmtree(tmp_path / f"old{number}" / "features")
    job("featurize", "--images", pictures / labels[2], "--results", results)
    others = ("--with", tmp_path / "old0", "--with", tmp_path / "old1" / "pca" / "moments")
    fit = job("fit", "--results", results, *others, "--label-cap", cap)["fit"]
    assert (fit["rows"], [each["rows"] for each in fit["merged"]]) == (60, [20, 20])
    job("run", "--images", pictures, "--results", tmp_path / "all")
    merged, whole = load_model(results / "pca"), load_model(tmp_path / "all" / "pca")
    for name in ("mean", "explained_variance", "components"):
        # the sums of 60 rows in another order; relative to the largest, as what is nearly zero has no digits to keep
        expected = getattr(whole, name)
        np.testing.assert_allclose(getattr(merged, name), expected, rtol=1e-10, atol=1e-10 * np.abs(expected).max())


def test_what_a_fit_keeps_is_of_its_own_features_whatever_it_merged(job, pictures, results, tmp_path):
    job("run", "--images", pictures / "apple", "--results", tmp_path / "old")
    job("run", "--images", pictures / "quince", "--results", results)
    alone = load_model(results / "pca")
    assert job("fit", "--results", results, "--with", tmp_path / "old", "--overwrite")["fit"]["rows"] == 40
    again = job("fit", "--results", results, "--overwrite")["fit"]
    assert (again["rows"], again["merged"], again["moments_from"]) == (20, [], "moments")
    np.testing.assert_array_equal(load_model(results / "pca").components, alone.components)


@pytest.mark.parametrize("cap", [32, 0])
def test_labels_are_chosen_from_all_that_is_fitted(job, pictures, results, tmp_path, cap):
    job("run", "--images", pictures, "--results", tmp_path / "old")
    job("run", "--images", pictures / "quince", "--results", results, "--label-cap", cap)
    with_old = ("fit", "--results", results, "--with", tmp_path / "old", "--overwrite", "--label-cap", cap)
    fit = job(*with_old, "--only-labels", "apple,quince")["fit"]
    assert (fit["rows"], [each["rows"] for each in fit["merged"]]) == (60, [40])
    fit = job(*with_old, "--only-labels", "apple")["fit"]
    assert (fit["rows"], [each["rows"] for each in fit["merged"]]) == (20, [20])
    with pytest.raises(BadFeatures, match="fig"):
        job(*with_old, "--only-labels", "apple,fig")


def test_moments_of_features_that_have_changed_are_not_used(job, pictures, results):
    job("run", "--images", pictures, "--results", results)
    next((results / "features").glob("part-*.parquet")).unlink()
    summary = job("fit", "--results", results, "--overwrite")
    assert summary["fit"]["moments_from"] == "features"
    assert summary["fit"]["rows"] == read(results / "features").num_rows < 60


def test_a_failure_that_a_task_foresaw_arrives_whole(job, pictures, results, monkeypatch):
    monkeypatch.setattr(pipeline, "featurize_share", full_disk)
    with pytest.raises(StorageFailed, match="No space left on device: part-000000") as failure:
        job("featurize", "--images", pictures, "--results", results)
    assert "every executor mounts" in failure.value.hint
    assert not results.exists()


def full_disk(_share, *, plan, count):  # noqa: ARG001  as featurize_share
    raise OSError(28, "No space left on device", "part-000000")


@pytest.mark.parametrize(("damage", "said"), [(1, "is damaged: sha256 "), (None, "cannot be read: No such file")])
def test_a_damaged_copy_of_the_model_fails_its_tasks_and_no_image(job, pictures, results, tmp_path, monkeypatch, damage, said):
    """A network with other weights would give other features, and nobody would see it."""
    if damage:
        data = bytearray(MODEL.read_bytes())
        data[len(data) // 2] ^= damage
        (tmp_path / MODEL.name).write_bytes(data)
    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "ship_files", lambda _sc, _files: partial(Path, tmp_path))
        with pytest.raises(BadModel, match=f"this worker's copy of the model, .*{said}"):
            job("featurize", "--images", pictures, "--results", results)
    job("featurize", "--images", pictures, "--results", results)
    assert read(results / "features").num_rows == 60


def test_a_model_may_lie_in_a_folder_of_any_name(job, pictures, results, tmp_path):
    folder = tmp_path / "my model #1, 50% \u00e9"
    shutil.copytree(MODEL.parent, folder)
    (folder / "model.tflite").rename(folder / "a#b.tflite")
    (folder / "model.json").rename(folder / "a#b.json")
    job("featurize", "--images", pictures / "apple", "--results", results, "--model", folder / "a#b.tflite")
    assert read(results / "features").num_rows == 20


# The reason of each shared file that Pillow cannot decode; its manifest says which those are, and why they are hard.
REASONS = {
    "bomb.gif": "too_many_pixels",
    "corrupt_header.png": "corrupt",
    "corrupt_stream.png": "corrupt",
    "empty.jpg": "empty",
    "fruit_cut_half.jpg": "truncated",
    "huge_65535.jpg": "too_many_pixels",
    "lossless16.jpg": "corrupt",
    "missing_sof.jpg": "truncated",
    "png_text_dos.png": "corrupt",
    "text_named_jpg.jpg": "not_an_image",
    "truncated.png": "truncated",
    "truncated_photo.jpg": "truncated",
    "truncated_small.jpg": "truncated",
}


def test_the_difficult_files_are_decoded_or_faults_and_their_neighbours_unmoved(job, shared_data, results, tmp_path):
    fruits = shared_data / "fruits" / "Avocado"
    mixed = tmp_path / "mixed"
    shutil.copytree(fruits, mixed / "Avocado")
    with (shared_data / "hard_images" / "manifest.csv").open(newline="") as text:
        manifest = {row["file"]: row["pillow_decodable"] == "yes" for row in csv.DictReader(text)}
    for name in manifest:
        shutil.copy(shared_data / "hard_images" / name, mixed / "Avocado" / name)
    job("featurize", "--images", mixed, "--results", results)
    features, faults = read(results / "features"), read(results / "faults")
    seen = {Path(path).name for path in features["path"].to_pylist()}
    assert {name for name, decodable in manifest.items() if decodable} == seen & manifest.keys()
    assert {Path(row["path"]).name: row["reason"] for row in faults.to_pylist()} == REASONS
    job("featurize", "--images", fruits, "--results", tmp_path / "alone")
    neighbours = pa.array([Path(path).name not in manifest for path in features["path"].to_pylist()])
    np.testing.assert_array_equal(rows(features.filter(neighbours)), rows(read(tmp_path / "alone" / "features")))
