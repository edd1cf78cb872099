"""The job on S3, by a server on this machine, against the same job on a disk."""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest

from job import pipeline, s3
from job.errors import BadFeatures, NoImages, NotEnoughRows, ResultsExist
from job.sinks.layout import OWNER, STAGING, UNFINISHED
from job.sources.s3 import S3Reader
from job.storage import S3Path, fetched
from tests.spark.conftest import MODEL, add_broken, ended, process, read, rows
from tests.spark.test_process import PATIENCE_S, descendants, gone

NAMES = {"features", "faults", "pca", "projections", "projections.csv", "summary.json"}


def put(folder: Path, target: S3Path) -> S3Path:
    for file in folder.rglob("*"):
        if file.is_file():
            S3Path(target.bucket, f"{target.prefix}{file.relative_to(folder)}").upload(file)
    return target


def table(folder: S3Path) -> pa.Table:
    """A dataset, in order of path."""
    tables = []
    for file in folder.glob("*.parquet"):
        with fetched(file) as here:
            tables.append(pa.parquet.read_table(here))
    return pa.concat_tables(tables).sort_by("path")


def names(root: S3Path) -> set[str]:
    return {path.key.removeprefix(root.prefix).partition("/")[0] for path in root.etags()}


def without_root(paths: pa.ChunkedArray, root: Path | S3Path) -> list[str]:
    return [path.removeprefix(f"{root}/") for path in paths.to_pylist()]


@pytest.fixture
def mixed(pictures: Path, tmp_path: Path) -> Path:
    """The pictures with six broken files among them."""
    root = tmp_path / "mixed"
    for file in pictures.rglob("*.png"):
        target = root / file.relative_to(pictures)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.hardlink_to(file)
    assert add_broken(root) == 6
    return root


def test_a_run_on_s3_gives_what_the_same_run_gives_on_a_disk(job, mixed, bucket, tmp_path):
    images = put(mixed, bucket / "images")
    network = put(MODEL.parent, bucket / "artifacts" / "model" / "digest") / "model.tflite"
    here, there = tmp_path / "results", bucket / "results" / "run-1"
    local = job("run", "--images", mixed, "--results", here, "--model", MODEL)
    summary = job("run", "--images", f"{images}/", "--results", str(there).replace("s3:", "s3a:"), "--model", network)
    assert names(there) == NAMES

    one, other = read(here / "features"), table(there / "features")
    assert other.schema == one.schema
    assert without_root(other["path"], images) == without_root(one["path"], mixed)
    for column in ("label", "size", "width", "height", "format", "model"):
        assert other[column].to_pylist() == one[column].to_pylist()
    assert rows(other).tobytes() == rows(one).tobytes(), "features are bit-identical"

    one, other = read(here / "faults"), table(there / "faults")
    assert without_root(other["path"], images) == without_root(one["path"], mixed)
    assert other.drop_columns(["path", "modified", "etag"]) == one.drop_columns(["path", "modified", "etag"])
    assert None not in other["etag"].to_pylist() + other["modified"].to_pylist()
    assert other.num_rows == 6

    with fetched(there / "pca" / "model.npz") as file, np.load(file) as found, np.load(here / "pca" / "model.npz") as expected:
        for name in expected.files:
            # rows are folded in another order, as paths differ and with them the shares: some ulps
            np.testing.assert_allclose(found[name], expected[name], rtol=1e-9, atol=1e-9)
    one, other = read(here / "projections"), table(there / "projections")
    np.testing.assert_allclose(rows(other, "projection"), rows(one, "projection"), atol=1e-6)
    with fetched(next((there / "projections.csv").glob("*.csv"))) as sheet:
        assert pa.csv.read_csv(sheet).num_rows == 60

    assert summary["featurize"]["faults_by_reason"] == local["featurize"]["faults_by_reason"]
    assert summary == json.loads((there / "summary.json").read_text())
    assert summary["featurize"]["config"]["source"]["roots"] == [str(images)]
    assert summary["featurize"]["config"]["model"] == str(network)


