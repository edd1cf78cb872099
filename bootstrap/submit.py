"""Starts a run on EMR Serverless, and follows it to its end."""

from __future__ import annotations

import json
import re
import sys
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from bootstrap.aws import client, foreseen
from bootstrap.errors import BootstrapError, UsageError
from job.contract import LOGS
from job.submission import Deployment, parameter_name, run_arguments, start_job_run

POLL_SECONDS = 5
SUCCESS = "SUCCESS"
ENDS = (SUCCESS, "FAILED", "CANCELLED")
ENVIRONMENT, NAME = r"[a-z][a-z0-9]{0,9}", r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}"


@dataclass(frozen=True, slots=True)
class Order:
    """What to run. UsageError for names that cannot be.

    environment  a deployed one
    results      the run's name, and its folder's under results/
    arguments    further ones of the job; where they name --images, these are read and not the bucket's images/
    again        a new run even where the same one has been started before
    """

    environment: str
    results: str
    arguments: tuple[str, ...] = ()
    again: bool = False

    def __post_init__(self) -> None:
        check_environment(self.environment)
        if not re.fullmatch(NAME, self.results):
            raise UsageError(f"--results {self.results!r} is no name for a run", "letters, digits, dots, dashes and underscores, up to 128")


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
    def logs(self) -> str:
        """The folder that its logs arrive in, minutes after they are written."""
        return f"s3://{self.deployment.bucket}/{LOGS}/applications/{self.deployment.application_id}/jobs/{self.id}/"


def check_environment(name: str) -> None:
    """UsageError for what cannot be the name of an environment."""
    if not re.fullmatch(ENVIRONMENT, name):
        raise UsageError(f"--environment {name!r} is no environment's name", "see infra/environments.toml")


def find_deployment(environment: str, *, region: str | None) -> Deployment:
    """What is deployed, by the environment's parameter. BootstrapError where that cannot be read."""
    name = parameter_name(environment)
    with foreseen(f"reading {name}"):
        text = str(client("ssm", region=region).get_parameter(Name=name)["Parameter"]["Value"])
    try:
        return Deployment.from_json(text)
    except ValueError as error:
        raise BootstrapError(f"{name}: {error}", "deploy the environment again, with this version") from error


def request_of(order: Order, deployment: Deployment) -> dict[str, Any]:
    """The StartJobRun request, without its token."""
    return start_job_run(deployment, run_arguments(deployment, results=order.results, further=order.arguments), name=order.results)


def start(order: Order, deployment: Deployment) -> Run:
    """Starts the run. The same order of the same deployment is the same run, so that a repeat does not cost twice."""
    request = request_of(order, deployment)
    with foreseen(f"starting {order.results}"):
        emr = client("emr-serverless", region=deployment.region)
        answer = emr.start_job_run(clientToken=uuid.uuid4().hex if order.again else token_of(request), **request)
    return Run(deployment, answer["jobRunId"])


def token_of(request: Mapping[str, Any]) -> str:
    """What makes two requests the same run: 64 hex digits, as long as a token may be."""
    return sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()


def follow(run: Run, *, sleep: Callable[[float], None] = time.sleep) -> None:
    """Says on stderr what becomes of the run, until it ends. BootstrapError where that is not success."""
    try:
        with foreseen(f"following run {run.id}, which goes on"):
            end = _watch(run, sleep)
    except KeyboardInterrupt:
        print(f"note: run {run.id} goes on; to cancel it: {run.cancel}", file=sys.stderr)
        raise
    if end["state"] != SUCCESS:
        reason = " ".join(str(end.get("stateDetails") or "EMR Serverless gives no reason").split())
        raise BootstrapError(f"run {run.id} {end['state']}: {reason}", f"its logs: {run.logs}; --again runs it once more")


def _watch(run: Run, sleep: Callable[[float], None]) -> Mapping[str, Any]:
    emr, state = client("emr-serverless", region=run.deployment.region), ""
    while True:
        seen: Mapping[str, Any] = emr.get_job_run(applicationId=run.deployment.application_id, jobRunId=run.id)["jobRun"]
        if seen["state"] != state:
            state = seen["state"]
            print(f"{time.strftime('%H:%M:%S')} {state}", file=sys.stderr, flush=True)
        if state in ENDS:
            return seen
        sleep(POLL_SECONDS)
