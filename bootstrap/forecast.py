"""The verb that forecasts large runs: a table of images and vCPUs, as docs/scaling.md has it."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from bootstrap.costs import IMAGE_BYTES, Fleet, Workload, measured_rate
from bootstrap.estimate import positive, up_to
from bootstrap.prices import PRICES
from bootstrap.scaling import STAGES, Forecast, forecast, vcpus_of_a_prefix

IMAGES, VCPUS = (1_000_000, 10_000_000, 100_000_000), (16, 128, 1000)
WIDTHS = (11, 7, 7, 8, *(max(10, len(name) + 2) for name in STAGES), 10)


def add_forecast(parser: argparse.ArgumentParser) -> None:
    """Gives the verb its flags, and what to run."""
    add = parser.add_argument
    add(
        "--image-bytes",
        type=positive,
        default=IMAGE_BYTES,
        metavar="B",
        help=f"mean size of the images in bytes (default: {IMAGE_BYTES:,})",
    )
    add("--prefixes", type=up_to(10**6), metavar="N", help="of S3 that the images lie in (default: as many as it takes)")
    add("--region", choices=sorted(PRICES), default="us-east-1", help="whose prices (default: us-east-1)")
    add("--json", action="store_true", help="the same for a machine (default: a table)")
    parser.set_defaults(run=_forecast)


@dataclass(frozen=True, slots=True)
class Question:
    """Of which images, in how many prefixes (None for as many as it takes), at whose prices."""

    image_bytes: float
    prefixes: int | None
    region: str

    @property
    def rate(self) -> float:
        return measured_rate(self.image_bytes)

    @property
    def executor_vcpus(self) -> int:
        return Fleet().executor.vcpus

    def answers(self) -> Iterator[tuple[int, int, Forecast]]:
        """Numbers of images and of vCPUs, each with its forecast."""
        for images in IMAGES:
            for vcpus in VCPUS:
                fleet = Fleet(executors=vcpus // self.executor_vcpus)
                work = Workload(images, self.image_bytes, self.rate)
                yield images, vcpus, forecast(work, fleet, PRICES[self.region], prefixes=self.prefixes)


def _forecast(flags: argparse.Namespace) -> None:
    question = Question(flags.image_bytes, flags.prefixes, flags.region)
    if flags.json:
        from bootstrap.console import print_json

        print_json(as_json(question))
        return
    print("\n".join(as_table(question)))


def as_json(question: Question) -> Mapping[str, Any]:
    """All that the table has, and the prices."""
    return {
        **asdict(question),
        "rate": question.rate,
        "executor_vcpus": question.executor_vcpus,
        "vcpus_of_a_prefix": vcpus_of_a_prefix(question.rate),
        "prices": asdict(PRICES[question.region]),
        "forecasts": [
            {
                "images": images,
                "vcpus": vcpus,
                "hours": found.hours,
                "usd": found.bill.usd_of("run"),
                "stages": [asdict(stage) for stage in found.stages],
                "needed_prefixes": found.prefixes,
                "held_up_by": found.held_up_by.name,
            }
            for images, vcpus, found in question.answers()
        ],
    }


def as_table(question: Question) -> Iterator[str]:
    """A line for each number of images and of vCPUs."""
    size = f"images of {question.image_bytes / 1000:,.1f} KB, executors of {question.executor_vcpus} vCPUs"
    yield f"{size}, {question.region}; not measured on EMR Serverless: docs/scaling.md"
    yield f"a prefix of S3 is enough for {vcpus_of_a_prefix(question.rate)} vCPUs"
    yield ""
    yield _row("images", "vCPUs", "hours", "USD", *STAGES, "prefixes") + "  what holds it up most"
    for images, vcpus, found in question.answers():
        seconds = (f"{stage.seconds:,.0f} s" for stage in found.stages)
        usd = f"{found.bill.usd_of('run'):,.2f}"
        yield _row(f"{images:,}", f"{vcpus:,}", f"{found.hours:.2f}", usd, *seconds, f"{found.prefixes}") + _held(found)


def _row(*cells: str) -> str:
    return "".join(f"{cell:>{width}}" for cell, width in zip(cells, WIDTHS, strict=True))


def _held(found: Forecast) -> str:
    stage = found.held_up_by
    return f"  {stage.wall} {stage.seconds / found.bill.wall_s:.0%}"
