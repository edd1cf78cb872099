"""The steps of a rehearsal: the commands that an operator would run in an account. Each says what it came to."""

from __future__ import annotations

import json
import sys

from bootstrap.errors import BootstrapError
from bootstrap.rehearsal.account import Rehearsal
from bootstrap.rehearsal.artifacts import build_artifacts
from bootstrap.rehearsal.compare import compare_results
from bootstrap.rehearsal.ending import end_environment
from bootstrap.rehearsal.local import ACCOUNT, REGION
from bootstrap.rehearsal.workspace import REPOSITORY, copy_repository, is_disposable
from job.contract import IMAGES

PARTS = ("Storage", "Job", "Watch")  # of an environment: a stack each
FIRST_RUN = "first-run"  # as the stacks' output names it
PICTURES = 40  # of each label: 325 files with the broken ones


def build(rehearsal: Rehearsal) -> str:
    if not rehearsal.images.exists():
        from bootstrap.pictures import make_pictures

        make_pictures(rehearsal.images, count=PICTURES)
    artifacts = rehearsal.artifacts
    said = build_artifacts(artifacts, network=REPOSITORY / "build" / "rehearsal" / "model", bootstrap=rehearsal.bootstrap)
    copy_repository(rehearsal.workspace, artifacts=artifacts)
    return said


def bootstrap(rehearsal: Rehearsal) -> str:
    rehearsal.aws.run(["cdk", "bootstrap", f"aws://{ACCOUNT}/{REGION}"], cwd=rehearsal.folder)
    return "CDKToolkit"


def deploy(rehearsal: Rehearsal) -> str:
    rehearsal.cdk("deploy", "--all", "--require-approval", "never")
    stacks = {each["StackName"] for each in rehearsal.aws.client("cloudformation").describe_stacks()["Stacks"]}
    if missing := {f"{rehearsal.stack}-{part}" for part in PARTS} - stacks:
        raise BootstrapError(f"cdk deploy leaves out {', '.join(sorted(missing))}")
    return ", ".join(f"{rehearsal.stack}-{part}" for part in PARTS)


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
    places = {"--images": rehearsal.images, "--results": results, "--model": rehearsal.artifacts / "model"}
    words = [str(word) for pair in places.items() for word in pair]
    rehearsal.aws.run([sys.executable, "-m", "job", "run", *words, "--quiet"], cwd=REPOSITORY)
    bucket = rehearsal.deployment().bucket
    agreed = compare_results(rehearsal.folder / "fetched", f"s3://{bucket}/{IMAGES}", results, str(rehearsal.images))
    return f"{agreed.images} images bit for bit, {agreed.faults} faults, projections within {agreed.projection_error:.0e}"


def deploy_again(rehearsal: Rehearsal) -> str:
    before = rehearsal.outputs()
    said = _deployed(rehearsal)
    if said.count("(no changes)") != len(PARTS) or rehearsal.outputs() != before:
        raise BootstrapError("the same thing deployed again changes something", "cdk diff, and look for what differs between two syntheses")
    return "no changes"


def change_code(rehearsal: Rehearsal) -> str:
    """A line more in the job: the package is another, and nothing else is."""
    before, published = rehearsal.outputs(), _published(rehearsal)
    with (rehearsal.workspace / "job" / "contract.py").open("a") as changed:
        changed.write("# rehearsed\n")
    unchanged = _deployed(rehearsal).count("(no changes)")
    after, fresh = rehearsal.outputs(), _published(rehearsal) - published
    different = sorted(name for name in after if after[name] != before.get(name))
    if different != ["JobPackageUri", "StartJobRun"] or unchanged != len(PARTS) - 1:
        raise BootstrapError(f"a change of code changes {', '.join(different) or 'nothing'}", "only the package and the command name it")
    if fresh != {after["JobPackageUri"]}:
        raise BootstrapError(f"a change of code publishes {', '.join(sorted(fresh))}", "only the package is another")
    return "another package only"


def _published(rehearsal: Rehearsal) -> set[str]:
    """URIs of what lies where `cdk deploy` publishes artifacts; templates are not among them."""
    bucket = rehearsal.outputs()["JobPackageUri"].split("/")[2]
    pages = rehearsal.aws.client("s3").get_paginator("list_objects_v2").paginate(Bucket=bucket)
    return {f"s3://{bucket}/{each['Key']}" for page in pages for each in page["Contents"] if not each["Key"].endswith(".json")}


def _deployed(rehearsal: Rehearsal) -> str:
    """What `cdk deploy` says, on both streams."""
    return rehearsal.cdk("deploy", "--all", "--require-approval", "never", "--ci")


def destroy(rehearsal: Rehearsal) -> str:
    return end_environment(
        rehearsal.aws,
        f"{rehearsal.stack}-",
        rehearsal.deployment().bucket,
        disposable=is_disposable(rehearsal.environment),
        destroy=lambda: rehearsal.cdk("destroy", f"{rehearsal.stack}-*", "--force"),
    )


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
