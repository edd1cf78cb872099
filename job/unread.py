"""The end of a process whose output nobody reads any more, as of `… | head -1`."""

from __future__ import annotations

import os
import select
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
        for stream in _open_streams():
            _end(stream)


def is_unread(error: OSError) -> bool:
    """It is our output that broke, and not one of the connections that a command has."""
    return isinstance(error, BrokenPipeError) and any(map(_has_no_reader, _open_streams()))


def _open_streams() -> list[TextIO]:
    return [stream for stream in (sys.stdout, sys.stderr) if stream]  # None where it is closed


def _has_no_reader(stream: TextIO) -> bool:
    poll = select.poll()
    poll.register(stream.fileno(), 0)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))


def _end(stream: TextIO) -> None:
    try:
        stream.flush()
    except OSError:  # at exit it would come again, with a traceback
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
