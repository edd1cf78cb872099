"""A deployed environment in moto's AWS, and what is done to runs there: moto's have succeeded as soon as they are started."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import boto3
import botocore.client
import pytest
from botocore.exceptions import ClientError
from moto.core import DEFAULT_ACCOUNT_ID
from moto.emrserverless.models import emrserverless_backends

from bootstrap.run import Run
from bootstrap.submit import Order, start
from job.submission import Deployment

REGION = "us-east-1"
BUCKET = "verger-dev"
HERE = ("--environment", "dev", "--region", REGION)
SPARK = {
    "spark.driver.cores": "2",
    "spark.driver.memory": "7g",
    "spark.driver.memoryOverhead": "1g",
    "spark.emr-serverless.driver.disk": "20G",
    "spark.executor.cores": "4",
    "spark.executor.memory": "7g",
    "spark.executor.memoryOverhead": "1g",
    "spark.emr-serverless.executor.disk": "20G",
    "spark.dynamicAllocation.maxExecutors": "3",
}


def runs(deployment: Deployment) -> list[Any]:
    """As moto has them."""
    return list(emrserverless_backends[DEFAULT_ACCOUNT_ID][REGION].job_runs.get(deployment.application_id, []))


def submitted(deployment: Deployment, name: str = "first") -> Run:
    """A run that has just been started."""
    run = start(Order("dev", name), deployment)
    runs(deployment)[-1].state = "SUBMITTED"
    return run


def becoming(deployment: Deployment, *states: str, details: str = "") -> Callable[[float], None]:
    """A sleep during which the newest run comes into the next of `states`."""
    coming = iter(states)

    def sleep(_seconds: float) -> None:
        runs(deployment)[-1].state = next(coming)
        runs(deployment)[-1].state_details = details

    return sleep


def refusing(code: str) -> Callable[..., Any]:
    """What answers every request with an error."""

    def call(_client: Any, operation: str, _parameters: Any) -> Any:
        raise ClientError({"Error": {"Code": code, "Message": "as AWS\nputs it"}}, operation)

    return call


def refusing_at_first(monkeypatch: pytest.MonkeyPatch, code: str, *, times: int) -> None:
    """Has the next requests fail, and those after them not."""
    answer, left = botocore.client.BaseClient._make_api_call, iter(range(times))

    def call(client: Any, operation: str, parameters: Any) -> Any:
        if next(left, None) is not None:
            return refusing(code)(client, operation, parameters)
        return answer(client, operation, parameters)

    monkeypatch.setattr(botocore.client.BaseClient, "_make_api_call", call)


def asked(monkeypatch: pytest.MonkeyPatch, wanted: str) -> list[Any]:
    """The parameters of each request of an operation from now on, as they are made."""
    answer, requests = botocore.client.BaseClient._make_api_call, list[Any]()

    def call(client: Any, operation: str, parameters: Any) -> Any:
        if operation == wanted:
            requests.append(parameters)
        return answer(client, operation, parameters)

    monkeypatch.setattr(botocore.client.BaseClient, "_make_api_call", call)
    return requests


def saying(monkeypatch: pytest.MonkeyPatch, what: str, **more: Any) -> None:
    """Has an answer's "jobRun" or "application" say what moto does not."""
    answer = botocore.client.BaseClient._make_api_call

    def call(client: Any, operation: str, parameters: Any) -> Any:
        said = answer(client, operation, parameters)
        if what in said and operation.startswith("Get"):
            said[what] |= more
        return said

    monkeypatch.setattr(botocore.client.BaseClient, "_make_api_call", call)


def retried(monkeypatch: pytest.MonkeyPatch, *failures: str, now: datetime | None = None) -> None:
    """Has the service say that attempts failed, each for a reason, and that another one was made just now. moto knows of no attempts."""
    answer = botocore.client.BaseClient._make_api_call
    attempt = {"attempt": len(failures) + 1, "attemptCreatedAt": now or datetime.now(UTC)}

    def call(client: Any, operation: str, parameters: Any) -> Any:
        if operation == "ListJobRunAttempts":
            failed = [{"attempt": number, "state": "FAILED", "stateDetails": why} for number, why in enumerate(failures, 1)]
            return {"jobRunAttempts": [{"attempt": attempt["attempt"], "state": "RUNNING"}, *failed[::-1]]}
        said = answer(client, operation, parameters)
        if operation == "GetJobRun":
            said["jobRun"] |= attempt
        return said

    monkeypatch.setattr(botocore.client.BaseClient, "_make_api_call", call)


def put(key: str, body: str | bytes | dict[str, Any]) -> None:
    data = json.dumps(body) if isinstance(body, dict) else body
    boto3.client("s3", REGION).put_object(Bucket=BUCKET, Key=key, Body=data)
