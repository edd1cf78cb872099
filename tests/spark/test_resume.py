"""A run goes on from what earlier ones did, however those ended; what comes of it is what one run would have made."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pyarrow as pa
import pyspark
import pytest
from pyspark import SparkContext

from job import pipeline
from job.contract import FEATURES, SUMMARY
from job.errors import BadFeatures, ResultsExist, SparkFailed, StorageFailed, TooManyFaults
from job.pca.model import load_model
from job.report.summary import Summary
from job.sinks import layout, resume
from job.sinks.layout import OWNER, STAGING, UNFINISHED, Results
from job.sources.listing import largest_share, share_size
from job.storage import S3Path, fetched, remove, whole
from tests.s3 import Server
from tests.spark.conftest import MODEL, ended, picture, process, read, rows, until
from tests.spark.test_process import PATIENCE_S
from tests.spark.test_s3 import put, table

Job = Callable[..., Summary]
LONG = 4_000_000  # bytes, as photographs have: so that shares are small


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return tmp_path / "results"


def spoil(file: Path) -> None:
    """Other bytes of the same size and time: whoever reads them again makes something else of them."""
    times = file.stat()
    file.write_bytes(bytes(times.st_size))
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))


def spoil_middle(file: Path, column: str = "features.list.element") -> None:
    """A Parquet file with a footer, of which a column cannot be read."""
    times, data = file.stat(), bytearray(file.read_bytes())
    group = pa.parquet.read_metadata(file).row_group(0)
    found = next(each for each in map(group.column, range(group.num_columns)) if each.path_in_schema == column)
    data[found.data_page_offset : found.data_page_offset + 100] = bytes(100)
    file.write_bytes(data)
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    with pytest.raises(OSError):  # noqa: PT011
        pa.parquet.read_table(file)


def by_path(results: Path | S3Path, *, without: str = "") -> dict[str, list[tuple[object, ...]]]:
    """Every row of features and faults, in order of path."""
    found = {}
    for name in ("features", "faults"):
        rows = table(results / name) if isinstance(results, S3Path) else read(results / name)
        kept = [column for column in rows.column_names if column != without]
        found[name] = sorted(tuple(map(str, row.items())) for row in rows.select(kept).to_pylist())
    return found


def files(folder: Path) -> dict[str, int]:
    return {str(file.relative_to(folder)): file.stat().st_ino for file in folder.rglob("part-*")}


@pytest.fixture(params=[0.0, 60.0], ids=["by executors", "by the driver"])
def compared(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who lists and compares, where earlier rows are few."""
    monkeypatch.setattr(resume, "HERE_S", request.param)


