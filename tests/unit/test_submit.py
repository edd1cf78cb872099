"""Submitting and following runs, against moto's AWS in this process. No socket is opened."""

from __future__ import annotations

import json
import os
import shlex
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import botocore.client
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws
from moto.core import DEFAULT_ACCOUNT_ID
from moto.emrserverless.models import emrserverless_backends

from bootstrap import submit
from bootstrap.cli import main
from bootstrap.errors import BootstrapError, UsageError
from bootstrap.submit import Order, Run, find_deployment, follow, request_of, start, token_of
from job.submission import Deployment, parameter_name

REGION = "eu-west-1"
ARGV = ["submit", "--environment", "dev", "--results", "first", "--region", REGION]


@pytest.fixture(autouse=True)
def no_way_to_aws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nobody's credentials, and no connection to anywhere."""

    def refuse(_socket: socket.socket, address: Any) -> None:
        raise AssertionError(f"a test wants to talk to {address}")

    for name in [
        name for name in os.environ if name.startswith("AWS_")
    ]:  # an endpoint of this machine, too, which moto would not answer for
        monkeypatch.delenv(name)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    with mock_aws():
        yield


@pytest.fixture
def deployment(aws: None) -> Deployment:  # noqa: ARG001
    """An application, and the parameter that the stack would write."""
    application = boto3.client("emr-serverless", REGION).create_application(name="verger-dev", releaseLabel="emr-7.14.0", type="SPARK")
    bucket = "verger-dev"
    deployed = Deployment(
        environment="dev",
        region=REGION,
        application_id=application["applicationId"],
        job_role_arn=f"arn:aws:iam::{DEFAULT_ACCOUNT_ID}:role/job",
        bucket=bucket,
        entry_point=f"s3://{bucket}/entry.py",
        job_package=f"s3://{bucket}/job.zip",
        model=f"s3://{bucket}/model.zip",
        environment_archive=f"s3://{bucket}/environment.tar.gz",
        timeout_minutes=60,
        spark={"spark.executor.cores": "4"},
    )
    boto3.client("ssm", REGION).put_parameter(Name=parameter_name("dev"), Value=deployed.to_json(), Type="String")
    return deployed


def runs(deployment: Deployment) -> list[Any]:
    return list(emrserverless_backends[DEFAULT_ACCOUNT_ID][REGION].job_runs.get(deployment.application_id, []))


def submitted(deployment: Deployment) -> Run:
    """A run that has just been started; moto's have succeeded by then."""
    run = start(Order("dev", "first"), deployment)
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
    def call(_client: Any, operation: str, _parameters: Any) -> Any:
        raise ClientError({"Error": {"Code": code, "Message": "as AWS\nputs it"}}, operation)

    return call


def test_a_run_is_what_was_deployed_and_its_id_is_all_that_stdout_gets(deployment: Deployment, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*ARGV, "--", "--components", "50"]) == 0
    (run,) = runs(deployment)
    assert capsys.readouterr().out == f"{run.id}\n"
    assert run.execution_role_arn == deployment.job_role_arn
    spark = run.job_driver["sparkSubmit"]
    assert spark["entryPointArguments"][-2:] == ["--components", "50"]
    assert "s3://verger-dev/results/first/" in spark["entryPointArguments"]
    assert f"spark.submit.pyFiles={deployment.job_package}" in spark["sparkSubmitParameters"]


def test_a_repeat_asks_for_the_same_run_and_again_for_another(deployment: Deployment) -> None:
    assert main(ARGV) == main(ARGV) == main([*ARGV, "--again"]) == main([*ARGV, "--again"]) == 0
    tokens = [run.client_token for run in runs(deployment)]
    assert tokens[0] == tokens[1]
    assert len(set(tokens)) == 3


@pytest.mark.parametrize("changed", [Order("dev", "second"), Order("dev", "first", ("--components", "50"))])
def test_another_order_is_another_run(deployment: Deployment, changed: Order) -> None:
    assert token_of(request_of(changed, deployment)) != token_of(request_of(Order("dev", "first"), deployment))


def test_a_token_is_one_that_the_service_takes(deployment: Deployment) -> None:
    model = boto3.client("emr-serverless", REGION).meta.service_model.shape_for("ClientToken")
    assert len(token_of(request_of(Order("dev", "first"), deployment))) <= model.metadata["max"]


def test_following_says_each_state_once_and_ends_with_the_run(deployment: Deployment, capsys: pytest.CaptureFixture[str]) -> None:
    run = submitted(deployment)
    follow(run, sleep=becoming(deployment, "PENDING", "RUNNING", "RUNNING", "QUEUED", "SUCCESS"))
    said = [line.split()[1] for line in capsys.readouterr().err.splitlines()]
    assert said == ["SUBMITTED", "PENDING", "RUNNING", "QUEUED", "SUCCESS"]