def test_each_row_has_the_etag_and_the_time_of_its_object(job, pictures, bucket, tmp_path):
    put(pictures / "apple", bucket / "apple")
    job("featurize", "--images", bucket / "apple", "--results", tmp_path / "out")
    for row in read(tmp_path / "out" / "features").to_pylist():
        head = s3.client().head_object(Bucket=bucket.bucket, Key=row["path"].removeprefix(f"{bucket}/"))
        assert row["etag"] == head["ETag"].strip('"')
        assert abs((row["modified"] - head["LastModified"]).total_seconds()) < 1
        assert row["label"] == "apple"


def test_images_here_and_results_there(job, pictures, bucket):
    job("run", "--images", pictures, "--results", bucket / "out")
    assert table(bucket / "out" / "features").num_rows == 60
    assert names(bucket / "out") == NAMES


def test_verbs_go_on_from_what_is_in_s3(job, pictures, bucket, tmp_path):
    out, other = bucket / "out", bucket / "other"
    job("run", "--images", pictures, "--results", out)
    for verb in (("run", "--images", pictures / "apple"), ("fit", "--standardize"), ("project", "--uncentered-projection")):
        with pytest.raises(ResultsExist, match=f"{out} already holds"):
            job(*verb, "--results", out)
    summary = job("fit", "--results", out, "--components", "7", "--overwrite")
    assert summary["fit"]["moments_from"] == "moments"
    assert summary["project"] is None
    assert names(out) == NAMES - {"projections", "projections.csv"}
    assert job("fit", "--results", out, "--only-labels", "apple", "--overwrite")["fit"]["rows"] == 20
    job("project", "--results", out)
    job("featurize", "--images", pictures / "quince", "--results", other)
    assert job("project", "--results", out, "--features", other, "--overwrite")["project"]["rows"] == 20
    job("featurize", "--images", pictures / "apple", "--results", tmp_path / "here")
    assert job("project", "--results", out, "--features", tmp_path / "here", "--overwrite")["project"]["rows"] == 20
    merged = job("fit", "--results", other, "--with", out)
    assert merged["fit"]["rows"] == 80
    # Other features under the same names, as many and as long: moments of the old ones are not taken for theirs
    job("featurize", "--images", pictures / "apple", "--results", other, "--overwrite")
    assert job("fit", "--results", other)["fit"]["moments_from"] == "features"
    (out / "pca" / "model.json").unlink()
    with pytest.raises(BadFeatures, match=f"no whole fit in {out}"):
        job("fit", "--results", other, "--overwrite", "--with", out)


def test_overwriting_replaces_everything(job, pictures, mixed, bucket):
    job("run", "--images", mixed, "--results", bucket / "out")
    job("featurize", "--images", pictures / "apple", "--results", bucket / "out", "--overwrite")
    assert names(bucket / "out") == {"features", "faults", "summary.json"}
    assert table(bucket / "out" / "features").num_rows == 20
    assert table(bucket / "out" / "faults").num_rows == 0


def test_an_object_removed_after_it_was_listed_is_a_fault(job, pictures, bucket, tmp_path, monkeypatch):
    images = put(pictures, bucket / "images")
    gone = images / "apple" / "00.png"
    list_images = pipeline.list_images

    def then_remove(*args, **how):
        listing = list_images(*args, **how)
        gone.unlink()
        (images / "apple" / "01.png").upload(pictures / "quince" / "01.png")
        return listing

    monkeypatch.setattr(pipeline, "list_images", then_remove)
    summary = job("featurize", "--images", images, "--results", tmp_path / "out")
    assert summary["featurize"]["faults_by_reason"] == {"unreadable": 1}
    (fault,) = read(tmp_path / "out" / "faults").to_pylist()
    assert fault["path"] == str(gone)
    assert "no such object" in fault["detail"]
    features = {row["path"]: row["features"] for row in read(tmp_path / "out" / "features").to_pylist()}
    assert features[f"{images}/apple/01.png"] == features[f"{images}/quince/01.png"], "read as it is now"


def test_a_store_that_is_busy_now_and_then_changes_nothing(job, pictures, bucket, s3_server):
    images = put(pictures, bucket / "images")
    turns = iter(range(1_000_000))
    s3_server.door.refuse = lambda _method, _path: 503 if next(turns) % 7 == 3 else None
    job("run", "--images", images, "--results", bucket / "out")
    s3_server.door.open()
    assert table(bucket / "out" / "features").num_rows == 60
    assert table(bucket / "out" / "faults").num_rows == 0
    assert names(bucket / "out") == NAMES


