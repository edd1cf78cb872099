"""Whether two results folders say the same of the same images, wherever these lay."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from bootstrap.errors import BootstrapError
from job.contract import FAULTS, FEATURES, PROJECTIONS

# Moments are added up in another order where tasks end in another order: the same to float64's last digits
PROJECTION_TOLERANCE = 1e-4  # of the largest projection


@dataclass(frozen=True, slots=True)
class Agreement:
    """What was compared, and the largest difference of a projection as a share of the largest one."""

    images: int
    faults: int
    projection_error: float


def compare_results(ours: Path, ours_of: str, theirs: Path, theirs_of: str) -> Agreement:
    """Compares the results in two folders; `…_of` is the root that their images' paths begin with.

    BootstrapError unless features are the same bit for bit, faults the same but for the words, and projections the same but for
    rounding.
    """
    features, others = _by_path(ours / FEATURES, ours_of), _by_path(theirs / FEATURES, theirs_of)
    _refuse_other_images(features, others, "features")
    for path, row in features.items():
        for name in ("label", "width", "height", "format", "model", "features"):
            if row[name] != others[path][name]:
                raise BootstrapError(f"{path}: {name} differs between the two runs", f"compare {ours} with {theirs}")
    faults, other_faults = _by_path(ours / FAULTS, ours_of), _by_path(theirs / FAULTS, theirs_of)
    _refuse_other_images(faults, other_faults, "faults")
    if different := [path for path, row in faults.items() if row["reason"] != other_faults[path]["reason"]]:
        raise BootstrapError(f"{different[0]}: another fault in the two runs", f"compare {ours} with {theirs}")
    error = _projection_error(_by_path(ours / PROJECTIONS, ours_of), _by_path(theirs / PROJECTIONS, theirs_of))
    if error > PROJECTION_TOLERANCE:
        raise BootstrapError(f"projections differ by {error:.1e} of the largest", f"compare {ours} with {theirs}")
    return Agreement(len(features), len(faults), error)


def _by_path(folder: Path, root: str) -> dict[str, dict[str, Any]]:
    """Rows by their image's path below the root."""
    rows = [row for file in sorted(folder.glob("*.parquet")) for row in pq.read_table(file).to_pylist()]
    return {str(row["path"]).removeprefix(root).lstrip("/"): row for row in rows}


def _refuse_other_images(ours: dict[str, Any], theirs: dict[str, Any], what: str) -> None:
    if different := sorted(ours.keys() ^ theirs.keys()):
        raise BootstrapError(f"{what}: {len(different)} images are in one run only, such as {different[0]}", "list both --images")


def _projection_error(ours: dict[str, dict[str, Any]], theirs: dict[str, dict[str, Any]]) -> float:
    _refuse_other_images(ours, theirs, "projections")
    if not ours:
        return 0.0
    one, other = (np.array([rows[path]["projection"] for path in sorted(ours)]) for rows in (ours, theirs))
    return float(np.abs(one - other).max() / np.abs(one).max())