def test_where_there_is_nothing_to_do_executors_have_nothing_to_do(
    job: Job, images: Path, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("run", "--images", images, "--results", results)
    first = job(*words)
    monkeypatch.setattr(resume, "HERE_S", 60)
    monkeypatch.setattr(SparkContext, "parallelize", mock.Mock(side_effect=AssertionError))
    assert job(*words) == first
    monkeypatch.setattr(resume, "FEW_FILES", 1)
    with pytest.raises(AssertionError):
        job(*words)


@pytest.mark.usefixtures("compared")
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


@pytest.mark.usefixtures("compared")
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


@pytest.mark.usefixtures("compared")
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


def after_listing(monkeypatch: pytest.MonkeyPatch, change: Callable[[], object]) -> None:
    """Something happens between listing and reading."""
    list_images = pipeline.list_images

    def changing(*words: Any, **how: Any) -> Any:
        listing = list_images(*words, **how)
        change()
        return listing

    monkeypatch.setattr(pipeline, "list_images", changing)


def anew(job: Job, *words: object) -> int:
    """Runs a command that changes nothing or some rows; how many were made."""
    results = words[words.index("--results") + 1]
    assert isinstance(results, Path | S3Path)
    before = json.loads((results / SUMMARY).read_text())["featurize"] if (results / SUMMARY).is_file() else {}
    summary = job("featurize", *words)["featurize"]
    return 0 if summary == before else summary["images"] - summary["stayed"]  # an account of its own has other seconds


def test_an_image_that_is_replaced_after_it_was_listed_is_recorded_as_it_was_read(
    job: Job, images: Path, results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("--images", images, "--results", results)

    def replace_two() -> None:
        picture(1000).save(images / "apple" / "00.png")
        (images / "quince" / "07.png").write_bytes(b"broken")

    with monkeypatch.context() as patch:
        after_listing(patch, replace_two)
        assert anew(job, *words) == 66
    assert anew(job, *words) == 0
    job("featurize", "--images", images, "--results", tmp_path / "fresh")
    assert by_path(results, without="listed") == by_path(tmp_path / "fresh", without="listed")
    replace_two()
    assert anew(job, *words) == 2


@pytest.mark.parametrize(
    "otherwise", [("--apply-orientation",), ("--labels-from", "none"), ("--max-bytes", "7777"), ("--precision", "half")]
)
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
    with pytest.raises(ResultsExist, match="rows of a run that did not end"):
        job("featurize", "--images", images, "--results", results)
    assert job("featurize", "--images", images, "--results", results, "--overwrite")["featurize"]["stayed"] == 0
    assert not (results / UNFINISHED).exists()


def test_features_of_a_share_whose_faults_were_not_written_any_more_are_taken_up_alone(
    job: Job, images: Path, results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A task writes one file after the other: a run can end between them."""
    fail_before_publishing(job, monkeypatch, "--images", images, "--results", results)
    (faults,) = {file.parent for file in (results / UNFINISHED).rglob("part-*") if file.parent.name == "faults"}
    shutil.rmtree(faults)
    assert job("featurize", "--images", images, "--results", results)["featurize"]["stayed"] == 60
    job("featurize", "--images", images, "--results", tmp_path / "fresh")
    assert by_path(results) == by_path(tmp_path / "fresh")


@dataclass(frozen=True, slots=True)
class Store:
    """Where images and results of killed runs lie.

    lives  results that are made, of `count` images, and kills on the way to each
    read   paths of the images that were read since it was last called
    """

    root: Path | S3Path
    images: Path | S3Path
    count: int
    lives: int
    kills: int
    read: Callable[[], set[str]]


def on_disk(images: Path) -> set[str]:
    """What was read since the last call, by times of access."""
    files = {file: file.stat() for file in images.iterdir()}
    for file, status in files.items():
        os.utime(file, ns=(0, status.st_mtime_ns))
    return {str(file) for file, status in files.items() if status.st_atime_ns}


def in_s3(images: S3Path, server: Server) -> set[str]:
    """What was read since the last call, by requests, once they are done."""
    server.door.wait_until_empty()
    seen = {f"s3:/{path}" for method, path in server.door.seen if method == "GET"}
    server.door.open()
    return {path for path in seen if path.startswith(f"{images}/")}


@pytest.fixture(params=[("disk", 200, 2, 10), ("s3", 160, 1, 8)], ids=["disk", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path, java: None) -> Store:  # noqa: ARG001  asked for its skip
    where, *numbers = request.param
    if pyspark.__version__ < "4":
        pytest.skip("minutes, and once is enough: on Spark 4.1")
    images = tmp_path / "images" / "label"
    images.mkdir(parents=True)
    for number in range(numbers[0]):
        picture(number, size=(1600, 1200)).save(file := images / f"{number:04}.png", compress_level=1)  # whose decoding takes a while
        os.truncate(file, LONG)
    if where == "disk":
        return Store(tmp_path, images, *numbers, partial(on_disk, images))
    bucket, server = request.getfixturevalue("bucket"), request.getfixturevalue("s3_server")
    put(images, there := bucket / "images" / "label")
    (bucket / "images" / ".first").write_text("no image, but what a run asks for to see that it may read")
    return Store(bucket, there, *numbers, partial(in_s3, there, server))


@dataclass(slots=True)
class Progress:
    """How far runs into some results are; a file of rows is looked into once, as it never changes."""

    results: Path | S3Path
    _paths: dict[str, set[str]] = field(default_factory=dict)

    def done(self) -> set[str]:
        """Images of which there are whole rows of features, published or not."""
        files = [*(self.results / UNFINISHED).rglob("part-*.parquet"), *(self.results / FEATURES).rglob("part-*.parquet")]
        found = set[str]()
        for file in files:
            if file.parent.name == FEATURES:
                if file.name not in self._paths:
                    with fetched(file) as here:
                        self._paths[file.name] = set(pa.parquet.read_table(here, columns=["path"])["path"].to_pylist())
                found |= self._paths[file.name]
        return found

    def at(self, least: int) -> bool:
        """So many images are done; one more counts as being published."""
        try:
            return len(self.done()) + (self.results / FEATURES).exists() >= least
        except FileNotFoundError:  # it was moved while this looked
            return False


def largest_wave(left: int) -> int:
    """Images that a run over `left` has at hand at most: a share for each of its two slots."""
    return 2 * share_size(left, slots=2, largest=largest_share(left, slots=2), image_bytes=LONG)


def whole_run(store: Store, results: Path | S3Path) -> None:
    with ended(process("run", "--images", store.images.parent, "--results", results, "--model", MODEL)) as running:
        _, err = running.communicate(timeout=PATIENCE_S)
    assert running.returncode == 0, err


def entries(results: Path | S3Path) -> set[str]:
    return {str(file).removeprefix(f"{results}/").partition("/")[0] for file in results.rglob("*")}


def test_runs_killed_at_any_moment_repeat_no_more_than_they_were_doing(store: Store) -> None:
    fresh, everything = store.root / "fresh", {str(store.images / f"{number:04}.png") for number in range(store.count)}
    store.read()
    began = time.monotonic()
    whole_run(store, fresh)
    lasts = time.monotonic() - began
    if not (read := store.read()):
        pytest.skip("this disk keeps no times of access")
    assert read == everything
    chance, amid, publishing = random.Random(6), 0, 0
    for life in range(store.lives):
        progress, done = Progress(store.root / f"results-{life}"), set[str]()
        for moment in (0, *sorted(chance.sample(range(1, store.count), store.kills - 3)), store.count, store.count + 1):
            killed_at(moment and max(moment, len(done) + 1), progress, store, late=chance.random(), lasts=lasts)
            before, read, done = done, store.read(), progress.done()
            assert before <= done, "nothing that was done is lost"
            assert not read & before, "nor done again"
            assert len(read - done) <= largest_wave(store.count - len(before)), "what is to be done again was at hand"
            amid += len(before) < len(done) < store.count
            publishing += done == everything and not (progress.results / SUMMARY).is_file()
        whole_run(store, progress.results)
        assert store.read() == everything - done
        assert by_path(progress.results) == by_path(fresh), "the same rows, bit by bit, each once"
        assert entries(progress.results) == entries(fresh)
    assert amid >= store.lives * store.kills // 4, "kills met work that was being done"
    assert publishing >= store.lives, "and what comes after it"


def killed_at(moment: int, progress: Progress, store: Store, *, late: float, lasts: float) -> None:
    """A run that is killed once so many images are done and somewhat later, or if they are, in the first half of what it lasts.

    lasts  seconds, of a whole run: on a quick machine there is as much left to do as on a slow one
    """
    with ended(process("run", "--images", store.images.parent, "--results", progress.results, "--model", MODEL)) as running:
        if progress.at(moment):
            time.sleep(late * lasts / 2)  # the moment is the test's subject, as is the next
        else:
            until(lambda: progress.at(moment) or running.poll() is not None)
            time.sleep(late * lasts / 30)  # any moment of a share, as said above
        running.kill()
        running.communicate()  # until its workers have ended as well
    assert running.returncode in (-signal.SIGKILL, 0), "where it ended by itself before, as a quick machine's may"


def fail_before_publishing(job: Job, monkeypatch: pytest.MonkeyPatch, *words: object) -> None:
    """A run that ends with all its rows made and none published."""
    with monkeypatch.context() as patch:
        patch.setattr(Results, "publish", lambda *_args, **_how: (_ for _ in ()).throw(StorageFailed("the disk is full")))
        with pytest.raises(StorageFailed):
            job("featurize", *words)


def test_of_what_a_run_left_that_did_not_end_only_what_is_still_there_counts(
    job: Job, images: Path, results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On top of results, and without: files of the unfinished run are written again, and that is a change."""
    words = ("--images", images, "--results", results)
    for _ in range(2):
        for number in range(10):
            picture(number).save(images / "apple" / f"new-{number}.png")
        fail_before_publishing(job, monkeypatch, *words)
        (images / "apple" / "new-3.png").unlink()
        summary = job("featurize", *words)["featurize"]
        job("featurize", "--images", images, "--results", tmp_path / "fresh", "--overwrite")
        assert by_path(results) == by_path(tmp_path / "fresh")
        assert summary["images"] == summary["stayed"] == 75
        for file in images.glob("apple/new-*"):
            file.unlink()
        job("featurize", *words)
        assert not (results / UNFINISHED).exists()


def test_rows_of_a_run_that_did_not_end_are_not_dropped_unasked(
    job: Job, images: Path, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_before_publishing(job, monkeypatch, "--images", images, "--results", results)
    with pytest.raises(ResultsExist, match="rows of a run that did not end"):
        job("featurize", "--images", images / "apple", "--results", results)
    assert job("featurize", "--images", images, "--results", results)["featurize"]["stayed"] == 66


def test_a_run_that_is_stopped_while_it_publishes_goes_on_where_there_are_no_faults(
    job: Job, results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file of no faults has a second name by then, and no row that would tell which of the two counts."""
    images, words = tmp_path / "images", ("featurize", "--images", tmp_path / "images", "--results")
    images.mkdir()
    picture(0).save(images / "0.png")
    job(*words, results)
    rename = Path.rename

    def killed(path: Path, target: Path) -> Path:
        if target.parent.name == "retired":
            raise StorageFailed("killed")
        return rename(path, target)

    for number in (1, 2):
        picture(number).save(images / f"{number}.png")
        monkeypatch.setattr(Path, "rename", killed)
        with pytest.raises(StorageFailed, match="killed"):
            job(*words, results)
        monkeypatch.setattr(Path, "rename", rename)
    assert job(*words, results)["featurize"]["stayed"] == 3
    job(*words, tmp_path / "fresh")
    assert by_path(results) == by_path(tmp_path / "fresh")
    assert not (results / UNFINISHED).exists()


def test_of_two_runs_that_did_not_end_the_later_one_counts(job: Job, images: Path, results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = count()
    monkeypatch.setattr(layout, "_token", lambda: f"{2**32 - 1 - next(tokens):08x}")  # only their times can order them
    for life in range(2):
        for number, file in enumerate(sorted((images / "apple").glob("*.png"))):
            picture(100 * life + number).save(file)
        fail_before_publishing(job, monkeypatch, "--images", images, "--results", results)
    assert job("featurize", "--images", images, "--results", results)["featurize"]["stayed"] == 66


def test_a_damaged_file_is_done_again(job: Job, images: Path, results: Path, tmp_path: Path) -> None:
    job("featurize", "--images", images, "--results", results)
    job("featurize", "--images", images, "--results", tmp_path / "fresh")
    first, second, third, *_ = sorted((results / "features").glob("part-*"))
    first.write_bytes(b"")
    second.write_bytes(second.read_bytes()[:200])
    spoil_middle(third, "path")
    assert job("featurize", "--images", images, "--results", results)["featurize"]["stayed"] < 60
    assert by_path(results) == by_path(tmp_path / "fresh")


@pytest.mark.parametrize("met", ["in the fit", "at its first look", "where a row goes"])
def test_a_file_whose_features_are_damaged_is_named_and_without_it_they_are_made_again(
    job: Job, images: Path, results: Path, met: str
) -> None:
    job("featurize", "--images", images, "--results", results)
    by_rows = sorted((results / "features").glob("part-*"), key=lambda file: pa.parquet.read_metadata(file).num_rows)
    file = by_rows[-1] if met == "at its first look" else by_rows[0]
    if met == "where a row goes":
        Path(pa.parquet.read_table(file, columns=["path"])["path"][0].as_py()).unlink()
    spoil_middle(file)
    with pytest.raises(BadFeatures, match=f"{file} is damaged: ") as refused:
        job("run", "--images", images, "--results", results)
    assert refused.value.hint == "remove it and featurize again: its images are done again"
    file.unlink()
    assert job("run", "--images", images, "--results", results)["fit"]["rows"] == 60 - (met == "where a row goes")


def test_too_many_faults_are_too_many_again(job: Job, images: Path, results: Path) -> None:
    for _ in range(2):
        with pytest.raises(TooManyFaults):
            job("run", "--images", images, "--results", results, "--max-faults", "1%")


def test_removed_rows_are_counted(job: Job, images: Path, results: Path) -> None:
    assert job("featurize", "--images", images, "--results", results)["featurize"]["removed"] == 0
    shutil.rmtree(images / "quince")
    assert job("featurize", "--images", images, "--results", results)["featurize"]["removed"] == 23


@pytest.mark.parametrize(
    ("first", "then"),
    [
        (("--images", "apple", "--keep-removed"), ("--images", "apple")),
        (("--images", "apple", "--limit", "5"), ("--images", "apple", "--images", "quince", "--limit", "5")),
        (("--images", ".", "--classes", "1"), ("--images", ".", "--classes", "2", "--limit", "30")),
        (("--images", ".", "--include", "*.png", "--limit", "5"), ("--images", ".", "--limit", "5")),
    ],
)
def test_a_command_under_which_rows_of_images_that_are_there_would_go_is_refused(
    job: Job, pictures: Path, results: Path, first: tuple[str, ...], then: tuple[str, ...]
) -> None:
    def featurize(words: tuple[str, ...]) -> None:
        job("featurize", "--results", results, *(pictures / word if word in ("apple", "quince", ".") else word for word in words))

    featurize(first)
    with pytest.raises(ResultsExist):
        featurize(then)


def test_rows_that_no_run_can_know_again_are_kept_too_where_that_is_asked_for(job: Job, images: Path, results: Path) -> None:
    picture(1).save(images / "quince" / "back\\slash.png")
    (images / "quince" / "link.png").symlink_to(images / "nowhere.png")
    assert job("featurize", "--images", images, "--results", results)["featurize"]["images"] == 68
    shutil.rmtree(images / "quince")
    assert job("featurize", "--images", images, "--results", results, "--keep-removed")["featurize"]["images"] == 68


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


def test_moments_that_do_not_say_of_which_files_they_are_do_not_count_twice(job: Job, images: Path, results: Path) -> None:
    job("run", "--images", images, "--results", results)
    index = results / "pca" / "moments" / "labels.json"
    said = json.loads(index.read_text())
    del said["contents"]
    index.write_text(json.dumps(said))
    picture(1).save(images / "apple" / "new.png")
    fitted = job("run", "--images", images, "--results", results)["fit"]
    assert (fitted["rows"], fitted["moments_from"]) == (61, "features")


def test_components_of_another_network_cannot_be_frozen(job: Job, images: Path, results: Path) -> None:
    job("run", "--images", images, "--results", results)
    card = results / "pca" / "model.json"
    card.write_text(json.dumps(json.loads(card.read_text()) | {"model": "another"}))
    before = by_path(results)
    picture(1).save(images / "apple" / "new.png")
    with pytest.raises(BadFeatures, match="network another"):
        job("run", "--images", images, "--results", results, "--freeze-model")
    assert by_path(results) == before


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


@pytest.mark.usefixtures("compared")
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


def manifest_of(folder: S3Path, **columns: Callable[[str, str], object]) -> S3Path:
    """A list of the pictures there: of each what the functions make of its name and etag."""
    found = [(path, etag) for path, etag in folder.etags().items() if path.name.endswith(".png")]
    said = {name: [make(path.name, etag) for path, etag in found] for name, make in columns.items()}
    with whole(folder / "manifest.parquet") as half:
        pa.parquet.write_table(pa.table({"path": [str(path) for path, _ in found], **said}), half)
    return folder / "manifest.parquet"


def test_what_is_out_of_date_in_a_list_is_done_once_and_not_each_time(job: Job, images: Path, bucket: S3Path) -> None:
    """Whatever it says of versions: one that will never be true, the true one, a part of it, or nothing."""
    folder = put(images / "quince", bucket / "quince")
    sizes = {file.name: file.stat().st_size for file in (images / "quince").iterdir()}

    def size(name: str, _etag: str) -> int:
        return sizes[name]

    def outdated(name: str, etag: str) -> str:
        return "0" * 32 if name == "07.png" else etag

    def etag_now(_name: str, etag: str) -> str:
        return etag

    def another(name: str, etag: str) -> str:
        return "1" * 32 if name == "07.png" else etag

    for results, columns in enumerate(({"etag": outdated}, {"etag": outdated, "size": size}, {"etag": etag_now}, {"size": size}, {})):
        words = ("--results", bucket / f"out-{results}")
        assert anew(job, "--images", manifest_of(folder, **columns), *words) == 21
        assert anew(job, "--images", manifest_of(folder, **columns), *words) == 0
    words = ("--results", bucket / "out-1")
    assert anew(job, "--images", manifest_of(folder, etag=etag_now, size=size), *words) == 0, "what was read is now listed"
    assert anew(job, "--images", manifest_of(folder, etag=another, size=size), *words) == 1
    assert anew(job, "--images", manifest_of(folder, etag=another, size=size), *words) == 0


def test_an_image_with_another_label_in_its_list_has_that_label(job: Job, images: Path, bucket: S3Path) -> None:
    folder, out = put(images / "quince", bucket / "quince"), bucket / "out"
    anew(job, "--images", manifest_of(folder, label=lambda _name, _etag: "ripe"), "--results", out)
    relabelled = manifest_of(folder, label=lambda name, _etag: "unripe" if name == "07.png" else "ripe")
    assert anew(job, "--images", relabelled, "--results", out) == 1
    labels = {row["path"].rpartition("/")[2]: row["label"] for row in table(out / "features").to_pylist()}
    assert {name for name, label in labels.items() if label == "unripe"} == {"07.png"}
    assert len(labels) == 20
    assert anew(job, "--images", relabelled, "--results", out) == 0


@pytest.mark.parametrize("updating", [False, True])
@pytest.mark.parametrize("share", [0.2, 0.4, 0.6, 0.7, 0.8, 0.87])
def test_a_run_that_s3_stops_anywhere_goes_on_to_the_same_rows(
    job: Job, images: Path, bucket: S3Path, s3_server: Server, share: float, updating: bool
) -> None:
    source, out, fresh = put(images, bucket / "images"), bucket / "out", bucket / "fresh"
    for folder in (out, fresh) if updating else ():
        job("featurize", "--images", source / "apple", "--results", folder)
    s3_server.door.open()
    job("featurize", "--images", source, "--results", fresh, "--keep-removed")
    requests = s3_server.door.seen.total()
    seen = iter(range(1_000_000))
    s3_server.door.refuse = lambda _method, _path: 403 if next(seen) >= share * requests else None
    with pytest.raises(StorageFailed):
        job("featurize", "--images", source, "--results", out, "--keep-removed")
    s3_server.door.open()
    remove([out / STAGING / OWNER])  # it could not be given back, and its owner, this process, is alive
    summary = job("featurize", "--images", source, "--results", out, "--keep-removed")
    assert by_path(out) == by_path(fresh)
    assert summary["featurize"]["images"] == 66
    assert not any((out / UNFINISHED).rglob("*"))


def test_a_run_that_only_takes_rows_away_and_is_stopped_before_its_card_is_done_by_the_next(
    job: Job, images: Path, bucket: S3Path, s3_server: Server
) -> None:
    source, out = put(images / "apple", bucket / "images"), bucket / "out"
    words = ("run", "--images", source, "--results", out)
    job(*words)
    before = by_path(out)
    (source / "new.png").upload(images / "quince" / "00.png")
    job(*words)
    (source / "new.png").unlink()
    s3_server.door.refuse = lambda method, path: 403 if method == "PUT" and "/out/features/" in path else None
    with pytest.raises(StorageFailed):
        job(*words)
    s3_server.door.open()
    assert job(*words)["fit"]["rows"] == len(before["features"])
    assert by_path(out) == before


def test_frozen_components_outlive_a_run_that_is_stopped_while_it_publishes(
    job: Job, images: Path, bucket: S3Path, s3_server: Server
) -> None:
    source, out = put(images, bucket / "images"), bucket / "out"
    job("run", "--images", source, "--results", out)
    model = (out / "pca" / "model.json").read_text()
    (source / "apple" / "new.png").upload(images / "apple" / "00.png")
    s3_server.door.refuse = lambda method, path: 403 if method == "PUT" and "/out/features/" in path else None
    with pytest.raises(StorageFailed):
        job("run", "--images", source, "--results", out, "--freeze-model")
    s3_server.door.open()
    assert job("run", "--images", source, "--results", out, "--freeze-model")["project"]["rows"] == 61
    assert (out / "pca" / "model.json").read_text() == model
