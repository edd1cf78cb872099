"""What a test may need and a machine may lack: skipped with a reason on a laptop, a failure in CI."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from job import s3
from job.storage import S3Path
from tests.s3 import LOCAL, Server, forget, refuse_aws

REPOSITORY = Path(__file__).resolve().parent.parent


def lacking(what: str) -> None:
    """Skips, or fails where CI promises that nothing is missing."""
    if os.environ.get("CI"):
        pytest.fail(f"{what}, and CI must have it")
    pytest.skip(what)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real images and weights, which are never part of the repository: tests of them are skipped where they are not."""
    folder = Path(os.environ.get("VERGER_SHARED_DATA") or REPOSITORY.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no shared data in {folder}; set VERGER_SHARED_DATA")
    return folder


@pytest.fixture(scope="session")
def need() -> Callable[[str], None]:
    return lacking


@pytest.fixture(scope="session", autouse=True)
def far_from_aws() -> Iterator[None]:
    """No test can reach AWS, or act as whoever runs it: dummy credentials, and an endpoint of this machine at which nobody answers."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        for name, value in LOCAL.items():
            patch.setenv(name, value)
        yield


@pytest.fixture(scope="session")
def s3_server(far_from_aws: None) -> Iterator[Server]:  # noqa: ARG001  asked for its patches
    """A server of S3's protocol on this machine, which the environment names."""
    server = Server()
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
            patch.setenv(name, server.url)
        forget()
        yield server
    server.stop()
    forget()


_buckets = count()


@pytest.fixture
def bucket(s3_server: Server) -> Iterator[S3Path]:
    """An empty bucket of the test's own."""
    refuse_aws()
    s3_server.door.open()
    made = S3Path(f"bucket-{next(_buckets)}")
    s3.client().create_bucket(Bucket=made.bucket, CreateBucketConfiguration={"LocationConstraint": LOCAL["AWS_REGION"]})
    yield made
    s3_server.door.open()


@pytest.fixture
def afresh(bucket: S3Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:  # noqa: ARG001  before and after them
    """To be called once a test has changed the environment: clients are made anew, and again after the test."""
    yield forget
    forget()
