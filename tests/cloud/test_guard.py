"""A rehearsal reaches this machine only, as nobody, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bootstrap.rehearsal.emr.settings import RunSettings
from bootstrap.rehearsal.emr.spark import driver_command
from bootstrap.rehearsal.local import NotLocal, local_environment, refuse_unless_local
from bootstrap.rehearsal.process import stand_in
from tests.cloud.account import is_alive
from tests.conftest import REPOSITORY

HERE = "http://localhost:4566"
REAL = {"AWS_PROFILE": "prod", "AWS_SESSION_TOKEN": "x", "AWS_ENDPOINT_URL_S3": "https://s3.amazonaws.com", "AWS_ROLE_ARN": "arn"}


@pytest.mark.parametrize(
    "endpoint",
    ["https://s3.amazonaws.com", "http://localhost.example.org:80", "http://10.0.0.1:80", "http://user@evil.org", "localhost", ""],
)
def test_an_endpoint_elsewhere_is_refused(endpoint: str) -> None:
    with pytest.raises(NotLocal):
        local_environment({}, endpoint=endpoint)


def test_a_profile_a_token_and_an_endpoint_of_a_service_do_not_reach_commands() -> None:
    made = local_environment(REAL | {"PATH": "/bin"}, endpoint=HERE)
    assert not made.keys() & REAL.keys()
    assert made["PATH"] == "/bin"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *REAL.items(),
        ("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE"),
        ("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI"),
        ("AWS_ENDPOINT_URL", "https://sts.amazonaws.com"),
        ("AWS_CONFIG_FILE", "/home/me/.aws/config"),
        ("AWS_SHARED_CREDENTIALS_FILE", "/home/me/.aws/credentials"),
    ],
)
def test_an_environment_that_could_reach_an_account_is_refused(name: str, value: str) -> None:
    with pytest.raises(NotLocal, match=name):
        refuse_unless_local(local_environment({}, endpoint=HERE) | {name: value})


@pytest.mark.parametrize("name", ["AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_CONFIG_FILE"])
def test_an_environment_that_says_nothing_is_refused(name: str) -> None:
    made = local_environment({}, endpoint=HERE)
    with pytest.raises(NotLocal, match=name):
        refuse_unless_local({key: value for key, value in made.items() if key != name})


def test_a_command_of_the_rehearsal_reaches_the_stand_in_as_nobody(tmp_path: Path) -> None:
    with stand_in(log=tmp_path / "log") as aws:
        said = aws.run(["aws", "sts", "get-caller-identity", "--query", "Account", "--output", "text"], cwd=tmp_path)
    assert said.strip() == "123456789012"


def test_a_run_s_spark_knows_no_other_endpoint_than_the_stand_in_s(tools: None, tmp_path: Path) -> None:  # noqa: ARG001  asked for its jars
    named = {f"spark.hadoop.fs.s3a.{name}": "https://s3.amazonaws.com" for name in ("endpoint", "bucket.data.endpoint")}
    settings = RunSettings(named | {"spark.task.cpus": "1"}, ())
    command = driver_command({"entryPoint": "s3://data/script.py"}, settings, endpoint=HERE, folder=tmp_path)
    assert {word.partition("=")[2] for word in command if "endpoint=" in word} == {HERE}
    assert not [word for word in command if "amazonaws" in word]
    assert "spark.task.cpus=1" in command


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_stand_in_ends_with_its_parent(number: signal.Signals) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": str(REPOSITORY)}
    )
    assert parent.stdout
    child = int(parent.stdout.readline())
    assert is_alive(child)
    parent.send_signal(number)
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 10
    while is_alive(child):
        assert time.monotonic() < deadline, "the stand-in goes on without its parent"
        time.sleep(0.1)


def test_a_rehearsal_that_is_told_to_end_leaves_no_folder(tools: None, tmp_path: Path) -> None:  # noqa: ARG001  asked for its skip
    process = subprocess.Popen(
        [sys.executable, "-m", "bootstrap", "rehearse"],
        cwd=REPOSITORY, stderr=subprocess.PIPE, text=True, env=os.environ | {"TMPDIR": str(tmp_path)},
    )  # fmt: skip
    assert process.stderr
    assert process.stderr.readline() == "build …\n"
    assert list(tmp_path.iterdir())
    process.terminate()
    said = process.communicate(timeout=60)[1]
    assert (process.returncode, "Traceback" in said) == (143, False), said
    assert not list(tmp_path.iterdir())


PARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-m", "bootstrap.rehearsal.server"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
child.stdout.readline()
print(child.pid, flush=True)
time.sleep(60)
"""
