"""StartJobRun, with scripts of a few lines in the place of the job."""

from __future__ import annotations

import gzip
import io
import json
import sys
import time
import zipfile
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError, ParamValidationError

from bootstrap.rehearsal.local import ACCOUNT
from bootstrap.rehearsal.process import StandIn, stand_in
from tests.cloud.account import WAIT_S, is_alive, wait_for_end

BUCKET, ROLE = "data", f"arn:aws:iam::{ACCOUNT}:role/runs"
TRUST = {
    "Effect": "Allow",
    "Principal": {"Service": "emr-serverless.amazonaws.com"},
    "Action": "sts:AssumeRole",
    "Condition": {"ArnLike": {"aws:SourceArn": f"arn:aws:emr-serverless:us-east-1:{ACCOUNT}:/applications/*"}},
}
ALL = {"Effect": "Allow", "Action": ["s3:*", "logs:*"], "Resource": "*"}


# A script's first lines: the first run with these arguments ends here
FAILS_ONCE = f"""
import boto3, sys
s3, mark = boto3.client("s3"), f"mark-{{sys.argv[1]}}"
if not s3.list_objects_v2(Bucket="{BUCKET}", Prefix=mark)["KeyCount"]:
    s3.put_object(Bucket="{BUCKET}", Key=mark)
    raise SystemExit(3)
"""


class Bench:
    """An application, a role and a bucket."""

    def __init__(self, aws: StandIn) -> None:
        self.emr, self.s3, self.iam, self.logs = (aws.client(name) for name in ("emr-serverless", "s3", "iam", "logs"))
        self.s3.create_bucket(Bucket=BUCKET)
        self.iam.create_role(RoleName="runs", AssumeRolePolicyDocument=_document(TRUST))
        self.allow(ALL)
        self.logs.create_log_group(logGroupName="/runs")
        self.application = self.create()

    def create(self, **more: Any) -> str:
        monitoring = {
            "s3MonitoringConfiguration": {"logUri": f"s3://{BUCKET}/logs/"},
            "cloudWatchLoggingConfiguration": {"enabled": True, "logGroupName": "/runs"},
        }
        settings = {"releaseLabel": "emr-spark-8.1.0", "type": "SPARK", "monitoringConfiguration": monitoring} | more
        return str(self.emr.create_application(**settings)["applicationId"])

    def allow(self, *statements: dict[str, Any]) -> None:
        self.iam.put_role_policy(RoleName="runs", PolicyName="p", PolicyDocument=_document(*statements))

    def start(self, script: str, *arguments: str, confs: dict[str, str] | None = None, role: str = ROLE, **more: Any) -> str:
        self.s3.put_object(Bucket=BUCKET, Key="script.py", Body=script.encode())
        python = {f"spark.emr-serverless.driverEnv.{name}": sys.executable for name in ("PYSPARK_PYTHON", "PYSPARK_DRIVER_PYTHON")}
        parameters = " ".join(f"--conf {name}={value}" for name, value in (python | (confs or {})).items())
        submit = {"entryPoint": f"s3://{BUCKET}/script.py", "entryPointArguments": list(arguments), "sparkSubmitParameters": parameters}
        request = {"applicationId": self.application, "executionRoleArn": role, "jobDriver": {"sparkSubmit": submit}} | more
        return str(self.emr.start_job_run(**request)["jobRunId"])

    def look(self, run_id: str, **more: Any) -> dict[str, Any]:
        return dict(self.emr.get_job_run(applicationId=self.application, jobRunId=run_id, **more)["jobRun"])

    def ended(self, run_id: str) -> dict[str, Any]:
        return wait_for_end(lambda: self.look(run_id))

    def until(self, run_id: str, state: str) -> None:
        deadline = time.monotonic() + 30
        while self.look(run_id)["state"] != state:
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def said(self, run_id: str, *, stream: str = "stdout", attempt: str = "") -> str:
        key = f"logs/applications/{self.application}/jobs/{run_id}{attempt}/SPARK_DRIVER/{stream}.gz"
        return gzip.decompress(self.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()).decode()


