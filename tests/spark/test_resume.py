"""A run goes on from what earlier ones did, however those ended; what comes of it is what one run would have made."""

from __future__ import annotations

import os
import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from job import pipeline
from job.errors import ResultsExist, SparkFailed, StorageFailed
from job.pca.model import load_model
from job.report.summary import Summary
from job.sinks.layout import OWNER, STAGING, UNFINISHED, Results
from job.storage import S3Path
from tests.s3 import Server
from tests.spark.conftest import MODEL, add_broken, ended, picture, process, read, rows
from tests.spark.test_s3 import put, table

Job = Callable[..., Summary]
KILLS = 20


@pytest.fixture
def images(pictures: Path, tmp_path: Path) -> Path:
    """60 good pictures, and 6 that are broken."""
    shutil.copytree(pictures, tmp_path / "images")
    add_broken(tmp_path / "images")
    return tmp_path / "images"


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return tmp_path / "results"


def spoil(file: Path) -> None:
    """Other bytes of the same size and time: whoever reads them again makes something else of them."""
    times = file.stat()
    file.write_bytes(bytes(times.st_size))
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))


def spoil_middle(file: Path) -> None:
    """A Parquet file with a footer, whose features cannot be read."""
    times, data = file.stat(), bytearray(file.read_bytes())
    middle = len(data) // 2
    data[middle - 50 : middle + 50] = bytes(100)
    file.write_bytes(data)
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    with pytest.raises(OSError):  # noqa: PT011
        pa.parquet.read_table(file)


def by_path(results: Path | S3Path) -> dict[str, list[tuple[object, ...]]]:
    """Every row of features and faults, in order of path, without what changes when a file is copied."""
    found = {}
    for name in ("features", "faults"):
        rows = table(results / name) if isinstance(results, S3Path) else read(results / name)
        found[name] = sorted(tuple(map(str, row.items())) for row in rows.to_pylist())
    return found


def files(folder: Path) -> dict[str, int]:
    return {str(file.relative_to(folder)): file.stat().st_ino for file in folder.rglob("part-*")}


def test_a_rerun_with_nothing_to_do_reads_no_image_and_changes_nothing(job: Job, images: Path, results: Path) -> None:
    first = job("run", "--images", images, "--results", results)
    before, made = by_path(results), files(results)
    for file in images.rglob("*.png"):
        spoil(file)
    again = job("run", "--images", images, "--results", results)
    assert again == first
    assert by_path(results) == before
    assert files(results) == made
    assert not (results / UNFINISHED).exists()


def test_changed_images_are_done_again_new_ones_added_and_removed_ones_dropped(
    job: Job, images: Path, results: Path, tmp_path: Path
) -> None:
    job("run", "--images", images, "--results", results)
    picture(1000).save(images / "apple" / "00.png")  # a good one changes
    picture(1001).save(images / "apple" / "empty.jpg", "png")  # a fault becomes good
    picture(1002).save(images / "apple" / "new.png")
    (images / "quince" / "07.png").unlink()
    (images / "quince" / "text.jpg").unlink()
    (images / "quince" / "01.png").write_bytes(b"broken")  # a good one becomes a fault
    summary = job("run", "--images", images, "--results", results)["featurize"]
    fresh = job("run", "--images", images, "--results", tmp_path / "fresh")["featurize"]
    assert by_path(results) == by_path(tmp_path / "fresh")
    assert summary["stayed"] == 65 - 4
    for name in ("images", "features", "faults", "size_bytes"):
        assert summary[name] == fresh[name]
    assert sorted(summary["faults_by_reason"].items()) == sorted(fresh["faults_by_reason"].items())


def test_rows_of_removed_images_stay_where_that_is_asked_for(job: Job, images: Path, results: Path) -> None:
    job("featurize", "--images", images, "--results", results)
    before = by_path(results)
    shutil.rmtree(images / "quince")
    assert job("featurize", "--images", images, "--results", results, "--keep-removed")["featurize"]["images"] == 66
    assert by_path(results) == before
    picture(1000).save(images / "apple" / "00.png")
    summary = job("featurize", "--images", images, "--results", results, "--keep-removed")["featurize"]
    assert (summary["images"], summary["stayed"]) == (66, 65), "of a changed image only the new row"
    paths = read(results / "features")["path"].to_pylist() + read(results / "faults")["path"].to_pylist()
    assert len(set(paths)) == len(paths) == 66


