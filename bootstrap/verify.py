"""Whether results that were fetched are whole: every dataset has its card, and as many rows as that says."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from bootstrap.errors import BootstrapError
from job.contract import FAULTS, FEATURES, FEATURIZE_CARD, PCA, PCA_ARRAYS, PCA_CARD, PROJECT_CARD, PROJECTIONS, PROJECTIONS_CSV


@dataclass(frozen=True, slots=True)
class Rows:
    """images: features and faults together. projections: None where there are none."""

    images: int
    features: int
    faults: int
    projections: int | None


def verify_results(folder: Path) -> Rows:
    """The rows of the datasets in `folder`. BootstrapError where one is not whole."""
    card = _card(folder / FEATURES / FEATURIZE_CARD, "images", FEATURES, FAULTS)
    rows = Rows(card["images"], _rows_in(folder / FEATURES), _rows_in(folder / FAULTS), _projections(folder))
    for name, found in ((FEATURES, rows.features), (FAULTS, rows.faults)):
        if found != card[name]:
            raise _different(folder / name, found, card[name])
    if rows.images != rows.features + rows.faults:
        raise _different(folder, rows.features + rows.faults, rows.images)
    if (folder / PCA).is_dir() and not (_card(folder / PCA / PCA_CARD) and (folder / PCA / PCA_ARRAYS).is_file()):
        raise BootstrapError(f"{folder / PCA} has no {PCA_ARRAYS}", "a run with --overwrite makes it anew")
    return rows


def _projections(folder: Path) -> int | None:
    if not ((folder / PROJECTIONS).is_dir() or (folder / PROJECTIONS_CSV).is_dir()):
        return None
    card, found = _card(folder / PROJECTIONS / PROJECT_CARD, "rows"), _rows_in(folder / PROJECTIONS)
    if found != card["rows"]:
        raise _different(folder / PROJECTIONS, found, card["rows"])
    return found


def _card(file: Path, *counts: str) -> dict[str, Any]:
    """What a dataset says of itself, with these counts in it."""
    try:
        card: dict[str, Any] = json.loads(file.read_text())
        return card | {name: int(card[name]) for name in counts}
    except FileNotFoundError as error:
        raise BootstrapError(f"{file.parent} is not whole: it has no {file.name}", "its run did not get so far; run it again") from error
    except (ValueError, KeyError, TypeError) as error:
        raise BootstrapError(
            f"{file} is no card of this version: {error}", "fetch again into a new folder, with the version that the run is of"
        ) from error


def _rows_in(folder: Path) -> int:
    """Of its Parquet files, by their footers."""
    try:
        return sum(pq.read_metadata(file).num_rows for file in folder.glob("*.parquet"))
    except pa.ArrowException as error:
        raise BootstrapError(f"{folder} cannot be read: {error}", "fetch again into a new folder") from error


def _different(folder: Path, found: int, wanted: int) -> BootstrapError:
    return BootstrapError(f"{folder} has {found:,} rows, and {wanted:,} by its card", "run again, and report it if it happens twice")
