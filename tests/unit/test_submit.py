"""Submitting runs, against moto's AWS in this process. No socket is opened."""

from __future__ import annotations

import io
import json
import os
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import botocore.client
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from botocore.awsrequest import AWSResponse
from botocore.httpsession import URLLib3Session
from moto.core import DEFAULT_ACCOUNT_ID
from moto.emrserverless.models import emrserverless_backends

from bootstrap import follow, submit
from bootstrap.census import Census, take_census
from bootstrap.cli import main
from bootstrap.errors import BootstrapError, UsageError
from bootstrap.run import Run
from bootstrap.submit import Order, arguments_of, find_deployment, request_of, request_with_token, start, token_of
from job.submission import ATTEMPTS, Deployment, parameter_name
from tests.unit.account import BUCKET, HERE, REGION, asked, put, refusing, runs, saying

pytestmark = pytest.mark.usefixtures("no_way_to_aws")

ARGV = ["submit", *HERE, "--results", "first"]


def test_a_run_is_what_was_deployed_and_its_id_is_all_that_stdout_gets(deployment: Deployment, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*ARGV, "--", "--components", "50"]) == 0
    (run,) = runs(deployment)
    assert capsys.readouterr().out == f"{run.id}\n"
    assert run.execution_role_arn == deployment.job_role_arn
    spark = run.job_driver["sparkSubmit"]
    assert spark["entryPointArguments"][-2:] == ["--components", "50"]
    assert "s3://verger-dev/results/first/" in spark["entryPointArguments"]
    assert f"spark.submit.pyFiles={deployment.job_package}" in spark["sparkSubmitParameters"]


def test_machines_are_told_the_run_and_a_dry_runs_request_as_json(deployment: Deployment, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*ARGV, "--json", "--dry-run"]) == 0
    assert json.loads(capsys.readouterr().out) == request_with_token(Order("dev", "first"), deployment)
    assert main([*ARGV, "--json"]) == 0
    (run,) = runs(deployment)
    assert json.loads(capsys.readouterr().out) == {"run": run.id, "name": "first"}


def test_a_run_says_whose_it_is_and_how_often_it_is_tried(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    requests = asked(monkeypatch, "StartJobRun")
    assert main(ARGV) == main([*ARGV, "--attempts", "1"]) == 0
    assert [each["retryPolicy"] for each in requests] == [{"maxAttempts": ATTEMPTS}, {"maxAttempts": 1}]
    assert runs(deployment)[0].tags == {"verger:project": "verger", "verger:environment": "dev", "verger:run": "first"}


@pytest.mark.parametrize("attempts", ["0", "11", "-1", "two"])
def test_attempts_that_cannot_be_are_a_wrong_command_line(attempts: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*ARGV, f"--attempts={attempts}"]) == 2
    assert "--attempts" in capsys.readouterr().err


def test_a_repeat_asks_for_the_same_run_and_again_for_another(deployment: Deployment) -> None:
    assert main(ARGV) == main(ARGV) == main([*ARGV, "--again"]) == main([*ARGV, "--again"]) == 0
    tokens = [run.client_token for run in runs(deployment)]
    assert tokens[0] == tokens[1]
    assert len(set(tokens)) == 3


@pytest.mark.parametrize(
    "changed", [Order("dev", "second"), Order("dev", "first", ("--components", "50")), Order("dev", "first", attempts=3)]
)
def test_another_order_is_another_run(deployment: Deployment, changed: Order) -> None:
    assert token_of(request_of(changed, deployment)) != token_of(request_of(Order("dev", "first"), deployment))


def test_a_token_is_one_that_the_service_takes(deployment: Deployment) -> None:
    model = boto3.client("emr-serverless", REGION).meta.service_model.shape_for("ClientToken")
    assert len(token_of(request_of(Order("dev", "first"), deployment))) <= model.metadata["max"]


