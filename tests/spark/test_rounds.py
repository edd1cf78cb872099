"""Tasks whose time is over: what they leave is done in another round, and each image is a row once, whatever was tried twice."""

from __future__ import annotations

import errno
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from math import inf
from pathlib import Path

import pytest
from pyspark import RDD, SparkContext

from job import pipeline, tasks
from job.decode.options import Decoding
from job.errors import RowsLost, SparkGone, StorageFailed
from job.features.stage import open_network
from job.report.summary import Summary
from job.sinks import stage
from job.sinks.layout import ROWS, unfinished
from job.sinks.stage import Featurizing, check_rows, featurize_share, remove_strays
from job.sinks.tally import Tally
from job.sources import reading
from job.sources import stage as listing_stage
from job.sources.folders import Walk
from job.sources.listing import ImageSource, Share, plan_shares
from job.sources.reading import Image
from job.sources.stage import list_pieces, rows_of
from job.storage import S3Path
from job.tasks import run_tasks, sum_of
from tests.spark.conftest import MODEL, read
from tests.spark.test_resume import by_path, fail_before_publishing
from tests.spark.test_s3 import put

Job = Callable[..., Summary]


@pytest.fixture
def share(images: Path, tmp_path: Path) -> Share:
    """All of the images."""
    (part,) = list_pieces([Walk(str(images))], source=ImageSource((str(images),)), scratch=tmp_path).parts
    return Share(0, part.file, 0, part.count, part.count, None)


@pytest.fixture
def plan(images: Path, tmp_path: Path) -> Featurizing:
    staged = unfinished(tmp_path / "out")
    for name in ROWS:
        (staged / name).mkdir(parents=True)
    network = open_network(MODEL, engine="litert")
    return Featurizing(str(images), network, Decoding(), "single", "settings", staged, lambda: MODEL.parent)


def test_results_that_did_not_come_are_missed(sc: SparkContext, monkeypatch: pytest.MonkeyPatch) -> None:
    """PySpark takes a JVM that dies while it hands them over for their end."""
    collect = RDD.collect
    monkeypatch.setattr(RDD, "collect", lambda rdd: collect(rdd)[:-1])
    with pytest.raises(SparkGone):
        run_tasks(sc, str, range(3))


def seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second goes by for each image."""
    monkeypatch.setattr(stage, "monotonic", partial(next, iter(range(1000))))


def test_a_task_stops_when_its_time_is_over_and_says_what_is_left(share: Share, plan: Featurizing, monkeypatch: pytest.MonkeyPatch) -> None:
    seconds(monkeypatch)
    tallies: list[Tally] = []
    done = featurize_share(share, plan=replace(plan, task_s=40), count=tallies.append)
    assert done.rest == replace(share, start=40)
    assert tallies == [done.tally]
    assert done.tally.images == 40
    rest = featurize_share(replace(done.rest, index=1), plan=plan, count=tallies.append)
    assert rest.rest is None
    assert rest.tally.images == 26
    check_rows(done.tally + rest.tally, images=66, staged=plan.staged)
    paths = [row["path"] for name in ROWS for row in read(plan.staged / name).to_pylist()]
    assert len(set(paths)) == 66


@pytest.mark.parametrize("times", [(40, 20), (20, 40), (40, 1000), (1000, 40)])
def test_of_a_task_that_is_done_twice_only_the_rows_that_were_reported_count(
    share: Share, plan: Featurizing, times: tuple[int, int]
) -> None:
    """As after a lost worker, or by speculation: one of the two is reported, and the other may be the later."""
    with pytest.MonkeyPatch.context() as patch:
        reported = []
        for time_s in times:
            seconds(patch)
            reported.append(featurize_share(share, plan=replace(plan, task_s=time_s), count=lambda _: None))
    for done in reported:
        rest = [] if done.rest is None else [featurize_share(replace(done.rest, index=1), plan=plan, count=lambda _: None)]
        staged = copied(plan.staged, plan.staged.with_name(f"run-{time.monotonic_ns()}"))
        both = [done, *rest]
        tally = sum((each.tally for each in both), Tally())
        with pytest.raises(RowsLost):
            check_rows(tally, images=66, staged=staged)
        remove_strays(staged, files={file.replace(str(plan.staged), str(staged)) for each in both for file in each.files})
        check_rows(tally, images=66, staged=staged)
        for each in rest:
            for file in each.files:
                Path(file).unlink()


def copied(folder: Path, target: Path) -> Path:
    shutil.copytree(folder, target)
    return target


def test_who_takes_no_more_images_does_not_wait_for_those_that_nobody_has_begun_to_read(share: Share, plan: Featurizing) -> None:
    begun: list[str] = []

    class Slow:
        in_flight, knows_sizes = 1, True

        def read_many(self, paths: list[str], *, limit: int) -> Iterator[object]:  # noqa: ARG002
            begun.append(paths[0])
            time.sleep(0.2)
            return iter([FileNotFoundError(2, "gone", path) for path in paths])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stage, "open_reader", lambda _root: Slow())
        patch.setattr(reading, "CHUNK_IMAGES", 1)
        done = featurize_share(share, plan=replace(plan, task_s=0), count=lambda _: None)
    assert done.tally.images == 1
    assert len(begun) <= 3, "the one taken, the one under way, and one that began meanwhile"


def brief(*words: object) -> Featurizing:
    """A plan of tasks that have no time: each does one image."""
    return Featurizing(*words, task_s=0)  # type: ignore[arg-type]


@pytest.mark.parametrize("place", ["disk", "s3"])
def test_a_run_of_many_rounds_gives_what_one_of_one_round_gives(
    job: Job, images: Path, bucket: S3Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    source, results = (images, tmp_path / "results") if place == "disk" else (put(images, bucket / "images"), bucket / "results")
    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "Featurizing", brief)
        summary = job("run", "--images", source, "--results", results)
    fresh = job("run", "--images", source, "--results", tmp_path / "fresh")
    assert by_path(results) == by_path(tmp_path / "fresh")
    assert len(list((results / "features").glob("part-*"))) == 60
    for name in ("images", "features", "faults_by_reason", "size_bytes"):
        assert summary["featurize"][name] == fresh["featurize"][name]
    assert job("run", "--images", source, "--results", results) == summary


def test_what_was_done_in_rounds_is_not_done_again(job: Job, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("--images", images, "--results", tmp_path / "results")
    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "Featurizing", brief)
        fail_before_publishing(job, patch, *words)
    assert job("featurize", *words)["featurize"]["stayed"] == 66


def of_process(task: int) -> tuple[int, int]:
    return task, os.getpid()


def test_the_driver_begins_with_tasks_for_as_long_as_it_is_told(sc: SparkContext, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(100))
    monkeypatch.setattr(tasks, "monotonic", lambda: next(clock))
    done = run_tasks(sc, of_process, range(6), here_until=2)
    assert [task for task, _ in done] == list(range(6))
    assert [place == os.getpid() for _, place in done] == [True, True, False, False, False, False]


@pytest.mark.parametrize("error", [StorageFailed("the disk is full"), PermissionError(errno.EACCES, "denied"), ValueError("no such month")])
def test_a_task_that_fails_on_the_driver_is_tried_on_executors(sc: SparkContext, error: Exception) -> None:
    driver = os.getpid()

    def work(task: int) -> int:
        if os.getpid() == driver and task == 1:
            raise error
        return task

    assert run_tasks(sc, work, range(4), here_until=inf) == list(range(4))


@pytest.mark.parametrize("long", [False, True])
@pytest.mark.parametrize("wanted", [False, True])
def test_a_long_listing_on_the_driver_is_left_to_executors_once_it_is_late_or_not_wanted_any_more(
    sc: SparkContext, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, long: bool, wanted: bool
) -> None:
    monkeypatch.setattr(listing_stage, "TOLD_EVERY", 1 if long else 1000)
    clock = iter(range(100))
    monkeypatch.setattr(tasks, "monotonic", lambda: next(clock))
    monkeypatch.setattr(tasks.interrupted, "is_set", lambda: not wanted)
    driver = os.getpid()
    done = run_tasks(sc, lambda _: (len(found(images, tmp_path)), os.getpid() == driver), [0], here_until=10)
    assert done == [(66, wanted and not long)]


def found(images: Path, scratch: Path) -> list[Image]:
    (part,) = list_pieces([Walk(str(images))], source=ImageSource((str(images),)), scratch=scratch).parts
    return [row for share in plan_shares([part], slots=1) for row in rows_of(share)]


def test_what_tasks_add_up_counts_once_in_each_round(sc: SparkContext) -> None:
    total = sum_of(sc, 0)
    for _ in range(3):
        run_tasks(sc, total.add, [1, 2])
    assert total.value == 9
