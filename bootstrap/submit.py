"""Starts a run on EMR Serverless: once, with no more permissions than it needs."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from bootstrap.aws import client, foreseen, not_of_aws
from bootstrap.errors import BootstrapError, UsageError
from bootstrap.locations import locations_in
from bootstrap.run import Run
from bootstrap.session_policy import session_policy
from job.cli import parse
from job.contract import IMAGES
from job.errors import JobError
from job.submission import ATTEMPTS, Deployment, parameter_name, run_arguments, start_job_run, values_of

ENVIRONMENT, NAME = r"[a-z][a-z0-9]{0,9}", r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}"
PLACES = ("--images", "--under", "--model")  # of the job's flags


@dataclass(frozen=True, slots=True)
class Order:
    """What to run. UsageError for names that cannot be.

    environment  a deployed one
    results      the run's name, and its folder's under results/
    arguments    further ones of the job; where they name --images, these are read and not the bucket's images/
    again        a new run even where the same one has been started before
    attempts     tries of it, where one fails
    """

    environment: str
    results: str
    arguments: tuple[str, ...] = ()
    again: bool = False
    attempts: int = ATTEMPTS

    def __post_init__(self) -> None:
        check_environment(self.environment)
        if not re.fullmatch(NAME, self.results):
            raise UsageError(f"--results {self.results!r} is no name for a run", "letters, digits, dots, dashes and underscores, up to 128")
        if values_of(self.arguments, "--results"):
            raise UsageError("--results among the job's arguments", f"results go to results/{self.results}/, by the name before --")


def check_environment(name: str) -> None:
    """UsageError for what cannot be the name of an environment."""
    if not re.fullmatch(ENVIRONMENT, name):
        raise UsageError(f"--environment {name!r} is no environment's name", "see infra/environments.toml")


def find_deployment(environment: str, *, region: str | None) -> Deployment:
    """What is deployed, by the environment's parameter. BootstrapError where that cannot be read, UsageError for no environment's name."""
    check_environment(environment)
    name = parameter_name(environment)
    with foreseen(f"reading {name}"):
        said = client("ssm", region=region).get_parameter(Name=name)
    if "Parameter" not in said:  # botocore makes that of a page with 200
        raise not_of_aws(f"reading {name}")
    try:
        return Deployment.from_json(str(said["Parameter"]["Value"]))
    except ValueError as error:
        raise BootstrapError(f"{name}: {error}", "deploy the environment again, with this version") from error


def arguments_of(order: Order, deployment: Deployment) -> list[str]:
    """The job's command line. UsageError where the job, as it is here, cannot use it: in an account, each attempt to do so is paid for."""
    arguments = run_arguments(deployment, results=order.results, further=order.arguments)
    try:
        command = parse(arguments)
    except JobError as error:
        raise UsageError(f"the job's arguments: {error}", error.hint) from error
    if command.dry_run:
        raise UsageError("the job's arguments: --dry-run would be started and billed", "before -- it starts nothing: submit --dry-run …")
    for flag in PLACES:
        _refuse_what_is_here(flag, values_of(arguments, flag), bucket=deployment.bucket)
    return arguments


def _refuse_what_is_here(flag: str, places: Sequence[str], *, bucket: str) -> None:
    for place in places:
        if not locations_in([place]):
            raise UsageError(
                f"the job's arguments: {flag} {place} is on this machine, and a run reads S3 only",
                f"stage it first: python -m bootstrap stage FOLDER s3://{bucket}/{IMAGES}/, and name it as it is there",
            )


def request_of(order: Order, deployment: Deployment) -> dict[str, Any]:
    """The StartJobRun request, without its token."""
    arguments = arguments_of(order, deployment)
    policy = {"policy": session_policy(deployment, arguments)}
    return start_job_run(deployment, arguments, name=order.results, attempts=order.attempts) | {"executionIamPolicy": policy}


def request_with_token(order: Order, deployment: Deployment) -> dict[str, Any]:
    """All of the request. By its token EMR Serverless knows it again, whoever sends it."""
    request = request_of(order, deployment)
    return request | {"clientToken": uuid.uuid4().hex if order.again else token_of(request)}


def start(order: Order, deployment: Deployment) -> Run:
    """Starts the run. The same order of the same deployment is the same run, so that a repeat does not cost twice."""
    request = request_with_token(order, deployment)
    with foreseen(f"starting {order.results}"):
        answer = client("emr-serverless", region=deployment.region).start_job_run(**request)
    return Run(deployment, answer["jobRunId"])


def token_of(request: Mapping[str, Any]) -> str:
    """What makes two requests the same run: 64 hex digits, as long as a token may be."""
    return sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()
