"""A run on EMR Serverless: which one is meant, and what the service says of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from bootstrap.aws import Missing, client, foreseen
from bootstrap.costs import Usage
from bootstrap.errors import BootstrapError
from bootstrap.locations import Location, locations_in
from job.contract import LOGS
from job.releases import Architecture
from job.submission import Deployment, values_of

SUCCESS = "SUCCESS"
ENDS = (SUCCESS, "FAILED", "CANCELLED")
CANCELLING = "CANCELLING"
ID = r"[0-9a-z]{16}"


@dataclass(frozen=True, slots=True)
class Run:
    """A run that has been started."""

    deployment: Deployment
    id: str

    @property
    def cancel(self) -> str:
        """The command that cancels it."""
        where = f"--region {self.deployment.region} --application-id {self.deployment.application_id}"
        return f"aws emr-serverless cancel-job-run {where} --job-run-id {self.id}"

    @property
    def follow(self) -> str:
        """The command that follows it."""
        where = f"--environment {self.deployment.environment} --region {self.deployment.region}"
        return f"python -m bootstrap follow {self.id} {where}"

    @property
    def logs(self) -> Location:
        """The folder that its logs arrive in, minutes after they are written."""
        return Location(self.deployment.bucket, f"{LOGS}/applications/{self.deployment.application_id}/jobs/{self.id}")


@dataclass(frozen=True, slots=True)
class Seen:
    """A run at one moment.

    details     why it is in this state, on one line
    started     the first of its workers
    properties  of Spark, that it was submitted with
    results     the folder that they go to; None of a run that was started by other means
    billed      None until it has ended, and for some time then
    attempt     which one this is, from 1 on
    tried       when that was made
    """

    run: Run
    name: str
    state: str
    details: str
    created: datetime
    started: datetime | None
    ended: datetime | None
    properties: Mapping[str, str]
    results: Location | None
    billed: Usage | None
    attempt: int
    tried: datetime

    @property
    def has_ended(self) -> bool:
        return self.state in ENDS

    @property
    def had_no_workers(self) -> bool:
        """It has ended before any came."""
        return self.state in ("FAILED", "CANCELLED") and self.started is None and self.attempt == 1

    @property
    def seconds(self) -> float | None:
        """From its first worker to its end; None while there is either not."""
        return (self.ended - self.started).total_seconds() if self.ended and self.started else None


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt of a run, by its number; details: why it is in this state, on one line."""

    number: int
    state: str
    details: str


@dataclass(frozen=True, slots=True)
class Listed:
    """A run as the list of them has it."""

    run: Run
    name: str
    created: datetime


def find_run(deployment: Deployment, wanted: str) -> Run:
    """The run of that id, or the latest of that name, which may look like an id. BootstrapError where there is none."""
    if re.fullmatch(ID, wanted):
        with suppress(Missing):
            return look(Run(deployment, wanted)).run
    for listed in list_runs(deployment):
        if listed.name == wanted:
            return listed.run
    raise BootstrapError(
        f"{deployment.environment} has had no run named {wanted!r}", f"python -m bootstrap runs --environment {deployment.environment}"
    )


def list_runs(deployment: Deployment) -> list[Listed]:
    """All runs of the application, the latest first. The service's own order is not documented."""
    with foreseen(f"listing runs of {deployment.environment}"):
        pages = client("emr-serverless", region=deployment.region).get_paginator("list_job_runs")
        found = [each for page in pages.paginate(applicationId=deployment.application_id) for each in page["jobRuns"]]
    runs = [Listed(Run(deployment, each["id"]), each.get("name", ""), each["createdAt"]) for each in found]
    return sorted(runs, key=lambda each: each.created, reverse=True)


def look(run: Run) -> Seen:
    """What becomes of the run."""
    with foreseen(f"looking at run {run.id}"):
        said = client("emr-serverless", region=run.deployment.region).get_job_run(
            applicationId=run.deployment.application_id, jobRunId=run.id
        )
    return _seen(run, said["jobRun"])


def _seen(run: Run, said: Mapping[str, Any]) -> Seen:
    submit = said["jobDriver"].get("sparkSubmit", {})
    return Seen(
        run=run,
        name=said.get("name", ""),
        state=said["state"],
        details=_details(said),
        created=said["createdAt"],
        started=said.get("startedAt"),
        ended=said.get("endedAt"),
        properties=_properties(submit.get("sparkSubmitParameters", "")),
        results=next(iter(locations_in(values_of(submit.get("entryPointArguments", []), "--results")[-1:])), None),
        billed=_billed(said) if said["state"] in ENDS else None,
        attempt=said.get("attempt", 1),
        tried=said.get("attemptCreatedAt", said["createdAt"]),
    )


def _details(said: Mapping[str, Any]) -> str:
    return " ".join(str(said.get("stateDetails") or "").split())


def attempts_before(seen: Seen) -> tuple[Attempt, ...]:
    """The attempts that failed before the one that was seen, the first one first."""
    if seen.attempt == 1:
        return ()
    with foreseen(f"listing attempts of run {seen.run.id}"):
        pages = client("emr-serverless", region=seen.run.deployment.region).get_paginator("list_job_run_attempts")
        paged = pages.paginate(applicationId=seen.run.deployment.application_id, jobRunId=seen.run.id)
        found = [Attempt(each["attempt"], each["state"], _details(each)) for page in paged for each in page["jobRunAttempts"]]
    return tuple(sorted((each for each in found if each.number < seen.attempt), key=lambda each: each.number))


def _billed(said: Mapping[str, Any]) -> Usage | None:
    """None before the service has added it up."""
    utilisation = said.get("billedResourceUtilization", {})
    usage = Usage(*(float(utilisation.get(name, 0)) for name in ("vCPUHour", "memoryGBHour", "storageGBHour")))
    return usage if usage.vcpu_hours else None


def _properties(parameters: str) -> dict[str, str]:
    """Those that --conf flags set."""
    confs = [word.partition("=") for word in values_of(parameters.split(), "--conf")]
    return {name: value for name, _, value in confs}


def cancel(run: Run) -> None:
    with foreseen(f"cancelling run {run.id}"):
        client("emr-serverless", region=run.deployment.region).cancel_job_run(applicationId=run.deployment.application_id, jobRunId=run.id)


def architecture_of(deployment: Deployment) -> Architecture:
    """Of the workers."""
    with foreseen(f"looking at application {deployment.application_id}"):
        said = client("emr-serverless", region=deployment.region).get_application(applicationId=deployment.application_id)
    return "arm64" if said["application"].get("architecture") == "ARM64" else "x86_64"
