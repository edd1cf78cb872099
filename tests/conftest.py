"""What a test may need and a machine may lack: skipped with a reason on a laptop, a failure in CI."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


def lacking(what: str) -> None:
    """Skips, or fails where CI promises that nothing is missing."""
    if os.environ.get("CI"):
        pytest.fail(f"{what}, and CI must have it")
    pytest.skip(what)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real images and weights, which are never part of the repository: tests of them are skipped where they are not."""
    folder = Path(os.environ.get("VERGER_SHARED_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no shared data in {folder}; set VERGER_SHARED_DATA")
    return folder


@pytest.fixture(scope="session")
def need() -> Callable[[str], None]:
    return lacking