@pytest.fixture(scope="module")
def bench(tools: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:  # noqa: ARG001  asked for its skip
    with stand_in(log=tmp_path_factory.mktemp("bench") / "log") as aws:
        yield Bench(aws)


def test_a_run_passes_through_its_states_and_says_what_it_used(bench: Bench) -> None:
    confs = {"spark.driver.cores": "2", "spark.driver.memory": "1g", "spark.driver.memoryOverhead": "7g"}
    confs |= {"spark.executor.cores": "4", "spark.executor.memory": "1g", "spark.executor.memoryOverhead": "7g"}
    run_id = bench.start("print('here I am')", confs=confs | {"spark.dynamicAllocation.initialExecutors": "3"})
    seen = []
    deadline = time.monotonic() + 60
    while not seen or seen[-1] not in ("SUCCESS", "FAILED"):
        state = bench.look(run_id)["state"]
        seen += [state] if state not in seen else []
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert [state for state in seen if state != "SUBMITTED"] == ["PENDING", "SCHEDULED", "RUNNING", "SUCCESS"]
    run = bench.look(run_id)
    # A driver of 2 vCPUs and three executors of 4, 8 GB each, for a minute: what is billed at least
    assert run["billedResourceUtilization"] == {
        "vCPUHour": pytest.approx(14 / 60, abs=1e-3),
        "memoryGBHour": pytest.approx(32 / 60, abs=1e-3),
        "storageGBHour": 0,
    }
    assert run["endedAt"] >= run["startedAt"] >= run["createdAt"]
    assert bench.said(run_id) == "here I am\n"
    place = f"applications/{bench.application}/jobs/{run_id}/SPARK_DRIVER/stdout"
    assert [event["message"] for event in bench.logs.get_log_events(logGroupName="/runs", logStreamName=place)["events"]] == ["here I am"]
    assert bench.emr.get_dashboard_for_job_run(applicationId=bench.application, jobRunId=run_id)["url"].startswith("https://")


def test_a_driver_that_fails_fails_the_run_with_its_last_words(bench: Bench) -> None:
    run = bench.ended(bench.start("raise ValueError('the reason')"))
    assert run["state"] == "FAILED"
    assert "ExitCode: 1" in run["stateDetails"]
    assert "ValueError: the reason" in run["stateDetails"]


def test_a_run_is_tried_again_from_the_beginning(bench: Bench) -> None:
    """The second attempt finds what the first one left in the bucket."""
    run_id = bench.start(
        FAILS_ONCE, "again", retryPolicy={"maxAttempts": 3}, tags={"whose": "mine"}, confs={"spark.dynamicAllocation.initialExecutors": "0"}
    )
    run = bench.ended(run_id)
    assert (run["state"], run["attempt"], run["tags"]) == ("SUCCESS", 2, {"whose": "mine"})
    assert run["billedResourceUtilization"]["vCPUHour"] == pytest.approx(2 * 4 / 60, abs=1e-3), "a minute of the driver for each attempt"
    attempts = bench.emr.list_job_run_attempts(applicationId=bench.application, jobRunId=run_id)["jobRunAttempts"]
    assert [each["state"] for each in attempts] == ["FAILED", "SUCCESS"]
    assert "ExitCode: 3" in bench.look(run_id, attempt=1)["stateDetails"]
    assert bench.said(run_id, attempt="/attempts/2") == ""


def test_a_run_that_fails_in_each_attempt_fails(bench: Bench) -> None:
    run_id = bench.start("raise SystemExit(3)", retryPolicy={"maxAttempts": 2})
    run = bench.ended(run_id)
    assert (run["state"], run["attempt"]) == ("FAILED", 2)
    assert {bench.look(run_id, attempt=number)["state"] for number in (1, 2)} == {"FAILED"}


@pytest.mark.parametrize("attempts", [0, 11])
def test_a_number_of_attempts_that_cannot_be_is_refused(bench: Bench, attempts: int) -> None:
    with pytest.raises((ClientError, ParamValidationError), match="maxAttempts"):
        bench.start("pass", retryPolicy={"maxAttempts": attempts})


def test_a_run_that_is_cancelled_ends_its_processes(bench: Bench) -> None:
    run_id = bench.start(
        f"import boto3, os, time\nboto3.client('s3').put_object(Bucket='{BUCKET}', Key='pid', Body=str(os.getpid()))\ntime.sleep(300)"
    )
    number = _body(bench, "pid")
    assert is_alive(int(number))
    bench.emr.cancel_job_run(applicationId=bench.application, jobRunId=run_id, shutdownGracePeriodInSeconds=1)
    assert bench.look(run_id)["state"] in ("CANCELLING", "CANCELLED")
    assert bench.ended(run_id)["state"] == "CANCELLED"
    assert not is_alive(int(number))
    with pytest.raises(ClientError, match="cannot be cancelled"):
        bench.emr.cancel_job_run(applicationId=bench.application, jobRunId=run_id)


def test_a_run_that_is_cancelled_is_not_tried_again(bench: Bench) -> None:
    """Neither in its first attempt nor in its second."""
    mark = f"import boto3, sys, time; boto3.client('s3').put_object(Bucket='{BUCKET}', Key=sys.argv[1], Body=b'here')"
    for number, script in enumerate((f"{mark}; time.sleep(300)", f"{FAILS_ONCE}{mark}; time.sleep(300)"), 1):
        run_id = bench.start(script, f"cancelled-{number}", retryPolicy={"maxAttempts": 3})
        assert _body(bench, f"cancelled-{number}") == "here"
        bench.emr.cancel_job_run(applicationId=bench.application, jobRunId=run_id, shutdownGracePeriodInSeconds=0)
        assert (bench.ended(run_id)["state"], bench.look(run_id)["attempt"]) == ("CANCELLED", number)
        attempts = bench.emr.list_job_run_attempts(applicationId=bench.application, jobRunId=run_id)["jobRunAttempts"]
        assert [each["state"] for each in attempts] == ["FAILED"] * (number - 1) + ["CANCELLED"]


def test_the_same_token_is_the_same_run_and_another_request_with_it_is_refused(bench: Bench) -> None:
    first = bench.start("pass", clientToken="token-1")
    assert bench.start("pass", clientToken="token-1") == first
    with pytest.raises(ClientError, match="ConflictException"):
        bench.start("pass", "another argument", clientToken="token-1")
    bench.ended(first)


def test_confs_of_the_run_come_before_the_application_s(bench: Bench) -> None:
    """sparkSubmitParameters, then the run's configuration, then the application's."""
    name = "spark.emr-serverless.driverEnv."
    defaults = {f"{name}A": "application", f"{name}B": "application", f"{name}C": "application"}
    before, bench.application = bench.application, bench.create(runtimeConfiguration=[_defaults(defaults)])
    try:
        overrides = {"applicationConfiguration": [_defaults({f"{name}A": "run", f"{name}B": "run"})]}
        script = "import os; print(*(os.environ[name] for name in 'ABC'))"
        run_id = bench.start(script, confs={f"{name}A": "submit"}, configurationOverrides=overrides)
        assert bench.ended(run_id)["state"] == "SUCCESS"
        assert bench.said(run_id) == "submit run application\n"
    finally:
        bench.application = before


def test_a_role_that_does_not_trust_the_service_or_is_not_there_runs_nothing(bench: Bench) -> None:
    bench.iam.create_role(RoleName="other", AssumeRolePolicyDocument=_document(TRUST | {"Principal": {"Service": "ec2.amazonaws.com"}}))
    for name, reason in (("other", "not allowed to assume"), ("nobody", "does not exist")):
        run = bench.ended(bench.start("pass", role=f"arn:aws:iam::{ACCOUNT}:role/{name}"))
        assert run["state"] == "FAILED"
        assert reason in run["stateDetails"]


def test_a_role_s_condition_on_the_application_is_asked(bench: Bench) -> None:
    condition = {"ArnLike": {"aws:SourceArn": f"arn:aws:emr-serverless:us-east-1:{ACCOUNT}:/applications/another"}}
    bench.iam.create_role(RoleName="elsewhere", AssumeRolePolicyDocument=_document(TRUST | {"Condition": condition}))
    run = bench.ended(bench.start("pass", role=f"arn:aws:iam::{ACCOUNT}:role/elsewhere"))
    assert run["state"] == "FAILED"


def test_an_entry_point_that_is_not_there_fails_the_run(bench: Bench) -> None:
    submit = {"entryPoint": f"s3://{BUCKET}/nothing.py"}
    run_id = bench.emr.start_job_run(applicationId=bench.application, executionRoleArn=ROLE, jobDriver={"sparkSubmit": submit})["jobRunId"]
    assert f"No such file or directory: s3://{BUCKET}/nothing.py" in bench.ended(run_id)["stateDetails"]


def test_spark_fetches_a_run_s_files_from_the_bucket_and_its_executors_do_too(bench: Bench) -> None:
    uris = [f"s3://{BUCKET}/{name}" for name in ("code.zip", "note.zip")]
    for name, member, text in (("code.zip", "code_of_run.py", "WORD = 'packaged'"), ("note.zip", "note.txt", "archived")):
        bench.s3.put_object(Bucket=BUCKET, Key=name, Body=_zip(member, text))
    confs = {"spark.submit.pyFiles": uris[0], "spark.archives": f"{uris[1]}#notes"}
    run_id = bench.start(READS, confs=confs)
    assert bench.ended(run_id)["state"] == "SUCCESS", bench.said(run_id) + bench.said(run_id, stream="stderr")
    assert json.loads(bench.said(run_id)) == {
        "archives": confs["spark.archives"],
        "files": uris[0],
        "driver": ["packaged", "archived"],
        "executor": ["packaged", "archived"],
    }


READS = """
import json
from pathlib import Path
from pyspark import SparkContext

def read(_number):
    import code_of_run
    return [code_of_run.WORD, Path("notes/note.txt").read_text()]

sc = SparkContext()
asked = {name: sc.getConf().get(f"spark.{name}") for name in ("archives", "files")}
print(json.dumps(asked | {"driver": read(0), "executor": sc.parallelize([0], 1).map(read).first()}))
"""


def test_what_spark_fetches_is_put_to_the_run_s_role(bench: Bench) -> None:
    bench.allow(*NARROW[:1], {"Effect": "Allow", "Action": ["s3:PutObject", "logs:*"], "Resource": "*"})
    try:
        run_id = bench.start("print('here I am')")
        details = bench.ended(run_id)["stateDetails"]
    finally:
        bench.allow(ALL)
    assert f"AccessDeniedException: s3://{BUCKET}/script.py" in details
    assert bench.said(run_id) == ""


ASKS = f"""
import json, sys
import boto3
from botocore.exceptions import ClientError
s3 = boto3.client("s3")
said = {{}}
for name, ask in {{
    "list images": lambda: s3.list_objects_v2(Bucket="{BUCKET}", Prefix="images/"),
    "list all": lambda: s3.list_objects_v2(Bucket="{BUCKET}"),
    "read": lambda: s3.get_object(Bucket="{BUCKET}", Key="images/1"),
    "read what is not there": lambda: s3.get_object(Bucket="{BUCKET}", Key="images/0"),
    "head what is not there and not listed": lambda: s3.head_object(Bucket="{BUCKET}", Key="secrets/0"),
    "read elsewhere": lambda: s3.get_object(Bucket="{BUCKET}", Key="private/1"),
    "write": lambda: s3.put_object(Bucket="{BUCKET}", Key="results/1"),
    "write elsewhere": lambda: s3.put_object(Bucket="{BUCKET}", Key="images/2"),
    "copy": lambda: s3.copy_object(Bucket="{BUCKET}", Key="results/2", CopySource="{BUCKET}/results/1"),
    "copy from elsewhere": lambda: s3.copy_object(Bucket="{BUCKET}", Key="results/3", CopySource="{BUCKET}/private/1"),
    "start a run": lambda: boto3.client("emr-serverless").list_applications(),
}}.items():
    try:
        ask()
        said[name] = "yes"
    except ClientError as error:
        said[name] = error.response["Error"]["Code"]
print(json.dumps(said))
"""
NARROW = (
    {
        "Effect": "Allow",
        "Action": "s3:ListBucket",
        "Resource": f"arn:aws:s3:::{BUCKET}",
        "Condition": {"StringLike": {"s3:prefix": "images/*"}},
    },
    {
        "Effect": "Allow",
        "Action": "s3:GetObject",
        "Resource": [f"arn:aws:s3:::{BUCKET}/{name}" for name in ("images/*", "secrets/*", "script.py")],
    },
    {
        "Effect": "Allow",
        "Action": ["s3:GetObject", "s3:PutObject"],
        "Resource": [f"arn:aws:s3:::{BUCKET}/{name}/*" for name in ("results", "logs")],
    },
    {"Effect": "Allow", "Action": "logs:*", "Resource": "*"},
)


def test_a_run_may_do_what_its_role_allows_and_nothing_else(bench: Bench) -> None:
    for key in ("images/1", "private/1"):
        bench.s3.put_object(Bucket=BUCKET, Key=key)
    bench.allow(*NARROW)
    try:
        run_id = bench.start(ASKS)
        assert bench.ended(run_id)["state"] == "SUCCESS"
        said = json.loads(bench.said(run_id))
    finally:
        bench.allow(ALL)
    allowed = {"list images", "read", "write", "copy"}
    assert {name for name, code in said.items() if code == "yes"} == allowed
    assert said["read what is not there"] == "NoSuchKey"
    assert said["head what is not there and not listed"] == "403"


def test_a_run_s_own_policy_narrows_its_role(bench: Bench) -> None:
    policy = _document({"Effect": "Allow", "Action": ["s3:GetObject", "s3:PutObject", "logs:*"], "Resource": "*"})
    script = f"import boto3; boto3.client('s3').list_objects_v2(Bucket='{BUCKET}')"
    assert bench.ended(bench.start(script))["state"] == "SUCCESS"
    run_id = bench.start(script, executionIamPolicy={"policy": policy})
    assert bench.ended(run_id)["state"] == "FAILED"
    assert "not authorized to perform: s3:ListBucket" in bench.said(run_id)


def test_an_application_in_use_is_neither_changed_nor_deleted(bench: Bench) -> None:
    run_id = bench.start("import time; time.sleep(300)")
    bench.until(run_id, "RUNNING")
    with pytest.raises(ClientError, match="STARTED"):
        bench.emr.delete_application(applicationId=bench.application)
    with pytest.raises(ClientError, match="active runs"):
        bench.emr.stop_application(applicationId=bench.application)
    bench.emr.cancel_job_run(applicationId=bench.application, jobRunId=run_id, shutdownGracePeriodInSeconds=0)
    bench.ended(run_id)


def test_more_than_the_application_s_capacity_is_refused(bench: Bench) -> None:
    before, bench.application = bench.application, bench.create(maximumCapacity={"cpu": "4 vCPU", "memory": "100 GB"})
    try:
        with pytest.raises(ClientError, match="4 vCPU"):
            bench.start("pass")
    finally:
        bench.application = before


def _zip(name: str, text: str) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr(name, text)
    return made.getvalue()


def _defaults(properties: dict[str, str]) -> dict[str, Any]:
    return {"classification": "spark-defaults", "properties": properties}


def _document(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def _body(bench: Bench, key: str) -> str:
    """An object's text, once it is there."""
    deadline = time.monotonic() + WAIT_S
    while True:
        try:
            return str(bench.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read().decode())
        except bench.s3.exceptions.NoSuchKey:
            assert time.monotonic() < deadline
            time.sleep(0.1)
