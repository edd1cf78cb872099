"""The whole life of Verger against the stand-in: the commands that an operator would run in an account, one after another."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bootstrap.errors import BootstrapError, UsageError
from bootstrap.rehearsal.artifacts import build_artifacts
from bootstrap.rehearsal.compare import compare_results
from bootstrap.rehearsal.local import ACCOUNT, REGION
from bootstrap.rehearsal.process import StandIn, stand_in
from bootstrap.rehearsal.workspace import REPOSITORY, copy_repository
from job.contract import IMAGES
from job.submission import Deployment, parameter_name

FIRST_RUN = "first-run"  # as the stacks' output names it
PICTURES = 40  # of each label: 325 files with the broken ones
TOOLS = {"node": "Node 20 or later", "java": "Java 17"}


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
    def stack(self) -> str:
        return f"Verger-{self.environment}"

    def cdk(self, verb: str, *arguments: str) -> str:
        """A command of the CDK CLI, as it comes from npm."""
        context = ["-c", f"environment={self.environment}", "-c", f"delete_data={self.environment}"]
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


def rehearse(environment: str, *, images: Path | None, keep: bool) -> list[Step]:
    """Goes through it all, saying on stderr what is being done; BootstrapError at the first step that fails."""
    refuse_missing_tools()
    folder = Path(tempfile.mkdtemp(prefix="verger-rehearsal-"))
    try:
        with stand_in(log=folder / "stand-in.log") as aws:
            rehearsal = Rehearsal(environment, images or folder / "pictures", folder, aws)
            for name, act in STEPS.items():
                _take(rehearsal, name, act)
            return rehearsal.steps
    except BootstrapError:
        keep = True
        print(f"note: what it left is in {folder}", file=sys.stderr)
        raise
    finally:
        if not keep:
            shutil.rmtree(folder)


def refuse_missing_tools() -> None:
    """UsageError that names the tool."""
    for tool, version in TOOLS.items():
        if not shutil.which(tool):
            raise UsageError(f"no {tool} here", f"a rehearsal needs {version}")
    for file in (REPOSITORY / "node_modules" / ".bin" / "cdk", Path(sys.executable).with_name("aws")):
        if not file.exists():
            raise UsageError(f"no {file.name} here", "make rehearse installs it")


def _take(rehearsal: Rehearsal, name: str, act: Any) -> None:
    print(f"{name} …", file=sys.stderr, flush=True)
    start = time.monotonic()
    said = act(rehearsal)
    rehearsal.steps.append(Step(name, time.monotonic() - start, said))


def build(rehearsal: Rehearsal) -> str:
    if not rehearsal.images.exists():
        from bootstrap.pictures import make_pictures

        make_pictures(rehearsal.images, count=PICTURES)
    said = build_artifacts(REPOSITORY / "build" / "rehearsal")
    copy_repository(rehearsal.workspace, artifacts=REPOSITORY / "build" / "rehearsal")
    return said


def bootstrap(rehearsal: Rehearsal) -> str:
    rehearsal.aws.run(["cdk", "bootstrap", f"aws://{ACCOUNT}/{REGION}"], cwd=rehearsal.folder)
    return "CDKToolkit"


def deploy(rehearsal: Rehearsal) -> str:
    rehearsal.cdk("deploy", "--all", "--require-approval", "never")
    stacks = [each["StackName"] for each in rehearsal.aws.client("cloudformation").describe_stacks()["Stacks"]]
    return ", ".join(sorted(name for name in stacks if name.startswith(rehearsal.stack)))


def upload(rehearsal: Rehearsal) -> str:
    """By the command that an operator would type, and once more: nothing is uploaded twice."""
    said = [
        json.loads(rehearsal.bootstrap("stage", str(rehearsal.images), f"s3://{rehearsal.deployment().bucket}/{IMAGES}/", "--json"))
        for _ in range(2)
    ]
    if said[1]["uploaded"] or said[1]["skipped"] != said[0]["uploaded"]:
        raise BootstrapError(f"files are uploaded twice: {said[1]['uploaded']}", "does the stand-in keep their checksums?")
    return f"{said[0]['uploaded']} files, {said[0]['bytes']:,} bytes, none of them twice"


def examine(rehearsal: Rehearsal) -> str:
    """All that a run needs is there, as far as that can be asked."""
    said = json.loads(rehearsal.bootstrap("doctor", "--environment", rehearsal.environment, "--json"))
    warnings = ", ".join(check for check, finding in said["findings"].items() if finding["state"] != "ok")
    return f"{len(said['findings'])} checks, {f'warnings: {warnings}' if warnings else 'all well'}"


def start(rehearsal: Rehearsal) -> str:
    """The command that the stack prints, pasted into a shell."""
    pasted = rehearsal.outputs()["StartJobRun"]
    answer = rehearsal.aws.run(["bash", "-c", pasted], cwd=rehearsal.folder)
    return str(json.loads(answer)["jobRunId"])


def follow(rehearsal: Rehearsal) -> str:
    said = rehearsal.bootstrap("follow", rehearsal.steps[-1].said, "--environment", rehearsal.environment, "--json")
    return " → ".join(dict.fromkeys(json.loads(line)["state"] for line in said.splitlines()))


def fetch(rehearsal: Rehearsal) -> str:
    folder = str(rehearsal.folder / "fetched")
    said = json.loads(rehearsal.bootstrap("fetch", FIRST_RUN, folder, "--environment", rehearsal.environment, "--json"))
    return f"{said['files']} files, {said['rows']['images']} images"


def compare(rehearsal: Rehearsal) -> str:
    """The same images through the job on this machine's disk."""
    results = rehearsal.folder / "local"
    model = REPOSITORY / "build" / "rehearsal" / "model"
    command = [sys.executable, "-m", "job", "run", "--images", str(rehearsal.images), "--results", str(results), "--model", str(model)]
    rehearsal.aws.run([*command, "--quiet"], cwd=REPOSITORY)
    bucket = rehearsal.deployment().bucket
    agreed = compare_results(rehearsal.folder / "fetched", f"s3://{bucket}/{IMAGES}", results, str(rehearsal.images))
    return f"{agreed.images} images bit for bit, {agreed.faults} faults, projections within {agreed.projection_error:.0e}"


