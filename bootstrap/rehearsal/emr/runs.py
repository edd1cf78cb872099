"""A run: its states, its attempts, and what it would have cost."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import Any

from bootstrap.rehearsal.emr.applications import Application, new_id
from bootstrap.rehearsal.emr.attempt import DEFAULT_TIMEOUT_MINUTES, Attempt, Site, TimedOut
from bootstrap.rehearsal.emr.settings import RunSettings, run_settings
from bootstrap.rehearsal.local import ACCOUNT

ACTIVE = ("SUBMITTED", "QUEUED", "PENDING", "SCHEDULED", "RUNNING")
SHOWN_S = 0.3  # that each state on the way stays, so that who follows a run can see it
DETAILS = 256  # characters that stateDetails may have
MINIMUM_S = 60  # that a worker is billed for


@dataclass(slots=True)
class Tried:
    """An attempt, as the API shows it; started, ended: of its driver, 0 before that."""

    number: int
    state: str = "PENDING"
    details: str = ""
    created: float = field(default_factory=time.time)
    updated: float = field(default_factory=time.time)
    started: float = 0.0
    ended: float = 0.0


class Run:
    """A run of an application, on a thread of its own."""

    def __init__(self, application: Application, request: dict[str, Any]) -> None:
        self.application, self.request, self.id = application, request, new_id()
        self.state, self.details = "SUBMITTED", ""
        self.created = self.updated = time.time()
        self.tried: list[Tried] = []
        self.settings: RunSettings = run_settings(application, request)
        self._cancelled = threading.Event()
        self._why = "JobRun has been cancelled"
        self._attempt: Attempt | None = None
        self._thread: threading.Thread | None = None

    @property
    def arn(self) -> str:
        return f"{self.application.arn}/jobruns/{self.id}"

    @property
    def started(self) -> float:
        """The driver of the first attempt."""
        return self.tried[0].started if self.tried else 0.0

    @property
    def ended(self) -> float:
        """The driver of the last attempt that had one."""
        return max((each.ended for each in self.tried), default=0.0)

    def start(self, site: Site) -> None:
        self.application.running += 1
        self._thread = threading.Thread(target=self._carry_out, args=[site], daemon=True)
        self._thread.start()

    def join(self) -> None:
        if self._thread:
            self._thread.join()

    def cancel(self, *, grace_s: float) -> None:
        """Has the run end: the driver has `grace_s` seconds to do so itself."""
        if self.state in ACTIVE:
            self._become("CANCELLING")
        self._cancelled.set()
        if self._attempt:
            threading.Thread(target=self._attempt.end, kwargs={"grace_s": grace_s}, daemon=True).start()

    def _carry_out(self, site: Site) -> None:
        attempts = self.request.get("retryPolicy", {}).get("maxAttempts", 1)
        try:
            for number in range(1, attempts + 1):
                self.tried.append(Tried(number))
                failure = self._try(site, number, retried=attempts > 1)
                if failure is None or self._cancelled.is_set():
                    break
            self._finish(failure)
        finally:
            if self.state in ACTIVE:  # an exception ends this thread, and is printed
                self._become("FAILED", "the stand-in itself failed; its log says how")
            self.application.running -= 1
            self.application.become("STARTED")

    def _try(self, site: Site, number: int, *, retried: bool) -> str | None:
        """One attempt; None, or why it failed."""
        for state in ("PENDING", "SCHEDULED"):
            self._become(state)
            if self._cancelled.wait(SHOWN_S):
                return None
        self.application.become("STARTED")
        place = f"applications/{self.application.id}/jobs/{self.id}" + (f"/attempts/{number}" if retried else "")
        self._attempt = Attempt(site, self.application, self.request, self.settings, run_id=self.id, place=place)
        if self._cancelled.is_set():  # after the look above, and before there was an attempt to end
            return None
        self._become("RUNNING")
        tried = self.tried[-1]
        tried.started = time.time()
        try:
            failure = self._attempt.carry_out()
        except TimedOut as error:
            self._cancelled.set()
            self._why = failure = f"JobRun timed out after {error.minutes:g} minutes"
        finally:
            tried.ended = time.time()
        if failure and not self._cancelled.is_set():
            tried.state, tried.details, tried.updated = "FAILED", failure[:DETAILS], tried.ended
        return failure

    def _finish(self, failure: str | None) -> None:
        if self._cancelled.is_set():
            self._become("CANCELLED", self._why)
        elif failure:
            self._become("FAILED", failure)
        else:
            self._become("SUCCESS")

    def _become(self, state: str, details: str = "") -> None:
        if self._cancelled.is_set() and state not in ("CANCELLED",):
            return
        self.state, self.details, self.updated = state, details[:DETAILS], time.time()
        if self.tried:
            self.tried[-1].state, self.tried[-1].details, self.tried[-1].updated = state, self.details, self.updated

    def billed(self) -> dict[str, float]:
        """vCPU, memory and storage hours: every worker of each attempt from its start to its end, and a minute at least."""
        seconds = sum(max(MINIMUM_S, each.ended - each.started) for each in self.tried if each.started)
        workers = self.settings.workers
        hours = seconds / 3600
        return {
            "vCPUHour": round(hours * sum(each.vcpus for each in workers), 3),
            "memoryGBHour": round(hours * sum(each.memory_gb for each in workers), 3),
            "storageGBHour": round(hours * sum(each.billed_disk_gb for each in workers), 3),
        }

    def to_json(self, attempt: int | None = None) -> dict[str, Any]:
        """As GetJobRun gives it."""
        passed_on = (
            "name", "configurationOverrides", "jobDriver", "executionIamPolicy", "retryPolicy", "executionTimeoutMinutes",
        )  # fmt: skip
        made = self._common(attempt) | {name: self.request[name] for name in passed_on if name in self.request}
        made |= {"jobRunId": self.id, "executionTimeoutMinutes": made.get("executionTimeoutMinutes", DEFAULT_TIMEOUT_MINUTES)}
        made |= {"tags": self.request.get("tags", {}), "totalExecutionDurationSeconds": int(max(0.0, self.ended - self.started))}
        if self.started:
            made |= {"startedAt": self.started, "queuedDurationMilliseconds": 0}
        if self.started and self.state not in (*ACTIVE, "CANCELLING"):
            billed = self.billed()
            made |= {"endedAt": self.ended, "billedResourceUtilization": billed, "totalResourceUtilization": billed}
        return made

    def summary(self) -> dict[str, Any]:
        """As ListJobRuns gives it."""
        return self._common(None) | {"id": self.id, "name": self.request.get("name", ""), "type": "Spark"}

    def attempt_summaries(self) -> list[dict[str, Any]]:
        """As ListJobRunAttempts gives them."""
        return [
            self.summary()
            | {"attempt": tried.number, "state": tried.state, "stateDetails": tried.details, "jobCreatedAt": self.created}
            | {"createdAt": tried.created, "updatedAt": tried.updated}
            for tried in self.tried
        ]

    def _common(self, attempt: int | None) -> dict[str, Any]:
        tried = self.tried[(attempt or len(self.tried)) - 1] if self.tried else Tried(1, self.state)
        return {
            "applicationId": self.application.id,
            "arn": self.arn,
            "mode": self.request.get("mode", "BATCH"),
            "createdBy": f"arn:aws:iam::{ACCOUNT}:root",
            "createdAt": self.created,
            "updatedAt": self.updated,
            "executionRole": self.request["executionRoleArn"],
            "state": tried.state if attempt else self.state,
            "stateDetails": tried.details if attempt else self.details,
            "releaseLabel": self.application.settings["releaseLabel"],
            "attempt": tried.number,
            "attemptCreatedAt": tried.created,
            "attemptUpdatedAt": tried.updated,
        }
