"""Following runs to their ends, against moto's AWS in this process. No socket is opened."""

from __future__ import annotations

import gzip
import io
import json
import re
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import botocore.client
import pytest

from bootstrap import aws, follow
from bootstrap.cli import main
from bootstrap.errors import BootstrapError
from bootstrap.follow import LOG_S, POLL_S, Follower
from bootstrap.run import Run
from bootstrap.telling import Lines, say_json
from job.pace import Pace
from job.submission import Deployment
from tests.unit.account import HERE, becoming, put, refusing, refusing_at_first, retried, runs, saying, submitted

pytestmark = pytest.mark.usefixtures("no_way_to_aws")

PACE = Pace(images=10_000, done=2_500, faults=3, before=0, seconds=25)
BILLED = {"vCPUHour": 2.0, "memoryGBHour": 4.0, "storageGBHour": 1.0}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def follower(sleep: Callable[[float], None], stream: Any = None) -> Follower:
    return Follower(Lines(stream or io.StringIO()), sleep)


def unwanted(_seconds: float) -> None:
    raise AssertionError("nobody was to wait")


def log(run: Run, text: str, *, place: str = "SPARK_DRIVER/stdout.gz") -> None:
    put(f"{run.logs.key}/{place}", gzip.compress(text.encode()))


LOGGED = {"s3MonitoringConfiguration": {"logUri": "s3://verger-dev/logs/"}}


def driven(monkeypatch: pytest.MonkeyPatch, *, logged: Any = LOGGED) -> None:
    """Has the service say that a run has had a driver, in an application with logs."""
    saying(monkeypatch, "jobRun", startedAt=datetime.now(UTC))
    saying(monkeypatch, "application", monitoringConfiguration=logged)


def test_following_says_each_state_once_and_ends_with_the_run(deployment: Deployment) -> None:
    run, stream = submitted(deployment), io.StringIO()
    follower(becoming(deployment, "PENDING", "RUNNING", "RUNNING", "QUEUED", "SUCCESS"), stream).follow(run)
    said = [line.split()[1] for line in stream.getvalue().splitlines()]
    assert said == ["SUBMITTED", "PENDING", "RUNNING", "QUEUED", "SUCCESS"]


def test_a_terminal_s_line_is_written_over_until_the_state_is_another(deployment: Deployment) -> None:
    run, stream = submitted(deployment), Terminal()
    follower(becoming(deployment, "RUNNING", "RUNNING", "SUCCESS"), stream).follow(run)
    assert [line.startswith("\x1b[1A\r\x1b[K") for line in stream.getvalue().split("\n")[:-1]] == [False, False, True, False]


def test_images_done_are_those_that_the_run_itself_tells_of(deployment: Deployment) -> None:
    run, stream = submitted(deployment), io.StringIO()
    runs(deployment)[-1].state = "RUNNING"
    put("results/first/.verger/progress.json", PACE.to_json())
    follower(becoming(deployment, "SUCCESS"), stream).follow(run)
    assert str(PACE) in stream.getvalue().splitlines()[0]


