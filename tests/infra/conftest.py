"""The stacks, synthesised once for all tests that only look; and as often as a test likes, with its own environments."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from infra.environments import Environment, load_environments
from infra.workers import Worker
from job.releases import release_of
from tests.conftest import lacking
from tests.infra.assembly import BIN, DEV_AND_PROD, REPO, Assembly, synthesise

NETWORK = {"subnets": ("subnet-0123456789abcdef0",), "security_groups": ("sg-0123456789abcdef0",)}
PHOTOS = "arn:aws:s3:::photos"


@pytest.fixture(scope="session")
def node() -> None:
    if not (BIN / "node").exists():
        lacking("no Node in the virtual environment: make setup brings it")


@pytest.fixture(scope="session")
def assembly(node: None, tmp_path_factory: pytest.TempPathFactory) -> Assembly:  # noqa: ARG001  asked for its skip
    """dev, prod and delivery."""
    return synthesise(tmp_path_factory.mktemp("assembly"), repository=REPO)


@pytest.fixture(scope="session")
def shipped(node: None, tmp_path_factory: pytest.TempPathFactory) -> Assembly:  # noqa: ARG001  asked for its skip
    """The environments of infra/environments.toml and delivery, as `make synth` makes them."""
    return synthesise(tmp_path_factory.mktemp("shipped"), environments=load_environments(), repository=REPO)


@pytest.fixture(scope="session")
def full() -> Environment:
    """Every option on."""
    return Environment(
        name="full",
        release=release_of("emr-7.14.0"),
        architecture="x86_64",
        driver=Worker(vcpus=4, memory_gb=16),
        executor=Worker(vcpus=8, memory_gb=32, disk_gb=100),
        max_executors=7,
        max_vcpus=64,
        quota_vcpus=100,
        idle_minutes=15,
        timeout_minutes=60,
        retention_days=365,
        artifacts_days=400,
        customer_managed_key=True,
        alert_email="team@example.org",
        monthly_budget_usd=250,
        images_bucket_arn=PHOTOS,
        cost_centre="CC 42",
        **NETWORK,
    )


@pytest.fixture(scope="session")
def everything(node: None, full: Environment, tmp_path_factory: pytest.TempPathFactory) -> Assembly:  # noqa: ARG001
    """An environment with every option on."""
    return synthesise(tmp_path_factory.mktemp("full"), environments={"full": full})


@pytest.fixture
def variant(node: None, tmp_path: Path) -> Callable[..., Assembly]:  # noqa: ARG001
    """variant(field=value, …) is the default environment with those fields, as `one`; context=dict(…) goes to the app."""

    def make(*, context: dict[str, str] | None = None, **fields: object) -> Assembly:
        one = replace(Environment(name="one"), **fields)
        return synthesise(tmp_path, environments={"one": one}, **(context or {}))

    return make


@pytest.fixture(scope="session", params=list(load_environments(DEV_AND_PROD)))
def environment(request: pytest.FixtureRequest) -> Environment:
    """Each environment of `assembly`."""
    return load_environments(DEV_AND_PROD)[request.param]
