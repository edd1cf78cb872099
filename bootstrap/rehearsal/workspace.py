"""A copy of what is deployed, in a folder of its own: a rehearsal changes code, and writes cdk.out, there and nowhere else."""

from __future__ import annotations

import json
import platform
import re
import shutil
import tomllib
from pathlib import Path

from bootstrap.errors import BootstrapError, UsageError
from job.releases import Architecture

REPOSITORY = Path(__file__).resolve().parents[2]
SOURCES, ARTIFACTS = ("infra", "job"), ("model", "environment")
ARCHITECTURES: dict[str, Architecture] = {"x86_64": "x86_64", "AMD64": "x86_64", "aarch64": "arm64", "arm64": "arm64"}


def this_architecture() -> Architecture:
    """What packages have to be built for to run on this machine. BootstrapError where EMR has no such workers."""
    if platform.machine() not in ARCHITECTURES:
        raise BootstrapError(f"no EMR Serverless worker is a {platform.machine()}", "rehearse on x86-64 or arm64")
    return ARCHITECTURES[platform.machine()]


def is_disposable(environment: str) -> bool:
    """Whether its data may go with it. UsageError for one that infra/environments.toml does not have."""
    known = tomllib.loads((REPOSITORY / "infra" / "environments.toml").read_text())
    if environment not in known:
        raise UsageError(f"--environment {environment}: no such environment", f"infra/environments.toml has {', '.join(known)}")
    return bool(known[environment].get("disposable", False))


def copy_repository(folder: Path, *, artifacts: Path) -> Path:
    """The app and the job in `folder`, with what was built in `artifacts`. Environments of the copy run on this machine's architecture.

    They are without CI's stacks, whatever repository cdk.json names: a rehearsal is one environment's.
    """
    for name in SOURCES:
        shutil.copytree(REPOSITORY / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    settings = json.loads((REPOSITORY / "cdk.json").read_text())
    settings["context"]["repository"] = ""
    (folder / "cdk.json").write_text(json.dumps(settings, indent=2))
    (folder / "build").mkdir()
    for name in ARTIFACTS:
        (folder / "build" / name).symlink_to(artifacts.resolve() / name)
    environments = folder / "infra" / "environments.toml"
    environments.write_text(with_architecture(environments.read_text(), this_architecture()))
    return folder


def with_architecture(toml: str, architecture: Architecture) -> str:
    """Settings of environments, all on one architecture."""
    kept = re.sub(r"(?m)^architecture *=.*\n", "", toml)
    return re.sub(r"(?m)^(\[[a-z0-9]+\])$", rf'\1\narchitecture = "{architecture}"', kept)
