"""What a plot shows of a results folder, read from it: projections, the spectrum of the model, where it all came from."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias
from zipfile import BadZipFile

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from bootstrap.errors import BootstrapError

Floats: TypeAlias = NDArray[np.float64]

MOST_POINTS = 20_000  # more are a blot, and slow to draw


@dataclass(frozen=True, slots=True)
class Points:
    """What the scatter shows.

    places  (n, 2) float64, or (n, 1) where there is one component; at most MOST_POINTS rows
    labels  of those rows, None for an image without one
    counts  rows of each label in all projections, shown or not
    """

    places: Floats
    labels: Sequence[str | None]
    counts: Counter[str | None]


@dataclass(frozen=True, slots=True)
class Spectrum:
    """Shares of the variance, (d,) float64, falling, sum 1; the first `kept` are the model's components."""

    shares: Floats
    kept: int

    @property
    def cumulated(self) -> Floats:
        return np.cumsum(self.shares)

    def needed(self, share: float) -> int:
        """The number of components that explain more than `share`, as the job counts them."""
        return min(int(np.searchsorted(self.cumulated, share, side="right")) + 1, len(self.shares))


@dataclass(frozen=True, slots=True)
class Origin:
    """What the summary says of the images; the defaults where it says nothing."""

    backbone: str = ""
    random_weights: bool = False
    centered: bool = True


def read_points(folder: Path) -> Points:
    """The first two components of all projections, or of a sample of MOST_POINTS, always the same one."""
    files = sorted(file for file in folder.glob("*.parquet") if not file.name.startswith((".", "_")))
    try:
        total = sum(pq.read_metadata(file).num_rows for file in files)
        if not total:
            raise BootstrapError(
                f"no projections in {folder.parent}",
                "python -m job run makes them; project does for a model that is there",
            )
        return _read_rows(files, _sample(total))
    except (pa.ArrowException, KeyError) as error:
        raise BootstrapError(f"{folder} cannot be read: {error}", "python -m job project --overwrite makes it anew") from error


def _sample(total: int) -> NDArray[np.int64]:
    """Row numbers to show, rising: all, or MOST_POINTS of them."""
    if total <= MOST_POINTS:
        return np.arange(total)
    return np.sort(np.random.default_rng(0).choice(total, MOST_POINTS, replace=False))


def _read_rows(files: Sequence[Path], chosen: NDArray[np.int64]) -> Points:
    """The `chosen` rows of the files laid end to end; a batch at a time, for projections may be large."""
    places: list[Floats] = []
    labels: list[str | None] = []
    counts: Counter[str | None] = Counter()
    start = 0
    for file in files:
        with pq.ParquetFile(file) as parquet:
            for batch in parquet.iter_batches(columns=["label", "projection"]):
                counts.update({entry["values"]: entry["counts"] for entry in pc.value_counts(batch["label"]).to_pylist()})
                first, last = np.searchsorted(chosen, (start, start + batch.num_rows))
                rows = batch.take(pa.array(chosen[first:last] - start))
                places.append(_first_two(rows["projection"]))
                labels += rows["label"].to_pylist()
                start += batch.num_rows
    return Points(np.concatenate([place for place in places if len(place)]), labels, counts)


def _first_two(projections: pa.Array) -> Floats:
    """(n, 2) of lists of at least two floats, (n, 1) of lists of one."""
    length = pc.min(pc.list_value_length(projections)).as_py() or 0
    columns = [pc.list_element(projections, place).to_numpy(zero_copy_only=False) for place in range(min(length, 2))]
    return np.stack(columns, axis=1).astype(np.float64) if columns else np.empty((0, 1))


def read_spectrum(file: Path) -> Spectrum:
    """Shares of the variance from a fitted model's arrays."""
    hint = "python -m job fit makes the model"
    try:
        with file.open("rb") as source, np.load(source) as arrays:  # given a path, NumPy leaves a damaged file open
            eigenvalues, kept = arrays["eigenvalues"], len(arrays["explained_ratio"])
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise BootstrapError(f"no PCA model in {file.parent}: {error}", hint) from error
    if not eigenvalues.sum() > 0:
        raise BootstrapError(f"the PCA model in {file.parent} has no variance to show", hint)
    return Spectrum(eigenvalues / eigenvalues.sum(), kept)


def read_origin(file: Path) -> Origin:
    """What the summary says; it is a caption, so one that is missing or of another make costs no plot."""
    try:
        summary = json.loads(file.read_text())
        featurized, projected = summary.get("featurize") or {}, summary.get("project") or {}
        backbone = str((featurized.get("model") or {}).get("backbone", ""))
        return Origin(backbone, bool(featurized.get("random_weights")), bool(projected.get("centered", True)))
    except (OSError, ValueError, AttributeError):
        return Origin()
