"""What goes wrong in an account ends in a message that says what, with the exit code of a failure, and the next run succeeds."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bootstrap.rehearsal.drills import SERVICE, Drill, Drills
from job.contract import PROGRESS
from tests.cloud.account import WAIT_S, Account, is_alive

MANY = 25  # of each label: several tasks' work
IMAGES, BROKEN = 8, 5  # a picture of each label, and those that are no pictures


@pytest.mark.parametrize(
    ("drill", "refused"),
    [
        (Drill("SlowDown"), [1, 2, 3, 4, 5, 6, 7, 8, 9]),
        (Drill("SlowDown", every=3), [3, 6, 9]),
        (Drill("ExpiredToken", after=2, times=3), [3, 4, 5]),
        (Drill("InternalError", after=1, every=2, times=2), [3, 5]),
        (Drill("ExpiredToken", of="operators"), []),
        (Drill("SlowDown", after=2, seconds=0), [3]),
        (None, []),
    ],
)
def test_a_drill_refuses_the_requests_that_it_says(drill: Drill | None, refused: list[int]) -> None:
    """Requests of a run to S3; between them those that no drill of runs is about."""
    drills = Drills()
    drills.begin(drill)
    seen = []
    for place in range(1, 10):
        others = [(True, "logs", ""), (True, "s3", f"Boto3 {SERVICE}")] + [(False, "s3", "")] * (drill is None or drill.of == "runs")
        assert not any(drills.refusal(of_run=of_run, service=service, user_agent=agent) for of_run, service, agent in others)
        if drills.refusal(of_run=True, service="s3", user_agent="Boto3"):
            seen.append(place)
    assert seen == refused
    assert drills.refused == len(refused)


@pytest.fixture(scope="module")
def ready(deployed: Account, tmp_path_factory: pytest.TempPathFactory) -> Account:
    """dev with a few images in its bucket."""
    deployed.put_pictures(tmp_path_factory.mktemp("images") / "pictures", count=1)
    return deployed


def ends(follower: subprocess.Popen[str]) -> tuple[int, str, str]:
    """The exit code of a command of ours, what it prints, and what it says on stderr, which is no trace of a stack."""
    try:
        out, said = follower.communicate(timeout=WAIT_S)
    finally:
        follower.kill()
    assert "Traceback" not in said
    return follower.returncode, out.strip(), said


def fails(follower: subprocess.Popen[str]) -> tuple[str, str]:
    """Follows a run that fails as a failure should, with exit code 1: one line of what is wrong, one of what next."""
    code, _, said = ends(follower)
    assert code == 1, said
    [error] = [line for line in said.splitlines() if line.startswith("error: ")]
    [hint] = [line for line in said.splitlines() if line.startswith("hint: ")]
    return error, hint


def succeeds(account: Account, results: str, *more: str) -> None:
    """A run that ends well, leaves nothing half done, and blames no image that is not broken."""
    code, run_id, said = ends(account.submit(results, *more))
    assert code == 0, said + account.log(run_id)
    assert {key.rpartition("/")[2] for key in account.keys(f"results/{results}/.verger/")} <= {PROGRESS}
    featurized = summary(account, results)["featurize"]
    assert (featurized["features"], featurized["faults"]) == (IMAGES, BROKEN)


def summary(account: Account, results: str) -> dict[str, Any]:
    """What a run says of itself in its results."""
    found = account.aws.client("s3").get_object(Bucket=account.deployment().bucket, Key=f"results/{results}/summary.json")
    return dict(json.loads(found["Body"].read()))


@contextmanager
def without(account: Account, uri: str) -> Iterator[None]:
    """An object is missing for as long as the block lasts; a deployment brings it back."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    account.aws.client("s3").delete_object(Bucket=bucket, Key=key)
    try:
        yield
    finally:
        account.deploy(account.environment)


@contextmanager
def untrusting(account: Account) -> Iterator[None]:
    """The job's role trusts another service for as long as the block lasts."""
    iam = account.aws.client("iam")
    name = account.deployment().job_role_arn.rpartition("/")[2]
    trust = iam.get_role(RoleName=name)["Role"]["AssumeRolePolicyDocument"]
    other = {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}
    iam.update_assume_role_policy(RoleName=name, PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [other]}))
    try:
        yield
    finally:
        iam.update_assume_role_policy(RoleName=name, PolicyDocument=json.dumps(trust))


def test_what_is_wrong_before_the_job_starts_is_said_and_once_it_is_right_the_same_run_succeeds(ready: Account) -> None:
    with ready.drill(Drill("ExpiredToken", of="operators")):
        code, run_id, said = ends(ready.submit("first"))
    assert (code, run_id) == (1, "")
    assert "ExpiredToken" in said
    assert "hint: the credentials have expired; get new ones" in said

    with without(ready, ready.outputs()["JobPackageUri"]):
        no_artifact = submitted(ready, "first")
    with untrusting(ready):
        no_role = submitted(ready, "first")
    error, hint = fails(no_artifact)
    assert f"AccessDeniedException: {ready.outputs()['JobPackageUri']}" in error, "as the role may not list that bucket"
    assert "it is not there, or the role may not read it" in hint
    assert "is not allowed to assume" in fails(no_role)[0]

    succeeds(ready, "first")


def submitted(account: Account, results: str) -> subprocess.Popen[str]:
    """A run that has ended; who follows it waits for its log a little longer."""
    follower = account.submit(results)
    assert follower.stdout
    account.ended(follower.stdout.readline().strip())
    return follower


