"""Follows a run to its end: what it says on the way, what it survives, and what is to be said of a bad end."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

from bootstrap.aws import Expired, Unreachable, look_for_new_credentials
from bootstrap.counted import pace_of
from bootstrap.driver_log import LastWords, last_words, may_come
from bootstrap.errors import BootstrapError
from bootstrap.run import CANCELLING, ENDS, SUCCESS, Attempt, Run, Seen, architecture_of, attempts_before, cancel, look
from bootstrap.spent import usd_so_far
from job.pace import Pace
from job.releases import Architecture

POLL_S = 5
PATIENCE_S = 15 * 60  # without AWS, or for new credentials
LOG_S = 90  # that a failed run's log is waited for: it arrives some time after the end

Sleep = Callable[[float], None]
Told = TypeVar("Told")


@dataclass(frozen=True, slots=True)
class Moment:
    """A run as who follows it sees it; before: its attempts that have failed."""

    seen: Seen
    before: tuple[Attempt, ...]
    pace: Pace | None
    usd: float | None


@dataclass(frozen=True, slots=True)
class Follower:
    """How to follow: what each moment is shown with, and what lets time pass."""

    show: Callable[[Moment], None]
    sleep: Sleep = time.sleep  # tests pass the time themselves

    def follow(self, run: Run) -> None:
        """Returns when the run has succeeded. BootstrapError where it ends otherwise, or is lost sight of.

        KeyboardInterrupt at Ctrl-C, unless who follows wants to have the run cancelled.
        """
        try:
            last = self._watch(run)
        except KeyboardInterrupt:
            if not wants_to_cancel(run):
                raise
            _cancel(run)
            self.follow(run)
            return
        if last.state != SUCCESS:
            raise self._failure(last)

    def _watch(self, run: Run) -> Seen:
        architecture = self._patiently(run, lambda: architecture_of(run.deployment))
        while True:
            moment = self._patiently(run, lambda: observe(run, architecture))
            self.show(moment)
            if moment.seen.has_ended:
                return moment.seen
            self.sleep(POLL_S)

    def _patiently(self, run: Run, ask: Callable[[], Told]) -> Told:
        """The answer, once AWS gives it. boto3 has tried for some time before it says that there is none."""
        for waited in range(0, PATIENCE_S, POLL_S):
            try:
                return ask()
            except (Expired, Unreachable) as error:
                if isinstance(error, Expired) and not look_for_new_credentials():
                    raise _lost(run, error) from error
                if not waited:
                    print(f"note: {error}; the run goes on, and this waits for {PATIENCE_S // 60} minutes", file=sys.stderr, flush=True)
            self.sleep(POLL_S)
        try:
            return ask()
        except BootstrapError as error:
            raise _lost(run, error) from error

    def _failure(self, seen: Seen) -> BootstrapError:
        words = self._last_words(seen) if seen.state == "FAILED" else None
        cause = (words and words.cause) or seen.details or "EMR Serverless gives no reason"
        hint = [words.hint] if words and words.hint else []
        return BootstrapError(
            f"run {seen.run.id} {seen.state}{f' in attempt {seen.attempt}' if seen.attempt > 1 else ''}: {cause}",
            "; ".join([*hint, f"its logs: {seen.run.logs}/"]),
            lines=words.lines if words else (),
        )

    def _last_words(self, seen: Seen) -> LastWords | None:
        """What the driver's log says, which is waited for where it may come. A log that cannot be read hides no reason that is known."""
        try:
            words = last_words(seen.run, attempt=seen.attempt)
            if words or not may_come(seen):
                return words
            print(
                f"note: run {seen.run.id} {seen.state}; its driver's log is on its way; this waits {LOG_S} s for it, or until Ctrl-C",
                file=sys.stderr,
            )
            for _ in range(0, LOG_S, POLL_S):
                self.sleep(POLL_S)
                if words := last_words(seen.run, attempt=seen.attempt):
                    return words
        except BootstrapError as error:
            print(f"note: {error}", file=sys.stderr)
        except KeyboardInterrupt:
            pass  # who follows has waited long enough; what is known of the failure is said
        return None


def observe(run: Run, architecture: Architecture) -> Moment:
    seen = look(run)
    return Moment(seen, attempts_before(seen), pace_of(seen), usd_so_far(seen, architecture=architecture))


def _lost(run: Run, error: BootstrapError) -> BootstrapError:
    return BootstrapError(f"run {run.id} goes on, and is lost sight of: {error}", f"with credentials that are good, {run.follow}")


def _cancel(run: Run) -> None:
    """Asks for the run's end, which may have come while who follows it was asked; how it ended is then told as of any run."""
    try:
        cancel(run)
    except BootstrapError as error:
        if look(run).state not in (*ENDS, CANCELLING):
            raise
        print(f"note: {error}", file=sys.stderr)


def wants_to_cancel(run: Run) -> bool:
    """Asks on a terminal. Elsewhere nobody answers, and the run goes on; so it does after a second Ctrl-C."""
    answer = ""
    if sys.stdin.isatty() and sys.stderr.isatty():
        print(f"run {run.id} goes on; c and Enter cancel it, Enter leaves it: ", end="", file=sys.stderr, flush=True)
        with suppress(KeyboardInterrupt):
            answer = sys.stdin.readline().strip().lower()
    if answer in ("c", "cancel"):
        return True
    print(f"note: run {run.id} goes on; to cancel it: {run.cancel}", file=sys.stderr)
    return False
