"""What one rehearsal knows on its way: the account, the environment in it, and what its steps came to."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path

from bootstrap.rehearsal.process import StandIn
from bootstrap.rehearsal.workspace import REPOSITORY, is_disposable
from job.submission import Deployment, parameter_name


@dataclass(frozen=True, slots=True)
class Step:
    name: str
    seconds: float
    said: str


@dataclass(slots=True)
class Rehearsal:
    """What one rehearsal knows on its way. workspace: the copy that is deployed."""

    environment: str
    images: Path
    folder: Path
    aws: StandIn
    steps: list[Step] = field(default_factory=list)

    @property
    def workspace(self) -> Path:
        return self.folder / "workspace"

    @property
    def artifacts(self) -> Path:
        """What is built for it to deploy."""
        return self.folder / "artifacts"

    @property
    def stack(self) -> str:
        return f"Verger-{self.environment}"

    def cdk(self, verb: str, *arguments: str) -> str:
        """A command of the CDK CLI, as it comes from npm."""
        context = ["-c", f"environment={self.environment}"]
        if is_disposable(self.environment):
            context += ["-c", f"delete_data={self.environment}"]
        return self.aws.run(["cdk", verb, *arguments, *context, "--no-color"], cwd=self.workspace)

    def bootstrap(self, verb: str, *arguments: str) -> str:
        """A command of ours."""
        return self.aws.run([sys.executable, "-m", "bootstrap", verb, *arguments], cwd=REPOSITORY)

    def outputs(self) -> dict[str, str]:
        """Of the job's stack."""
        [stack] = self.aws.client("cloudformation").describe_stacks(StackName=f"{self.stack}-Job")["Stacks"]
        return {each["OutputKey"]: each["OutputValue"] for each in stack["Outputs"]}

    def deployment(self) -> Deployment:
        value = self.aws.client("ssm").get_parameter(Name=parameter_name(self.environment))
        return Deployment.from_json(value["Parameter"]["Value"])