@pytest.mark.parametrize("flags", [[], ["--json"], ["--wait", "--json"]])
def test_a_run_whose_id_nobody_reads_is_named_all_the_same(
    deployment: Deployment, flags: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """To start another one would cost as much again."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        assert main([*ARGV, *flags]) == 141
    (run,) = runs(deployment)
    assert capsys.readouterr().err.startswith(
        f"note: run {run.id} goes on, and nobody reads what this prints: python -m bootstrap follow {run.id} "
    )


@pytest.mark.usefixtures("deployment")
def test_waiting_gives_the_exit_code_of_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    ends = iter(["SUCCESS", "FAILED"])

    def started(order: Order, deployment: Deployment) -> Run:
        run = start(order, deployment)
        runs(deployment)[-1].state = next(ends)
        return run

    monkeypatch.setattr(submit, "start", started)
    monkeypatch.setattr(follow, "LOG_S", 0)
    assert [main([*ARGV, "--wait"]), main([*ARGV, "--wait"])] == [0, 1]


def test_a_dry_run_starts_nothing_and_prints_the_command(deployment: Deployment, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*ARGV, "--dry-run", "--", "--components", "50"]) == 0
    words = shlex.split(capsys.readouterr().out)
    assert words[:3] == ["aws", "emr-serverless", "start-job-run"]
    driver = json.loads(words[words.index("--job-driver") + 1])
    request = request_of(Order("dev", "first", ("--components", "50")), deployment)
    assert driver == request["jobDriver"]
    assert json.loads(words[words.index("--execution-iam-policy") + 1]) == request["executionIamPolicy"]
    assert words[words.index("--client-token") + 1] == token_of(request)
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


@pytest.mark.parametrize(("argv", "said"), [(ARGV, "no AWS credentials"), ([*ARGV[:3], *ARGV[5:]], "no region")])
def test_without_credentials_or_region_one_line_says_so(argv: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 1
    problem, hint = capsys.readouterr().err.splitlines()
    assert problem.startswith("error: ")
    assert said in problem
    assert hint.startswith("hint: ")


@pytest.mark.usefixtures("deployment")
@pytest.mark.parametrize("name", ["AWS_REGION", "AWS_DEFAULT_REGION"])
def test_the_region_may_come_from_the_environment(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """boto3 alone knows the second only."""
    monkeypatch.setenv(name, REGION)
    assert find_deployment("dev", region=None).region == REGION


@pytest.mark.usefixtures("deployment")
def test_the_command_line_s_region_comes_before_the_environment_s(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    assert find_deployment("dev", region=REGION).region == REGION


def test_a_profile_that_is_not_there_is_named_and_where_its_name_comes_from(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    assert main(ARGV) == 1
    problem, hint = capsys.readouterr().err.splitlines()
    assert "(nobody) could not be found" in problem
    assert "AWS_PROFILE" in hint


@pytest.mark.parametrize(
    ("written", "said", "hint"),
    [
        ("[default]\naws_access_key_id = a\n", "missing: aws_secret_access_key", "go together"),
        ("[default\nfoo\n", "Unable to parse config file", "mend that file"),
    ],
)
@pytest.mark.parametrize("region", [["--region", REGION], []])
def test_credentials_in_a_file_that_is_broken_are_not_taken_for_the_network_nor_for_the_region(
    written: str,
    said: str,
    hint: str,
    region: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "credentials").write_text(written)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    assert main(["runs", "--environment", "dev", *region]) == 1
    problem, what_to_do = capsys.readouterr().err.splitlines()
    assert said in problem
    assert hint in what_to_do
    assert main(["doctor", "--environment", "dev", *region, "--json"]) == 1
    findings = json.loads(capsys.readouterr().out)["findings"]
    assert findings["credentials"]["state"] == "fail"
    assert said in findings["credentials"]["found"]
    assert findings["region"]["state"] == "warn"


@pytest.fixture
def somebody(no_way_to_aws: None, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ARG001  asked for what it refuses
    """Credentials, and no AWS, nor moto's."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)


@pytest.mark.usefixtures("somebody")
@pytest.mark.parametrize("argv", [ARGV, ["stage", "docs", "s3://bucket/images/"]])
def test_an_endpoint_without_its_scheme_is_one_line(
    argv: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "localhost:4566")
    assert main(argv) == 1
    assert capsys.readouterr().err.splitlines()[-2:] == [
        "error: Invalid endpoint: localhost:4566",
        "hint: AWS_ENDPOINT_URL begins with https:// or http://",
    ]


class Page:
    """A body of HTML, as urllib3 has it."""

    def stream(self, **_: Any) -> Iterator[bytes]:
        yield b"<html><body>Please log in<br></body></html>"


@pytest.mark.usefixtures("somebody")
@pytest.mark.parametrize("argv", [["runs", *HERE], ["doctor", *HERE]])
def test_a_page_that_a_proxy_answers_with_is_one_line(
    argv: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(URLLib3Session, "send", lambda _, request: AWSResponse(request.url, 200, {"Content-Type": "text/html"}, Page()))
    assert main(argv) == 1
    said = capsys.readouterr()
    assert "the answer is none of AWS'" in said.out + said.err
    assert "does a proxy ask for a login" in said.out + said.err
    assert "html" not in said.out + said.err


@pytest.mark.usefixtures("aws")
def test_a_parameter_of_another_version_is_one_line() -> None:
    boto3.client("ssm", REGION).put_parameter(Name=parameter_name("dev"), Value='{"bucket": "b"}', Type="String")
    with pytest.raises(BootstrapError, match=r"/verger/dev/deployment: .*eployment has the fields"):
        find_deployment("dev", region=REGION)


@pytest.mark.parametrize(("environment", "results"), [("Dev", "first"), ("../prod", "first"), ("dev", ""), ("dev", "a/b"), ("dev", "a b")])
def test_a_name_that_cannot_be_is_refused_before_anything_is_asked(environment: str, results: str) -> None:
    with pytest.raises(UsageError, match="--environment" if environment != "dev" else "--results"):
        Order(environment, results)


@pytest.mark.parametrize("environment", ["Dev", "../prod", ""])
@pytest.mark.parametrize("verb", ["submit --results first", "follow first", "fetch first out", "cost first", "runs"])
def test_an_environment_that_cannot_be_is_a_wrong_command_line(environment: str, verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*verb.split(), "--environment", environment]) == 2
    assert "--environment" in capsys.readouterr().err


def test_results_have_one_name() -> None:
    with pytest.raises(UsageError, match="--results among"):
        Order("dev", "first", ("--results=s3://elsewhere/",))


@pytest.mark.parametrize(
    ("further", "said"),
    [
        (["--componets", "50"], "unrecognized arguments: --componets 50"),
        (["--components", "many"], "'many'"),
        (["--freeze-model", "--standardize"], "--freeze-model"),
        (["photos/"], "unrecognized arguments: photos/"),
    ],
)
def test_what_the_job_would_refuse_is_refused_before_it_is_paid_for(
    deployment: Deployment, further: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*ARGV, "--", *further]) == main([*ARGV, "--dry-run", "--", *further]) == 2
    problem, hint = capsys.readouterr().err.splitlines()[:2]
    assert problem.startswith("error: the job's arguments: ")
    assert said in problem
    assert hint.startswith("hint: ")
    assert not runs(deployment)


