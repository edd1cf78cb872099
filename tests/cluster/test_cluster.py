"""The job on a cluster, sent there as to EMR Serverless: what this machine alone gives, whatever happens to executors."""

from __future__ import annotations

import json
import random
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import psutil
import pyarrow.parquet as pq

from job.contract import SUMMARY
from job.sinks.layout import UNFINISHED
from job.storage import S3Path
from job.submission import PYTHON
from tests.cluster.conftest import Upload, photographs
from tests.s3 import Server
from tests.spark.conftest import MODEL, ended, grid_means, process, read, rows, until
from tests.spark.test_resume import by_path
from tests.standalone import Cluster, Worker, kill_families, standalone

PATIENCE_S = 180
LIVES = 4


def rows_done(results: Path) -> int:
    """Rows that runs left whole which did not end."""
    return sum(pq.read_metadata(file).num_rows for file in (results / UNFINISHED).rglob("part-*.parquet"))


def wait_for_features(results: Path) -> None:
    """Until a task has written some, where they lie until they are published: other folders come and go meanwhile."""
    deadline = time.monotonic() + PATIENCE_S
    while not any((results / UNFINISHED).rglob("part-*.parquet")):
        assert time.monotonic() < deadline, f"no features in {results}"
        time.sleep(0.02)


def assert_whole(results: Path, images: Path) -> None:
    """Features of each image, once, and those that NumPy computes."""
    features = read(results / "features")
    assert features["path"].to_pylist() == sorted(map(str, images.iterdir()))
    assert all(pq.read_metadata(file).num_row_groups == 1 for file in (results / "features").glob("*.parquet"))
    means = {file.stat().st_ino: grid_means(str(file)) for file in sorted(images.iterdir())[:5]}
    expected = np.stack([means[Path(path).stat().st_ino] for path in features["path"].to_pylist()])
    np.testing.assert_allclose(rows(features), expected, atol=1e-5)