def test_a_prefix_without_images_fails_before_spark_starts_leaves_nothing_and_is_run_once_they_are_there(
    ready: Account, tmp_path: Path
) -> None:
    images = f"s3://{ready.deployment().bucket}/images/apples/"
    error, hint = fails(ready.submit("empty", "--", "--images", images))
    assert f"no objects under {images}" in error
    assert "check --images: a key's case and slashes count" in hint
    assert not ready.keys("results/empty/")

    with pictures(ready, tmp_path, "images/apples", count=1):
        succeeds(ready, "empty", "--", "--images", images)


def begun(account: Account, results: str) -> tuple[str, int]:
    """A run's id and its driver's process, once it has taken its results folder."""
    deadline = time.monotonic() + WAIT_S
    while not (driver := _owner(account, f"results/{results}/.verger/owner")):
        assert time.monotonic() < deadline, "the run does not begin"
        time.sleep(0.05)
    emr = account.aws.client("emr-serverless")
    [run] = emr.list_job_runs(applicationId=account.deployment().application_id, states=["RUNNING"])["jobRuns"]
    return run["id"], driver


def _owner(account: Account, lock: str) -> int | None:
    """The process that has a lock, and is alive."""
    s3 = account.aws.client("s3")
    try:
        owner: int = json.loads(s3.get_object(Bucket=account.deployment().bucket, Key=lock)["Body"].read())["process"]
    except s3.exceptions.NoSuchKey:
        return None
    return owner if is_alive(owner) else None


def test_a_run_that_is_cancelled_and_one_whose_driver_is_killed_stand_in_nobody_s_way(ready: Account) -> None:
    follower = ready.submit("again")
    run_id, _ = begun(ready, "again")
    ready.aws.client("emr-serverless").cancel_job_run(applicationId=ready.deployment().application_id, jobRunId=run_id)
    assert "CANCELLED" in fails(follower)[0]
    assert not [key for key in ready.keys("results/again/") if "/.verger/" not in key], "there is nothing to be seen of it"

    follower = ready.submit("again")
    _, driver = begun(ready, "again")
    os.kill(driver, signal.SIGKILL)
    assert "FAILED" in fails(follower)[0]
    assert ready.keys("results/again/.verger/owner"), "its lock is left"

    succeeds(ready, "again")


@contextmanager
def pictures(account: Account, folder: Path, to: str, *, count: int) -> Iterator[None]:
    """More images in the bucket, so many of each label and the broken ones, for as long as the block lasts."""
    account.put_pictures(folder / "pictures", count=count, to=to)
    try:
        yield
    finally:
        for key in account.keys(f"{to}/"):
            account.aws.client("s3").delete_object(Bucket=account.deployment().bucket, Key=key)


@pytest.fixture
def many(ready: Account, tmp_path: Path) -> Iterator[str]:
    """A folder of more images."""
    with pictures(ready, tmp_path, "images/many", count=MANY):
        yield f"s3://{ready.deployment().bucket}/images/many/"


def test_a_run_whose_driver_is_killed_in_the_middle_goes_on_in_a_second_attempt(ready: Account, many: str) -> None:
    """On its own: nobody starts it again, and what the first attempt has done is not done twice."""
    follower = ready.submit("lost", "--", "--images", many, attempts=2)
    run_id, driver = begun(ready, "lost")
    deadline = time.monotonic() + WAIT_S
    while not any("/features/part-" in key for key in ready.keys("results/lost/")):
        assert time.monotonic() < deadline, "the first attempt does nothing"
        time.sleep(0.05)
    os.kill(driver, signal.SIGKILL)

    code, _, said = ends(follower)
    run = ready.run(run_id)
    assert (code, run["state"], run["attempt"]) == (0, "SUCCESS", 2), said
    assert "attempt 1 FAILED: Job failed" in said
    assert "SUCCESS  attempt 2" in said
    emr, application = ready.aws.client("emr-serverless"), ready.deployment().application_id
    attempts = emr.list_job_run_attempts(applicationId=application, jobRunId=run_id)["jobRunAttempts"]
    assert [(each["attempt"], each["state"]) for each in attempts] == [(1, "FAILED"), (2, "SUCCESS")]
    logs = f"logs/applications/{application}/jobs/{run_id}/"
    assert {key.removeprefix(logs).partition("/SPARK_DRIVER/")[0] for key in ready.keys(logs)} == {"attempts/1", "attempts/2"}
    featurized = summary(ready, "lost")["featurize"]
    assert featurized["images"] == MANY * IMAGES + BROKEN
    assert 0 < featurized["stayed"] <= featurized["images"]


@pytest.mark.parametrize("code", ["SlowDown", "InternalError"])
def test_an_s3_that_refuses_everything_for_a_while_costs_time_and_blames_no_image(ready: Account, code: Any) -> None:
    with ready.drill(Drill(code, after=20, seconds=10)):
        succeeds(ready, f"away-{code}")


@pytest.mark.parametrize("code", ["SlowDown", "InternalError"])
def test_an_s3_that_is_busy_now_and_then_costs_time_and_blames_no_image(ready: Account, code: Any) -> None:
    with ready.drill(Drill(code, every=4)):
        succeeds(ready, f"busy-{code}")


def test_a_run_s_token_that_has_expired_is_said_and_one_that_is_renewed_late_costs_time_only(ready: Account) -> None:
    with ready.drill(Drill("ExpiredToken", after=20)):
        error, hint = fails(ready.submit("expired"))
    assert "S3 refuses these credentials" in error
    assert "where they have expired: get new ones" in hint
    with ready.drill(Drill("ExpiredToken", after=20, times=3)):
        succeeds(ready, "expired")
