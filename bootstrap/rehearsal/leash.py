"""A command on a leash: it ends, with all that it started, once standard input closes, so when whoever holds the other end is gone.

Started as a file, in a session of its own: the command's folder, PYTHONPATH and standard input are not this one's.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence


def main(command: Sequence[str]) -> int:
    """The command's exit code."""
    threading.Thread(target=_end_when_let_go, daemon=True).start()
    code = subprocess.run(command, stdin=subprocess.DEVNULL, check=False).returncode
    return code if code >= 0 else 128 - code


def _end_when_let_go() -> None:
    os.read(0, 1)  # nobody writes: it returns at the end
    os.killpg(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