def deploy_again(rehearsal: Rehearsal) -> str:
    before = rehearsal.outputs()
    said = _deployed(rehearsal)
    if said.count("(no changes)") != 3 or rehearsal.outputs() != before:
        raise BootstrapError("the same thing deployed again changes something", "cdk diff, and look for what differs between two syntheses")
    return "no changes"


def change_code(rehearsal: Rehearsal) -> str:
    """A line more in the job: the package is another, and nothing else is."""
    before = rehearsal.outputs()
    with (rehearsal.workspace / "job" / "contract.py").open("a") as changed:
        changed.write("# rehearsed\n")
    _deployed(rehearsal)
    after = rehearsal.outputs()
    different = sorted(name for name in after if after[name] != before.get(name))
    if different != ["JobPackageUri", "StartJobRun"]:
        raise BootstrapError(f"a change of code changes {', '.join(different) or 'nothing'}", "only the package and the command name it")
    return "another package only"


def _deployed(rehearsal: Rehearsal) -> str:
    """What `cdk deploy` says, on both streams."""
    return rehearsal.cdk("deploy", "--all", "--require-approval", "never", "--ci")


def destroy(rehearsal: Rehearsal) -> str:
    bucket = rehearsal.deployment().bucket
    rehearsal.cdk("destroy", "--all", "--force")
    if bucket in [each["Name"] for each in rehearsal.aws.client("s3").list_buckets()["Buckets"]]:
        raise BootstrapError(f"{bucket} is still there", "an environment that is disposable, with -c delete_data, takes its data along")
    return "stacks and data are gone"


STEPS = {
    "build": build,
    "cdk bootstrap": bootstrap,
    "cdk deploy": deploy,
    "stage images": upload,
    "doctor": examine,
    "start-job-run, as printed": start,
    "follow": follow,
    "fetch": fetch,
    "compare with a local run": compare,
    "cdk deploy again": deploy_again,
    "change code, cdk deploy": change_code,
    "cdk destroy": destroy,
}