@pytest.mark.parametrize(
    "further",
    [
        ["--images", "photos/"],
        ["--images=file:///photos"],
        ["--images", "s3://verger-dev/lists/all.parquet", "--under", "/photos"],
        ["--model", "build/model/model.tflite"],
    ],
)
@pytest.mark.parametrize("flags", [[], ["--dry-run"], ["--max-cost", "1"]])
def test_what_lies_on_this_machine_is_refused_as_no_run_would_find_it(
    deployment: Deployment, flags: list[str], further: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*ARGV, *flags, "--", *further]) == 2
    problem, hint = capsys.readouterr().err.splitlines()
    named = " ".join(further[-2:]).replace("=", " ")
    assert problem == f"error: the job's arguments: {named} is on this machine, and a run reads S3 only"
    assert hint.startswith("hint: stage it first: ")
    assert not runs(deployment)


def test_a_dry_run_of_the_job_is_not_paid_for(deployment: Deployment, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*ARGV, "--", "--dry-run"]) == 2
    assert capsys.readouterr().err.splitlines()[1] == "hint: before -- it starts nothing: submit --dry-run …"
    assert not runs(deployment)


# --- --max-cost -----------------------------------------------------------------------------------------------------


def test_a_run_that_is_estimated_to_cost_more_is_not_started(deployment: Deployment, capsys: pytest.CaptureFixture[str]) -> None:
    put("images/a/1.jpg", b"x" * 5000)
    assert main([*ARGV, "--max-cost", "0.001"]) == 1
    problem, hint = capsys.readouterr().err.splitlines()
    assert "above --max-cost 0.001" in problem
    assert hint.startswith("hint: python -m bootstrap estimate --images 1 ")
    assert not runs(deployment)


