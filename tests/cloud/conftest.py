"""A stand-in for AWS, and what is deployed to it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from bootstrap.cli import main
from bootstrap.errors import UsageError
from bootstrap.rehearsal.artifacts import build_artifacts
from bootstrap.rehearsal.emr.s3a import s3a_jars
from bootstrap.rehearsal.process import StandIn, stand_in
from bootstrap.rehearsal.workspace import REPOSITORY, copy_repository
from tests.cloud.account import Account
from tests.conftest import lacking

TINY = REPOSITORY / "tests" / "spark" / "tiny"


@pytest.fixture(scope="session")
def tools() -> None:
    """What deploys, and what runs."""
    if not (REPOSITORY / "node_modules" / ".bin" / "cdk").exists():
        lacking("no CDK CLI: make rehearse installs it")
    for tool in ("node", "java"):
        if not shutil.which(tool):
            lacking(f"no {tool} here")
    try:
        s3a_jars()
    except UsageError as no_maven:
        lacking(str(no_maven))


@pytest.fixture(scope="session")
def artifacts(tools: None, tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: ARG001  asked for its skip
    """Packages for this machine, and the tests' tiny network."""
    folder = tmp_path_factory.mktemp("artifacts")
    build_artifacts(folder, network=TINY, bootstrap=lambda *words: main(words))
    return folder


@pytest.fixture
def workspace(artifacts: Path, tmp_path: Path) -> Path:
    """A copy of the repository, which a test may change."""
    return copy_repository(tmp_path / "workspace", artifacts=artifacts)


@pytest.fixture
def aws(tmp_path: Path) -> Iterator[StandIn]:
    """An empty account."""
    with stand_in(log=tmp_path / "stand-in.log") as made:
        yield made


@pytest.fixture
def account(aws: StandIn, workspace: Path) -> Account:
    """An account that `cdk bootstrap` has been run in."""
    made = Account(aws, workspace)
    made.bootstrap()
    return made


@pytest.fixture(scope="module")
def deployed(artifacts: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    """An account with dev in it, for all tests of a module."""
    folder = tmp_path_factory.mktemp("deployed")
    with stand_in(log=folder / "stand-in.log") as aws:
        made = Account(aws, copy_repository(folder / "workspace", artifacts=artifacts))
        made.bootstrap()
        made.deploy("dev")
        yield made