@pytest.mark.parametrize("end", ["FAILED", "CANCELLED"])
def test_a_run_that_ends_badly_fails_with_its_reason_on_one_line_and_where_its_logs_are(deployment: Deployment, end: str) -> None:
    run = submitted(deployment)
    with pytest.raises(BootstrapError, match=f"run {run.id} {end}: out of memory") as failed:
        follow(run, sleep=becoming(deployment, "CANCELLING", end, details="out\nof memory"))
    assert failed.value.exit_code == 1
    assert f"s3://verger-dev/logs/applications/{deployment.application_id}/jobs/{run.id}/" in failed.value.hint


def test_an_interrupt_leaves_the_run_going_and_says_how_to_cancel_it(deployment: Deployment, capsys: pytest.CaptureFixture[str]) -> None:
    run = submitted(deployment)

    def interrupted(_seconds: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        follow(run, sleep=interrupted)
    assert run.cancel in capsys.readouterr().err
    assert runs(deployment)[-1].state != "CANCELLED"


@pytest.mark.usefixtures("deployment")
def test_waiting_gives_the_exit_code_of_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    ends = iter(["SUCCESS", "FAILED"])

    def started(order: Order, deployment: Deployment) -> Run:
        run = start(order, deployment)
        runs(deployment)[-1].state = next(ends)
        return run

    monkeypatch.setattr(submit, "start", started)
    assert [main([*ARGV, "--wait"]), main([*ARGV, "--wait"])] == [0, 1]


def test_a_dry_run_starts_nothing_and_prints_the_command(deployment: Deployment, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*ARGV, "--dry-run", "--", "--components", "50"]) == 0
    words = shlex.split(capsys.readouterr().out)
    assert words[:3] == ["aws", "emr-serverless", "start-job-run"]
    driver = json.loads(words[words.index("--job-driver") + 1])
    assert driver == request_of(Order("dev", "first", ("--components", "50")), deployment)["jobDriver"]
    assert not runs(deployment)


@pytest.mark.usefixtures("aws")
@pytest.mark.parametrize(
    ("code", "hint"),
    [
        ("AccessDeniedException", "permission"),
        ("ParameterNotFound", "deploy"),
        ("ThrottlingException", "try again"),
        ("ExpiredTokenException", "new ones"),
        ("UnrecognizedClientException", "profile"),
        ("SomethingNew", None),
    ],
)
def test_what_aws_refuses_is_one_line_and_a_hint(
    code: str, hint: str | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(botocore.client.BaseClient, "_make_api_call", refusing(code))
    assert main(ARGV) == 1
    problem, *hints = capsys.readouterr().err.splitlines()
    assert problem == f"error: reading /verger/dev/deployment: {code}: as AWS puts it"
    assert len(hints) == (hint is not None)
    assert hint is None or hint in hints[0]


@pytest.mark.usefixtures("aws")
def test_an_environment_that_is_not_deployed_here_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(ARGV) == 1
    assert capsys.readouterr().err.splitlines()[1] == "hint: deploy the environment first, or name the region that it is in with --region"


@pytest.mark.usefixtures("deployment")
def test_an_application_that_is_gone_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    emrserverless_backends[DEFAULT_ACCOUNT_ID][REGION].applications.clear()
    assert main(ARGV) == 1
    problem, hint = capsys.readouterr().err.splitlines()
    assert problem.startswith("error: starting first: ResourceNotFoundException")
    assert hint.startswith("hint: ")


@pytest.mark.parametrize(("argv", "said"), [(ARGV, "no AWS credentials"), (ARGV[:5], "no region")])
def test_without_credentials_or_region_one_line_says_so(argv: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 1
    problem, hint = capsys.readouterr().err.splitlines()
    assert problem.startswith("error: ")
    assert said in problem
    assert hint.startswith("hint: ")


@pytest.mark.usefixtures("aws")
def test_a_parameter_of_another_version_is_one_line() -> None:
    boto3.client("ssm", REGION).put_parameter(Name=parameter_name("dev"), Value='{"bucket": "b"}', Type="String")
    with pytest.raises(BootstrapError, match=r"/verger/dev/deployment: .*eployment has the fields"):
        find_deployment("dev", region=REGION)


@pytest.mark.parametrize(("environment", "results"), [("Dev", "first"), ("../prod", "first"), ("dev", ""), ("dev", "a/b"), ("dev", "a b")])
def test_a_name_that_cannot_be_is_refused_before_anything_is_asked(environment: str, results: str) -> None:
    with pytest.raises(UsageError, match="--environment" if environment != "dev" else "--results"):
        Order(environment, results)


def test_losing_aws_while_following_says_that_the_run_goes_on(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(deployment, "00abc")
    monkeypatch.setattr(botocore.client.BaseClient, "_make_api_call", refusing("ExpiredTokenException"))
    with pytest.raises(BootstrapError, match="following run 00abc, which goes on: ExpiredTokenException"):
        follow(run)
