"""What planning ten million objects costs the driver: the job's own code over a store that is simulated, with the requests' time.

    python -m tests.bench.planning SHAPE --objects N --folder DIR      one plan, as a process of its own; prints one JSON object

The driver's looks at the store are parsed by boto3 from real answers and take LATENCY_MS each. What executors do is done by other
processes, one a core, without boto3; they write real listing parts and remove them. Their processor time is what SLOTS share.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import sys
import time
from bisect import bisect_right
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from threading import Lock
from typing import Any

from botocore.parsers import create_parser
from botocore.session import Session

from job.sources import s3
from job.sources.keys import Range
from job.sources.listing import ImageSource, plan_shares
from job.sources.readers import Entry
from job.sources.stage import Listed, list_parts
from tests.bench.harness import Figures, Setting, alternate, cores, fresh, line, middle, peak_mb, require, run_python, scale_note

OBJECTS, PREFIXES, SLOTS, LATENCY_MS = 10_000_000, 10_000, 64, 30
SHAPES = {"prefixes": f"{PREFIXES:,} prefixes", "one": "one prefix"}
ROOT = "s3://bench/images"


def planning(setting: Setting) -> str:
    """Seconds and peak memory of the driver; the executors' seconds if SLOTS cores share them."""
    count = setting.scaled(OBJECTS)
    runs = alternate({shape: partial(_planned, setting, shape, count) for shape in SHAPES}, repeats=1)
    told = []
    for shape, each in runs.items():
        require(middle(each, "images") == count, f"{count} objects, {middle(each, 'images'):.0f} planned")
        told.append(
            f"{SHAPES[shape]}: driver {middle(each, 'driver'):.1f} s, {middle(each, 'rss'):.0f} MB, {middle(each, 'looks'):.0f} looks; "
            f"executors {middle(each, 'executors'):.0f} s, {middle(each, 'executors') / SLOTS:.1f} s each of {SLOTS}; "
            f"{middle(each, 'parts'):.0f} parts, {middle(each, 'shares'):.0f} shares"
        )
    return line(
        "planning", scale_note(setting, OBJECTS, count, "objects"), f"{count:,} objects:", *told, "(less than 60 s, 512 MB)",
        f"boto3 {middle(runs['one'], 'boto3_ms'):.1f} ms of processor time a thousand keys",
    )  # fmt: skip


def _planned(setting: Setting, shape: str, count: int) -> Figures:
    folder = fresh(setting.work / "planning")
    folder.mkdir()
    return run_python(setting, "-m", "tests.bench.planning", shape, "--objects", str(count), "--folder", folder).last_line


def main(argv: list[str] | None = None) -> int:
    """The driver: plans, and prints what that took."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.planning", description="One plan over a simulated store.")
    parser.add_argument("shape", choices=SHAPES)
    parser.add_argument("--objects", type=int, required=True, metavar="N", help="how many")
    parser.add_argument("--folder", type=Path, required=True, metavar="DIR", help="for listing parts")
    flags = parser.parse_args(argv)
    store = Looked(flags.shape, flags.objects)
    s3.scan = store.scan
    waited = 0.0
    spent = 0.0

    def run(work: Callable[[list[Range]], Listed], tasks: list[list[Range]]) -> list[Listed]:
        nonlocal waited, spent
        started = time.perf_counter()
        done = list(pool.map(partial(_listed, work, flags.shape, flags.objects), tasks))
        waited += time.perf_counter() - started
        spent += sum(seconds for _, seconds in done)
        return [listed for listed, _ in done]

    with ProcessPoolExecutor(cores(), mp_context=get_context("spawn")) as pool:
        started = time.perf_counter()
        parts = list_parts(run, ImageSource((ROOT,)), slots=SLOTS, scratch=flags.folder, count=_nothing)
        shares = plan_shares(parts, slots=SLOTS)
        driver = time.perf_counter() - started - waited
    images = sum(share.stop - share.start for share in shares)
    figures = {"driver": driver, "rss": peak_mb(), "executors": spent, "looks": store.looks, "parts": len(parts), "shares": len(shares)}
    print(json.dumps({**figures, "images": images, "boto3_ms": boto3_ms()}))
    return 0


def _nothing(_: int) -> None:
    pass


def _listed(work: Callable[[list[Range]], Listed], shape: str, count: int, task: list[Range]) -> tuple[Listed, float]:
    """What a task does on an executor, and its processor time; its parts are removed, as ten million rows are a gigabyte."""
    s3.scan = Simulated(shape, count).scan
    started = time.process_time()
    listed = work(task)
    spent = time.process_time() - started
    for part in listed.parts:
        os.remove(part.file)
    return listed, spent


class Simulated:
    """A store of `count` objects in PREFIXES folders of as many each, or in one; answers made as they are asked for."""

    def __init__(self, shape: str, count: int) -> None:
        self._count, self._each = count, count // PREFIXES if shape == "prefixes" else 0

    def name(self, place: int) -> str:
        if self._each:
            return f"{place // self._each:05}/{place % self._each:06}.jpg"
        return f"{place:08}.jpg"

    def scan(self, root: str, after: str, at_once: int) -> Iterator[Entry]:  # noqa: ARG002
        for place in range(bisect_right(range(self._count), after, key=self.name), self._count):
            yield Entry(f"{root}/{self.name(place)}", 5_000, 1_700_000_000_000_000, "827ccb0eea8a706c4c34a16891f84e7b")


class Looked(Simulated):
    """The same as the driver sees it: each look is an answer that boto3 parses, after LATENCY_MS."""

    looks = 0
    _counting = Lock()

    def scan(self, root: str, after: str, at_once: int) -> Iterator[Entry]:
        first = bisect_right(range(self._count), after, key=self.name)
        for start in range(first, self._count, at_once):
            with self._counting:
                self.looks += 1
            time.sleep(LATENCY_MS / 1e3)  # the store is simulated, and so is the way to it
            names = [self.name(place) for place in range(start, min(start + at_once, self._count))]
            for found in parsed(answer(names)):
                yield replace(s3._entry("bench", found), path=f"{root}/{found['Key']}")


def answer(names: list[str]) -> bytes:
    """An answer of ListObjectsV2."""
    contents = "".join(
        f"<Contents><Key>{name}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified><Size>5000</Size>"
        "<ETag>&quot;827ccb0eea8a706c4c34a16891f84e7b&quot;</ETag><StorageClass>STANDARD</StorageClass></Contents>"
        for name in names
    )
    return f'<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{contents}</ListBucketResult>'.encode()


def parsed(body: bytes) -> list[dict[str, Any]]:
    """The objects in an answer, as boto3 reads it."""
    said = create_parser("rest-xml").parse({"body": body, "headers": {}, "status_code": 200}, _shape())
    return list(said.get("Contents", ()))


@functools.cache
def _shape() -> Any:
    return Session().get_service_model("s3").operation_model("ListObjectsV2").output_shape


def boto3_ms() -> float:
    """Processor milliseconds that boto3 takes to read an answer of a thousand keys: what executors have beside the rest."""
    body = answer([f"images/{place:08}.jpg" for place in range(1000)])
    parsed(body)
    started = time.process_time()
    for _ in range(20):
        parsed(body)
    return (time.process_time() - started) / 20 * 1e3


if __name__ == "__main__":
    sys.exit(main())
