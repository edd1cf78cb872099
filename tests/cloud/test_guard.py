"""A rehearsal reaches this machine only, as nobody, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from bootstrap.errors import BootstrapError
from bootstrap.rehearsal.emr.settings import RunSettings
from bootstrap.rehearsal.emr.spark import driver_command, driver_environment
from bootstrap.rehearsal.local import NotLocal, local_environment, refuse_unless_local
from bootstrap.rehearsal.process import stand_in
from bootstrap.rehearsal.remains import keep
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
    named |= {f"spark.{kind}.AWS_ENDPOINT_URL_S3": "https://s3.amazonaws.com" for kind in ("executorEnv", "emr-serverless.driverEnv")}
    settings = RunSettings(named | {"spark.task.cpus": "1"}, ())
    environment = driver_environment(settings, endpoint=HERE, token="dummy", folder=tmp_path)
    assert not [value for value in environment.values() if "amazonaws" in value]
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
    wait_for(lambda: not is_alive(child), lambda: "the stand-in goes on without its parent")


@pytest.mark.usefixtures("tools")
@pytest.mark.parametrize(
    ("step", "number"),
    [
        ("build", signal.SIGTERM),
        ("build", signal.SIGKILL),
        ("cdk deploy", signal.SIGKILL),
        ("follow", signal.SIGKILL),
        ("follow", signal.SIGINT),
    ],
)
def test_a_rehearsal_that_is_killed_leaves_neither_a_process_nor_a_folder(step: str, number: signal.Signals, tmp_path: Path) -> None:
    """While packages are fetched, while the CDK CLI runs, and while Spark does."""
    process = rehearsal(tmp_path)
    started = busy(process, step)
    process.send_signal(number)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == {signal.SIGTERM: 143, signal.SIGINT: 130}.get(number, -number)
    assert "Traceback" not in said
    wait_for(lambda: not (left(started) or list(tmp_path.iterdir())), lambda: f"{left(started)} and {list(tmp_path.iterdir())} are left")


@pytest.mark.usefixtures("tools")
def test_a_rehearsal_whose_stand_in_is_killed_says_so_and_leaves_its_folder_only(tmp_path: Path) -> None:
    """While Spark runs, and a command waits for it that would do so long after AWS has gone."""
    process = rehearsal(tmp_path)
    started = busy(process, "follow")
    [server] = [each for each, command in started.items() if SERVER in command]
    os.kill(server, signal.SIGKILL)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 1, said
    [folder] = tmp_path.iterdir()
    assert said.splitlines()[:3] == [
        f"note: what it left is in {folder}",
        "error: the stand-in was ended by SIGKILL while it was needed",
        f"hint: what it said is in {folder / 'stand-in.log'}",
    ]
    assert "Traceback" not in said
    wait_for(lambda: not left(started), lambda: f"{left(started)} are left")


def rehearsal(temporary: Path, *more: str) -> subprocess.Popen[str]:
    """One under way, whose temporary files are in that folder."""
    command = [sys.executable, "-m", "bootstrap", "rehearse", *more]
    return subprocess.Popen(
        [sys.executable, "-c", INTERRUPTIBLE, *command],
        cwd=REPOSITORY, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=os.environ | {"TMPDIR": str(temporary)},
    )  # fmt: skip


def busy(process: subprocess.Popen[str], step: str) -> dict[int, str]:
    """The processes that a rehearsal has started, and these in turn, once a step is in the middle of what it does."""
    assert process.stderr
    while (said := process.stderr.readline()) != f"{step} …\n":
        assert said.endswith(" …\n"), said + process.stderr.read()
    mark = EXECUTOR if step == "follow" else LEASH
    wait_for(lambda: any(mark in each for each in descendants(process.pid).values()), lambda: f"{step} starts nothing")
    time.sleep(2)  # so that the command is in the middle of what it does
    return descendants(process.pid)


def descendants(ancestor: int) -> dict[int, str]:
    """Their command lines, whole however few columns the environment says that there are."""
    said = subprocess.run(["ps", "-ewwo", "pid=,ppid=,args="], capture_output=True, text=True, check=True).stdout
    running = {int(pid): (int(parent), command) for pid, parent, command in (line.split(maxsplit=2) for line in said.splitlines())}
    found = {ancestor}
    while more := {each for each, (parent, _) in running.items() if parent in found} - found:
        found |= more
    return {each: running[each][1] for each in found - {ancestor}}


def left(started: Iterable[int]) -> list[int]:
    return [each for each in started if is_alive(each)]


def wait_for(claim: Callable[[], bool], otherwise: Callable[[], str]) -> None:
    deadline = time.monotonic() + 30
    while not claim():
        assert time.monotonic() < deadline, otherwise()
        time.sleep(0.1)  # between looks at processes, which cost one of their own


@pytest.mark.usefixtures("tools")
def test_after_a_step_that_failed_the_folder_stays_and_is_named(tmp_path: Path) -> None:
    """Without images, staging them fails, which is once everything is deployed."""
    temporary = tmp_path / "temporary"
    for folder in (temporary, tmp_path / "empty"):
        folder.mkdir()
    process = rehearsal(temporary, "--images", str(tmp_path / "empty"))
    said = process.communicate(timeout=300)[1]
    assert process.returncode == 1, said
    [folder] = temporary.iterdir()
    assert f"note: what it left is in {folder}\n" in said
    assert (folder / "stand-in.log").is_file()


def test_a_folder_that_is_kept_stays_and_another_goes(tmp_path: Path) -> None:
    for name in ("kept", "not"):
        folder = tmp_path / name
        folder.mkdir()
        if name == "kept":
            keep(folder)
        with stand_in(log=folder / "stand-in.log", owns=folder) as aws:
            aws.run(["bash", "-c", "mktemp -d"], cwd=tmp_path)
    assert [each.name for each in tmp_path.iterdir()] == ["kept"]


@pytest.mark.parametrize(("number", "how"), [(signal.SIGKILL, "was ended by SIGKILL"), (signal.SIGTERM, "ended with 0")])
def test_a_stand_in_that_is_killed_ends_the_command_that_runs_and_leaves_the_folder(
    number: signal.Signals, how: str, tmp_path: Path
) -> None:
    """Its folder is for whoever started it to discard or to keep, as that one is still there."""
    folder = tmp_path / "owned"
    folder.mkdir()
    with pytest.raises(BootstrapError, match=how) as failed, stand_in(log=folder / "log", owns=folder) as aws:
        aws.run(["bash", "-c", f"kill -{number:d} {aws.process.pid}; sleep 600"], cwd=tmp_path)
    assert failed.value.hint == f"what it said is in {folder / 'log'}"
    assert folder.is_dir()


def test_a_stand_in_that_does_not_start_is_said_with_what_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONHOME", str(tmp_path))  # nowhere: no Python starts there
    with pytest.raises(BootstrapError, match=r"the stand-in did not start: .*encodings") as failed, stand_in(log=tmp_path / "log"):
        pass
    assert failed.value.hint == "make setup installs what it needs"
    assert failed.value.lines


SERVER, LEASH, EXECUTOR = "bootstrap.rehearsal.server", "leash.py", "CoarseGrainedExecutorBackend"  # in command lines
# Whoever started the tests in the background had SIGINT ignored, and what they start would ignore it too
INTERRUPTIBLE = "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); os.execv(sys.executable, sys.argv[1:])"
PARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-m", "bootstrap.rehearsal.server"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
child.stdout.readline()
print(child.pid, flush=True)
time.sleep(60)
"""