def test_what_cannot_be_used_is_said_and_leaves_nothing(job, bucket):
    with pytest.raises(NoImages, match="no objects under"):
        job("run", "--images", bucket / "nothing", "--results", bucket / "out")
    with pytest.raises(BadFeatures, match=f"no features in {bucket}/out/features"):
        job("fit", "--results", bucket / "out")
    (bucket / "images" / "text.jpg").write_text("text")
    with pytest.raises(NotEnoughRows):
        job("run", "--images", bucket / "images", "--results", bucket / "bad")
    assert names(bucket / "bad") == {"features", "faults", "summary.json"}


def wait_for(there: object, *, what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not there():
        assert time.monotonic() < deadline, f"no {what}"
        time.sleep(0.02)


def test_a_run_killed_amid_publishing_is_refused_nothing_and_cleaned_up_by_the_next(job, pictures, bucket, s3_server, tmp_path):
    long = shutil.copytree(pictures, tmp_path / "long")
    for file in long.rglob("*.png"):
        os.truncate(file, 300_000)  # so that a share has few, and there are several files of features
    images, out = put(long, bucket / "images"), bucket / "out"
    words = ("run", "--images", images, "--results", out, "--model", MODEL)
    with ended(process(*words)) as running:
        reached = []

        def hold(method: str, path: str) -> None:
            """The second file of features is about to be copied to its place: nothing goes on from here."""
            if method == "PUT" and path.startswith(f"/{bucket.bucket}/out/features/"):
                reached.append(path)
                if len(reached) == 2:
                    running.kill()

        s3_server.door.refuse = hold
        running.communicate(timeout=PATIENCE_S)
        s3_server.door.wait_until_empty()  # S3 does what it was asked for last, and the next run is to find it done
        s3_server.door.open()
    assert len(reached) >= 2
    assert {STAGING, "features"} <= names(out) - {UNFINISHED} <= {STAGING, "features", "faults"}
    with pytest.raises(BadFeatures, match="not a whole dataset"):
        job("fit", "--results", out)
    with ended(process(*words)) as running:
        _, err = running.communicate(timeout=PATIENCE_S)
    assert running.returncode == 0, err
    assert names(out) == NAMES
    job("featurize", "--images", images, "--results", tmp_path / "fresh")
    for name in ("features", "faults"):
        found, fresh = table(out / name), read(tmp_path / "fresh" / name)
        assert found.sort_by("path").equals(fresh), "bit by bit"


def test_a_second_run_is_refused_and_an_interrupted_one_leaves_nothing(pictures, bucket, s3_server):
    images, out = put(pictures, bucket / "images"), bucket / "out"
    words = ("run", "--images", images, "--results", out, "--model", MODEL, "--overwrite")
    over = threading.Event()

    def hold(_method: str, path: str) -> None:
        """No image is read before it is over, but the one by which each run sees that it may read."""
        if "/images/" in path and not path.endswith("/apple/00.png"):
            over.wait(PATIENCE_S)

    s3_server.door.refuse = hold
    with ended(process(*words)) as first:
        wait_for(lambda: (out / STAGING / OWNER).is_file(), what="lock")
        with ended(process(*words)) as second:
            _, err = second.communicate(timeout=PATIENCE_S)
        assert second.returncode == 1
        error, hint = err.splitlines()
        assert error.startswith(f"error: another run is writing to {out}: process {first.pid} on ")
        assert f"{out}/{STAGING}/{OWNER}" in hint
        assert first.poll() is None
        family = descendants(first)
        first.terminate()
        _, err = first.communicate(timeout=PATIENCE_S)
        assert first.returncode == 143, err
        assert "Traceback" not in err
    assert gone(family)
    over.set()
    assert out.etags() == {}


def test_workers_read_s3_with_the_driver_s_endpoint(sc, bucket):
    (bucket / "a").write_text("a")
    path = f"{bucket}/a"
    found = sc.parallelize([path], 1).map(lambda each: (os.getpid(), S3Reader().read(each, limit=10))).collect()
    assert found[0][1].data == b"a"
    assert found[0][0] != os.getpid()