def test_an_image_that_could_not_be_read_is_tried_again(job: Job, images: Path, results: Path) -> None:
    hidden = images / "apple" / "link.png"
    hidden.symlink_to(images / "nowhere.png")
    assert job("featurize", "--images", images, "--results", results)["featurize"]["faults_by_reason"]["unreadable"] == 1
    again = job("featurize", "--images", images, "--results", results)["featurize"]
    assert (again["images"], again["stayed"]) == (67, 66)


@pytest.mark.parametrize("otherwise", [("--apply-orientation",), ("--labels-from", "none"), ("--max-bytes", "7777")])
def test_rows_of_other_settings_are_made_again_and_only_if_asked(job: Job, images: Path, results: Path, otherwise: tuple[str, ...]) -> None:
    job("featurize", "--images", images, "--results", results)
    with pytest.raises(ResultsExist, match="already holds features, faults, made otherwise"):
        job("featurize", "--images", images, "--results", results, *otherwise)
    assert job("featurize", "--images", images, "--results", results, *otherwise, "--overwrite")["featurize"]["stayed"] == 0


def test_more_folders_go_on_and_fewer_are_refused(job: Job, pictures: Path, results: Path) -> None:
    apple, quince = ("--images", pictures / "apple"), ("--images", pictures / "quince")
    job("featurize", *apple, "--results", results)
    summary = job("featurize", *apple, *quince, "--results", results)["featurize"]
    assert (summary["images"], summary["stayed"]) == (40, 20)
    with pytest.raises(ResultsExist):
        job("featurize", *quince, "--results", results)
    assert job("featurize", *quince, "--results", results, "--overwrite")["featurize"]["stayed"] == 20


def test_a_first_try_with_a_limit_is_not_lost(job: Job, images: Path, results: Path, tmp_path: Path) -> None:
    job("featurize", "--images", images, "--results", results, "--limit", "10")
    assert job("featurize", "--images", images, "--results", results)["featurize"]["stayed"] == 10
    job("featurize", "--images", images, "--results", tmp_path / "fresh")
    assert by_path(results) == by_path(tmp_path / "fresh")


# --- runs that did not end ------------------------------------------------------------------------------------------


