"""Whether two results folders say the same of the same images, wherever these lay."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from bootstrap.errors import BootstrapError
from job.contract import FAULTS, FEATURES, PCA, PCA_ARRAYS, PROJECTIONS

# Moments are added up in another order where tasks end in another order: the same to float64's last digits
TOLERANCE = 1e-4  # of the largest value

# What is the same in both runs, byte for byte. Times are not, nor a fault's words, and an etag is S3's
SAME = {
    FEATURES: ("label", "size", "width", "height", "format", "model", "features"),
    FAULTS: ("label", "size", "reason"),
    PROJECTIONS: ("label",),
}


@dataclass(frozen=True, slots=True)
class Agreement:
    """What was compared, and the largest difference of a projection as a share of the largest one."""

    images: int
    faults: int
    projection_error: float


def compare_results(ours: Path, ours_of: str, theirs: Path, theirs_of: str) -> Agreement:
    """Compares the results in two folders; `…_of` is the root that their images' paths begin with.

    BootstrapError unless features are the same bit for bit, faults the same but for the words, and components and projections the same
    but for rounding.
    """
    rows, error = {}, 0.0
    for name, columns in SAME.items():
        rows[name], others = _by_path(ours / name, ours_of), _by_path(theirs / name, theirs_of)
        _refuse_other_images(rows[name], others, name)
        for path, row in rows[name].items():
            if different := [column for column in columns if row[column] != others[path][column]]:
                raise BootstrapError(f"{path}: {different[0]} in {name} differs between the two runs", f"compare {ours} with {theirs}")
        if name == PROJECTIONS and (error := _error(rows[name], others)) > TOLERANCE:
            raise BootstrapError(f"projections differ by {error:.1e} of the largest", f"compare {ours} with {theirs}")
    _compare_components(ours / PCA / PCA_ARRAYS, theirs / PCA / PCA_ARRAYS)
    return Agreement(len(rows[FEATURES]), len(rows[FAULTS]), error)


def _by_path(folder: Path, root: str) -> dict[str, dict[str, Any]]:
    """Rows by their image's path below the root."""
    rows = [row for file in sorted(folder.glob("*.parquet")) for row in pq.read_table(file).to_pylist()]
    return {str(row["path"]).removeprefix(root).lstrip("/"): row for row in rows}


def _refuse_other_images(ours: dict[str, Any], theirs: dict[str, Any], what: str) -> None:
    if different := sorted(ours.keys() ^ theirs.keys()):
        raise BootstrapError(f"{what}: {len(different)} images are in one run only, such as {different[0]}", "list both --images")


def _compare_components(ours: Path, theirs: Path) -> None:
    """BootstrapError where an array of one model is another in the other one."""
    with np.load(ours) as arrays, np.load(theirs) as others:
        for name, one in arrays.items():
            other = others[name]
            if one.shape != other.shape or np.abs(one - other).max() > TOLERANCE * np.abs(one).max():
                raise BootstrapError(f"{name} of the principal components differ between the two runs", f"compare {ours} with {theirs}")


def _error(ours: dict[str, dict[str, Any]], theirs: dict[str, dict[str, Any]]) -> float:
    """The largest difference of a projection, as a share of the largest one."""
    if not ours:
        return 0.0
    one, other = (np.array([rows[path]["projection"] for path in sorted(ours)]) for rows in (ours, theirs))
    return float(np.abs(one - other).max() / np.abs(one).max())
