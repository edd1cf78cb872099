"""A command on a leash: it ends, with all that it started, once standard input closes, so when whoever holds the other end is gone.

Started as a file, in a session of its own: the command's folder, PYTHONPATH and standard input are not this one's.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any


@contextmanager
def leashed(
    command: Sequence[str], *, cwd: Path, env: Mapping[str, str], stdout: int | IO[Any], stderr: int | IO[Any]
) -> Iterator[subprocess.Popen[str]]:
    """A command that ends with the block, or with this process, however that ends, and whatever it has started with it.

    It leads a group of its own. Its exit code is the command's, 128 and the signal's number where one ended that.
    """
    end, held = os.pipe()  # neither is passed on to what else is started: held there, it would not be let go
    process = subprocess.Popen(
        [sys.executable, "-I", __file__, *command],
        cwd=cwd, env=env, stdin=end, stdout=stdout, stderr=stderr, text=True, start_new_session=True,
    )  # fmt: skip
    os.close(end)
    with process:
        try:
            yield process
        finally:
            os.close(held)  # it ends, if it has not


def main(command: Sequence[str]) -> int:
    """The command's exit code."""
    signal.signal(signal.SIGTERM, lambda _number, _frame: None)  # the whole group has it: how the command takes it is to be seen
    with subprocess.Popen(command, stdin=subprocess.DEVNULL) as process:
        threading.Thread(target=_end_when_let_go, daemon=True).start()
        code = process.wait()
    return code if code >= 0 else 128 - code


def _end_when_let_go() -> None:
    os.read(0, 1)  # nobody writes: it returns at the end
    os.killpg(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
