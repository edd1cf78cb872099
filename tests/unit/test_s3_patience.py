"""What S3 says for a while, that it is busy or that a token has expired, and what becomes of it where it goes on saying so."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import botocore.session
import pytest
from botocore.credentials import RefreshableCredentials

from job import s3
from job.errors import StorageFailed
from job.sources.s3 import S3Reader
from job.storage import S3Path, remove
from tests.s3 import LOCAL, Server

PATIENCE_S = 20.0  # of a test

USES: dict[str, Callable[[S3Path], object]] = {
    "list": lambda bucket: bucket.etags(),
    "head": lambda bucket: (bucket / "a").status(),
    "get": lambda bucket: (bucket / "a").read_bytes(),
    "put": lambda bucket: (bucket / "a").write_text("a"),
    "copy": lambda bucket: s3.copy([((bucket.bucket, "a"), (bucket.bucket, "b"))]),
    "remove": lambda bucket: (bucket / "a").unlink(),
    "image": lambda bucket: S3Reader().read(f"{bucket}/a", limit=100),
}
each_use = pytest.mark.parametrize("use", USES.values(), ids=USES)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3, "pause", lambda _attempts: 0.0)


@pytest.fixture
def role(afresh: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials that somebody renews, as a role's are, and whom boto3 does not ask within this hour."""
    end = datetime.now(UTC) + timedelta(hours=1)
    given = LOCAL["AWS_ACCESS_KEY_ID"], LOCAL["AWS_SECRET_ACCESS_KEY"], LOCAL["AWS_SESSION_TOKEN"]
    session = botocore.session.Session()
    session._credentials = RefreshableCredentials(*given, end, refresh_using=dict, method="test")
    monkeypatch.setattr(s3, "session", functools.cache(lambda: boto3.Session(botocore_session=session)))
    afresh()


def refusing(times: int) -> Callable[[str, str], int | None]:
    """So many requests meet an expired token."""
    left = iter(range(times))
    return lambda _method, _path: 400 if next(left, None) is not None else None


@each_use
@pytest.mark.usefixtures("role")
def test_a_role_s_token_that_is_renewed_late_costs_a_pause(bucket: S3Path, s3_server: Server, use: Callable[[S3Path], object]) -> None:
    (bucket / "a").write_text("a")
    use(bucket)
    (bucket / "a").write_text("a")
    s3_server.door.refuse = refusing(s3.RENEWALS - 1)
    use(bucket)
    assert s3_server.door.refuse("", "") is None, "the refusals have been met"


@each_use
@pytest.mark.usefixtures("role")
def test_a_role_s_token_that_is_not_renewed_is_said(bucket: S3Path, s3_server: Server, use: Callable[[S3Path], object]) -> None:
    (bucket / "a").write_text("a")
    s3_server.door.refuse = lambda _method, _path: 400
    with pytest.raises(StorageFailed, match=f"{bucket}.*: S3 refuses these credentials: ") as failed:
        use(bucket)
    assert "expired" in failed.value.hint
    assert "\n" not in str(failed.value)


@each_use
def test_a_token_that_nobody_renews_is_not_waited_for(bucket: S3Path, s3_server: Server, use: Callable[[S3Path], object]) -> None:
    (bucket / "a").write_text("a")
    S3Reader().read(f"{bucket}/a", limit=100)  # asks where the bucket is
    s3_server.door.seen.clear()
    s3_server.door.refuse = lambda _method, _path: 400
    with pytest.raises(StorageFailed, match="S3 refuses these credentials"):
        use(bucket)
    assert s3_server.door.seen.total() <= 2  # obstore's, and boto3's after it


@contextmanager
def standing_still(server: Server) -> Iterator[threading.Event]:
    """The first request finds a server that takes it and says nothing, for as long as this lasts; set when there is such a request."""
    met, over = threading.Event(), threading.Event()

    def hold(_method: str, _path: str) -> None:
        if not met.is_set():
            met.set()
            over.wait(PATIENCE_S)

    server.door.refuse = hold
    try:
        yield met
    finally:
        over.set()


