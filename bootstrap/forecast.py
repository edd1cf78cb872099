"""The verb that forecasts large runs: a table of images and vCPUs, as docs/scaling.md has it."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

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
    parser.set_defaults(run=lambda flags: print("\n".join(table(flags.image_bytes, prefixes=flags.prefixes, region=flags.region))))


def table(image_bytes: float, *, prefixes: int | None, region: str) -> Iterator[str]:
    """A line for each number of images and of vCPUs."""
    rate = measured_rate(image_bytes)
    size = Fleet().executor.vcpus
    yield f"images of {image_bytes / 1000:,.1f} KB, executors of {size} vCPUs, {region}; not measured on EMR Serverless: docs/scaling.md"
    yield f"a prefix of S3 is enough for {vcpus_of_a_prefix(rate)} vCPUs"
    yield ""
    yield _row("images", "vCPUs", "hours", "USD", *STAGES, "prefixes") + "  what holds it up most"
    for images in IMAGES:
        for vcpus in VCPUS:
            found = forecast(Workload(images, image_bytes, rate), Fleet(executors=vcpus // size), PRICES[region], prefixes=prefixes)
            seconds = (f"{stage.seconds:,.0f} s" for stage in found.stages)
            usd = f"{found.bill.usd_of('run'):,.2f}"
            yield _row(f"{images:,}", f"{vcpus:,}", f"{found.hours:.2f}", usd, *seconds, f"{found.prefixes}") + _held(found)


def _row(*cells: str) -> str:
    return "".join(f"{cell:>{width}}" for cell, width in zip(cells, WIDTHS, strict=True))


def _held(found: Forecast) -> str:
    stage = found.held_up_by
    return f"  {stage.wall} {stage.seconds / found.bill.wall_s:.0%}"
