"""An account of the stand-in as tests use it: what an operator would type, and what is there afterwards."""

from __future__ import annotations

import json
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bootstrap.rehearsal.local import ACCOUNT, REGION
from bootstrap.rehearsal.process import StandIn
from job.submission import Deployment, parameter_name

ENDS = ("SUCCESS", "FAILED", "CANCELLED")
WAIT_S = 120


@dataclass(frozen=True)
class Account:
    aws: StandIn
    workspace: Path
    environment: str = "dev"

    def bootstrap(self) -> None:
        self.aws.run(["cdk", "bootstrap", f"aws://{ACCOUNT}/{REGION}"], cwd=self.workspace.parent)

    def deploy(self, environment: str, *more: str) -> str:
        return self.aws.run(
            ["cdk", "deploy", "--all", "--require-approval", "never", "--ci", *_context(environment), *more], cwd=self.workspace
        )

    def destroy(self, environment: str, *more: str) -> str:
        return self.aws.run(["cdk", "destroy", "--all", "--force", "--ci", *_context(environment), *more], cwd=self.workspace)

    def deployment(self) -> Deployment:
        found = self.aws.client("ssm").get_parameter(Name=parameter_name(self.environment))
        return Deployment.from_json(found["Parameter"]["Value"])

    def outputs(self) -> dict[str, str]:
        [stack] = self.aws.client("cloudformation").describe_stacks(StackName=f"Verger-{self.environment}-Job")["Stacks"]
        return {each["OutputKey"]: each["OutputValue"] for each in stack["Outputs"]}

    def stacks(self) -> set[str]:
        return {each["StackName"] for each in self.aws.client("cloudformation").describe_stacks()["Stacks"]}

    def buckets(self) -> set[str]:
        return {each["Name"] for each in self.aws.client("s3").list_buckets()["Buckets"]}

    def put(self, key: str, body: bytes) -> None:
        self.aws.client("s3").put_object(Bucket=self.deployment().bucket, Key=key, Body=body)

    def start(self, **more: Any) -> str:
        """Starts the run whose command the stack prints, with other settings where they are given."""
        pasted = self.outputs()["StartJobRun"]
        if not more:
            return str(json.loads(self.aws.run(["bash", "-c", pasted], cwd=self.workspace))["jobRunId"])
        return str(self.aws.client("emr-serverless").start_job_run(**more)["jobRunId"])

    def run(self, run_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.aws.client("emr-serverless").get_job_run(
            applicationId=self.deployment().application_id, jobRunId=run_id
        )
        return dict(found["jobRun"])

    def ended(self, run_id: str) -> dict[str, Any]:
        return wait_for_end(lambda: self.run(run_id))


def wait_for_end(look: Any) -> dict[str, Any]:
    """The run once it has ended."""
    deadline = time.monotonic() + WAIT_S
    while (run := look())["state"] not in ENDS:
        assert time.monotonic() < deadline, f"the run is still {run['state']}"
        time.sleep(0.2)
    return dict(run)


def is_alive(number: int) -> bool:
    """Whether a process of that number runs; one that has ended and was not waited for does not."""
    said = subprocess.run(["ps", "-o", "stat=", "-p", str(number)], capture_output=True, text=True, check=False).stdout.strip()
    return bool(said) and not said.startswith("Z")


def _context(environment: str) -> list[str]:
    return ["-c", f"environment={environment}"]
