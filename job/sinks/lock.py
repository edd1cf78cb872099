"""One run at a time in a folder of S3: an object that can be made once, and that its owner keeps writing as a sign of life.

Writing on a condition is what S3 has for this: If-None-Match to make the object, If-Match to replace the one last seen. Ages are
of the store's own clock. Once its owner is dead for sure, on this host, or silent for DEAD_S, another run may take the lock over.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from datetime import UTC, datetime
from uuid import uuid4

from job.errors import ResultsExist, StorageFailed
from job.interrupt import interrupted
from job.sinks.owner import Owner, space
from job.storage import S3Path

BEAT_S = 20.0  # between two signs of life
DEAD_S = 120.0  # without one, and the run counts as dead
LOOK_S = 2.0  # between two looks at a lock of another host


class Lock:
    """A lock that this run holds."""

    def __init__(self, file: S3Path) -> None:
        """Takes the lock; ResultsExist where another run has it."""
        self.file = file
        since = datetime.now(UTC).isoformat(timespec="seconds")
        self._text = json.dumps({**asdict(Owner.me()), "since": since, "run": uuid4().hex}) + "\n"
        self._etag = self._take()

    def _take(self) -> str:
        try:
            return self.file.write_new(self._text)
        except FileExistsError:
            return self._take_over()

    def _take_over(self) -> str:
        """Takes the lock of a run that is dead, once that is sure: a retry after a crash finds a lock that is still young."""
        written: datetime | None = None
        while True:
            try:
                status = self.file.status()
                text = self.file.read_text()
            except FileNotFoundError:  # given back at this moment
                return self._take()
            if text == self._text:  # ours: the answer to the first attempt got lost
                return status.etag
            if _dead(text, status.age_s):
                break
            if _is_here(text) or (written and status.written != written):  # a sign of life since we looked
                raise self._refused(text, status.age_s)
            if not written:
                print(f"waiting up to {DEAD_S - status.age_s:.0f} s for a sign of life of {_owner(text)}", file=sys.stderr)
            written = status.written
            if interrupted.wait(LOOK_S):
                raise self._refused(text, status.age_s)
        try:
            return self.file.write_over(self._text, etag=status.etag)
        except FileExistsError as error:
            raise self._refused(self.file.read_text(), 0) from error

    def _refused(self, text: str, age_s: float) -> ResultsExist:
        return ResultsExist(
            f"another run is writing to {self.file.parent.parent}: {_owner(text)}, last heard of {age_s:.0f} s ago",
            f"wait for it, or give another --results; a dead run's lock expires {DEAD_S:.0f} s after its last sign,"
            f" or remove {self.file} at once if you know that it is dead",
        )

    def confirm(self) -> None:
        """Gives a sign of life. StorageFailed where another run has taken the lock meanwhile, or removed it."""
        try:
            self._etag = self.file.write_over(self._text, etag=self._etag)
        except (FileExistsError, FileNotFoundError) as error:
            if self.is_ours():
                self._etag = self.file.status().etag
                return
            raise StorageFailed(
                f"{self.file} is no longer this run's: it was removed, or another run took it after {DEAD_S:.0f} s of silence",
                "nothing of this stage was published; see which run is to go on",
            ) from error

    def is_ours(self) -> bool:
        """This run still has the lock."""
        try:
            return self.file.read_text() == self._text
        except FileNotFoundError:
            return False

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Gives signs of life while the block runs, and gives the lock back at its end."""
        ended = threading.Event()
        thread = threading.Thread(target=self._beat, args=(ended,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
            with suppress(StorageFailed):  # it expires
                if self.is_ours():
                    self.file.unlink()

    def _beat(self, ended: threading.Event) -> None:
        while not ended.wait(BEAT_S):
            try:
                self.confirm()
            except StorageFailed:  # publishing asks again, and fails then
                continue


def _dead(text: str, age_s: float) -> bool:
    """Its process is gone from this host, or it has not been heard of for long."""
    owner = _owner_here(text)
    return age_s > DEAD_S or (owner is not None and not owner.is_running)


def _is_here(text: str) -> bool:
    """Its process runs on this host."""
    owner = _owner_here(text)
    return owner is not None and owner.is_running


def _owner_here(text: str) -> Owner | None:
    """The owner, where it is a process of this host that can be looked for; None where it is another's, or not told."""
    try:
        said = json.loads(text)
        owner = Owner(int(said["process"]), str(said["began"]), str(said["host"]), str(said["space"]))
    except (ValueError, KeyError, TypeError):
        return None
    return owner if owner.is_here and owner.space == space() else None


def _owner(text: str) -> str:
    """Who has a lock, as a person reads it."""
    try:
        owner = json.loads(text)
        return f"process {owner['process']} on {owner['host']}, since {owner['since']}"
    except (ValueError, KeyError, TypeError):
        return "an unknown process"
