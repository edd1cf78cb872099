"""What going on from ten million rows costs the driver and an executor: the job's own code over results and a listing that are simulated.

    python -m tests.bench.going_on CASE --images N --folder DIR      one case, as a process of its own; prints one JSON object

Files of results are the job's, of as many rows as its largest shares, but with one feature a row, as features are not read.
What executors do is done by other processes, one a core; their processor time is what SLOTS share, but for the index, which each
worker makes: the longest task has it.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyspark import SparkContext

from job import contract
from job.sinks import resume, tables
from job.sources.listing import LARGEST_SHARES, ListingPart
from job.sources.stage import LISTING, ROWS_PER_PART, Listing, write_rows
from tests.bench.harness import Figures, Setting, alternate, cores, fresh, line, middle, peak_mb, require, run_python, scale_note

IMAGES, SLOTS = 10_000_000, 64
ROWS_PER_FILE = LARGEST_SHARES[-1]
SETTINGS = "bench"
STEP = 6_700_417  # a prime: files have rows from all over the listing, as far apart as can be
EVERY = 1_000  # in the case "changed": of so many images one has changed, and another is gone
CASES = {"again": "nothing to do", "changed": f"1 of {EVERY:,} changed, 1 gone, --keep-removed"}


def going_on(setting: Setting) -> str:
    """Seconds and peak memory of the driver and of the largest executor."""
    count = setting.scaled(IMAGES)
    folder = setting.work / f"going-on-{count}"
    runs = alternate({case: partial(_went_on, setting, case, count, folder) for case in CASES}, repeats=1)
    told = [
        f"{CASES[case]}: driver {middle(each, 'driver'):.1f} s, {middle(each, 'driver_mb'):.0f} MB; "
        f"executors {middle(each, 'executors'):.0f} s, {middle(each, 'executors') / SLOTS:.1f} s each of {SLOTS}, "
        f"longest task {middle(each, 'longest'):.1f} s, {middle(each, 'executor_mb'):.0f} MB; "
        f"{middle(each, 'rewritten'):,.0f} rows rewritten"
        for case, each in runs.items()
    ]
    return line("going-on", scale_note(setting, IMAGES, count, "images"), f"{count:,} images:", *told, "(less than 512 MB)")


def _went_on(setting: Setting, case: str, count: int, folder: Path) -> Figures:
    arguments = ("-m", "tests.bench.going_on", case, "--images", str(count), "--folder", folder)
    found = run_python(setting, *arguments).last_line
    gone = count // EVERY if case == "changed" else 0
    require(found["stayed"] == count - gone, f"of {count:,} rows {found['stayed']:,.0f} stay, wanted {count - gone:,}")
    require(found["left"] == gone, f"{found['left']:,.0f} images are left, wanted {gone:,}")
    return found


def main(argv: list[str] | None = None) -> int:
    """The driver: goes on, and prints what that took."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.going_on", description="Going on from simulated results.")
    parser.add_argument("case", choices=CASES)
    parser.add_argument("--images", type=int, required=True, metavar="N", help="how many")
    parser.add_argument("--folder", type=Path, required=True, metavar="DIR", help="for results, made once, and listing parts")
    flags = parser.parse_args(argv)
    with ProcessPoolExecutor(cores(), mp_context=get_context("spawn")) as maker:
        make_results(flags.folder / "results", flags.images, maker)
    scratch, staged = fresh(flags.folder / "scratch"), fresh(flags.folder / "run-bench")
    scratch.mkdir()
    for name in (contract.FEATURES, contract.FAULTS):
        (staged / name).mkdir(parents=True)
    with ProcessPoolExecutor(cores(), mp_context=get_context("spawn")) as pool:
        listing = list_images(flags.case, flags.images, scratch, pool)
        spent = Spent(pool)
        resume.run_tasks = spent.run_tasks  # type: ignore[assignment]
        started = time.perf_counter()
        resumed = resume.resume(
            cast("SparkContext", SimpleNamespace(defaultParallelism=SLOTS)), listing, resume.Before.under(flags.folder / "results"),
            settings=SETTINGS, keep_removed=flags.case == "changed", scratch=scratch, staged=staged,
        )  # fmt: skip
        driver = time.perf_counter() - started - spent.waited
    figures = {"driver": driver, "driver_mb": peak_mb(), "executors": sum(spent.seconds), "longest": max(spent.seconds)}
    rows = {"stayed": resumed.stayed.images, "left": resumed.left.images, "rewritten": resumed.rewritten.images}
    print(json.dumps({**figures, **rows, "executor_mb": spent.peak_mb}))
    for folder in (scratch, staged):
        fresh(folder)
    return 0


