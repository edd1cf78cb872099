"""The verb that estimates costs: its flags, and the bill as a person and as a machine read it."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import Any

from bootstrap.costs import IMAGE_BYTES, Estimate, Fleet, Group, Item, Worker, Workload, estimate, measured_rate
from bootstrap.errors import UsageError
from bootstrap.prices import FREE_DISK_GB, PRICES, dollars

MOST_IMAGES, MOST_EXECUTORS = 10**12, 1000
LEAST, MOST = 0.001, 10**9  # of bytes, rates and seconds: beyond, it is a slip of the finger
FACTORS = (0.5, 2.0)  # of the rate: what if it is half, or double
HEADINGS: dict[Group, str] = {"upload": "once, to bring the images to S3", "run": "each run", "month": "each month that they stay"}


def add_estimate(parser: argparse.ArgumentParser) -> None:
    """Gives the verb its flags, and what to run."""
    fleet = Fleet()
    add = parser.add_argument
    add(
        "--images",
        action="append",
        required=True,
        metavar="N|DIR",
        help="images in a run: how many, or what the job takes: a folder here or in S3, a manifest, an S3 Inventory, which are listed; "
        "those may be given several times (required)",
    )
    add("--under", action="append", default=[], metavar="DIR", help="of a list only the images in this folder; repeatable (default: all)")
    add("--include", action="append", default=[], metavar="PATTERN", help="only files named like this; repeatable (default: all)")
    add("--image-bytes", type=positive, metavar="B", help=f"their mean size in bytes (default: as listed, else {IMAGE_BYTES:,})")
    add(
        "--rate",
        type=positive,
        metavar="R",
        help="images/s that one vCPU of an executor does (default: measured on another machine, for images of that size)",
    )
    add("--executors", type=up_to(MOST_EXECUTORS), default=fleet.executors, metavar="N", help=f"of the run (default: {fleet.executors})")
    add("--executor", type=_worker, default=fleet.executor, metavar="SIZE", help="vCPUs x GB of memory [x GB of disk] (default: 4x8)")
    add("--driver", type=_worker, default=fleet.driver, metavar="SIZE", help="the same of the driver (default: 2x8)")
    add("--architecture", choices=("arm64", "x86_64"), default=fleet.architecture, help=f"of the workers (default: {fleet.architecture})")
    add(
        "--start-seconds",
        type=positive,
        default=fleet.start_s,
        metavar="S",
        help=f"from a worker to its first image (default: {fleet.start_s}, a guess)",
    )
    add("--region", choices=sorted(PRICES), default="us-east-1", help="whose prices (default: us-east-1)")
    add("--json", action="store_true", help="the same for a machine (default: a table)")
    parser.set_defaults(run=_estimate)


def _estimate(flags: argparse.Namespace) -> None:
    images, image_bytes = _counted(flags)
    work = Workload(images, image_bytes, flags.rate or measured_rate(image_bytes))
    fleet = Fleet(flags.driver, flags.executor, flags.executors, flags.architecture, flags.start_seconds)
    if flags.json:
        from bootstrap.console import print_json

        print_json(as_json(work, fleet, region=flags.region))
        return
    print(as_table(work, fleet, region=flags.region))


def _counted(flags: argparse.Namespace) -> tuple[int, float]:
    """How many images, and their mean size in bytes: as they are said to be, or as the job would list them."""
    named, places = flags.images, [*flags.under, *flags.include]
    if len(named) == 1 and not places and not _may_be_place(named[0]):
        return _number(named[0]), flags.image_bytes or IMAGE_BYTES
    from bootstrap.census import take_census

    words = [f"--{flag}={value}" for flag in ("images", "under", "include") for value in getattr(flags, flag)]
    # The job wants to know them, and nothing is looked for there
    *_, found = take_census(["featurize", *words, "--results", "results", "--model", "model"], image_bytes=flags.image_bytes)
    return found.images, found.image_bytes


def _may_be_place(text: str) -> bool:
    """A number is none, however it is written; `./12` is."""
    return not re.fullmatch(r"[-+]?\d[\d.,_]*(e[-+]?\d+)?", text, re.IGNORECASE) and not text.isnumeric()


def _number(text: str) -> int:
    try:
        return up_to(MOST_IMAGES)(text)
    except argparse.ArgumentTypeError as error:
        raise UsageError(f"argument --images: {error}", "python -m bootstrap estimate --help") from error


def up_to(most: int) -> Callable[[str], int]:
    """A parser of flags that are whole numbers from 1 on."""

    def whole(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,20}", text) or not 1 <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1 to {most:,}")
        return int(text)

    return whole


def positive(text: str) -> float:
    """A flag's number from LEAST to MOST."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not LEAST <= number <= MOST:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from {LEAST} to {MOST:,}")
    return number