@each_use
def test_a_request_that_hangs_is_tried_again_on_another_connection(
    bucket: S3Path, s3_server: Server, use: Callable[[S3Path], object], afresh: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On its own it could not get an answer: a connection answers one request after the other, and the first has none yet."""
    monkeypatch.setattr(s3, "ANSWER_S", 0.5)
    afresh()
    (bucket / "a").write_text("a")
    use(bucket)
    (bucket / "a").write_text("a")
    began = time.monotonic()
    with standing_still(s3_server) as met:
        use(bucket)
        assert met.is_set()
        assert time.monotonic() - began < PATIENCE_S, "it has not waited for that one"


READS: dict[str, Callable[[S3Path, Path], bytes | None]] = {
    "whole": lambda file, _: file.read_bytes(),
    "range": lambda file, _: file.read_range(0, 10_000),
    "download": lambda file, folder: (file.download(folder / "a"), (folder / "a").read_bytes())[1],
    "image": lambda file, _: S3Reader().read(str(file), limit=10_000).data,
    "image by boto3": lambda file, _: S3Reader().read(f"s3://{file.bucket}//a", limit=10_000).data,
}


@pytest.mark.parametrize("how", ["off", "stall"])
@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_a_body_that_is_cut_off_or_stalls_is_asked_for_again(
    bucket: S3Path, s3_server: Server, tmp_path: Path, read: Callable[[S3Path, Path], bytes | None], how: str,
    afresh: Callable[[], None], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(s3, "ANSWER_S", 0.5)
    afresh()
    body = bytes(range(250)) * 40
    for key in ("a", "/a"):
        s3.client().put_object(Bucket=bucket.bucket, Key=key, Body=body)
    left = iter([how, how])
    s3_server.door.cut = lambda method, _path: next(left, None) if method == "GET" else None
    assert read(bucket / "a", tmp_path) == body
    assert next(left, None) is None, "two were cut"


def test_a_body_that_is_always_cut_off_fails_by_name(bucket: S3Path, s3_server: Server) -> None:
    (bucket / "a").write_text("a" * 100)
    s3_server.door.cut = lambda _method, _path: "off"
    with pytest.raises(StorageFailed, match=f"{bucket}/a"):
        (bucket / "a").read_bytes()
    assert s3_server.door.seen["GET", f"/{bucket.bucket}/a"] == s3.BODIES


def busy(monkeypatch: pytest.MonkeyPatch, *, answers: int) -> list[list[str]]:
    """Has S3 be too busy for every second key of a removal, in so many answers; the keys that it was asked for come back."""
    asked: list[list[str]] = []
    really = s3.client().delete_objects

    def delete_objects(**request: Any) -> dict[str, Any]:
        keys = [each["Key"] for each in request["Delete"]["Objects"]]
        asked.append(keys)
        refused = keys[::2] if len(asked) <= answers else []
        done = [{"Key": key} for key in keys if key not in refused]
        if done:
            really(**request | {"Delete": {"Objects": done}})
        return {"Errors": [{"Key": key, "Code": "InternalError", "Message": "We encountered an internal error."} for key in refused]}

    monkeypatch.setattr(s3.client(), "delete_objects", delete_objects)
    return asked


def test_of_a_removal_what_s3_was_too_busy_for_is_asked_again(bucket: S3Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer is a success that lists its failures: boto3 does not try those again."""
    for name in "abcde":
        (bucket / name).write_text(name)
    asked = busy(monkeypatch, answers=2)
    remove(bucket.etags())
    assert not bucket.etags()
    assert asked == [["a", "b", "c", "d", "e"], ["a", "c", "e"], ["a", "e"]]


def test_a_removal_that_stays_refused_fails_by_name(bucket: S3Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (bucket / "a").write_text("a")
    asked = busy(monkeypatch, answers=100)
    with pytest.raises(StorageFailed, match=f"{bucket}/a: DeleteObjects: InternalError"):
        remove([bucket / "a"])
    assert len(asked) == s3.ATTEMPTS


@pytest.mark.parametrize("attempts", [1, 4, 100])
def test_a_pause_is_at_random_and_bounded(attempts: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    pauses = {s3.pause(attempts) for _ in range(50)}
    assert len(pauses) > 40
    assert min(pauses) >= 0
    assert max(pauses) <= min(2**attempts, s3.LONGEST_PAUSE_S)
