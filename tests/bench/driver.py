"""What a run costs the driver, where nothing helps it: by task, by file of features, by file of moments, by key listed.

python -m tests.bench.driver --folder FEATURES     prints one JSON object, milliseconds of processor time each
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import psutil

from tests.bench.data import featurized
from tests.bench.harness import Figures, Setting, alternate, line, middle, run_python
from tests.bench.s3_server import store

TASKS = (500, 4_000)
LENGTH, FILES = 1_280, 20  # of features, and files of moments
KEYS, BUCKET = 20_000, "bench"
COUNT = 1_200


def driver(setting: Setting) -> str:
    """Processor milliseconds on the driver. A task's are of the driver's Python and of its JVM, which here also has the executors."""
    runs = alternate({"driver": partial(_measured, setting, featurized(setting, COUNT))}, repeats=setting.repeats)["driver"]
    parts = (f"{middle(runs, what):.2f} ms a {what}" for what in ("task", "file of features", "file of moments", "thousand keys"))
    return line("driver", ", ".join(parts), f"n={setting.repeats}")


def _measured(setting: Setting, results: Path) -> Figures:
    with tempfile.TemporaryDirectory(dir=setting.work) as folder:
        for number in range(KEYS):
            Path(folder, f"{number:06}.jpg").touch()
        with store(0, ["--folder", folder]) as (url, _):
            return run_python(setting, "-m", "tests.bench.driver", "--folder", results / "features", AWS_ENDPOINT_URL_S3=url).last_line


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.driver")
    parser.add_argument("--folder", type=Path, required=True)
    flags = parser.parse_args()
    os.environ.update(AWS_ACCESS_KEY_ID="bench", AWS_SECRET_ACCESS_KEY="bench", AWS_EC2_METADATA_DISABLED="true")
    assert os.environ["AWS_ENDPOINT_URL_S3"].startswith("http://127.0.0.1:"), "benches talk to this machine only"
    figures = {
        "task": _of_tasks(),
        "file of features": _of_footers(flags.folder),
        "file of moments": _of_moments(),
        "thousand keys": _of_keys(),
    }
    print(json.dumps({what: 1e3 * seconds for what, seconds in figures.items()}))


def _of_tasks() -> float:
    from job.config import Session
    from job.session import spark_context
    from job.tasks import run_tasks

    with spark_context(Session(cores=1, quiet=True)) as sc:
        family = [psutil.Process(), *psutil.Process().children()]  # and no Python workers: those are children of the JVM
        run_tasks(sc, _nothing, list(range(100)))
        few, many = (_spent(partial(run_tasks, sc, _nothing, list(range(count))), family) for count in TASKS)
    return (many - few) / (TASKS[1] - TASKS[0])


def _nothing(number: int) -> int:
    return number


def _of_footers(folder: Path) -> float:
    from job.sinks.tables import rows_in

    rows_in(folder)
    return _spent(partial(rows_in, folder)) / len(list(folder.glob("*.parquet")))


def _of_moments() -> float:
    from job.pca.moments import load_moments, merge_all, moments_of, save_moments

    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder, f"{number}.npy") for number in range(FILES)]
        for number, file in enumerate(files):
            save_moments(moments_of(np.random.default_rng(number).random((8, LENGTH), np.float32)), file)
        return _spent(lambda: merge_all(map(load_moments, files), length=LENGTH)) / FILES


def _of_keys() -> float:
    from job import s3

    next(s3.pages(BUCKET, ""))
    return _spent(lambda: sum(len(page["Contents"]) for page in s3.pages(BUCKET, ""))) / KEYS * 1000


def _spent(work: Callable[[], object], family: list[psutil.Process] | None = None) -> float:
    """Seconds of processor time that work() takes of this process, or of `family`."""
    before = _cpu_s(family)
    work()
    return _cpu_s(family) - before


def _cpu_s(family: list[psutil.Process] | None) -> float:
    if family is None:
        return time.process_time()
    return sum(sum(process.cpu_times()[:2]) for process in family)


if __name__ == "__main__":
    main()
