"""How runs are told of: a line that moves on a terminal, lines in a log, JSON for machines."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any, TextIO

from bootstrap.follow import Moment
from bootstrap.prices import dollars
from bootstrap.run import Attempt
from job.pace import clock

LOG_INTERVAL_S = 60.0

Row = tuple[str, ...]


class Lines:
    """Shows moments on a stream: on a terminal each in the place of the last one of the same state, elsewhere one now and then."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._state, self._told = stream, ("", 1), -LOG_INTERVAL_S

    def __call__(self, moment: Moment) -> None:
        state = (moment.seen.state, moment.seen.attempt)
        changed = state != self._state
        if not self._stream.isatty() and not changed and time.monotonic() - self._told < LOG_INTERVAL_S:
            return
        over = "" if changed or not self._stream.isatty() else "\x1b[1A\r\x1b[K"
        failed = [each for each in moment.before if each.number >= self._state[1]]  # that have not been told of
        for line in (*map(failure_of, failed), line_of(moment)):
            print(f"{over}{time.strftime('%H:%M:%S')} {line}", file=self._stream, flush=True)
        self._state, self._told = state, time.monotonic()


def failure_of(attempt: Attempt) -> str:
    """Of an attempt that another one followed."""
    return f"attempt {attempt.number} {attempt.state}: {attempt.details or 'EMR Serverless gives no reason'}"


def line_of(moment: Moment) -> str:
    """State, images, cost."""
    again = f"attempt {moment.seen.attempt}" if moment.seen.attempt > 1 else ""
    cost = "" if moment.usd is None else f"{dollars(moment.usd)}{'' if moment.seen.billed else ' at most so far'}"
    return "  ".join(part for part in (moment.seen.state, again, str(moment.pace or ""), cost) if part)


def say_json(moment: Moment) -> None:
    """One document a line."""
    print(json.dumps(as_json(moment)), flush=True)


def as_json(moment: Moment) -> Mapping[str, Any]:
    seen, pace = moment.seen, moment.pace
    return {
        "run": seen.run.id,
        "name": seen.name,
        "state": seen.state,
        "details": seen.details,
        "attempt": seen.attempt,
        "failed_attempts": [asdict(each) for each in moment.before],
        "created": _iso(seen.created),
        "started": _iso(seen.started),
        "ended": _iso(seen.ended),
        "seconds": seen.seconds,
        "results": str(seen.results) if seen.results else None,
        "images": pace.images if pace else None,
        "done": pace.done if pace else None,
        "faults": pace.faults if pace else None,
        "images_per_second": round(pace.rate, 1) if pace else None,
        "left_s": round(pace.left_s) if pace and pace.left_s is not None and not seen.has_ended else None,
        "usd": moment.usd,
        "usd_is_final": seen.billed is not None,
    }


HEADINGS = ("run", "name", "submitted", "images", "faults", "took", "cost", "attempts", "state")


def row_of(moment: Moment) -> Row:
    """The cells of HEADINGS; empty where nothing is known."""
    seen, pace = moment.seen, moment.pace
    return (
        seen.run.id,
        seen.name,
        f"{seen.created.astimezone():%Y-%m-%d %H:%M}",
        f"{pace.done:,}" if pace else "",
        f"{pace.faults:,}" if pace else "",
        "" if seen.seconds is None else clock(seen.seconds),
        "" if moment.usd is None else f"{'' if seen.billed else '≤ '}{dollars(moment.usd)}",
        str(seen.attempt),
        seen.state,
    )


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat(timespec="seconds")
