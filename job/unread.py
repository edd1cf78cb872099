"""The end of a process whose output nobody reads any more, as of `… | head -1`."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import TextIO

UNREAD = 128 + signal.SIGPIPE  # as shells have it of a process that SIGPIPE ends, which Python's ignore: sockets break, too


def until_unread(act: Callable[[], int]) -> int:
    """The exit code of `act`, which lets BrokenPipeError through; UNREAD where that comes. Nothing is left to be written at exit."""
    try:
        return act()
    except BrokenPipeError:
        return UNREAD
    finally:
        for stream in filter(None, (sys.stdout, sys.stderr)):  # None where it is closed
            _end(stream)


def _end(stream: TextIO) -> None:
    try:
        stream.flush()
    except OSError:  # at exit it would come again, with a traceback
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
