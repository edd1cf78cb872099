"""What a run costs, from the number of images, the rate of a vCPU, and a table of prices. The formula: docs/costs.md.

Nothing here was measured on EMR Serverless. MEASURED and RESULT_BYTES are from benchmarks and runs of this repository; WAIT_S and
START_S are assumptions.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, log
from typing import Literal

from bootstrap.prices import FREE_DISK_GB, MINIMUM_S, Prices
from job.releases import Architecture

IMAGE_BYTES = 5_000

# (bytes of an image, images/s of one core): docs/performance.md, "after session" of end-to-end-12000, and "plain" of photographs.
# The first is all that `run` does, the second featurizing alone, which is nearly all of it for such images.
MEASURED = ((IMAGE_BYTES, 12_000 / 28.8 / 2), (2_800_000, 16.5 / 2))

WAIT_S = 90  # from submitting to the first worker; not billed. "Cold start" of one to two minutes, as others report
START_S = 60  # from a worker to its first image: packages, Spark, the network. Billed

RESULT_BYTES = 3_600  # of features and projections, for an image with 1,280 features; docs/costs.md says how it was measured
OLD_VERSIONS_MONTHS = 1  # what was put where nobody looks is removed once it is copied, and stays an old version for retention_days
LISTED = 1_000  # keys in a page of ListObjectsV2
LOOKS_PER_SLOT = 50  # at most, by which the ranges are found that each core lists, and their last pages (docs/decisions/0011)
SMALLEST_SHARE, LARGEST_SHARES = 64, (1024, 4096)  # images of 5 KB in a task: job.sources.listing, as are the next
IMAGE_S, BYTE_S = 4e-3, 70e-9
FILES_PER_SHARE = 2  # one of features, one of faults

GB, HOUR_S = 2**30, 3600

Group = Literal["upload", "run", "month"]


@dataclass(frozen=True, slots=True)
class Worker:
    """vCPUs, and GB of memory and of disk."""

    vcpus: int
    memory_gb: int
    disk_gb: int = FREE_DISK_GB


@dataclass(frozen=True, slots=True)
class Workload:
    """images, their mean size in bytes, and how many of them one vCPU of an executor does in a second."""

    images: int
    image_bytes: float
    rate: float


@dataclass(frozen=True, slots=True)
class Usage:
    """Hours of vCPUs, of GB of memory, and of GB of disk beyond the free."""

    vcpu_hours: float
    memory_gb_hours: float
    disk_gb_hours: float


@dataclass(frozen=True, slots=True)
class Fleet:
    """The workers of a run; all are there from its start to its end. The defaults are those of infra/environments.py.

    start_s  from a worker to its first image
    """

    driver: Worker = Worker(2, 8)
    executor: Worker = Worker(4, 8)
    executors: int = 3
    architecture: Architecture = "arm64"
    start_s: float = START_S

    @property
    def slots(self) -> int:
        """Images that are worked on at once."""
        return self.executors * self.executor.vcpus

    @property
    def workers(self) -> list[Worker]:
        return [self.driver, *[self.executor] * self.executors]

    def usage(self, seconds: float) -> Usage:
        """Of all workers, each for so many seconds."""
        hours = seconds / HOUR_S
        return Usage(
            hours * sum(worker.vcpus for worker in self.workers),
            hours * sum(worker.memory_gb for worker in self.workers),
            hours * sum(worker.disk_gb - FREE_DISK_GB for worker in self.workers),
        )


@dataclass(frozen=True, slots=True)
class Item:
    """A line of the bill.

    group     "upload": once, to bring the images to S3; "run": each run; "month": each month that the objects stay
    quantity  in `unit`
    """

    group: Group
    name: str
    quantity: float
    unit: str
    usd: float


@dataclass(frozen=True, slots=True)
class Estimate:
    """The lines of the bill; seconds that each worker is billed for, and seconds from submitting a run to its end."""

    items: tuple[Item, ...]
    billed_s: int
    wall_s: int

    @property
    def usd(self) -> float:
        """All lines: upload, one run, one month."""
        return sum(item.usd for item in self.items)

    def usd_of(self, group: Group) -> float:
        return sum(item.usd for item in self.items if item.group == group)


def measured_rate(image_bytes: float) -> float:
    """Images/s of one core, for images of this size: seconds grow with bytes along a line through the two that were measured."""
    (small, fast), (large, slow) = MEASURED
    return 1 / (1 / fast + (image_bytes - small) * (1 / slow - 1 / fast) / (large - small))


def estimate(work: Workload, fleet: Fleet, prices: Prices) -> Estimate:
    """The bill of one run over `work`."""
    busy_s = fleet.start_s + work.images / (work.rate * fleet.slots)
    billed_s = max(MINIMUM_S, ceil(busy_s))
    items = (
        *computing(fleet.usage(billed_s), prices, architecture=fleet.architecture),
        *_requests(work, fleet, prices),
        *_storage(work, prices),
    )
    return Estimate(items, billed_s, WAIT_S + billed_s)


def shares(work: Workload, slots: int) -> int:
    """Tasks that featurize, of a file of features each: about as many as job.sources.listing.plan_shares cuts for images of one size.

    They take the largest share, then a turn's part of what is left, then the smallest share; a turn is two tasks for each slot.
    """
    costly = (IMAGE_S + BYTE_S * work.image_bytes) / (IMAGE_S + BYTE_S * IMAGE_BYTES)
    fewest, most = LARGEST_SHARES
    largest = max(1.0, min(max(work.images // (64 * slots), fewest), most) / costly)
    smallest = max(1.0, SMALLEST_SHARE / costly)
    falling, last = (min(work.images, 2 * slots * size) for size in (largest, smallest))
    return ceil((work.images - falling) / largest + 2 * slots * log(falling / last) + last / smallest)


def computing(usage: Usage, prices: Prices, *, architecture: Architecture) -> list[Item]:
    """The lines for EMR Serverless."""
    price = prices.compute[architecture]
    return [
        Item("run", "vCPUs", usage.vcpu_hours, "vCPU-hours", usage.vcpu_hours * price.vcpu_hour),
        Item("run", "memory", usage.memory_gb_hours, "GB-hours", usage.memory_gb_hours * price.gb_hour),
        Item("run", "disk beyond the free", usage.disk_gb_hours, "GB-hours", usage.disk_gb_hours * prices.disk_gb_hour),
    ]


def _requests(work: Workload, fleet: Fleet, prices: Prices) -> list[Item]:
    lists = ceil(work.images / LISTED) + LOOKS_PER_SLOT * fleet.slots
    # Put where nobody looks, then copied to its name
    puts = 2 * FILES_PER_SHARE * shares(work, fleet.slots)
    return [
        Item("upload", "PUT", work.images, "requests", work.images / 1000 * prices.puts),
        Item("run", "GET", work.images, "requests", work.images / 1000 * prices.gets),
        Item("run", "LIST, at most", lists, "requests", lists / 1000 * prices.puts),
        Item("run", "PUT and COPY", puts, "requests", puts / 1000 * prices.puts),
    ]


def _storage(work: Workload, prices: Prices) -> list[Item]:
    images = work.images * work.image_bytes / GB
    results = work.images * RESULT_BYTES / GB
    old = results * OLD_VERSIONS_MONTHS
    return [
        Item("run", "old versions", old, "GB-months", old * prices.gb_month),
        Item("month", "images", images, "GB-months", images * prices.gb_month),
        Item("month", "results", results, "GB-months", results * prices.gb_month),
    ]
