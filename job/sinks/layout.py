"""The results folder: what lies where, and how a new result takes the place of an old one.

Everything is written to a hidden staging folder inside the results folder and renamed when it is whole. What a new
dataset makes stale is taken away before it appears, so a reader finds a whole dataset or none, never parts of two runs.
"""

from __future__ import annotations

import os
import shutil
import socket
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from job import contract
from job.errors import ResultsExist

# In order of making: each is made from those before it.
ORDER = (
    contract.FEATURES,
    contract.FAULTS,
    contract.PCA,
    contract.PROJECTIONS,
    contract.PROJECTIONS_CSV,
    contract.SUMMARY,
)


@dataclass(frozen=True, slots=True)
class Results:
    """A results folder on a file system where renaming is atomic."""

    root: Path

    def refuse_existing(self, names: Sequence[str], *, overwrite: bool) -> None:
        """ResultsExist where any of `names` is there and may not be replaced."""
        if overwrite:
            return
        if found := [name for name in names if (self.root / name).exists()]:
            raise ResultsExist(
                f"{self.root} already holds {', '.join(found)}",
                "give --overwrite to replace, or another --results folder",
            )

    @contextmanager
    def staging(self) -> Iterator[Path]:
        """A folder to write in, gone afterwards, however it ends; with it a results folder that it left empty."""
        existed = self.root.is_dir()
        self.root.mkdir(parents=True, exist_ok=True)
        self._sweep()
        staging = self.root / f".verger-{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        staging.mkdir()
        try:
            yield staging
        finally:
            shutil.rmtree(staging, ignore_errors=True)
            if not existed:
                with suppress(OSError):  # not empty: the run left results
                    self.root.rmdir()

    def publish(self, staging: Path, names: Sequence[str]) -> None:
        """Makes the staged `names` visible, and first takes away their old versions and all that was made from those."""
        retired = staging / "retired"
        retired.mkdir(exist_ok=True)
        for name in reversed(ORDER[ORDER.index(names[0]) :]):
            if (self.root / name).exists():
                (self.root / name).rename(retired / f"{name}-{uuid.uuid4().hex[:8]}")
        for name in names:
            (staging / name).rename(self.root / name)

    def carry_over(self, kept: Path, target: Path) -> None:
        """Has `target` hold what `kept` holds, without copying it: for what a new version of a dataset keeps of the old."""
        shutil.copytree(kept, target, copy_function=os.link)

    def write_text(self, name: str, text: str, *, staging: Path) -> None:
        """Replaces one small file, whole or not at all."""
        (staging / name).write_text(text)
        (staging / name).replace(self.root / name)

    def _sweep(self) -> None:
        """Removes what runs that were killed on this machine left behind."""
        for left in self.root.glob(f".verger-{socket.gethostname()}-*"):
            pid = left.name.split("-")[-2]
            if pid.isdigit() and not _is_running(int(pid)):
                shutil.rmtree(left, ignore_errors=True)


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
