"""The results folder on a disk: what lies where, and how a new result takes the place of an old one (in S3: sinks.s3).

Everything is written to a hidden folder inside the results folder and renamed when it is whole. What a new dataset makes stale is
taken away before it appears, so a reader finds a whole dataset or none, never parts of two runs.

A staging folder goes with its run. Rows of features and faults are staged elsewhere, below UNFINISHED: those stay until they are
published, as another run can take them up.
"""

from __future__ import annotations

import shutil
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from job import contract
from job.errors import ResultsExist
from job.sinks.owner import Owner, is_held, signed
from job.storage import Place, link

STAGING = contract.STAGING
UNFINISHED = ".verger-unfinished"
OWNER = "owner"
TOKEN = 8  # letters
KEPT = "-kept"  # ends the names of files of earlier rows

ROWS = (contract.FEATURES, contract.FAULTS)  # each image listed is in one of them

# In order of making: each is made from those before it.
MADE_OF_FEATURES = (contract.PCA, contract.PROJECTIONS, contract.PROJECTIONS_CSV)
ORDER = (*ROWS, *MADE_OF_FEATURES, contract.SUMMARY)


def _token() -> str:
    """So that no two names are the same."""
    return uuid.uuid4().hex[:TOKEN]


def unfinished(root: Place) -> Place:
    """A new folder's name, to stage features and faults in: of two runs' names the later run's sorts behind the other.

    Files in it are named after it: they may come to lie beside others.
    """
    return root / UNFINISHED / f"run-{time.time_ns() // 1_000_000:011x}{_token()}"


def part(staged: Place, dataset: str, index: int, *, of: str = "") -> Place:
    """A file of rows in a folder that `unfinished` named. Its name tells its run, so that no two runs' files are taken for each other."""
    return staged / dataset / f"part-{index:06}-{staged.name.removeprefix('run-')}{of}.parquet"


def is_there(dataset: Place) -> bool:
    """There is something by the name of a dataset. A pca/ of nothing but moments is none: a later fit starts from them."""
    if dataset.name != contract.PCA:
        return dataset.exists()
    return any(contract.MOMENTS not in (file.name, file.parent.name) for file in dataset.rglob("*"))


def downstream(name: str) -> tuple[str, ...]:
    """`name` and everything that is made from it, or stands for it: what a new `name` makes stale."""
    return ORDER[ORDER.index(name) :]


class Target(Protocol):
    """A place that results are published to; `Any` is the kind of path that its own staging() gives."""

    @property
    def root(self) -> Place: ...

    def existing(self, names: Iterable[str]) -> list[str]: ...

    def staging(self) -> AbstractContextManager[Any]: ...

    def publish(self, staging: Any, names: Sequence[str], *, stay: Iterable[Any] = (), spare: Sequence[str] = ()) -> None: ...

    def forget_unfinished(self) -> None: ...

    def write_text(self, name: str, text: str, *, staging: Any) -> None: ...