def test_what_a_failed_run_did_is_not_done_again(
    job: Job, images: Path, results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job("featurize", "--images", images, "--results", tmp_path / "fresh")
    with monkeypatch.context() as patch:
        patch.setattr(Results, "publish", lambda *_args, **_how: (_ for _ in ()).throw(StorageFailed("the disk is full")))
        with pytest.raises(StorageFailed):
            job("featurize", "--images", images, "--results", results)
    assert [entry.name for entry in results.iterdir()] == [UNFINISHED]
    assert job("featurize", "--images", images, "--results", results)["featurize"]["stayed"] == 66
    assert by_path(results) == by_path(tmp_path / "fresh")
    assert not (results / UNFINISHED).exists()


def test_what_a_failed_run_did_otherwise_is_of_no_use(job: Job, images: Path, results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "check_rows", lambda *_args, **_how: (_ for _ in ()).throw(SparkFailed("enough")))
        with pytest.raises(SparkFailed):
            job("featurize", "--images", images, "--results", results, "--apply-orientation")
    assert job("featurize", "--images", images, "--results", results)["featurize"]["stayed"] == 0
    assert not (results / UNFINISHED).exists()


def rows_done(results: Path) -> int:
    """Rows that a dead run left whole."""
    return sum(pa.parquet.read_metadata(file).num_rows for file in (results / UNFINISHED).rglob("part-*.parquet"))


def test_a_run_killed_at_any_moment_repeats_no_more_than_it_was_doing(tmp_path: Path, java: None) -> None:  # noqa: ARG001
    images, results = tmp_path / "images", tmp_path / "results"
    (images / "label").mkdir(parents=True)
    for number in range(300):
        picture(number, size=(900, 700)).save(images / "label" / f"{number:03}.png", compress_level=1)
    add = ("--results", results, "--model", MODEL)
    chance, done = random.Random(6), 0
    for _ in range(KILLS):
        with ended(process("run", "--images", images, *add)) as running:
            time.sleep(chance.uniform(0, 6))
            running.kill()
            running.communicate()
        if (results / "features").exists():
            break
        assert rows_done(results) >= done, "nothing that was done is lost"
        done = rows_done(results)
    left = rows_done(results)
    with ended(process("run", "--images", images, *add)) as running:
        _, err = running.communicate(timeout=120)
    assert running.returncode == 0, err
    fresh = tmp_path / "fresh"
    with ended(process("run", "--images", images, "--results", fresh, "--model", MODEL)) as running:
        _, err = running.communicate(timeout=120)
    assert by_path(results) == by_path(fresh)
    assert sorted(entry.name for entry in results.iterdir()) == sorted(entry.name for entry in fresh.iterdir())
    assert left == 0 or f"{300 - left} / {300 - left} images" in err or "up to date" in err


# --- components -----------------------------------------------------------------------------------------------------


def test_new_images_join_the_components_and_old_features_are_not_read(job: Job, images: Path, results: Path, tmp_path: Path) -> None:
    job("run", "--images", images, "--results", results)
    for number in range(5):
        picture(2000 + number).save(images / "apple" / f"new-{number}.png")
    _, *others = sorted((results / "features").glob("part-*"), key=lambda file: (-pa.parquet.read_metadata(file).num_rows, file.name))
    job("featurize", "--images", images, "--results", results)
    for file in others:  # the fullest is looked into for the features' length
        spoil_middle(file)
    assert job("fit", "--results", results)["fit"]["moments_from"] == "moments and new features"
    job("run", "--images", images, "--results", tmp_path / "fresh")
    one, other = load_model(results / "pca"), load_model(tmp_path / "fresh" / "pca")
    assert one.rows == other.rows == 65
    np.testing.assert_allclose(one.eigenvalues, other.eigenvalues, rtol=1e-9)  # sums in another order


def test_frozen_components_stay_and_new_images_are_projected_onto_them(job: Job, images: Path, results: Path) -> None:
    job("run", "--images", images, "--results", results)
    model = (results / "pca" / "model.npz").read_bytes()
    picture(3000).save(images / "apple" / "new.png")
    summary = job("run", "--images", images, "--results", results, "--freeze-model")
    assert (results / "pca" / "model.npz").read_bytes() == model
    assert summary["fit"]["rows"] == 60
    assert summary["project"]["rows"] == 61
    components = load_model(results / "pca")
    features, projections = read(results / "features"), read(results / "projections")
    assert projections["path"].to_pylist() == features["path"].to_pylist()
    expected = components.project(rows(features), centered=True)
    np.testing.assert_allclose(rows(projections, "projection"), expected, atol=1e-5)  # float32 of it


# --- in S3 ----------------------------------------------------------------------------------------------------------


def test_in_s3_too_a_run_goes_on(job: Job, images: Path, bucket: S3Path, tmp_path: Path) -> None:
    source, out = put(images, bucket / "images"), bucket / "out"
    job("run", "--images", source, "--results", out)
    etags = {path: etag for path, etag in out.etags().items() if path.name.startswith("part-")}
    job("run", "--images", source, "--results", out)
    assert {path: etag for path, etag in out.etags().items() if path.name.startswith("part-")} == etags
    picture(1000).save(tmp_path / "changed.png")
    (source / "apple" / "00.png").upload(tmp_path / "changed.png")
    (source / "quince" / "07.png").unlink()
    assert job("run", "--images", source, "--results", out)["featurize"]["stayed"] == 64
    job("run", "--images", source, "--results", bucket / "fresh")
    assert by_path(out) == by_path(bucket / "fresh")


@pytest.mark.parametrize("seed", range(6))
def test_a_run_that_s3_stops_anywhere_goes_on_to_the_same_rows(
    job: Job, images: Path, bucket: S3Path, s3_server: Server, seed: int
) -> None:
    source, out = put(images, bucket / "images"), bucket / "out"
    if seed % 2:  # in the middle of an update
        job("featurize", "--images", source / "apple", "--results", out)
    chance, ends = random.Random(seed), 0
    for limit in (chance.randrange(10, 400) for _ in range(8)):
        seen = iter(range(1_000_000))
        s3_server.door.refuse = lambda _method, _path, seen=seen, limit=limit: 403 if next(seen) >= limit else None
        try:
            job("featurize", "--images", source, "--results", out, "--keep-removed")
            ends += 1
        except (StorageFailed, ResultsExist):
            pass
        finally:
            s3_server.door.open()
            (out / STAGING / OWNER).unlink()  # it could not be given back, and its owner, this process, is alive
    summary = job("featurize", "--images", source, "--results", out, "--keep-removed")
    job("featurize", "--images", source, "--results", bucket / "fresh")
    assert by_path(out) == by_path(bucket / "fresh")
    assert summary["featurize"]["images"] == 66
    assert not any((out / UNFINISHED).rglob("*"))