def test_a_run_that_may_be_paid_for_is_started_and_ends_when_the_money_does(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    saying(monkeypatch, "application", architecture="ARM64")
    put("images/a/1.jpg", b"x" * 5000)
    assert main([*ARGV, "--max-cost", "0.5"]) == main([*ARGV, "--max-cost", "1000", "--again"]) == 0
    short, long = (run.execution_timeout_minutes for run in runs(deployment))
    # 14 vCPUs and 32 GB on arm64 cost 0.737 USD an hour: half a dollar pays them for 40 minutes
    assert short == 40
    assert long == deployment.timeout_minutes


@pytest.mark.usefixtures("deployment")
def test_the_money_is_for_all_attempts(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    saying(monkeypatch, "application", architecture="ARM64")
    put("images/a/1.jpg", b"x" * 5000)
    requests = asked(monkeypatch, "StartJobRun")
    assert main([*ARGV, "--max-cost", "0.5"]) == main([*ARGV, "--max-cost", "0.5", "--attempts", "4"]) == 0
    assert [each["retryPolicy"]["maxAttempts"] for each in requests] == [1, 4]
    once, each_of_four = (each["executionTimeoutMinutes"] for each in requests)
    assert once / 2 < 4 * each_of_four <= once == 40
    assert main([*ARGV, "--max-cost", "0.05", "--attempts", "10"]) == 1
    assert "above --max-cost 0.05 for 10 attempts" in capsys.readouterr().err
    assert len(requests) == 2


def test_images_are_counted_where_the_run_reads_them_and_up_to_its_limit(deployment: Deployment) -> None:
    for number in range(3):
        put(f"images/{number}.jpg", b"x" * 100)
        put(f"more/{number}.jpg", b"x" * 200)
    put("more/folder/", b"")
    put("more/.DS_Store", b"hidden")
    counted = [
        list(take_census(arguments_of(Order("dev", "first", tuple(further)), deployment)))[-1]
        for further in ([], ["--images", "s3://verger-dev/more/"], ["--images=s3://verger-dev/more", "--images", "s3a://verger-dev/images"],
                        ["--limit", "2"], ["--include", "1.*"])
    ]  # fmt: skip
    assert counted == [Census(3, 100), Census(3, 200), Census(6, 150), Census(2, 100), Census(1, 100)]


def test_the_images_of_a_list_are_counted_and_one_that_says_no_sizes_has_no_cost(
    deployment: Deployment, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [f"s3://{BUCKET}/raw/{number}.jpg" for number in range(1500)]
    for name, columns in (("sized", {"path": paths, "size": [5_000] * 1500}), ("bare", {"path": paths})):
        sink = io.BytesIO()
        pq.write_table(pa.table(columns), sink)
        put(f"lists/{name}.parquet", sink.getvalue())
    run = [*ARGV, "--max-cost", "0.001", "--", "--images"]
    assert main([*run, f"s3://{BUCKET}/lists/sized.parquet"]) == 1
    assert "over these 1,000 images or more costs about" in capsys.readouterr().err, "it stops where it knows"
    assert main([*run, f"s3://{BUCKET}/lists/bare.parquet"]) == 1
    assert "does not say how large its images are" in capsys.readouterr().err
    assert not runs(deployment)


@pytest.mark.usefixtures("deployment")
def test_an_estimate_of_images_in_s3_is_that_of_their_number_and_size(capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(3):
        put(f"images/apple/{number}.jpg", b"x" * 7_000)
    put("images/notes.txt", b"x")
    said = []
    for images in (["--images", f"s3://{BUCKET}/images/", "--include", "*.jpg"], ["--images", "3", "--image-bytes", "7000"]):
        assert main(["estimate", *images, "--json"]) == 0
        said.append(json.loads(capsys.readouterr().out))
    assert said[0] == said[1]
    assert said[0]["work"]["images"] == 3
    assert main(["estimate", "--images", "s3://no-such-bucket/images"]) == 1
    assert "there is no such bucket" in capsys.readouterr().err


@pytest.mark.usefixtures("deployment")
@pytest.mark.parametrize(
    ("further", "said"),
    [([], "no images"), (["--", "--images", "s3://verger-dev/images/manifest.parquet"], "manifest.parquet")],
)
def test_what_cannot_be_estimated_is_not_started(further: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*ARGV, "--max-cost", "1", *further]) == 1
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("limit", ["many", "0", "-1", "2.5"])
def test_a_limit_that_is_none_is_a_wrong_command_line(deployment: Deployment, limit: str, capsys: pytest.CaptureFixture[str]) -> None:
    put("images/1.jpg", b"x" * 100)
    assert main([*ARGV, "--max-cost", "1", "--", f"--limit={limit}"]) == 2
    assert f"{limit!r} is no" in capsys.readouterr().err
    assert not runs(deployment)


@pytest.mark.usefixtures("no_way_to_aws")
@pytest.mark.parametrize("usd", ["0", "-1", "nan", "inf", "much"])
def test_a_cost_that_is_none_is_a_wrong_command_line(usd: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*ARGV, f"--max-cost={usd}"]) == 2
    assert "--max-cost" in capsys.readouterr().err
