"""How far a run is: one line that moves on a terminal, a line now and then in a log."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import TextIO

from job.sinks.tally import Tally

TERMINAL_INTERVAL_S = 0.5
LOG_INTERVAL_S = 15.0


@contextmanager
def progress(total: int, done: Callable[[], Tally], *, quiet: bool, stream: TextIO | None = None) -> Iterator[None]:
    """Tells how much of `total` images is done while the block runs. What is counted are finished tasks: no guesses."""
    started = monotonic()
    with saying(lambda: describe(done(), total=total, seconds=monotonic() - started), quiet=quiet, stream=stream):
        yield


@contextmanager
def listing_progress(found: Callable[[], int], *, quiet: bool, stream: TextIO | None = None) -> Iterator[None]:
    """Tells how many images were listed so far, by tasks that have finished, while the block runs."""
    started = monotonic()
    with saying(lambda: f"{found():,} images listed  {clock(monotonic() - started)}", quiet=quiet, stream=stream):
        yield


@contextmanager
def saying(line: Callable[[], str], *, quiet: bool, stream: TextIO | None = None) -> Iterator[None]:
    """Says a line now and then while the block runs, and once when it ends."""
    stream = stream or sys.stderr
    if quiet:
        yield
        return
    terminal = stream.isatty()
    stopped = threading.Event()

    def say() -> None:
        stream.write(f"\r\x1b[K{line()}" if terminal else f"{line()}\n")
        stream.flush()

    def watch() -> None:
        while not stopped.wait(TERMINAL_INTERVAL_S if terminal else LOG_INTERVAL_S):
            say()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()
        say()
        if terminal:
            stream.write("\n")


def tell(line: str, *, quiet: bool) -> None:
    """Says something once, where progress is said."""
    if not quiet:
        print(line, file=sys.stderr)


def describe(tally: Tally, *, total: int, seconds: float) -> str:
    """One line: images done of total, images/s, faults, time left."""
    done = tally.images
    rate = done / seconds if seconds > 0 else 0.0
    parts = [
        f"{done:,} / {total:,} images",
        f"{100 * done // total}%" if total else "",  # rounded down: all is 100 %, and nothing less is
        f"{rate:,.0f} images/s" if done else "starting",
    ]
    if faults := tally.faults.total():
        parts.append(f"{faults:,} fault{'s' * (faults != 1)}")
    if rate and done < total:
        parts.append(f"{clock((total - done) / rate)} left")
    return "  ".join(part for part in parts if part)


def clock(seconds: float) -> str:
    """Seconds as 42 s, 3:05 or 2:03:09."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    hours, rest = divmod(whole, 3600)
    minutes, left = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{left:02}" if hours else f"{minutes}:{left:02}"
