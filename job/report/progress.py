"""How far a run is: one line that moves on a terminal, a line now and then in a log, and a file beside the results."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from time import monotonic
from typing import TextIO

from job.errors import StorageFailed
from job.pace import Pace, clock
from job.sinks.tally import Tally
from job.storage import Place, whole

TERMINAL_INTERVAL_S = 0.5
LOG_INTERVAL_S = 15.0
FILE_INTERVAL_S = 10.0


@contextmanager
def progress(
    total: int, done: Callable[[], Tally], *, quiet: bool, before: int = 0, file: Place | None = None, stream: TextIO | None = None
) -> Iterator[None]:
    """Tells how much of `total` images is done while the block runs, on `stream` unless it is to be quiet, and in `file`.

    before: how many of those done were so by earlier runs
    """
    started = monotonic()

    def pace() -> Pace:
        tally = done()
        return Pace(total, tally.images, tally.faults.total(), before, round(monotonic() - started, 3))

    with (
        _every(FILE_INTERVAL_S, lambda: _write(pace(), file) if file else None, at_once=True),
        _saying(lambda: str(pace()), quiet=quiet, stream=stream),
    ):
        yield


@contextmanager
def listing_progress(found: Callable[[], int], *, quiet: bool, stream: TextIO | None = None) -> Iterator[None]:
    """Tells how many images were listed so far, by tasks that have finished, while the block runs."""
    started = monotonic()
    with _saying(lambda: f"{found():,} images listed  {clock(monotonic() - started)}", quiet=quiet, stream=stream):
        yield


@contextmanager
def _saying(line: Callable[[], str], *, quiet: bool, stream: TextIO | None) -> Iterator[None]:
    """Says a line now and then while the block runs, and once when it ends."""
    stream = stream or sys.stderr
    if quiet:
        yield
        return
    terminal = stream.isatty()

    def say() -> None:
        stream.write(f"\r\x1b[K{line()}" if terminal else f"{line()}\n")
        stream.flush()

    try:
        with _every(TERMINAL_INTERVAL_S if terminal else LOG_INTERVAL_S, say):
            yield
    finally:
        if terminal:
            stream.write("\n")


@contextmanager
def _every(seconds: float, act: Callable[[], None], *, at_once: bool = False) -> Iterator[None]:
    """Does something each so many seconds while the block runs, and once more when it has ended, however it did."""
    stopped = threading.Event()

    def keep_on() -> None:
        if at_once:
            act()
        while not stopped.wait(seconds):
            act()

    thread = threading.Thread(target=keep_on, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()
        act()


def tell(line: str, *, quiet: bool) -> None:
    """Says something once, where progress is said."""
    if not quiet:
        print(line, file=sys.stderr)


def _write(pace: Pace, file: Place) -> None:
    with suppress(OSError, StorageFailed), whole(file) as half:  # a run does not fail for not having been followed
        half.write_text(pace.to_json())
