"""How long a run takes on many vCPUs, stage by stage, and which of its walls it meets first. The model: docs/scaling.md.

What is measured was measured on one machine of two cores, and S3's part is assumed: nothing here was measured on EMR Serverless.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, sqrt

from bootstrap.costs import LISTED, WAIT_S, Estimate, Fleet, Workload, estimate, shares
from bootstrap.prices import Prices

# Measured, in seconds of a core
GET_S = 0.141e-3  # the client's part of a request: "s3-requests", docs/performance.md
COPY_CPU_S = 0.959e-3  # boto3's part: the same line
TASK_S = 1.53e-3  # of the driver, for each task: "driver", docs/scaling.md, as are the next three
FOOTER_S = 0.35e-3  # to count the rows of a file of features
MERGE_S = 3.70e-3  # to add a file of moments to others
KEY_S = 54.17e-6  # to list an object

# Assumed, of S3
GETS_PER_PREFIX = 5_500  # a second (S3 User Guide, "Optimizing Amazon S3 performance")
PAGE_S, GET_LATENCY_S, COPY_S = 0.1, 0.03, 0.05  # until a page of a listing comes; a footer; until a copy begins
CONNECTION, COPIED = 60e6, 150e6  # bytes/s that one connection brings, and that S3 copies of one object

# As the job does it
FOOTERS_AT_ONCE, COPIES_AT_ONCE = 16, 64  # by the driver: job.pca.dataset, job.s3
FEATURES_BYTES = 3_500  # of an image in features/, compressed: docs/costs.md
MOMENTS_BYTES = 8 * (1280 * 1280 + 1280)  # of a file of moments
FOLDS_PER_SLOT, ROWS_PER_FOLD = 4, (1_024, 200_000)  # tasks that fold features: job.pca.stage


STAGES = ("start", "listing", "images", "folding", "projecting", "publishing")


@dataclass(frozen=True, slots=True)
class Stage:
    """A part of a run and its seconds; `wall` names what more executors do not help, "" where they do."""

    name: str
    seconds: float
    wall: str = ""


@dataclass(frozen=True, slots=True)
class Forecast:
    """A run's stages in order, its bill, and how many prefixes its images must lie in for S3 to keep up."""

    stages: tuple[Stage, ...]
    bill: Estimate
    prefixes: int

    @property
    def hours(self) -> float:
        return self.bill.wall_s / 3600

    @property
    def held_up_by(self) -> Stage:
        """The longest of the stages that more executors do not help."""
        return max((stage for stage in self.stages if stage.wall), key=lambda stage: stage.seconds)


def busy_s(images: float, slots: int, *, start_s: float, image_s: float) -> float:
    """Seconds of a run: what it takes for no image, and what each adds where `slots` cores share them."""
    return start_s + images * image_s / slots


def forecast(work: Workload, fleet: Fleet, prices: Prices, *, prefixes: int | None = None) -> Forecast:
    """A run over `work`, its images in so many prefixes of S3 that are asked alike; None for as many as it takes.

    work.rate: images/s of one core from a local disk, as in costs.
    """
    needed = ceil(fleet.slots / vcpus_of_a_prefix(work.rate))
    stages = (
        Stage("start", WAIT_S + fleet.start_s, "a session's start"),
        _listing(work.images, fleet.slots),
        _images(work, fleet.slots, prefixes=prefixes or needed),
        _folding(work.images, fleet.slots),
        Stage("projecting", _reading_s(work.images, fleet.slots)),
        _publishing(work, fleet.slots),
    )
    after_start = sum(stage.seconds for stage in stages[1:])
    effective = Workload(work.images, work.image_bytes, work.images / (after_start * fleet.slots))
    return Forecast(stages, estimate(effective, fleet, prices), needed)


def vcpus_of_a_prefix(rate: float) -> int:
    """vCPUs that ask as much as S3 answers for one prefix."""
    return int(GETS_PER_PREFIX * (1 / rate + GET_S))


def _listing(images: int, slots: int) -> Stage:
    """Ranges of keys, each of them pages one after the other."""
    pages = ceil(images / LISTED)
    return Stage("listing", ceil(pages / slots) * PAGE_S + busy_s(images, slots, start_s=0, image_s=KEY_S))


def _images(work: Workload, slots: int, *, prefixes: int) -> Stage:
    """The longest of what executors compute, what prefixes answer, and what the driver hands out."""
    return max(
        Stage("images", busy_s(work.images, slots, start_s=0, image_s=1 / work.rate + GET_S)),
        Stage("images", work.images / (GETS_PER_PREFIX * prefixes), "requests to a prefix"),
        Stage("images", shares(work, slots) * TASK_S, "tasks on the driver"),
        key=lambda stage: stage.seconds,
    )


def _folding(images: int, slots: int) -> Stage:
    """Features read again, and moments merged: in groups on executors, the groups' on the driver; the longer one counts."""
    merging = 2 * sqrt(folds(images, slots)) * (MOMENTS_BYTES / CONNECTION + MERGE_S)
    reading = _reading_s(images, slots)
    return Stage("folding", reading + merging, "merging moments" if merging > reading else "")


def _publishing(work: Workload, slots: int) -> Stage:
    """A footer and a copy for each file of features, by the driver."""
    files = shares(work, slots)
    copy_s = COPY_S + work.images / files * FEATURES_BYTES / COPIED
    each_s = FOOTER_S + GET_LATENCY_S / FOOTERS_AT_ONCE + max(COPY_CPU_S, copy_s / COPIES_AT_ONCE)
    return Stage("publishing", files * each_s, "the driver's copies")


def _reading_s(images: int, slots: int) -> float:
    return images * FEATURES_BYTES / (CONNECTION * slots)


def folds(images: int, slots: int) -> int:
    """Tasks that fold features, of a file of moments each."""
    fewest, most = ROWS_PER_FOLD
    return max(1, min(max(FOLDS_PER_SLOT * slots, images // most), images // fewest))
