"""--max-cost: what a run over its images would cost, and for how long it may run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import floor

from bootstrap.census import take_census
from bootstrap.costs import HOUR_S, Estimate, Fleet, Workload, computing, estimate, measured_rate
from bootstrap.errors import BootstrapError
from bootstrap.fleet import fleet_of
from bootstrap.prices import Prices, prices_in
from bootstrap.run import architecture_of
from job.submission import Deployment

LEAST_MINUTES = 5  # of executionTimeoutMinutes (StartJobRun, EMR Serverless API Reference)


def within_budget(deployment: Deployment, arguments: Sequence[str], *, usd: float, attempts: int) -> Deployment:
    """The deployment, with no longer a timeout than `usd` pay all workers for, in each attempt.

    BootstrapError where the estimate for the run's images is above an attempt's share, or cannot be made. That a timeout is for all
    attempts together is not documented, so each may last as long.
    """
    share, limit = usd / attempts, f"--max-cost {usd:g}" + (f" for {attempts} attempts" if attempts > 1 else "")
    prices = prices_in(deployment.region)
    fleet = fleet_of(deployment.spark, architecture=architecture_of(deployment))
    for found in take_census(arguments):
        bill = estimate(Workload(found.images, found.image_bytes, measured_rate(found.image_bytes)), fleet, prices)
        if bill.usd_of("run") > share:
            raise BootstrapError(
                f"a run over these {found.images:,} images or more costs about ${bill.usd_of('run'):,.4f}, above {limit}",
                f"python -m bootstrap estimate --images {found.images} says of what; fewer images by -- --limit N, or a higher --max-cost",
            )
    # A census is of one image at least
    return replace(deployment, timeout_minutes=_minutes(share, bill, fleet, prices, most=deployment.timeout_minutes))


def _minutes(usd: float, bill: Estimate, fleet: Fleet, prices: Prices, *, most: int) -> int:
    """For how long the workers may be there, once requests and storage are paid."""
    hourly = sum(item.usd for item in computing(fleet.usage(HOUR_S), prices, architecture=fleet.architecture))
    others = bill.usd_of("run") - hourly * bill.billed_s / HOUR_S
    return max(LEAST_MINUTES, min(most, floor(60 * (usd - others) / hourly)))