class Spent:
    """In place of Spark: runs tasks on a pool, and keeps what they took."""

    def __init__(self, pool: ProcessPoolExecutor) -> None:
        self._pool = pool
        self.waited = 0.0
        self.seconds: list[float] = []
        self.peak_mb = 0.0

    def run_tasks(self, _sc: SparkContext, work: Callable[[Any], Any], tasks: Iterable[Any], **_: float) -> list[Any]:
        started = time.perf_counter()
        done = list(self._pool.map(partial(_measured, work), tasks))
        self.waited += time.perf_counter() - started
        self.seconds += [seconds for _, seconds, _ in done]
        self.peak_mb = max([self.peak_mb, *(peak for _, _, peak in done)])
        return [result for result, _, _ in done]


def _measured(work: Callable[[Any], Any], task: Any) -> tuple[Any, float, float]:
    """What a task gives, its processor time, and the peak of its process until then."""
    started = time.process_time()
    result = work(task)
    return result, time.process_time() - started, peak_mb()


# --- what is simulated ----------------------------------------------------------------------------------------------


def make_results(root: Path, count: int, pool: ProcessPoolExecutor) -> None:
    """Results of `count` images, which are there from then on."""
    if not root.is_dir():
        half = fresh(root.with_name("_results"))
        (half / contract.FEATURES).mkdir(parents=True)
        (half / contract.FAULTS).mkdir()
        list(pool.map(partial(_write_file, half / contract.FEATURES, count), range(-(-count // ROWS_PER_FILE))))
        half.rename(root)


def _write_file(folder: Path, count: int, index: int) -> None:
    rows = np.arange(index * ROWS_PER_FILE, min((index + 1) * ROWS_PER_FILE, count))
    known = images(rows * STEP % count)
    schema = tables.features_schema(1)
    none = np.zeros(len(rows), np.float32)
    columns: dict[str, Any] = {
        "label": pa.nulls(len(rows), pa.string()), "listed": pa.nulls(len(rows), pa.string()),
        "features": pa.FixedSizeListArray.from_arrays(none, type=schema.field("features").type),
        "width": np.full(len(rows), 100, np.int32), "height": np.full(len(rows), 100, np.int32),
        "format": ["JPEG"] * len(rows), "model": ["0" * contract.DIGEST_LENGTH] * len(rows),
        **{name: column.cast(schema.field(name).type) for name, column in known.items()},
    }  # fmt: skip
    tables.write_table(
        pa.table(columns).select(schema.names).cast(schema), file=folder / f"part-{index:06}-bench.parquet", settings=SETTINGS
    )


def images(numbers: NDArray[np.int64], etag: str = "") -> dict[str, pa.Array]:
    """Path, size, modified and etag of images by number."""
    text = pc.utf8_lpad(pa.array(numbers).cast(pa.string()), 8, "0")
    return {
        "path": pc.binary_join_element_wise("s3://bench/images/", text, ".jpg", ""),
        "size": pa.array(5_000 + numbers % 1_000),
        "modified": pa.array(1_700_000_000_000_000 + numbers * 1_000_000),
        "etag": pc.binary_join_element_wise(etag, pc.utf8_lpad(text, 32 - len(etag), "0"), ""),
    }


def list_images(case: str, count: int, scratch: Path, pool: ProcessPoolExecutor) -> Listing:
    """The listing of the images, in parts on a disk."""
    return Listing(tuple(pool.map(partial(_list_part, case, count, scratch), range(-(-count // ROWS_PER_PART)))))


def _list_part(case: str, count: int, scratch: Path, index: int) -> ListingPart:
    numbers = np.arange(index * ROWS_PER_PART, min((index + 1) * ROWS_PER_PART, count))
    table = _listed(images(numbers), numbers)
    if case == "changed":
        changed, gone = numbers % EVERY == 0, numbers % EVERY == 1
        new = _listed(images(numbers[changed], etag="new"), numbers[changed])
        table = pa.concat_tables([table.filter(pa.array(~changed & ~gone)), new])
    return ListingPart(str(write_rows(table, scratch=scratch)), table.num_rows, 5_000.0)


def _listed(known: dict[str, pa.Array], numbers: NDArray[np.int64]) -> pa.Table:
    columns = {**known, "path": known["path"].cast(pa.binary()), "label": pa.nulls(len(numbers), pa.string()), "position": numbers}
    return pa.table(columns).select(LISTING.names).cast(LISTING)


if __name__ == "__main__":
    sys.exit(main())
