"""Runs on lists of images, against runs on the folders that hold them."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from job.errors import BadManifest
from job.sources import stage as listing_stage
from job.storage import whole
from tests.spark.conftest import add_broken, read, rows
from tests.spark.test_s3 import put, table
from tests.unit.test_lists import inventory, object_rows


def test_a_run_on_a_manifest_gives_what_a_run_on_its_folder_gives(job, pictures, tmp_path):
    paths = sorted(file.relative_to(pictures) for file in pictures.rglob("*.png"))
    manifest = pictures / "manifest.parquet"
    pq.write_table(pa.table({"path": [str(path) for path in paths], "label": [path.parts[0] for path in paths]}), manifest)
    try:
        job("run", "--images", pictures, "--include", "*.png", "--results", tmp_path / "folder")
        summary = job("run", "--images", manifest, "--results", tmp_path / "list")
        again = job("run", "--images", manifest, "--results", tmp_path / "list")
    finally:
        manifest.unlink()
    one, other = read(tmp_path / "folder" / "features"), read(tmp_path / "list" / "features")
    assert other.drop_columns(["features"]) == one.drop_columns(["features"])
    assert rows(other).tobytes() == rows(one).tobytes()
    assert summary["featurize"]["images"] == 60
    assert again["featurize"]["finished"] == summary["featurize"]["finished"], "nothing was done again"


def test_a_run_on_an_inventory_gives_what_a_run_on_its_bucket_gives(job, pictures, bucket):
    images = put(pictures, bucket / "images")
    location = inventory(bucket, object_rows(bucket), to=bucket / "inventory" / "2026-11-24T01-00Z")
    job("featurize", "--images", images, "--results", bucket / "folder")
    job("featurize", "--images", location, "--under", images, "--results", bucket / "list")
    one, other = table(bucket / "folder" / "features"), table(bucket / "list" / "features")
    assert other.drop_columns(["features"]) == one.drop_columns(["features"])
    assert rows(other).tobytes() == rows(one).tobytes()


def test_rows_of_images_without_a_known_size_have_it_in_the_results(job, pictures, bucket, tmp_path):
    """Of good ones, of bad ones, and of one that is not there."""
    folder = tmp_path / "images"
    (folder / "apple").mkdir(parents=True)
    (folder / "quince").mkdir()
    for file in (pictures / "apple").iterdir():
        (folder / "apple" / file.name).hardlink_to(file)
    add_broken(folder)
    put(folder, bucket / "images")
    names = sorted(str(file.relative_to(folder)) for file in folder.rglob("*.*"))
    with whole(bucket / "images" / "manifest.parquet") as half:
        pq.write_table(pa.table({"path": [*names, "gone.png"]}), half)
    summary = job("featurize", "--images", bucket / "images" / "manifest.parquet", "--results", tmp_path / "out")["featurize"]
    assert summary["faults_by_reason"]["unreadable"] == 1
    assert summary["images"] == len(names) + 1
    assert summary["size_bytes"] == sum(file.stat().st_size for file in folder.rglob("*.*"))
    sizes = {row["path"]: row["size"] for row in read(tmp_path / "out" / "features").to_pylist()}
    assert sizes == {f"{bucket}/images/apple/{file.name}": file.stat().st_size for file in (pictures / "apple").iterdir()}


def test_a_row_that_names_no_image_ends_the_run_with_its_number(job, tmp_path):
    pq.write_table(pa.table({"path": ["a.jpg", None]}), tmp_path / "manifest.parquet")
    with pytest.raises(BadManifest, match=r"manifest\.parquet: row 2: the path is null"):
        job("featurize", "--images", tmp_path / "manifest.parquet", "--results", tmp_path / "out")


@pytest.mark.parametrize("ranges", [1, 5])
def test_an_image_that_is_listed_twice_is_named(job, pictures, tmp_path, monkeypatch, ranges):
    monkeypatch.setattr(listing_stage, "ranges_for", lambda _rows: ranges)
    (tmp_path / "manifest.parquet").mkdir()
    for place, names in enumerate((["00", "01", "02"], ["03", "01"])):
        paths = [str(pictures / "apple" / f"{name}.png") for name in names]
        pq.write_table(pa.table({"path": paths}), tmp_path / "manifest.parquet" / f"{place}.parquet")
    with pytest.raises(BadManifest, match=r"apple/01\.png is listed twice; rows that repeat others: 1$"):
        job("featurize", "--images", tmp_path / "manifest.parquet", "--results", tmp_path / "out")
