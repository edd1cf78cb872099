"""What a results folder holds, in one JSON document: `summary.json`, described in docs/summary.md."""

from __future__ import annotations

import json
import platform
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from job import contract

PACKAGES = ("numpy", "pillow", "pyarrow", "pyspark", "ai-edge-litert", "tensorflow", "tensorflow-cpu")

Summary = dict[str, Any]


def versions() -> dict[str, str]:
    """Versions of Python and of the installed packages that decide about results."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def summarise(root: Path) -> Summary:
    """The accounts that the stages left under `root`, put together; a stage that has not run is null."""
    return {
        "version": contract.SUMMARY_VERSION,
        "featurize": _read(root / contract.FEATURES / contract.FEATURIZE_CARD),
        "fit": _read(root / contract.PCA / contract.PCA_CARD),
        "project": _read(root / contract.PROJECTIONS / contract.PROJECT_CARD),
    }


def to_json(value: Any) -> str:
    """Text of a card or summary."""
    return json.dumps(value, indent=2, default=_plain) + "\n"


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, frozenset):
        return sorted(value)
    return asdict(value)


def _read(file: Path) -> Summary | None:
    return json.loads(file.read_text()) if file.is_file() else None