def test_what_an_earlier_run_left_there_is_not_taken_for_this_one_s(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    run, stream = submitted(deployment), io.StringIO()
    put("results/first/.verger/progress.json", PACE.to_json())
    saying(monkeypatch, "jobRun", createdAt=datetime.now(UTC) + timedelta(minutes=1))
    follower(becoming(deployment, "SUCCESS"), stream).follow(run)
    assert "images" not in stream.getvalue()


def test_the_end_tells_what_the_summary_counted(deployment: Deployment) -> None:
    run, stream = submitted(deployment), io.StringIO()
    now = datetime.now(UTC).isoformat(timespec="seconds")
    put("results/first/summary.json", {"featurize": {"images": 10, "faults": 1, "finished": now, "seconds": {"featurize": 2.0}}})
    follower(becoming(deployment, "SUCCESS"), stream).follow(run)
    assert "SUCCESS  10 / 10 images  100%  5 images/s  1 fault" in stream.getvalue()


HOUR_USD = 14 * 0.042094 + 32 * 0.004628  # of 14 vCPUs and 32 GB
A_MINUTE_USD = HOUR_USD / 60  # time goes on while a test runs


def usd_so_far(line: str) -> float:
    """What a line says of the cost."""
    found = re.search(r"\$([0-9.]+) at most so far", line)
    assert found, line
    return float(found[1])


def test_cost_so_far_is_that_of_all_workers_since_the_first_one_came(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    run, stream = submitted(deployment), io.StringIO()
    runs(deployment)[-1].state = "RUNNING"
    saying(monkeypatch, "application", architecture="ARM64")
    saying(monkeypatch, "jobRun", startedAt=datetime.now(UTC) - timedelta(hours=1))
    follower(becoming(deployment, "SUCCESS"), stream).follow(run)
    assert usd_so_far(stream.getvalue().splitlines()[0]) == pytest.approx(HOUR_USD, abs=A_MINUTE_USD)


def test_a_machine_gets_a_document_a_look(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = submitted(deployment)
    saying(monkeypatch, "jobRun", billedResourceUtilization=BILLED)
    Follower(say_json, becoming(deployment, "SUCCESS")).follow(run)
    said = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(each["run"], each["state"], each["usd_is_final"]) for each in said] == [
        (run.id, "SUBMITTED", False),
        (run.id, "SUCCESS", True),
    ]


# --- attempts -------------------------------------------------------------------------------------------------------


def test_an_attempt_that_failed_is_told_of_once_with_its_reason_and_then_the_next_one(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, stream = submitted(deployment), Terminal()
    runs(deployment)[-1].state = "RUNNING"
    looks = iter(range(10))

    def sleep(_seconds: float) -> None:
        look = next(looks)
        if look in (0, 2):
            retried(monkeypatch, *("driver\nlost", "disk full")[: 1 + (look > 0)])
        if look == 3:
            runs(deployment)[-1].state = "SUCCESS"

    follower(sleep, stream).follow(run)
    said = [line.rpartition("\x1b[K")[2].partition(" ")[2].partition("  $")[0] for line in stream.getvalue().split("\n")[:-1]]
    assert said == [
        "RUNNING",
        "attempt 1 FAILED: driver lost",
        "RUNNING  attempt 2",
        "RUNNING  attempt 2",
        "attempt 2 FAILED: disk full",
        "RUNNING  attempt 3",
        "SUCCESS  attempt 3",
    ]


def test_a_machine_is_told_of_attempts_too(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = submitted(deployment)
    runs(deployment)[-1].state = "SUCCESS"
    retried(monkeypatch, "driver lost")
    Follower(say_json).follow(run)
    said = json.loads(capsys.readouterr().out)
    assert said["attempt"] == 2
    assert said["failed_attempts"] == [{"number": 1, "state": "FAILED", "details": "driver lost"}]


def test_what_an_attempt_that_was_killed_left_there_is_not_the_next_one_s(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    run, stream = submitted(deployment), io.StringIO()
    runs(deployment)[-1].state = "SCHEDULED"
    put("results/first/.verger/progress.json", PACE.to_json())
    retried(monkeypatch, "driver lost", now=datetime.now(UTC) + timedelta(minutes=1))
    follower(becoming(deployment, "SUCCESS"), stream).follow(run)
    assert "images" not in stream.getvalue()


def test_cost_so_far_counts_from_the_run_s_start_once_it_is_tried_again(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    run, stream = submitted(deployment), io.StringIO()
    runs(deployment)[-1].state = "RUNNING"
    now = datetime.now(UTC)
    saying(monkeypatch, "application", architecture="ARM64")
    retried(monkeypatch, "driver lost")
    saying(monkeypatch, "jobRun", createdAt=now - timedelta(hours=1), startedAt=now - timedelta(minutes=1))
    follower(becoming(deployment, "SUCCESS"), stream).follow(run)
    assert usd_so_far(stream.getvalue().splitlines()[1]) == pytest.approx(HOUR_USD, abs=A_MINUTE_USD)


# --- bad ends -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["FAILED", "CANCELLED"])
def test_a_run_that_ends_badly_fails_with_its_reason_on_one_line_and_where_its_logs_are(deployment: Deployment, end: str) -> None:
    run = submitted(deployment)
    with pytest.raises(BootstrapError, match=f"run {run.id} {end}: out of memory") as failed:
        follower(becoming(deployment, "CANCELLING", end, *([end] * (LOG_S // POLL_S)), details="out\nof memory")).follow(run)
    assert failed.value.exit_code == 1
    assert f"s3://verger-dev/logs/applications/{deployment.application_id}/jobs/{run.id}/" in failed.value.hint


@pytest.mark.parametrize("place", ["SPARK_DRIVER/stdout.gz", "SPARK_DRIVER/stderr.gz", "attempts/2/SPARK_DRIVER/stdout.gz"])
def test_a_failed_run_s_reason_is_what_the_job_says(
    deployment: Deployment, place: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = submitted(deployment)
    runs(deployment)[-1].state = "FAILED"
    log(run, "1 / 2 images\nerror: 2 usable images, 4 components asked for\nhint: lower --components or add images\nbye\n", place=place)
    if "attempts" in place:
        log(run, "error: of the first attempt\n", place="attempts/1/SPARK_DRIVER/stdout.gz")
        retried(monkeypatch, "ExitCode: 1")
    assert main(["follow", run.id, *HERE]) == 1
    said = capsys.readouterr().err
    problem, hint, *lines = said[said.index("error: ") :].splitlines()
    again = " in attempt 2" if "attempts" in place else ""
    assert problem == f"error: run {run.id} FAILED{again}: 2 usable images, 4 components asked for"
    assert hint.startswith("hint: lower --components or add images; its logs: s3://")
    assert lines[0] == "  1 / 2 images"
    assert lines[-1] == "  bye"


DENIED = 'Exception in thread "main" java.nio.file.AccessDeniedException: s3://b/job.zip: getFileStatus on s3://b/job.zip: FORBIDDEN'


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("Traceback\nValueError: the reason\n", "ValueError: the reason"),
        (
            "org.apache.spark.SparkException: lost\n\tat x\nCaused by: java.io.IOException: disk\n\tat y\n",
            "Caused by: java.io.IOException: disk",
        ),
        (f"{DENIED}\n\tat x\nCaused by: software.amazon.awssdk.services.s3.model.S3Exception: FORBIDDEN\n\tat y\n", DENIED),
        ("nothing that is a reason\n", "ExitCode: 1"),
    ],
)
def test_where_the_job_says_nothing_the_last_exception_is_the_reason_or_what_the_service_says(
    deployment: Deployment, text: str, cause: str
) -> None:
    run = submitted(deployment)
    log(run, text)
    with pytest.raises(BootstrapError) as failed:
        follower(becoming(deployment, "FAILED", details="ExitCode: 1")).follow(run)
    assert str(failed.value) == f"run {run.id} FAILED: {cause}"
    assert failed.value.lines[-1].split() == text.splitlines()[-1].split()
    assert ("it is not there, or the role may not read it" in failed.value.hint) == (cause == DENIED)


def test_an_earlier_attempt_s_log_is_not_taken_for_the_last_one_s(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is there at once, and the last one's comes later."""
    run = submitted(deployment)
    runs(deployment)[-1].state = "FAILED"
    driven(monkeypatch)
    retried(monkeypatch, "ExitCode: 1")
    log(run, "error: of the first attempt\n", place="attempts/1/SPARK_DRIVER/stdout.gz")

    def sleep(_seconds: float) -> None:
        log(run, "error: of the second\n", place="attempts/2/SPARK_DRIVER/stdout.gz")

    with pytest.raises(BootstrapError, match="FAILED in attempt 2: of the second"):
        follower(sleep).follow(run)


def test_a_log_that_comes_late_is_waited_for_and_that_is_said(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = submitted(deployment)
    runs(deployment)[-1].state = "FAILED"
    driven(monkeypatch)
    looks = iter(range(10))

    def sleep(_seconds: float) -> None:
        if next(looks) == 2:
            log(run, "error: late\n")

    with pytest.raises(BootstrapError, match="FAILED: late"):
        follower(sleep).follow(run)
    assert (
        capsys.readouterr().err
        == f"note: run {run.id} FAILED; its driver's log is on its way; this waits {LOG_S} s for it, or until Ctrl-C\n"
    )


@pytest.mark.parametrize(("started", "logged"), [(False, LOGGED), (True, {}), (True, {"s3MonitoringConfiguration": {}})])
def test_a_log_that_cannot_come_is_not_waited_for(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch, started: bool, logged: Any
) -> None:
    """Without a driver, or without a place for logs; what is there all the same is read."""
    run = submitted(deployment)
    runs(deployment)[-1].state = "FAILED"
    driven(monkeypatch, logged=logged)
    if not started:
        saying(monkeypatch, "jobRun", startedAt=None)
    for written in ("", "error: all the same\n"):
        if written:
            log(run, written)
        with pytest.raises(BootstrapError, match="FAILED: all the same" if written else "gives no reason"):
            follower(unwanted).follow(run)


def test_a_log_that_may_not_be_read_hides_no_reason(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = submitted(deployment)
    runs(deployment)[-1].state = "FAILED"
    runs(deployment)[-1].state_details = "ExitCode: 1"
    answer = botocore.client.BaseClient._make_api_call

    def call(client: Any, operation: str, parameters: Any) -> Any:
        return (refusing("AccessDenied") if operation == "ListObjectsV2" else answer)(client, operation, parameters)

    monkeypatch.setattr(botocore.client.BaseClient, "_make_api_call", call)
    with pytest.raises(BootstrapError, match="FAILED: ExitCode: 1"):
        follower(unwanted).follow(run)
    assert capsys.readouterr().err.startswith(f"note: reading {run.logs}: AccessDenied")


@pytest.mark.parametrize("spoil", [lambda log: log[:-20], lambda log: log[:-3] + b"crc", lambda _: b"", lambda _: b"no gzip at all"])
def test_of_a_log_that_is_damaged_what_is_whole_is_shown(deployment: Deployment, spoil: Callable[[bytes], bytes]) -> None:
    run = submitted(deployment)
    runs(deployment)[-1].state = "FAILED"
    whole = gzip.compress("".join(f"line {number * 7919} of the log\n" for number in range(20_000)).encode())
    put(f"{run.logs.key}/SPARK_DRIVER/stdout.gz", spoil(whole))
    put(f"{run.logs.key}/SPARK_DRIVER/stderr.gz", gzip.compress(b"error: the reason\n"))
    with pytest.raises(BootstrapError, match="FAILED: the reason") as failed:
        follower(unwanted).follow(run)
    assert any(re.fullmatch(r"line \d+ of the log", line) for line in failed.value.lines) == spoil(whole).startswith(b"\x1f")


def test_a_log_cannot_write_to_a_terminal_what_it_obeys(deployment: Deployment) -> None:
    run = submitted(deployment)
    log(run, "error: \x1b[2Jgone\n")
    with pytest.raises(BootstrapError) as failed:
        follower(becoming(deployment, "FAILED")).follow(run)
    assert "\x1b" not in str(failed.value) + "".join(failed.value.lines)


# --- Ctrl-C ---------------------------------------------------------------------------------------------------------


def interrupted(_seconds: float) -> None:
    raise KeyboardInterrupt


def test_an_interrupt_leaves_the_run_going_and_says_how_to_cancel_it(deployment: Deployment, capsys: pytest.CaptureFixture[str]) -> None:
    run = submitted(deployment)
    with pytest.raises(KeyboardInterrupt):
        follower(interrupted).follow(run)
    assert run.cancel in capsys.readouterr().err
    assert runs(deployment)[-1].state != "CANCELLED"


@pytest.mark.parametrize(("answer", "end"), [("c\n", "CANCELLED"), ("cancel\n", "CANCELLED"), ("\n", "SUBMITTED"), ("", "SUBMITTED")])
def test_on_a_terminal_an_interrupt_asks_whether_the_run_is_to_be_cancelled(
    deployment: Deployment, answer: str, end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = submitted(deployment)
    monkeypatch.setattr(sys, "stdin", Terminal(answer))
    monkeypatch.setattr(sys, "stderr", Terminal())
    with pytest.raises(BootstrapError if end == "CANCELLED" else KeyboardInterrupt):
        follower(interrupted).follow(run)
    assert "c and Enter cancel it" in sys.stderr.getvalue()  # type: ignore[attr-defined]
    assert runs(deployment)[-1].state == end


def refusing_to_cancel(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    answer = botocore.client.BaseClient._make_api_call

    def call(client: Any, operation: str, parameters: Any) -> Any:
        return (refusing(code) if operation == "CancelJobRun" else answer)(client, operation, parameters)

    monkeypatch.setattr(botocore.client.BaseClient, "_make_api_call", call)


@pytest.mark.parametrize(("end", "details"), [("SUCCESS", ""), ("FAILED", "out of memory"), ("CANCELLED", "by another")])
def test_a_run_that_ends_while_who_follows_it_is_asked_is_told_of_as_any_other(
    deployment: Deployment, end: str, details: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run, become = submitted(deployment), becoming(deployment, end, details=details)

    def wants_to_cancel(_run: Run) -> bool:
        become(0)
        return True

    refusing_to_cancel(monkeypatch, "ValidationException")  # as EMR Serverless does then, and moto does not
    monkeypatch.setattr(follow, "wants_to_cancel", wants_to_cancel)
    if end == "SUCCESS":
        follower(interrupted).follow(run)
    else:
        with pytest.raises(BootstrapError, match=f"run {run.id} {end}: {details}"):
            follower(interrupted).follow(run)
    assert capsys.readouterr().err.startswith(f"note: cancelling run {run.id}: ")


def test_a_run_that_cannot_be_cancelled_and_goes_on_is_said_to(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    run = submitted(deployment)
    refusing_to_cancel(monkeypatch, "AccessDeniedException")
    monkeypatch.setattr(follow, "wants_to_cancel", lambda _run: True)
    with pytest.raises(BootstrapError, match=f"cancelling run {run.id}: AccessDeniedException"):
        follower(interrupted).follow(run)


def test_an_interrupt_while_a_failed_run_s_log_is_waited_for_ends_the_waiting_only(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = submitted(deployment)
    runs(deployment)[-1].state = "FAILED"
    runs(deployment)[-1].state_details = "ExitCode: 1"
    driven(monkeypatch)
    with pytest.raises(BootstrapError, match="FAILED: ExitCode: 1"):
        follower(interrupted).follow(run)


# --- what it survives -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", ["ThrottlingException", "TooManyRequestsException", "ServiceUnavailableException"])
def test_a_service_that_is_busy_is_asked_again(
    deployment: Deployment, code: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = submitted(deployment)
    runs(deployment)[-1].state = "SUCCESS"
    refusing_at_first(monkeypatch, code, times=3)
    waits: list[float] = []
    follower(waits.append).follow(run)
    assert waits == [POLL_S] * 3
    assert capsys.readouterr().err.count("note: ") == 1


def test_credentials_that_expire_are_looked_for_anew(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    run = submitted(deployment)
    runs(deployment)[-1].state = "SUCCESS"
    refusing_at_first(monkeypatch, "ExpiredTokenException", times=2)
    looked: list[bool] = []
    monkeypatch.setattr(follow, "look_for_new_credentials", lambda: looked.append(True) or True)
    follower(lambda _seconds: None).follow(run)
    assert len(looked) == 2


def test_credentials_of_the_environment_cannot_be_renewed_and_nobody_waits_for_them(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = submitted(deployment)
    monkeypatch.setattr(botocore.client.BaseClient, "_make_api_call", refusing("ExpiredTokenException"))
    with pytest.raises(BootstrapError, match=f"run {run.id} goes on, and is lost sight of: .*ExpiredTokenException") as lost:
        follower(interrupted).follow(run)
    assert lost.value.exit_code == 1
    assert f"python -m bootstrap follow {run.id} --environment dev --region" in lost.value.hint


def test_patience_ends_and_the_run_goes_on(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    run = submitted(deployment)
    monkeypatch.setattr(follow, "PATIENCE_S", 4 * POLL_S)
    monkeypatch.setattr(botocore.client.BaseClient, "_make_api_call", refusing("ThrottlingException"))
    waits: list[float] = []
    with pytest.raises(BootstrapError, match="goes on, and is lost sight of"):
        follower(waits.append).follow(run)
    assert sum(waits) == 4 * POLL_S


@pytest.mark.usefixtures("aws")
def test_credentials_of_a_file_are_read_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """A file that `aws sso login` or a tool of the company writes anew."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    file = tmp_path / "credentials"
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    keys = []
    for key in ("old", "new"):
        file.write_text(f"[default]\naws_access_key_id = {key}\naws_secret_access_key = x\n")
        assert aws.look_for_new_credentials()
        keys.append(aws.client("s3", region="us-east-1")._request_signer._credentials.access_key)
    assert keys == ["old", "new"]


def test_a_run_that_there_never_was_is_one_line(deployment: Deployment, capsys: pytest.CaptureFixture[str]) -> None:
    submitted(deployment, "first")
    assert main(["follow", "another", *HERE]) == 1
    assert capsys.readouterr().err.splitlines() == [
        "error: dev has had no run named 'another'",
        "hint: python -m bootstrap runs --environment dev",
    ]
    assert main(["follow", "0" * 16, *HERE]) == 1
    assert f"dev has had no run named '{'0' * 16}'" in capsys.readouterr().err