@dataclass(frozen=True, slots=True)
class Results:
    """A results folder on a file system where renaming is atomic."""

    root: Path

    def existing(self, names: Iterable[str]) -> list[str]:
        """Those of `names` that are there."""
        return [name for name in names if is_there(self.root / name)]

    @contextmanager
    def staging(self) -> Iterator[Path]:
        """A folder to write in, gone afterwards, however it ends; with it a results folder that it left empty.

        There is one at a time: ResultsExist while another run has it. What a run that was killed on this machine left
        of it is taken away first.
        """
        existed = self.root.is_dir()
        self.root.mkdir(parents=True, exist_ok=True)
        try:
            with self._claimed() as staging:
                try:
                    yield staging
                finally:
                    _remove(staging)
                    if not any((self.root / UNFINISHED).rglob("part-*.parquet")):
                        self.forget_unfinished()
        finally:
            if not existed:
                with suppress(OSError):  # not empty: the run left results
                    self.root.rmdir()

    @contextmanager
    def _claimed(self) -> Iterator[Path]:
        """Makes the staging folder; its name can be taken once, as renaming onto a folder with something in it fails."""
        staging = self.root / STAGING
        self._remove_dead(staging)
        self._remove_orphans()
        mine = self.root / f"{STAGING}-{_token()}"
        mine.mkdir()
        try:
            with signed(mine / OWNER):
                try:
                    mine.rename(staging)
                except OSError as error:
                    raise self._refused(staging) from error
                yield staging
        finally:
            # Once more, as NFS keeps a file that is removed while it is open, and so its folder
            shutil.rmtree(mine, ignore_errors=True)
            with suppress(OSError):  # not there, or another run's by now, and not empty
                staging.rmdir()

    def _refused(self, staging: Path) -> ResultsExist:
        owner = _owner(staging)
        return ResultsExist(
            f"another run is writing to {self.root}: {f'process {owner.process} on {owner.host}' if owner else 'an unknown process'}",
            f"wait for it, give another --results, or remove {staging} if that run is dead",
        )

    def _remove_dead(self, staging: Path) -> None:
        owner = _dead_owner(staging)
        if not owner:
            return
        aside = self.root / f"{STAGING}-{_token()}"
        with suppress(OSError):  # another has removed it
            staging.rename(aside)
            if _owner(aside) == owner:
                _remove(aside)
            else:  # taken over since we looked
                aside.rename(staging)

    def _remove_orphans(self) -> None:
        """Takes away folders of runs that were killed here between making one and claiming it, or while they took one away."""
        for folder in self.root.glob(f"{STAGING}-{'?' * TOKEN}"):
            if _dead_owner(folder):
                with suppress(OSError):  # another is removing it
                    _remove(folder)

    def publish(self, staging: Path, names: Sequence[str], *, stay: Iterable[Path] = (), spare: Sequence[str] = ()) -> None:
        """Makes the staged `names` visible, and first takes away their old versions and all that was made from those, but `spare`.

        stay: files of earlier versions, or of runs that did not end, that are to be among the new ones
        """
        for file in stay:
            link(file, staging / file.parent.name / file.name)
        stale = [name for name in downstream(names[0]) if name not in spare]
        for name in names:
            for half in (staging / name).glob("_part-*"):  # of tasks that died while they wrote; another has done it again
                half.unlink()
        retired = staging / "retired"
        retired.mkdir(exist_ok=True)
        for name in reversed(stale):
            if (self.root / name).exists():
                (self.root / name).rename(retired / f"{name}-{_token()}")
        for name in names:
            (staging / name).rename(self.root / name)
        if contract.FEATURES in names:
            self.forget_unfinished()

    def forget_unfinished(self) -> None:
        """Takes away what runs left that did not end."""
        shutil.rmtree(self.root / UNFINISHED, ignore_errors=True)

    def write_text(self, name: str, text: str, *, staging: Path) -> None:
        """Replaces one small file, whole or not at all."""
        (staging / name).write_text(text)
        (staging / name).replace(self.root / name)


def _remove(staging: Path) -> None:
    """Removes it, and last who has it: what is left by one that is killed meanwhile, the next run takes away."""
    for entry in staging.iterdir() if staging.is_dir() else ():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)
        elif entry.name != OWNER:
            with suppress(OSError):
                entry.unlink()
    shutil.rmtree(staging, ignore_errors=True)


def _dead_owner(staging: Path) -> Owner | None:
    """Who had a staging folder, where that process is dead for sure."""
    owner = _owner(staging)
    return owner if owner and owner.is_dead and not is_held(staging / OWNER) else None


def _owner(staging: Path) -> Owner | None:
    """Who has a staging folder; None where it does not say."""
    try:
        process, began, host = (staging / OWNER).read_text().split()
        return Owner(int(process), began, host)
    except (OSError, ValueError):
        return None
