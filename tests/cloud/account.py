"""An account of the stand-in as tests use it: what an operator would type, and what is there afterwards."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bootstrap.pictures import make_pictures
from bootstrap.rehearsal.drills import PATH, Drill
from bootstrap.rehearsal.emr.logs import WORKER
from bootstrap.rehearsal.identity import GRANTED
from bootstrap.rehearsal.local import ACCOUNT, REGION
from bootstrap.rehearsal.policies import Question
from bootstrap.rehearsal.process import StandIn
from bootstrap.rehearsal.workspace import REPOSITORY
from job.submission import Deployment, parameter_name

ENDS = ("SUCCESS", "FAILED", "CANCELLED")
WAIT_S = 300  # with other work on the machine


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
        return self.aws.run(
            ["cdk", "destroy", f"Verger-{environment}-*", "--force", "--ci", *_context(environment), *more], cwd=self.workspace
        )

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

    def put_pictures(self, folder: Path, *, count: int, to: str = "images") -> None:
        """So many of each label, and the broken ones, drawn in a folder that is not there yet."""
        make_pictures(folder, count=count)
        for file in folder.rglob("*.*"):
            if not file.name.startswith("."):
                self.put(f"{to}/{file.relative_to(folder).as_posix()}", file.read_bytes())

    def keys(self, prefix: str) -> list[str]:
        found = self.aws.client("s3").list_objects_v2(Bucket=self.deployment().bucket, Prefix=prefix)
        return [each["Key"] for each in found.get("Contents", ())]

    def start(self, *, images: str = "", results: str = "first-run", **more: Any) -> str:
        """Starts the run whose command the stack prints, of images anywhere, to be tried once; or another one where settings are given."""
        if more:
            return str(self.aws.client("emr-serverless").start_job_run(**more)["jobRunId"])
        pasted = self.outputs()["StartJobRun"].replace("first-run", results)
        if images:
            pasted = pasted.replace(f"s3://{self.deployment().bucket}/images/", images)
        assert results in pasted
        assert images in pasted
        return str(json.loads(self.aws.run(["bash", "-c", f"{pasted} --retry-policy maxAttempts=1"], cwd=self.workspace))["jobRunId"])

    def submit(self, results: str, *more: str, attempts: int = 1) -> subprocess.Popen[str]:
        """Our own command, which follows the run to its end; tried once, so that what goes wrong is seen, unless it is said otherwise."""
        command = [sys.executable, "-m", "bootstrap", "submit", "--environment", self.environment, "--results", results]
        return subprocess.Popen(
            [*command, "--wait", "--again", "--attempts", str(attempts), *more],
            cwd=REPOSITORY,
            env=self.aws.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    @contextmanager
    def drill(self, drill: Drill) -> Iterator[None]:
        """Has requests refused while the block lasts, and at least one."""
        self._drill(asdict(drill))
        try:
            yield
        finally:
            refused = self._drill(None)["refused"]
        assert refused, "the drill met no request"

    def _drill(self, wanted: dict[str, Any] | None) -> dict[str, int]:
        with urllib.request.urlopen(self.aws.endpoint + PATH, json.dumps(wanted).encode()) as answer:
            return dict(json.load(answer))

    def granted(self, run_id: str) -> list[Question]:
        """What a run asked for and was allowed to do."""
        with urllib.request.urlopen(self.aws.endpoint + GRANTED) as answer:
            return [Question(**each) for each in json.load(answer)[run_id]]

    def run(self, run_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.aws.client("emr-serverless").get_job_run(
            applicationId=self.deployment().application_id, jobRunId=run_id
        )
        return dict(found["jobRun"])

    def log(self, run_id: str) -> str:
        """What the driver said, in all attempts, "" where it did not start."""
        s3, deployment = self.aws.client("s3"), self.deployment()
        logs = self.keys(f"logs/applications/{deployment.application_id}/jobs/{run_id}/")
        found = [s3.get_object(Bucket=deployment.bucket, Key=key) for key in logs if key.endswith(f"{WORKER}/stdout.gz")]
        return "".join(gzip.decompress(each["Body"].read()).decode() for each in found)

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
