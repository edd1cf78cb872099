"""The whole life of Verger against the stand-in, one step after another."""

from __future__ import annotations

import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from bootstrap.aws import foreseen
from bootstrap.errors import BootstrapError, UsageError
from bootstrap.rehearsal.account import Rehearsal, Step
from bootstrap.rehearsal.emr.s3a import s3a_jars
from bootstrap.rehearsal.process import stand_in
from bootstrap.rehearsal.remains import discard, keep
from bootstrap.rehearsal.steps import STEPS
from bootstrap.rehearsal.workspace import REPOSITORY, is_disposable

TOOLS = {"node": "Node 20 or later", "java": "Java 17"}


def rehearse(environment: str, *, images: Path | None, keep_folder: bool) -> list[Step]:
    """Goes through it all, saying on stderr what is being done; BootstrapError at the first step that fails."""
    is_disposable(environment)  # an unknown one is refused before anything is built
    refuse_missing_tools()
    signal.signal(signal.SIGTERM, _end_in_order)
    s3a_jars()
    folder = Path(tempfile.mkdtemp(prefix="verger-rehearsal-"))
    if keep_folder:
        keep(folder)
    try:
        with stand_in(log=folder / "stand-in.log", owns=folder) as aws:
            return _take_all(Rehearsal(environment, images or folder / "pictures", folder, aws))
    finally:
        discard(folder)  # where the stand-in did not start


def _take_all(rehearsal: Rehearsal) -> list[Step]:
    try:
        with foreseen("the stand-in"):
            for name, act in STEPS.items():
                _take(rehearsal, name, act)
    except (BootstrapError, OSError):
        keep(rehearsal.folder)
        print(f"note: what it left is in {rehearsal.folder}", file=sys.stderr)
        raise
    return rehearsal.steps


def _end_in_order(number: int, _frame: FrameType | None) -> None:
    """A signal as an exception: the command that runs, the stand-in and the folder go on its way out."""
    sys.exit(128 + number)


def refuse_missing_tools() -> None:
    """UsageError that names the tool."""
    for tool, version in TOOLS.items():
        if not shutil.which(tool):
            raise UsageError(f"no {tool} here", f"a rehearsal needs {version}")
    for file in (REPOSITORY / "node_modules" / ".bin" / "cdk", Path(sys.executable).with_name("aws")):
        if not file.exists():
            raise UsageError(f"no {file.name} here", "make rehearse installs it")


def _take(rehearsal: Rehearsal, name: str, act: Callable[[Rehearsal], str]) -> None:
    print(f"{name} …", file=sys.stderr, flush=True)
    start = time.monotonic()
    said = act(rehearsal)
    rehearsal.steps.append(Step(name, time.monotonic() - start, said))
