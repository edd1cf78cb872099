"""How hypothesis runs here: seeded, so that a failure repeats, and with no deadline, since the cores are shared. And moto's AWS."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from hypothesis import settings
from moto import mock_aws
from moto.core import DEFAULT_ACCOUNT_ID

from job.submission import Deployment, parameter_name
from tests.s3 import forget
from tests.unit.account import BUCKET, REGION, SPARK

settings.register_profile("verger", derandomize=True, deadline=None, max_examples=50, database=None)
settings.load_profile("verger")


@pytest.fixture
def no_way_to_aws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nobody's credentials, and no connection to anywhere."""

    def refuse(_socket: socket.socket, address: Any) -> None:
        raise AssertionError(f"a test wants to talk to {address}")

    for name in [name for name in os.environ if name.startswith("AWS_")]:  # an endpoint here, too, which moto would not answer for
        monkeypatch.delenv(name)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture
def aws(no_way_to_aws: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:  # noqa: ARG001  asked for its patches
    """moto's, in this process."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    with mock_aws():
        forget()  # of the job's clients, that they may be made of others' credentials
        yield
    forget()


@pytest.fixture
def deployment(aws: None) -> Deployment:  # noqa: ARG001
    """An application, a bucket, and the parameter that the stack would write."""
    made = boto3.client("emr-serverless", REGION).create_application(name="verger-dev", releaseLabel="emr-7.14.0", type="SPARK")
    boto3.client("s3", REGION).create_bucket(Bucket=BUCKET)
    deployed = Deployment(
        environment="dev",
        region=REGION,
        application_id=made["applicationId"],
        job_role_arn=f"arn:aws:iam::{DEFAULT_ACCOUNT_ID}:role/job",
        bucket=BUCKET,
        entry_point=f"s3://{BUCKET}/entry.py",
        job_package=f"s3://{BUCKET}/job.zip",
        model=f"s3://{BUCKET}/model.zip",
        environment_archive=f"s3://{BUCKET}/environment.tar.gz",
        timeout_minutes=60,
        spark=SPARK,
    )
    boto3.client("ssm", REGION).put_parameter(Name=parameter_name("dev"), Value=deployed.to_json(), Type="String")
    return deployed
