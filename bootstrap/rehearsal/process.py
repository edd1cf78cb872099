"""The stand-in as a process of its own, and commands that can reach nothing else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3

from bootstrap.errors import BootstrapError
from bootstrap.rehearsal.leash import leashed
from bootstrap.rehearsal.local import DUMMY, REGION, local_environment, refuse_unless_local
from bootstrap.rehearsal.workspace import REPOSITORY

STOP_S = 20
LOOK_S = 1.0  # between looks at whether the stand-in is still there, while a command runs
LAST = 15  # lines of what a stand-in says that does not start, or does not go on


@dataclass(frozen=True, slots=True)
class StandIn:
    """A stand-in that runs, at `endpoint`. scratch: where commands put what is temporary, None for where they would anyway."""

    endpoint: str
    process: subprocess.Popen[str]
    scratch: Path | None = None

    @property
    def environment(self) -> dict[str, str]:
        """For commands: only the stand-in, with dummy credentials, and this interpreter's own tools first."""
        made = local_environment(os.environ, endpoint=self.endpoint)
        path = os.pathsep.join([str(Path(sys.executable).parent), str(REPOSITORY / "node_modules" / ".bin"), made.get("PATH", "")])
        return made | {"PATH": path, "PYTHONPATH": "", "CI": "true"} | _temporary(self.scratch)

    def client(self, service: str) -> Any:
        """A client of boto3 that knows this endpoint and dummy credentials only."""
        refuse_unless_local(self.environment)
        session = boto3.Session(DUMMY, DUMMY, region_name=REGION)
        return session.client(service, endpoint_url=self.endpoint)

    def run(self, command: Sequence[str], *, cwd: Path, more: Mapping[str, str] | None = None) -> str:
        """What a command prints on stdout. BootstrapError with its last words where it fails. It ends with us or the stand-in."""
        environment = self.environment | dict(more or {})
        refuse_unless_local(environment)
        with leashed(command, cwd=cwd, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            out, err = self._hear(process)
        if process.returncode:
            said = f"{out}\n{err}".splitlines()
            last = " ".join(line.strip() for line in said[-40:] if "FAILED" in line or "rror" in line or "ROLLBACK" in line)
            hint = next((line.removeprefix("hint: ") for line in reversed(said) if line.startswith("hint: ")), "")
            raise BootstrapError(f"{' '.join(command[:3])} … ended with {process.returncode}: {last}", hint)
        return out

    def _hear(self, command: subprocess.Popen[str]) -> tuple[str, str]:
        """What a command has said once it has ended; BootstrapError once the stand-in has, for which some would wait long."""
        while self.process.poll() is None:
            with suppress(subprocess.TimeoutExpired):
                return command.communicate(timeout=LOOK_S)
        raise BootstrapError("there is no stand-in any more")


def _temporary(folder: Path | None) -> dict[str, str]:
    """Variables by which programs, and Spark, find a folder for what is temporary."""
    if not folder:
        return {}
    return {"TMPDIR": str(folder), "SPARK_LOCAL_DIRS": str(folder), "JDK_JAVA_OPTIONS": f"-Djava.io.tmpdir={folder}"}  # Java asks no TMPDIR


@contextmanager
def stand_in(*, log: Path, owns: Path | None = None) -> Iterator[StandIn]:
    """A stand-in for as long as the block lasts. It ends with this process too, however that ends: its standard input closes.

    owns  a folder that it then discards, with all that is temporary in it

    BootstrapError where it does not start, and in the place of one from the block where it has ended meanwhile.
    """
    scratch = owns / "tmp" if owns else None
    if scratch:
        scratch.mkdir()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")} | _temporary(scratch)
    with log.open("w") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "bootstrap.rehearsal.server", *([str(owns)] if owns else [])],
            cwd=REPOSITORY,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,  # Ctrl-C is for the rehearsal, which then ends it in order
        )
    assert process.stdin
    assert process.stdout
    try:
        endpoint = process.stdout.readline().strip()
        if not endpoint:
            said = _last(log) or ["it says nothing"]
            problem = next((line for line in reversed(said) if "Error" in line), said[-1])
            raise BootstrapError(f"the stand-in did not start: {problem}", "make setup installs what it needs", lines=said)
        with _only(endpoint), _blamed(process, log):
            yield StandIn(endpoint, process, scratch)
    finally:
        process.stdin.close()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


@contextmanager
def _blamed(process: subprocess.Popen[str], log: Path) -> Iterator[None]:
    """A stand-in that has ended is why what is done with it fails, whatever that says."""
    try:
        yield
    except (BootstrapError, OSError) as error:  # the second of who speaks with it directly
        if (code := process.poll()) is None:
            raise
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"
        raise BootstrapError(f"the stand-in {how} while it was needed", f"what it said is in {log}", lines=_last(log)) from error


def _last(log: Path) -> list[str]:
    return log.read_text().strip().splitlines()[-LAST:]


@contextmanager
def _only(endpoint: str) -> Iterator[None]:
    """This process, too, knows nothing of AWS but the stand-in: boto3 would look up a profile that the shell names."""
    before = dict(os.environ)
    local = local_environment(before, endpoint=endpoint)
    os.environ.clear()
    os.environ.update(local)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
