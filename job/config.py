"""What a command was asked to do, as values that check themselves. Nothing past this point reads flags or environment."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise

from job import contract
from job.contract import Engine, Precision
from job.decode.options import Decoding
from job.errors import TooManyFaults, UsageError
from job.sinks.layout import ORDER, STAGING, UNFINISHED, Results, Target, downstream
from job.sinks.s3 import S3Results
from job.sources.listing import ImageSource
from job.sources.readers import kind_of
from job.storage import Place, S3Path, is_s3

KINDS = {"folder": "on a disk", "prefix": "in S3", "manifest": "a manifest", "inventory": "an inventory"}

COMPONENTS = 4  # as the notebook
LABEL_CAP = 32  # labels whose moments a fit keeps apart: 13 MB each in a worker's memory


@dataclass(frozen=True, slots=True)
class MaxFaults:
    """How many faults a run accepts: a count, or a share of the images listed in (0, 1]."""

    count: int | None = None
    share: float | None = None

    def exceeded_by(self, faults: int, *, images: int) -> bool:
        if self.count is not None:
            return faults > self.count
        return faults > (self.share or 0.0) * images * (1 + 1e-9)  # 29 of 100 are 29 %, whatever float makes of 0.29 * 100

    def check(self, faults: Counter[str], *, images: int) -> None:
        """TooManyFaults where these, counted by reason, are more than agreed of `images`."""
        if self.exceeded_by(faults.total(), images=images):
            reason, count = faults.most_common(1)[0]
            raise TooManyFaults(
                f"{faults.total()} of {images} images are faulty, more than --max-faults {self}; {count} of them {reason}",
                f"{contract.FAULTS}/ says which; {contract.FEATURES}/ of the others is written, and fit can use it",
            )

    def __str__(self) -> str:
        return str(self.count) if self.count is not None else f"{(self.share or 0.0) * 100:g}%"


@dataclass(frozen=True, slots=True)
class FitConfig:
    """How to fit. components: a count, or a share of the variance in (0, 1); others: results whose moments are merged."""

    components: int | float = COMPONENTS
    standardize: bool = False
    centered: bool = True
    only_labels: frozenset[str] | None = None
    label_cap: int = LABEL_CAP
    others: tuple[Place, ...] = ()


@dataclass(frozen=True, slots=True)
class FeaturizeConfig:
    """What to featurize, and how.

    precision     bits that features keep
    keep_removed  rows of images that are no longer there stay
    freeze_model  principal components that are there stay, whatever becomes of the features
    """

    source: ImageSource
    model: Place
    engine: Engine = "litert"
    how: Decoding = field(default_factory=Decoding)
    precision: Precision = "single"
    max_faults: MaxFaults = MaxFaults(share=1.0)
    keep_removed: bool = False
    freeze_model: bool = False

    def __post_init__(self) -> None:
        if self.source.classes is not None and self.source.labels_from == "none":
            raise UsageError("--classes counts labels, and --labels-from none gives none", "drop one of the two")
        kinds = {kind_of(root): root for root in self.source.roots}
        if len(kinds) > 1:
            (one, root), (other, elsewhere) = list(kinds.items())[:2]
            raise UsageError(
                f"--images {root} is {KINDS[one]} and --images {elsewhere} {KINDS[other]}",
                "featurize each into results of its own, and project both with one fit",
            )
        if self.source.under and not kinds.keys() & {"manifest", "inventory"}:
            raise UsageError(
                f"--under {self.source.under[0]} is for a manifest or an inventory, --images {self.source.roots[0]} is a folder",
                "name the folder that is wanted in --images",
            )
        for flag, folders in (("--images", self.source.roots), ("--under", self.source.under)):
            for outer, inner in pairwise(sorted(map(_real, folders))):
                if inner.startswith(outer):
                    raise UsageError(
                        f"{flag} {inner} lies inside {flag} {outer}: its images would count twice",
                        "give each folder once",
                    )


@dataclass(frozen=True, slots=True)
class ProjectConfig:
    """What to project. features: a features dataset, None for the results' own; centered: None for what the fit recorded."""

    features: Place | None = None
    centered: bool | None = None


@dataclass(frozen=True, slots=True)
class Session:
    """How Spark runs: cores for a local session (None means all), and how much is said."""

    cores: int | None = None
    quiet: bool = False
    verbose: bool = False


@dataclass(frozen=True, slots=True)
class Command:
    """One command line: the stages it runs, in order, and where their results go."""

    results: Place
    featurize: FeaturizeConfig | None = None
    fit: FitConfig | None = None
    project: ProjectConfig | None = None
    overwrite: bool = False
    dry_run: bool = False
    session: Session = Session()

    def __post_init__(self) -> None:
        if self.featurize:
            self._refuse_overlap(self.featurize.source)
        counted = [_results_of(self.results)]
        for folder in self.fit.others if self.fit else ():
            if (place := _results_of(folder)) in counted:
                what = "--results itself" if place == counted[0] else "given twice"
                raise UsageError(f"--with {folder} is {what}: its images would count twice", "give other results, each once")
            counted.append(place)

    def _refuse_overlap(self, source: ImageSource) -> None:
        """UsageError where results would be read as images, or images replaced by results."""
        for folder in source.under or source.roots:
            if _real(str(self.results)).startswith(_real(folder)):
                flag = "--under" if source.under else "--images"
                raise UsageError(
                    f"--results {self.results} lies inside {flag} {folder}: the next run would read results as images",
                    "give a folder outside of it",
                )
        for root in source.roots:
            if _real(root).startswith(tuple(_real(str(self.results / name)) for name in (*ORDER, STAGING, UNFINISHED))):
                raise UsageError(
                    f"--images {root} lies inside what a run replaces in --results {self.results}", "give another --results folder"
                )

    @property
    def target(self) -> Target:
        if isinstance(self.results, S3Path):
            return S3Results(self.results)
        return Results(self.results)

    @property
    def made(self) -> tuple[str, ...]:
        """What the command's stages make, in order."""
        made = [
            *((contract.FEATURES, contract.FAULTS) if self.featurize else ()),
            *((contract.PCA,) if self.fit else ()),
            *((contract.PROJECTIONS, contract.PROJECTIONS_CSV) if self.project else ()),
        ]
        return tuple(made)

    @property
    def names(self) -> tuple[str, ...]:
        """What the command will replace: what its first stage makes, and all that is made from that; the summary goes along."""
        spared = [contract.PCA] if self.featurize and self.featurize.freeze_model else []
        return tuple(name for name in downstream(self.made[0])[:-1] if name not in spared)


def _results_of(folder: Place) -> str:
    """The results folder that `folder` is, or that it has the moments of."""
    return _real(str(folder)).removesuffix(f"/{contract.PCA}/{contract.MOMENTS}/").rstrip("/")


def _real(location: str) -> str:
    """A folder's one name, links followed, with a slash at its end."""
    return (location if is_s3(location) else os.path.realpath(location)).rstrip("/") + "/"
