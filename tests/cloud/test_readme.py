"""The README's ways of use, pasted into a shell as they are there; the workflows' steps, run as they are there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import yaml

from bootstrap.pictures import make_pictures
from bootstrap.rehearsal.local import REGION, refuse_unless_local
from bootstrap.rehearsal.process import StandIn, stand_in
from bootstrap.rehearsal.workspace import REPOSITORY, this_architecture, with_architecture
from tests.cloud.account import Account

INSTALLED = (".venv", "node_modules")  # in the order in which make would install them
REGIONS = ("AWS_REGION", "AWS_DEFAULT_REGION")  # a configuration file, which may have one, there is none
LEFT = (*INSTALLED, "build", "cdk.out", ".git", ".venv-spark35", "__pycache__", ".pytest_cache", ".mypy_cache", ".ruff_cache")

# Nobody is there to be asked whether permissions may be broadened, by the CDK or by make
UNATTENDED = {"CDK_REQUIRE_APPROVAL": "never", "APPROVAL": "never"}

# A Keras network of full width whose weights are in a file, as trained ones would be
WEIGHTS = """
import sys, h5py, keras
from keras.src.legacy.saving import legacy_h5_format
with h5py.File(sys.argv[1], "w") as sink:
    legacy_h5_format.save_weights_to_hdf5_group(sink, keras.applications.MobileNetV2(weights=None, include_top=False, pooling="avg"))
"""


@pytest.fixture(scope="module")
def checkout(tools: None, tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: ARG001  asked for its skip
    """The repository as somebody has it who has run `make setup-cdk`, on this machine's architecture, with photos and weights of theirs."""
    folder = tmp_path_factory.mktemp("readme") / "verger"
    shutil.copytree(REPOSITORY, folder, ignore=shutil.ignore_patterns(*LEFT))
    for name in INSTALLED:
        _install(folder / name)
    settings = folder / "infra" / "environments.toml"
    settings.write_text(with_architecture(settings.read_text(), this_architecture()))
    make_pictures(folder / "photos", count=1)
    subprocess.run([sys.executable, "-c", WEIGHTS, str(folder / "weights.h5")], check=True, capture_output=True)
    return folder


def _install(folder: Path) -> None:
    """What the repository has installed, and a mark that it is up to date: make would else install it there, through a link."""
    folder.mkdir()
    for each in (REPOSITORY / folder.name).iterdir():
        if each.name != ".ready":
            (folder / each.name).symlink_to(each)
    (folder / ".ready").touch()


@pytest.fixture
def aws(tmp_path: Path) -> Iterator[StandIn]:
    with stand_in(log=tmp_path / "stand-in.log") as made:
        yield made


def block(heading: str) -> str:
    """The commands under a heading of the README, with something for each word in capitals that it asks to replace."""
    text = (REPOSITORY / "README.md").read_text()
    under = re.split(r"(?m)^#+ ", text.partition(f"### {heading}\n")[2])[0]
    commands = "\n".join(line.removeprefix("    ") for line in under.splitlines() if line.startswith("    "))
    assert commands, f"no commands under {heading}"
    for word, ours in {"FILE.h5": "weights.h5", "PHOTOS": "photos", "OWNER/NAME": "example/verger"}.items():
        commands = commands.replace(word, ours)
    return commands


def paste(commands: str, aws: StandIn, *, cwd: Path, more: Mapping[str, str] | None = None) -> str:
    """What a shell says on both streams, with nothing of ours on its PATH, and no region but one that the commands name."""
    away = [REPOSITORY / ".venv" / "bin", REPOSITORY / "node_modules" / ".bin"]
    path = os.pathsep.join(each for each in os.environ["PATH"].split(os.pathsep) if Path(each) not in away)
    given = {name: value for name, value in aws.environment.items() if name not in REGIONS}
    environment = given | UNATTENDED | {"PATH": path} | dict(more or {})
    refuse_unless_local(environment)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands], cwd=cwd, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    return done.stdout + done.stderr


def fetched(out: Path) -> set[str]:
    """What a run left, by its first level of names."""
    return {each.name for each in out.iterdir()}


WHOLE = {"features", "faults", "pca", "projections", "projections.csv", "summary.json"}


def test_cdk_deploy_and_the_aws_cli_lead_to_results(checkout: Path, aws: StandIn, tmp_path: Path) -> None:
    """The second way is for another person, with another shell, who has nothing but the AWS CLI and photos."""
    paste(block("cdk deploy"), aws, cwd=checkout)
    assert fetched(checkout / "out") >= WHOLE
    shutil.copytree(checkout / "photos", tmp_path / "photos")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "aws").symlink_to(REPOSITORY / ".venv" / "bin" / "aws")
    _remove_results(aws)
    said = paste(block("AWS CLI"), aws, cwd=tmp_path, more={"PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin"})
    assert "SUCCESS" in said
    assert fetched(tmp_path / "out") >= WHOLE


def _remove_results(aws: StandIn) -> None:
    """Both ways call their run first-run, and neither replaces results."""
    aws.run(["aws", "s3", "rm", "--recursive", f"s3://{Account(aws, REPOSITORY).deployment().bucket}/results/"], cwd=REPOSITORY)


def steps(workflow: str) -> list[str]:
    """The commands of a workflow; that which compares commits reaches no account."""
    jobs = yaml.safe_load((REPOSITORY / ".github" / "workflows" / f"{workflow}.yml").read_text())["jobs"]
    found = [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]
    return [command for command in found if "diff" not in command]


def test_ci_is_set_up_and_then_its_workflows_deploy_and_run(checkout: Path, aws: StandIn, tmp_path: Path) -> None:
    paste(block("CI"), aws, cwd=checkout)
    account = Account(aws, checkout)
    assert {"Verger-Boundary", "Verger-Delivery", "Verger-dev-Job", "Verger-prod-Job"} <= account.stacks()

    with (checkout / "job" / "contract.py").open("a") as code:
        code.write("# pushed to main\n")
    before = account.deployment()
    regions = dict.fromkeys(REGIONS, REGION)  # aws-actions/configure-aws-credentials sets both
    ours = regions | {"ENV": "dev", "REPOSITORY": "example/verger", "ONLY": "Verger-dev-*", "NAME": "from-ci", "WEIGHTS": "weights.h5"}
    paste("\n".join(steps("deploy")), aws, cwd=checkout, more=ours)
    assert account.deployment().job_package != before.job_package

    account.put_pictures(tmp_path / "photos", count=1)
    said = paste("\n".join(steps("run")), aws, cwd=checkout, more=ours)
    assert "SUCCESS" in said
    assert account.keys("results/from-ci/summary.json")
