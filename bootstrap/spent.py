"""What a run has cost on EMR Serverless: by what it was billed for, or, until it has ended, by its workers and the time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from bootstrap.costs import Item, Usage, computing
from bootstrap.errors import BootstrapError
from bootstrap.fleet import fleet_of
from bootstrap.prices import MINIMUM_S, PRICES, prices_in
from bootstrap.run import Seen
from job.releases import Architecture


@dataclass(frozen=True, slots=True)
class Bill:
    """The lines for EMR Serverless, and where their prices come from."""

    items: tuple[Item, ...]
    source: str

    @property
    def usd(self) -> float:
        return sum(item.usd for item in self.items)


def bill_of(seen: Seen, *, architecture: Architecture) -> Bill:
    """By billedResourceUtilization; empty where there were no workers. BootstrapError where it is not there yet, or no price is known."""
    if seen.billed is None and not seen.had_no_workers:
        when = "comes some minutes after its end" if seen.has_ended else "comes when it has ended"
        raise BootstrapError(f"run {seen.run.id} is {seen.state}: what it is billed for {when}", seen.run.follow)
    prices = prices_in(seen.run.deployment.region)
    items = computing(seen.billed, prices, architecture=architecture) if seen.billed else ()
    return Bill(tuple(items), prices.source)


def usd_so_far(seen: Seen, *, architecture: Architecture, now: datetime | None = None) -> float | None:
    """What it was billed for, or until that is there at most: all of its workers, since the first one came; since the run was started
    where this is not the first attempt, as EMR Serverless does not say when the first one's came. None where it is not known.

    That leaves requests to S3 out.
    """
    usage, prices = seen.billed or _usage_at_most(seen, architecture, now or datetime.now(UTC)), PRICES.get(seen.run.deployment.region)
    return sum(item.usd for item in computing(usage, prices, architecture=architecture)) if usage and prices else None


def _usage_at_most(seen: Seen, architecture: Architecture, now: datetime) -> Usage | None:
    since = seen.started if seen.attempt == 1 else seen.created
    if since is None:
        return None
    try:
        fleet = fleet_of(seen.properties, architecture=architecture)
    except BootstrapError:  # it was started by other means
        return None
    return fleet.usage(max(MINIMUM_S * seen.attempt, ((seen.ended or now) - since).total_seconds()))
