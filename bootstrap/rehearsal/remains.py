"""What a rehearsal leaves on this machine: nothing but what is to be kept, however it ends."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

KEPT = ".kept"  # a file that says so, in the folder itself: the stand-in reads it once the rehearsal is gone
PATIENCE_S = 10.0  # for commands that end at the same moment, and may write until then


def keep(folder: Path) -> None:
    (folder / KEPT).touch()


def discard(folder: Path) -> None:
    """Removes a folder that is not kept."""
    deadline = time.monotonic() + PATIENCE_S
    while folder.exists() and not (folder / KEPT).exists() and time.monotonic() < deadline:
        shutil.rmtree(folder, ignore_errors=True)
        time.sleep(0.1)  # one that still wrote may have made it anew