def _worker(text: str) -> Worker:
    if not re.fullmatch(r"[1-9][0-9]{0,3}(x[1-9][0-9]{0,3}){1,2}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no size: vCPUs x GB of memory, such as 4x8, or with GB of disk, such as 4x8x40")
    worker = Worker(*map(int, text.split("x")))
    if worker.disk_gb < FREE_DISK_GB:
        raise argparse.ArgumentTypeError(f"{text!r}: a worker has {FREE_DISK_GB} GB of disk at least")
    return worker


def as_json(work: Workload, fleet: Fleet, *, region: str) -> Mapping[str, Any]:
    """All that the table has, and the prices; "sensitivity" is what is so at other rates."""
    found = estimate(work, fleet, PRICES[region])
    return {
        "region": region,
        "prices": asdict(PRICES[region]),
        "work": asdict(work),
        "fleet": asdict(fleet),
        "billed_s": found.billed_s,
        "wall_s": found.wall_s,
        "items": [asdict(item) for item in found.items],
        "usd": {**{group: found.usd_of(group) for group in HEADINGS}, "total": found.usd},
        "sensitivity": [
            {"rate": other.rate, "run_usd": bill.usd_of("run"), "wall_s": bill.wall_s} for other, bill in _others(work, fleet, region)
        ],
    }


def as_table(work: Workload, fleet: Fleet, *, region: str) -> str:
    """The estimate, line by line."""
    found = estimate(work, fleet, PRICES[region])
    lines = [
        _row("images", f"{work.images:,} of {work.image_bytes / 1000:,.1f} KB"),
        _row("workers", f"{fleet.architecture}: a driver of {_size(fleet.driver)}, {fleet.executors} executors of {_size(fleet.executor)}"),
        _row("rate", f"{_rate(work.rate)} images/s for each vCPU of an executor: not measured on EMR Serverless, see docs/costs.md"),
        _row("time", f"{_clock(found.wall_s)}, of which each worker is billed for {_clock(found.billed_s)}"),
        _row("prices", f"{region}, {PRICES[region].source}"),
        "",
    ]
    for group, heading in HEADINGS.items():
        lines.append(f"{heading:<52}{dollars(found.usd_of(group)):>12}")
        lines += [_item(item) for item in found.items if item.group == group and item.quantity]
    lines += [f"{'all of it, with one run and one month':<52}{dollars(found.usd):>12}", ""]
    for other, bill in _others(work, fleet, region):
        lines.append(f"if the rate is {_rate(other.rate)}: a run costs {dollars(bill.usd_of('run'))} and takes {_clock(bill.wall_s)}")
    return "\n".join(lines)


def _others(work: Workload, fleet: Fleet, region: str) -> list[tuple[Workload, Estimate]]:
    others = [replace(work, rate=work.rate * factor) for factor in FACTORS]
    return [(other, estimate(other, fleet, PRICES[region])) for other in others]


def _item(item: Item) -> str:
    quantity = f"{item.quantity:,}" if isinstance(item.quantity, int) else f"{item.quantity:,.2f}"
    return f"  {item.name:<21}{quantity:>14} {item.unit:<14}{dollars(item.usd):>12}"


def _row(name: str, value: str) -> str:
    return f"{name:<10}{value}"


def _size(worker: Worker) -> str:
    disk = f" and {worker.disk_gb} GB of disk" if worker.disk_gb > FREE_DISK_GB else ""
    return f"{worker.vcpus} vCPUs, {worker.memory_gb} GB{disk}"


def _rate(rate: float) -> str:
    return f"{rate:,.1f}" if rate >= 1 else f"{rate:.2g}"


def _clock(seconds: int) -> str:
    hours, minutes = divmod(seconds // 60, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {seconds % 60:02} s" if minutes else f"{seconds} s"