def test_a_cluster_gives_what_this_machine_gives(cluster: Cluster, upload: Upload, mixed: Path, tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    flags = ("run", "--images", mixed, "--results")
    with ended(process(*flags, here, "--model", MODEL)) as alone, ended(upload.submit(cluster, *flags, there)) as running:
        wait_for_work_of_each(cluster)
        out, err = running.communicate(timeout=PATIENCE_S)
        _, said = alone.communicate(timeout=PATIENCE_S)
    assert running.returncode == 0, out + err[-3000:]
    assert alone.returncode == 0, said
    assert "30 listed" in out
    assert read(there / "features").equals(read(here / "features")), "bit-identical"
    assert read(there / "faults").equals(read(here / "faults"))
    with np.load(there / "pca" / "model.npz") as found, np.load(here / "pca" / "model.npz") as expected:
        for name in expected.files:
            # rows are folded in the same order on any machine, and merged in the order in which tasks end: some ulps
            np.testing.assert_allclose(found[name], expected[name], rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(rows(read(there / "projections"), "projection"), rows(read(here / "projections"), "projection"), atol=1e-6)
    assert json.loads((there / SUMMARY).read_text())["featurize"]["spark"] == {"master": cluster.url, "slots": 2}
    for folder in map(executor_folder, cluster.workers):
        assert (folder / PYTHON).exists(), "packages were sent to each executor"
        assert (folder / "job.zip").is_file(), "so was the job"


def wait_for_work_of_each(cluster: Cluster) -> None:
    """Until each worker runs Python; who does before stands still, since all could be done before the other has unpacked its packages."""
    held = set[psutil.Process]()

    def hold(worker: Worker) -> bool:
        for each in (processes := worker.python_workers()):
            each.suspend()
            held.add(each)
        return bool(processes)

    try:
        until(lambda: sum(map(hold, cluster.workers)) == len(cluster.workers))
    finally:
        for each in held:
            with suppress(psutil.NoSuchProcess):
                each.resume()


def executor_folder(worker: Worker) -> Path:
    """The working folder of the worker's executor for the last application, which had one."""
    (folder,) = max((worker.home / "work").iterdir()).iterdir()  # app-TIME-NUMBER
    return folder


def test_a_run_fetches_the_model_once_and_sends_it_once_to_each_executor(
    cluster: Cluster, upload: Upload, mixed: Path, bucket: S3Path, s3_server: Server, tmp_path: Path
) -> None:
    model = bucket / "model" / "digest.zip"
    model.upload(upload.model)
    s3_server.door.open()
    words = ("run", "--images", mixed, "--results", tmp_path / "results")
    with ended(upload.submit(cluster, *words, model=model)) as running:
        wait_for_work_of_each(cluster)
        out, err = running.communicate(timeout=PATIENCE_S)
    assert running.returncode == 0, out + err[-3000:]
    assert s3_server.door.seen == {("GET", f"/{model.bucket}/{model.key}"): 1}
    for folder in map(executor_folder, cluster.workers):
        fetched = re.findall(rf"Executor: Fetching (\S+{MODEL.name}) ", (folder / "stderr").read_text())
        assert [urlsplit(each).scheme for each in fetched] == ["spark"], "from the driver"
        assert (folder / MODEL.name).read_bytes() == MODEL.read_bytes()


def test_an_executor_that_is_killed_is_replaced_and_its_images_are_read_again(
    cluster: Cluster, upload: Upload, many: Path, tmp_path: Path
) -> None:
    with ended(upload.submit(cluster, "featurize", "--images", many, "--results", tmp_path / "results")) as running:
        wait_for_features(tmp_path / "results")
        (executor,) = cluster.workers[0].executors()
        executor.kill()
        out, err = running.communicate(timeout=PATIENCE_S)
    assert running.returncode == 0, out + err[-3000:]
    assert "Command exited with code 137" in err
    assert_whole(tmp_path / "results", many)


def test_executors_drivers_and_machines_that_are_killed_at_any_moment_cost_no_row_and_nothing_that_was_done(
    upload: Upload, tmp_path: Path
) -> None:
    """Each run loses an executor, and then its driver, or the whole machine; the last ones are left alone."""
    images, results, fresh = tmp_path / "images", tmp_path / "results", tmp_path / "fresh"
    photographs(images / "label", count=480)
    words = ("run", "--images", images, "--results")
    chance, done = random.Random(6), 0
    for life in range(LIVES):
        with standalone(tmp_path / f"cluster-{life}", workers=2) as cluster, ended(upload.submit(cluster, *words, results)) as running:
            until(lambda least=done: rows_done(results) > least)
            time.sleep(chance.uniform(0, 0.5))  # any moment, in a task or between two
            (executor,) = chance.choice(cluster.workers).executors()
            kill_families([executor.pid])
            time.sleep(chance.uniform(0, 3))  # while the executor is replaced, or after it
            assert running.poll() is None, "there is nothing left to kill"
            kill_families([running.pid])
            if life % 2:
                cluster.kill()
        done = rows_done(results)
    with standalone(tmp_path / "cluster", workers=2) as cluster, ended(upload.submit(cluster, *words, results)) as running:
        out, err = running.communicate(timeout=PATIENCE_S)
    assert running.returncode == 0, out + err[-3000:]
    with ended(process(*words, fresh, "--model", MODEL)) as alone:
        _, said = alone.communicate(timeout=PATIENCE_S)
    assert alone.returncode == 0, said
    assert by_path(results) == by_path(fresh), "the same rows, bit by bit, each once"
    assert sorted(entry.name for entry in results.iterdir()) == sorted(entry.name for entry in fresh.iterdir())
    assert json.loads((results / SUMMARY).read_text())["featurize"]["stayed"] >= done


SPECULATING = [
    f"spark.speculation{name}={value}"
    for name, value in {"": "true", ".interval": "50ms", ".minTaskRuntime": "200ms", ".quantile": "0.1", ".multiplier": "1.2"}.items()
]


def test_images_of_a_worker_that_stands_still_are_read_elsewhere_where_spark_speculates_and_count_once(
    cluster: Cluster, upload: Upload, many: Path, tmp_path: Path
) -> None:
    words = ("featurize", "--images", many, "--results", tmp_path / "results")
    with ended(upload.submit(cluster, *words, confs=SPECULATING)) as running, standing_still() as stop:
        wait_for_features(tmp_path / "results")
        deadline = time.monotonic() + PATIENCE_S
        while not stop(cluster.workers[0].python_workers()):
            assert time.monotonic() < deadline, "the worker had nothing to do"
            time.sleep(0.02)
        out, err = running.communicate(timeout=PATIENCE_S)
    assert running.returncode == 0, out + err[-3000:]
    assert re.search(r"Killing attempt 0 for task .* as the attempt 1 succeeded", err)
    assert_whole(tmp_path / "results", many)
    assert sorted(file.name for file in (tmp_path / "results").iterdir()) == ["faults", "features", SUMMARY]


@contextmanager
def standing_still() -> Iterator[Callable[[list[psutil.Process]], list[psutil.Process]]]:
    """Stops processes in the middle of what they do; in the end they are killed."""
    stopped: list[psutil.Process] = []

    def stop(processes: list[psutil.Process]) -> list[psutil.Process]:
        for each in processes:
            each.suspend()
            stopped.append(each)
        return processes

    try:
        yield stop
    finally:
        for each in stopped:
            with suppress(psutil.NoSuchProcess):
                each.kill()


def test_a_worker_that_loses_its_disk_does_not_lose_the_run(cluster: Cluster, upload: Upload, many: Path, tmp_path: Path) -> None:
    with ended(upload.submit(cluster, "run", "--images", many, "--results", tmp_path / "results")) as running:
        lost = first_to_featurize(cluster)  # the other may still unpack its packages, and would do so again
        with standing_still() as stop:  # so that its task is not done when the disk is gone at last
            stop(lost.python_daemons())
            stop(lost.python_workers())
            lost.lose_disk()
        out, err = running.communicate(timeout=PATIENCE_S)
    assert running.returncode == 0, out + err[-3000:]
    assert 'Cannot run program "./environment/bin/python"' in err, "its tasks failed, and were done elsewhere"
    assert_whole(tmp_path / "results", many)
    assert read(tmp_path / "results" / "projections").num_rows == len(list(many.iterdir()))


def first_to_featurize(cluster: Cluster) -> Worker:
    found: list[Worker] = []
    until(lambda: bool(found.extend(filter(featurizes, cluster.workers)) or found))
    return found[0]


def featurizes(worker: Worker) -> bool:
    """It has fetched the model, the last thing that it needs, and runs Python."""
    with suppress(psutil.Error):  # an executor that ends just now
        return any(Path(executor.cwd(), MODEL.name).exists() for executor in worker.executors()) and bool(worker.python_workers())
    return False
