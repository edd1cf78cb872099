"""What an operator types for a run, from submit to fetch, against the stand-in; and that a run is kept to its own prefixes."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from botocore.exceptions import ClientError

from bootstrap.pictures import make_pictures
from bootstrap.submit import Order, request_of
from job.pace import Pace
from tests.cloud.account import ENDS, Account
from tests.conftest import REPOSITORY

WAIT_S = 120


@pytest.fixture(scope="module")
def account(deployed: Account, tmp_path_factory: pytest.TempPathFactory) -> Account:
    """dev with a few images in its bucket, of which some are broken."""
    pictures = tmp_path_factory.mktemp("images") / "pictures"
    make_pictures(pictures, count=3)
    for file in pictures.rglob("*.*"):
        if not file.name.startswith("."):
            deployed.put(f"images/{file.relative_to(pictures).as_posix()}", file.read_bytes())
    return deployed


def operate(account: Account, verb: str, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    """A command, which ends with `code`."""
    split = arguments.index("--") if "--" in arguments else len(arguments)
    command = [sys.executable, "-m", "bootstrap", verb, "--environment", "dev", *arguments[:split], *arguments[split:]]
    done = subprocess.run(command, cwd=REPOSITORY, env=account.aws.environment, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    return done


def test_a_run_is_submitted_followed_listed_paid_for_and_fetched(account: Account, tmp_path: Path) -> None:
    run_id = operate(account, "submit", "--results", "one", "--max-cost", "1").stdout.strip()
    assert operate(account, "submit", "--results", "one", "--max-cost", "1").stdout.strip() == run_id, "a repeat is the same run"
    pace = _told(account, "results/one/.verger/progress.json")
    followed = [json.loads(line) for line in operate(account, "follow", run_id, "--json").stdout.splitlines()]
    assert followed[-1]["state"] == "SUCCESS"
    assert followed[-1]["images"] == pace.images > followed[-1]["faults"] > 0

    listed = json.loads(operate(account, "runs", "--json").stdout)
    assert listed[0] == followed[-1]
    assert run_id in operate(account, "runs").stdout
    assert json.loads(operate(account, "cost", "one", "--json").stdout)["usd"] == pytest.approx(listed[0]["usd"])

    operate(account, "fetch", "one", str(tmp_path / "out"))
    rows = {name: pq.read_table(tmp_path / "out" / name).num_rows for name in ("features", "faults", "projections")}
    assert rows["features"] + rows["faults"] == pace.images
    assert rows["projections"] == rows["features"]
    assert "is not empty" in operate(account, "fetch", "one", str(tmp_path / "out"), code=1).stderr


def test_a_run_that_fails_ends_the_follower_with_the_job_s_own_reason(account: Account) -> None:
    failed = operate(account, "submit", "--results", "two", "--wait", "--", "--components", "500", code=1)
    _, problem, hint, *lines = failed.stderr[failed.stderr.index("error: ") - 1 :].splitlines()
    assert problem.startswith("error: run ")
    assert "FAILED in attempt 2: " in problem
    assert "500 components" in problem
    assert "--components" in hint
    assert any("500 components" in line for line in lines)


def test_a_run_that_is_cancelled_ends_its_follower(account: Account) -> None:
    run_id = operate(account, "submit", "--results", "three").stdout.strip()
    account.aws.client("emr-serverless").cancel_job_run(
        applicationId=account.deployment().application_id, jobRunId=run_id, shutdownGracePeriodInSeconds=0
    )
    assert f"run {run_id} CANCELLED" in operate(account, "follow", "three", code=1).stderr


def test_ctrl_c_on_a_terminal_leaves_the_run_or_cancels_it_as_who_follows_it_wants(account: Account) -> None:
    run_id = operate(account, "submit", "--results", "interrupted").stdout.strip()
    code, said = interrupted(account, run_id, answer="\n")
    assert code == 130, said
    assert f"note: run {run_id} goes on; to cancel it: aws emr-serverless cancel-job-run" in said
    assert account.run(run_id)["state"] not in (*ENDS, "CANCELLING")

    code, said = interrupted(account, run_id, answer="c\n")
    assert code == 1, said
    assert f"error: run {run_id} CANCELLED" in said
    assert account.run(run_id)["state"] == "CANCELLED"


def interrupted(account: Account, run_id: str, *, answer: str) -> tuple[int, str]:
    """Follows a run on a terminal, presses Ctrl-C there at the first line, and answers; the exit code, and what the terminal shows."""
    command = [sys.executable, "-m", "bootstrap", "follow", run_id, "--environment", "dev"]
    process, terminal = pty.fork()
    if not process:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # whoever started the tests in the background had it ignored
        os.chdir(REPOSITORY)
        os.execve(sys.executable, command, account.aws.environment)
    try:
        said = shown(terminal, until="\n")
        os.write(terminal, b"\x03")
        said += shown(terminal, until="Enter leaves it: ")
        os.write(terminal, answer.encode())
        said += shown(terminal)
    finally:
        os.close(terminal)  # hangs up on one that is still there
        _, status = os.waitpid(process, 0)
    return os.waitstatus_to_exitcode(status), said


def shown(terminal: int, *, until: str = "") -> str:
    """What is shown from now on, up to a text; without one to the end."""
    said, deadline = "", time.monotonic() + WAIT_S
    while not until or until not in said:
        assert select.select([terminal], [], [], max(0.0, deadline - time.monotonic()))[0], f"{until!r} does not come: {said}"
        try:
            read = os.read(terminal, 4096)
        except OSError:  # Linux' way to say that nobody has it open any more
            read = b""
        if not read:
            assert not until, f"{until!r} does not come: {said}"
            break
        said += read.decode()
    return said


@pytest.mark.parametrize(
    ("argument", "elsewhere", "action"),
    [("--results", "results/another/", "ListBucket"), ("--images", "artifacts/", "ListBucket")],
)
def test_a_run_that_reaches_outside_of_its_own_prefixes_is_denied(account: Account, argument: str, elsewhere: str, action: str) -> None:
    """With a policy that was made for other arguments; its role would allow it."""
    deployment = account.deployment()
    request = request_of(Order("dev", "four", attempts=1), deployment)
    arguments = request["jobDriver"]["sparkSubmit"]["entryPointArguments"]
    arguments[arguments.index(argument) + 1] = f"s3://{deployment.bucket}/{elsewhere}"
    run_id = account.start(**request, clientToken=elsewhere.replace("/", "-"))
    account.ended(run_id)
    problem = operate(account, "follow", run_id, code=1).stderr
    assert "FAILED: " in problem
    assert f"access denied to s3:{action}" in problem


def test_the_command_that_a_dry_run_prints_starts_what_submit_would_start(account: Account) -> None:
    pasted = operate(account, "submit", "--results", "dry", "--dry-run").stdout
    run_id = json.loads(account.aws.run(["bash", "-c", pasted], cwd=account.workspace))["jobRunId"]
    assert operate(account, "submit", "--results", "dry").stdout.strip() == run_id
    account.aws.client("emr-serverless").cancel_job_run(applicationId=account.deployment().application_id, jobRunId=run_id)
    assert account.ended(run_id)["state"] in ("CANCELLED", "SUCCESS")


def test_a_policy_that_is_too_long_is_refused_by_the_service_too(account: Account) -> None:
    request: dict[str, Any] = request_of(Order("dev", "five"), account.deployment())
    request["executionIamPolicy"]["policy"] += " " * 2048
    with pytest.raises(ClientError, match="more than 2048"):
        account.start(**request, clientToken="too-long")


def _told(account: Account, key: str) -> Pace:
    """How far a run says that it is."""
    s3, bucket = account.aws.client("s3"), account.deployment().bucket
    deadline = time.monotonic() + WAIT_S
    while True:
        try:
            return Pace.from_json(s3.get_object(Bucket=bucket, Key=key)["Body"].read().decode())
        except s3.exceptions.NoSuchKey:
            assert time.monotonic() < deadline, "the run says nothing"
            time.sleep(0.05)
