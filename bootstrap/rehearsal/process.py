"""The stand-in as a process of its own, and commands that can reach nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3

from bootstrap.errors import BootstrapError
from bootstrap.rehearsal.local import DUMMY, REGION, local_environment, refuse_unless_local
from bootstrap.rehearsal.workspace import REPOSITORY

STOP_S = 20


@dataclass(frozen=True, slots=True)
class StandIn:
    """A stand-in that runs, at `endpoint`."""

    endpoint: str

    @property
    def environment(self) -> dict[str, str]:
        """For commands: only the stand-in, with dummy credentials, and this interpreter's own tools first."""
        made = local_environment(os.environ, endpoint=self.endpoint)
        path = os.pathsep.join([str(Path(sys.executable).parent), str(REPOSITORY / "node_modules" / ".bin"), made.get("PATH", "")])
        return made | {"PATH": path, "PYTHONPATH": "", "CI": "true"}

    def client(self, service: str) -> Any:
        """A client of boto3 that knows this endpoint and dummy credentials only."""
        refuse_unless_local(self.environment)
        session = boto3.Session(DUMMY, DUMMY, region_name=REGION)
        return session.client(service, endpoint_url=self.endpoint)

    def run(self, command: Sequence[str], *, cwd: Path, more: Mapping[str, str] | None = None) -> str:
        """What a command prints on stdout. BootstrapError with its last words where it fails."""
        environment = self.environment | dict(more or {})
        refuse_unless_local(environment)
        done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
        if done.returncode:
            said = f"{done.stdout}\n{done.stderr}".splitlines()
            last = " ".join(line.strip() for line in said[-40:] if "FAILED" in line or "rror" in line or "ROLLBACK" in line)
            raise BootstrapError(f"{' '.join(command[:3])} … ended with {done.returncode}: {last}")
        return done.stdout


@contextmanager
def stand_in(*, log: Path) -> Iterator[StandIn]:
    """A stand-in for as long as the block lasts. It ends with this process too, however that ends: its standard input closes."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    with log.open("w") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "bootstrap.rehearsal.server"],
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
            said = log.read_text().strip().splitlines() or ["it says nothing"]
            raise BootstrapError(
                f"the stand-in did not start: {said[-1]}", f"make setup installs what it needs; all that it says is in {log}"
            )
        with _only(endpoint):
            yield StandIn(endpoint)
    finally:
        process.stdin.close()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


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
