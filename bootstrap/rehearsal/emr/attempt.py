"""One attempt of a run: its role, its files, its driver, its logs."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from bootstrap.errors import BootstrapError
from bootstrap.rehearsal.drills import SERVICE
from bootstrap.rehearsal.emr.applications import Application
from bootstrap.rehearsal.emr.logs import Logs
from bootstrap.rehearsal.emr.settings import RunSettings
from bootstrap.rehearsal.emr.spark import driver_command, driver_environment
from bootstrap.rehearsal.emr.staging import stage
from bootstrap.rehearsal.identity import Identity, NotAssumed, Session
from bootstrap.rehearsal.leash import leashed
from bootstrap.rehearsal.local import REGION
from bootstrap.rehearsal.policies import Policy

POLL_S = 0.2
DEFAULT_TIMEOUT_MINUTES = 720
STDOUT, STDERR = "stdout", "stderr"


@dataclass(frozen=True, slots=True)
class Site:
    """Where runs happen."""

    endpoint: str
    folder: Path
    identity: Identity


class TimedOut(Exception):
    """The driver took longer than executionTimeoutMinutes allows."""

    def __init__(self, minutes: float) -> None:
        super().__init__(minutes)
        self.minutes = minutes


class Attempt:
    """carry_out() runs it, end() from another thread ends it."""

    def __init__(
        self, site: Site, application: Application, request: dict[str, Any], settings: RunSettings, *, run_id: str, place: str
    ) -> None:
        self._site, self._application, self._request, self._settings = site, application, request, settings
        self._run_id, self._place = run_id, place
        self._folder = site.folder / place
        self._process: subprocess.Popen[str] | None = None
        self._ended = threading.Event()

    def carry_out(self) -> str | None:
        """None where the driver succeeded, else why not, as stateDetails has it."""
        self._folder.mkdir(parents=True)
        try:
            return self._carry_out()
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)  # packages unpacked for three processes; what was said is in its logs

    def _carry_out(self) -> str | None:
        try:
            session = self._site.identity.assume(
                self._request["executionRoleArn"], application_arn=self._application.arn, run_id=self._run_id, limits=self._limits()
            )
            aws = self._client_factory(session)
            logs = Logs(self._monitoring(), self._place, aws, files={STDOUT: self._folder / STDOUT, STDERR: self._folder / STDERR})
            logs.open()
            submit = self._request["jobDriver"]["sparkSubmit"]
            stage(self._settings.properties, aws("s3"), into=self._folder)
            command = driver_command(submit, self._settings, endpoint=self._site.endpoint, folder=self._folder)
            code = self._drive(command, session, logs)
            logs.close()
        except (NotAssumed, ClientError, BootstrapError) as error:
            return f"Job run failed: {error}"
        return self._verdict(code)

    def end(self, *, grace_s: float) -> None:
        """Ends the driver and all that it started: first they are asked to."""
        self._ended.set()
        if not (process := self._process):
            return
        deadline = time.monotonic() + grace_s
        _signal(process, signal.SIGTERM)
        while not _has_exited(process) and time.monotonic() < deadline:
            time.sleep(POLL_S)
        _signal(process, signal.SIGKILL)

    def _limits(self) -> tuple[Policy, ...]:
        """The run's own policy, which its role's permissions are narrowed to."""
        own = self._request.get("executionIamPolicy", {})
        return (Policy.parse(own["policy"]),) if "policy" in own else ()

    def _monitoring(self) -> dict[str, Any]:
        inherited: dict[str, Any] = self._application.settings.get("monitoringConfiguration", {})
        own: dict[str, Any] = self._request.get("configurationOverrides", {}).get("monitoringConfiguration", {})
        return inherited | own

    def _client_factory(self, session: Session) -> Any:
        given = self._site.identity.credentials(session.token)
        assert given
        made = boto3.Session(given["AccessKeyId"], given["SecretAccessKey"], given["Token"], region_name=REGION)
        return lambda service: made.client(service, endpoint_url=self._site.endpoint, config=Config(user_agent_extra=SERVICE))

    def _drive(self, command: list[str], session: Session, logs: Logs) -> int:
        """The driver's exit code. It is on a leash: it ends with the stand-in, however that ends."""
        environment = driver_environment(self._settings, endpoint=self._site.endpoint, token=session.token, folder=self._folder)
        with (
            (self._folder / STDOUT).open("wb") as out,
            (self._folder / STDERR).open("wb") as err,
            leashed(command, cwd=self._folder, env=environment, stdout=out, stderr=err) as self._process,
        ):
            return self._watch(self._process, logs)

    def _watch(self, process: subprocess.Popen[str], logs: Logs) -> int:
        """The exit code of a driver that runs, once it has ended or had to."""
        if self._ended.is_set():  # it was cancelled while its files were fetched
            _signal(process, signal.SIGKILL)
        minutes = self._request.get("executionTimeoutMinutes", DEFAULT_TIMEOUT_MINUTES)
        deadline = time.monotonic() + 60 * minutes
        while not _has_exited(process):
            if time.monotonic() > deadline:
                self.end(grace_s=0)
                process.wait()
                raise TimedOut(minutes)
            logs.stream()
            time.sleep(POLL_S)
        _signal(process, signal.SIGKILL)  # what the driver may have left behind
        return process.wait()

    def _verdict(self, code: int) -> str | None:
        if code == 0:
            return None
        # spark-submit sends what a Python driver says on stderr to stdout (PythonRunner)
        said = "".join((self._folder / name).read_text(errors="replace") for name in (STDERR, STDOUT)).splitlines()
        last = [line.strip() for line in said if ("Error" in line or "Exception" in line) and not line.startswith("\tat ")]
        return (
            "Job failed, please check complete logs in configured logging destination. "
            f"ExitCode: {code}. Last few exceptions: {' '.join(last[-2:])}"
        )


def _has_exited(process: subprocess.Popen[str]) -> bool:
    """Whether it has, without taking notice of it: until then nobody else can have its number, nor its group's."""
    if process.returncode is not None:
        return True
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _signal(process: subprocess.Popen[str], number: int) -> None:
    """To the driver's whole group, unless the driver has been waited for."""
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
