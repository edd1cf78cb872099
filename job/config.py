"""What a command was asked to do, as values that check themselves. Nothing past this point reads flags or environment."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from job import contract
from job.contract import Engine
from job.decode.options import Decoding
from job.errors import TooManyFaults, UsageError
from job.sinks.layout import Results, downstream
from job.sources.listing import ImageSource

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

    components: int | float = 4
    standardize: bool = False
    centered: bool = True
    only_labels: frozenset[str] | None = None
    label_cap: int = LABEL_CAP
    others: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class FeaturizeConfig:
    """What to featurize, and how."""

    source: ImageSource
    model: Path
    engine: Engine = "litert"
    how: Decoding = field(default_factory=Decoding)
    max_faults: MaxFaults = MaxFaults(share=1.0)

    def __post_init__(self) -> None:
        if self.source.classes is not None and self.source.labels_from == "none":
            raise UsageError("--classes counts labels, and --labels-from none gives none", "drop one of the two")
        for outer, inner in pairwise(sorted(os.path.realpath(root).rstrip("/") + "/" for root in self.source.roots)):
            if inner.startswith(outer):
                raise UsageError(
                    f"--images {inner} lies inside --images {outer}: its images would count twice",
                    "give each folder once",
                )


@dataclass(frozen=True, slots=True)
class ProjectConfig:
    """What to project. features: a features dataset, None for the results' own; centered: None for what the fit recorded."""

    features: Path | None = None
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

    results: Path
    featurize: FeaturizeConfig | None = None
    fit: FitConfig | None = None
    project: ProjectConfig | None = None
    overwrite: bool = False
    dry_run: bool = False
    session: Session = Session()

    def __post_init__(self) -> None:
        for root in self.featurize.source.roots if self.featurize else ():
            if Path(os.path.realpath(self.results)).is_relative_to(os.path.realpath(root)):
                raise UsageError(
                    f"--results {self.results} lies inside --images {root}: the next run would read results as images",
                    "give a folder outside of it",
                )

        counted = [_results_of(self.results)]
        for folder in self.fit.others if self.fit else ():
            if (place := _results_of(folder)) in counted:
                what = "--results itself" if place == counted[0] else "given twice"
                raise UsageError(f"--with {folder} is {what}: its images would count twice", "give other results, each once")
            counted.append(place)

    @property
    def target(self) -> Results:
        return Results(self.results, self.overwrite)

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
        return downstream(self.made[0])[:-1]


def _results_of(folder: Path) -> str:
    """The results folder that `folder` is, or that it has the moments of."""
    return os.path.realpath(folder).removesuffix(f"/{contract.PCA}/{contract.MOMENTS}")
