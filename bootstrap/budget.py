"""--max-cost: what a run over its images would cost, and for how long it may run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import floor

from bootstrap.aws import client, foreseen
from bootstrap.costs import HOUR_S, Estimate, Fleet, Workload, computing, estimate, measured_rate
from bootstrap.errors import BootstrapError, UsageError
from bootstrap.fleet import fleet_of
from bootstrap.locations import Location, is_list, locations_in
from bootstrap.prices import Prices, prices_in
from bootstrap.run import architecture_of
from job.submission import Deployment, values_of

LEAST_MINUTES = 5  # of executionTimeoutMinutes (StartJobRun, EMR Serverless API Reference)


def within_budget(deployment: Deployment, arguments: Sequence[str], *, usd: float, attempts: int) -> Deployment:
    """The deployment, with no longer a timeout than `usd` pay all workers for, in each attempt.

    BootstrapError where the estimate for the run's images is above an attempt's share, or cannot be made. That a timeout is for all
    attempts together is not documented, so each may last as long.
    """
    share, limit = usd / attempts, f"--max-cost {usd:g}" + (f" for {attempts} attempts" if attempts > 1 else "")
    prices = prices_in(deployment.region)
    fleet = fleet_of(deployment.spark, architecture=architecture_of(deployment))
    images, bill = 0, None
    for images, size in count_images(arguments, region=deployment.region):
        bill = estimate(Workload(images, size / images, measured_rate(size / images)), fleet, prices)
        if bill.usd_of("run") > share:
            raise BootstrapError(
                f"a run over these {images:,} images or more costs about ${bill.usd_of('run'):,.4f}, above {limit}",
                f"python -m bootstrap estimate --images {images} says of what; fewer images by -- --limit N, or a higher --max-cost",
            )
    if not bill:
        raise BootstrapError("there are no images to estimate the cost of", "upload some, or name the folder with -- --images")
    return replace(deployment, timeout_minutes=_minutes(share, bill, fleet, prices, most=deployment.timeout_minutes))


def _minutes(usd: float, bill: Estimate, fleet: Fleet, prices: Prices, *, most: int) -> int:
    """For how long the workers may be there, once requests and storage are paid."""
    hourly = sum(item.usd for item in computing(fleet.usage(HOUR_S), prices, architecture=fleet.architecture))
    others = bill.usd_of("run") - hourly * bill.billed_s / HOUR_S
    return max(LEAST_MINUTES, min(most, floor(60 * (usd - others) / hourly)))


def count_images(arguments: Sequence[str], *, region: str) -> Iterator[tuple[int, int]]:
    """Images found so far and their bytes, by listing as the job would, a page at a time. What is no image is counted, too."""
    named = values_of(arguments, "--images")
    if any(map(is_list, named)):
        raise BootstrapError("--max-cost cannot count the images of a list", "python -m bootstrap estimate --images N, and then without it")
    most = _limit(arguments)
    images = size = 0
    for folder in locations_in(named):
        for sizes in _pages(folder, region=region):
            images, size = images + len(sizes), size + sum(sizes)
            if most and images >= most:
                yield most, max(1, size * most // images)
                return
            if images:
                yield images, max(1, size)


def _limit(arguments: Sequence[str]) -> int:
    """The job's --limit, 0 where there is none. UsageError for what is no number."""
    for said in values_of(arguments, "--limit")[-1:]:
        if not said.isdecimal() or not int(said):
            raise UsageError(f"--limit {said!r} is no whole number of at least 1", "it is the job's: -- --limit N")
        return int(said)
    return 0


def _pages(folder: Location, *, region: str) -> Iterator[list[int]]:
    """Sizes of the objects below a folder."""
    with foreseen(f"counting images in {folder}/"):
        pages = client("s3", region=region).get_paginator("list_objects_v2").paginate(Bucket=folder.bucket, Prefix=folder.prefix)
        for page in pages:
            yield [each["Size"] for each in page.get("Contents", ()) if not each["Key"].endswith("/")]
