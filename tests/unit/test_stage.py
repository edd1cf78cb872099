"""Bringing a folder to S3: a server on this machine takes it, and checks what it is told, as S3 does."""

from __future__ import annotations

import base64
import json
import os
import time
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError, ReadTimeoutError

from bootstrap import stage, upload
from bootstrap.cli import main
from bootstrap.folder import EMPTY, HIDDEN, LINKED, SPECIAL, File, list_folder
from bootstrap.locations import Location
from bootstrap.upload import Uploader, at_once, crc32_of
from job import s3
from job.sources.folders import Walk, follow
from job.sources.readers import LocalReader
from job.storage import S3Path
from tests.s3 import Server

IMAGES = {"apple/1.jpg": b"one", "apple/2.jpg": b"two", "pear/été 1.jpg": b"", "top.jpg": b"x" * 9_000}


@pytest.fixture(autouse=True)
def nobody_s_session(monkeypatch: pytest.MonkeyPatch) -> None:
    """boto3's own session remembers credentials, and another test may be about having none."""
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    for name, data in IMAGES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


@pytest.fixture
def target(bucket: S3Path) -> str:
    return f"{bucket}/images/"


def there(target: str) -> dict[str, bytes]:
    """What is in S3, by name below the target."""
    folder = S3Path(*target.removeprefix("s3://").rstrip("/").split("/", 1))
    return {path.key.removeprefix(folder.prefix): path.read_bytes() for path in folder.etags()}


def written(server: Server) -> list[str]:
    """Last words of the keys that have been written since the door was opened."""
    return sorted(path.rpartition("/")[2] for method, path in server.door.seen.elements() if method == "PUT")


def totals(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    return dict(json.loads(capsys.readouterr().out))


# --- what is uploaded -----------------------------------------------------------------------------------------------


def test_a_folder_is_uploaded_as_it_is_and_a_repeat_uploads_nothing(
    photos: Path, target: str, s3_server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["stage", str(photos), target, "--json"]) == 0
    assert there(target) == IMAGES
    size = sum(map(len, IMAGES.values()))
    assert totals(capsys) | {"seconds": 0} == {
        "files": 4, "uploaded": 4, "skipped": 0, "bytes": size, "failures": [], "seconds": 0, "dry_run": False,
    }  # fmt: skip
    s3_server.door.open()
    assert main(["stage", str(photos), target, "--json"]) == 0
    assert totals(capsys) | {"seconds": 0} == {
        "files": 4, "uploaded": 0, "skipped": 4, "bytes": 0, "failures": [], "seconds": 0, "dry_run": False,
    }  # fmt: skip
    assert written(s3_server) == []


@pytest.mark.parametrize("data", [b"two and more", b"TWO"], ids=["of another size", "of the same size"])
def test_a_file_that_has_changed_is_uploaded_again_and_no_other(photos: Path, target: str, s3_server: Server, data: bytes) -> None:
    main(["stage", str(photos), target])
    (photos / "apple" / "2.jpg").write_bytes(data)
    s3_server.door.open()
    assert main(["stage", str(photos), target]) == 0
    assert written(s3_server) == ["2.jpg"]
    assert there(target)["apple/2.jpg"] == data


def test_an_object_that_another_tool_left_without_a_checksum_is_not_trusted(photos: Path, target: str, bucket: S3Path) -> None:
    """Its size is that of the file, and its content is not."""
    s3.client().put_object(Bucket=bucket.bucket, Key="images/apple/1.jpg", Body=b"ONE", ChecksumAlgorithm="SHA256")
    assert main(["stage", str(photos), target]) == 0
    assert there(target)["apple/1.jpg"] == b"one"


def test_a_file_in_parts_is_known_again_by_the_checksum_of_the_whole(tmp_path: Path, target: str, s3_server: Server) -> None:
    """Of 9 MiB: two parts. Its ETag is no digest of the content."""
    (tmp_path / "a").mkdir()
    file = tmp_path / "a" / "large.tif"
    file.write_bytes(os.urandom(9 << 20))
    assert main(["stage", str(tmp_path / "a"), target]) == 0
    assert s3_server.door.seen["POST", f"/{target.removeprefix('s3://')}large.tif"] == 2  # begun, and completed
    assert there(target)["large.tif"] == file.read_bytes()
    s3_server.door.open()
    assert main(["stage", str(tmp_path / "a"), target]) == 0
    assert written(s3_server) == []


def test_a_dry_run_writes_nothing_and_counts_what_would_be_written(
    photos: Path, target: str, s3_server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["stage", str(photos), target])
    (photos / "apple" / "2.jpg").write_bytes(b"TWO")
    (photos / "new.jpg").write_bytes(b"new")
    s3_server.door.open()
    capsys.readouterr()
    assert main(["stage", str(photos), target, "--dry-run"]) == 0
    headings, counts = capsys.readouterr().out.splitlines()
    assert headings.split() == ["files", "to", "upload", "skipped", "failed", "bytes", "seconds"]
    assert counts.split()[:-1] == ["5", "2", "3", "0", "6"]
    assert written(s3_server) == []


@pytest.mark.parametrize("content", [b"", b"123456789", os.urandom(3 << 20)], ids=["nothing", "digits", "3 MiB"])
def test_a_checksum_is_the_crc32_of_the_whole_file(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file").write_bytes(content)
    assert base64.b64decode(crc32_of(str(tmp_path / "file"))) == zlib.crc32(content).to_bytes(4, "big")


def test_what_is_uploaded_is_what_a_run_lists(photos: Path, target: str) -> None:
    """The rules for names are written twice, as the operator's tools see nothing of the job's listing."""
    for name in (".hidden", "_kept", ".git/a", "_folder/b", "deep/er/.c", "deep/er/d"):
        (photos / name).parent.mkdir(parents=True, exist_ok=True)
        (photos / name).write_bytes(b"-")
    (photos / "link.jpg").symlink_to(photos / "top.jpg")
    (photos / "linked").symlink_to(photos / "apple")
    main(["stage", str(photos), target])
    listed = follow(LocalReader(), Walk(str(photos)))
    assert set(there(target)) == {os.path.relpath(entry.path, photos) for _, entry in listed if entry}


# --- what is left alone, and what fails -----------------------------------------------------------------------------


def test_what_no_run_would_read_is_passed_over_with_a_line_for_each_reason(
    photos: Path, target: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / ".DS_Store").write_bytes(b"-")
    (photos / "apple" / ".DS_Store").write_bytes(b"-")
    (photos / "empty").mkdir()
    (photos / "linked").symlink_to(photos / "apple")
    os.mkfifo(photos / "pipe")
    assert main(["stage", str(photos), target]) == 0
    assert set(there(target)) == set(IMAGES)
    notes = sorted(line for line in capsys.readouterr().err.splitlines() if line.startswith("note: passed over"))
    assert notes == sorted([
        f"note: passed over 2 x {HIDDEN}: .DS_Store, apple/.DS_Store",
        f"note: passed over 1 x {EMPTY}: empty",
        f"note: passed over 1 x {LINKED}: linked",
        f"note: passed over 1 x {SPECIAL}: pipe",
    ])  # fmt: skip


def test_files_that_fail_are_a_line_each_and_stop_no_other(photos: Path, target: str, capsys: pytest.CaptureFixture[str]) -> None:
    (photos / "apple" / "gone.jpg").symlink_to(photos / "nowhere")
    Path(os.fsdecode(os.fsencode(photos) + b"/caf\xe9.jpg")).write_bytes(b"latin")
    long = photos / "/".join(["d" * 200] * 6)
    long.mkdir(parents=True)
    (long / "deep.jpg").write_bytes(b"-")
    assert main(["stage", str(photos), target]) == 1
    assert there(target) == IMAGES
    lines = capsys.readouterr().err.splitlines()
    failed = [line for line in lines if line.startswith("failed: ")]
    assert len(failed) == 3
    assert "failed: apple/gone.jpg: a link to nothing: No such file or directory" in failed
    assert "failed: caf\\xe9.jpg: its name is not UTF-8, and keys in S3 are; rename it" in failed
    length = len(f"images/{long.relative_to(photos)}/deep.jpg")
    assert any(f"deep.jpg: its key would have {length} bytes" in line for line in failed)
    assert lines[-2].startswith("error: 3 of 7 files failed: ")
    assert lines[-1].startswith("hint: ")


def test_a_file_that_may_not_be_read_fails_alone(
    photos: Path, target: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By a patch, as tests may run as root, whom nothing is forbidden."""

    def forbidden(path: str) -> str:
        if path.endswith("2.jpg"):
            raise PermissionError(13, "Permission denied", path)
        return crc32_of(path)

    monkeypatch.setattr(upload, "crc32_of", forbidden)
    assert main(["stage", str(photos), target]) == 1
    assert "failed: apple/2.jpg: Permission denied" in capsys.readouterr().err
    assert set(there(target)) == set(IMAGES) - {"apple/2.jpg"}


def test_a_folder_that_may_not_be_listed_is_a_failure(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scandir = os.scandir

    def forbidden(path: str) -> Any:
        if str(path).endswith("apple"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", forbidden)
    listing = list_folder(str(photos))
    assert [(each.name, each.reason) for each in listing.failures] == [("apple", "Permission denied")]
    assert [file.name for file in listing.files] == ["top.jpg", "pear/été 1.jpg"]


def test_a_file_that_vanishes_after_it_was_listed_fails_alone(
    photos: Path, target: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def listed_then_gone(root: str) -> Any:
        listing = list_folder(root)
        (photos / "top.jpg").unlink()
        return listing

    monkeypatch.setattr(stage, "list_folder", listed_then_gone)
    assert main(["stage", str(photos), target]) == 1
    assert "failed: top.jpg: No such file or directory" in capsys.readouterr().err
    assert set(there(target)) == set(IMAGES) - {"top.jpg"}


def test_a_file_that_changes_while_it_is_uploaded_is_not_kept(
    photos: Path, target: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def then_changed(path: str) -> str:
        checksum = crc32_of(path)
        if path.endswith("top.jpg"):
            Path(path).write_bytes(b"y" * 9_000)
        return checksum

    monkeypatch.setattr(upload, "crc32_of", then_changed)
    assert main(["stage", str(photos), target]) == 1
    assert "failed: top.jpg: it changed while it was uploaded" in capsys.readouterr().err
    assert set(there(target)) == set(IMAGES) - {"top.jpg"}


# --- when S3 or the network fails -----------------------------------------------------------------------------------


def test_a_file_that_s3_refuses_fails_and_stops_no_other(
    photos: Path, target: str, s3_server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    s3_server.door.refuse = lambda method, path: 403 if method == "PUT" and path.endswith("1.jpg") else None
    assert main(["stage", str(photos), target, "--json"]) == 1
    said = totals(capsys)
    assert (said["uploaded"], [each["name"] for each in said["failures"]]) == (2, ["apple/1.jpg", "pear/été 1.jpg"])
    s3_server.door.open()
    assert main(["stage", str(photos), target, "--json"]) == 0
    assert there(target) == IMAGES
    assert totals(capsys)["uploaded"] == 2


def test_a_refusal_of_all_ends_it_long_before_the_last_file(
    tmp_path: Path, target: str, s3_server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(1000):
        (tmp_path / f"{number:04}.jpg").write_bytes(b"-")
    s3_server.door.refuse = lambda method, _path: 403 if method == "PUT" else None
    assert main(["stage", str(tmp_path), target]) == 1
    problem, hint = capsys.readouterr().err.splitlines()[-2:]
    assert problem == f"error: S3 refused {stage.PATIENCE} files one after another: AccessDenied: no"
    assert "s3:PutObject" in hint
    assert len(written(s3_server)) < 500


def test_a_slow_down_is_waited_for(photos: Path, target: str, s3_server: Server) -> None:
    seen = Counter[str]()

    def once(_method: str, path: str) -> int | None:
        seen[path] += 1
        return 503 if seen[path] == 1 else None

    s3_server.door.refuse = once
    assert main(["stage", str(photos), target]) == 0
    assert there(target) == IMAGES


def test_a_bucket_that_is_not_there_is_one_line(photos: Path, bucket: S3Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["stage", str(photos), f"{bucket}-other/images/"]) == 1
    problem, hint = capsys.readouterr().err.splitlines()
    assert problem.startswith(f"error: uploading to {bucket}-other/images/: NoSuchBucket")
    assert hint == "hint: the bucket's name is the output BucketName of `cdk deploy`"


EXPIRED = ClientError({"Error": {"Code": "ExpiredToken", "Message": "The provided token has expired."}}, "PutObject")


@pytest.mark.parametrize(
    ("error", "problem", "hint"),
    [
        (EXPIRED, "ExpiredToken: The provided token has expired.", "the credentials have expired; get new ones and ask again"),
        (
            ReadTimeoutError(endpoint_url="http://s3"),
            'Read timeout on endpoint URL: "http://s3"',
            "is the network there",
        ),  # an OSError, too
    ],
    ids=["expired", "timeout"],
)
def test_what_no_other_file_would_fare_better_with_ends_it_at_once(
    error: Exception,
    problem: str,
    hint: str,
    photos: Path,
    target: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def broken(_uploader: Uploader, _file: File, _key: str, _checksum: str) -> None:
        raise error

    monkeypatch.setattr(Uploader, "_upload", broken)
    assert main(["stage", str(photos), target]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == f"error: uploading to {target}: {problem}"
    assert lines[1].startswith(f"hint: {hint}")


def test_credentials_that_have_expired_since_the_folder_was_listed_are_not_taken_for_permissions(
    photos: Path, target: str, s3_server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    """A repeat asks with HEAD for what is there, whose answer has no body to say so."""
    assert main(["stage", str(photos), target]) == 0
    s3_server.door.refuse = lambda method, _path: 400 if method == "HEAD" else None
    capsys.readouterr()
    assert main(["stage", str(photos), target]) == 1
    assert capsys.readouterr().err.splitlines() == [
        f"error: uploading to {target}: 400: Bad Request",
        "hint: where the credentials have expired: get new ones and ask again",
    ]


def test_an_interrupt_says_how_far_it_came_and_a_repeat_goes_on_from_there(
    photos: Path, target: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(totals: stage.Totals, file: File, outcome: upload.Outcome) -> None:
        if totals.uploaded == 2:
            raise KeyboardInterrupt
        count(totals, file, outcome)

    count = stage.Totals.count
    with monkeypatch.context() as patch:
        patch.setattr(stage.Totals, "count", interrupted)
        assert main(["stage", str(photos), target]) == 130
    assert capsys.readouterr().err.splitlines() == [
        "note: 2 of 4 files are there; the same command goes on with the others",
        "error: interrupted",
    ]
    assert main(["stage", str(photos), target]) == 0
    assert there(target) == IMAGES


# --- many at once ---------------------------------------------------------------------------------------------------


def test_results_come_in_order_whatever_ends_first() -> None:
    def act(item: int) -> int:
        time.sleep(0.002 * (item % 3))
        return item

    assert list(at_once(act, range(300))) == list(range(300))


def test_few_are_begun_ahead_of_whoever_takes_the_results() -> None:
    begun: list[int] = []
    results = at_once(begun.append, range(10_000))
    next(results)
    results.close()
    assert len(begun) <= upload.AHEAD + upload.REQUESTS + 1


def test_an_exception_reaches_the_taker_and_the_rest_is_not_begun() -> None:
    begun: list[int] = []

    def act(item: int) -> None:
        begun.append(item)
        if item == 5:
            raise ValueError("the reason")

    with pytest.raises(ValueError, match="the reason"):
        list(at_once(act, range(10_000)))
    assert len(begun) < 1000


# --- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("location", ["images/", "s3:/bucket/x", "s3://", "s3:///x", "s3://Bucket/x", "https://bucket/x", "s3://b"])
def test_a_target_that_is_no_place_in_s3_is_a_usage_error(location: str, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["stage", str(photos), location]) == 2
    assert capsys.readouterr().err.splitlines() == [f"error: {location!r} is no place in S3", "hint: s3://BUCKET/images/"]


@pytest.mark.parametrize(
    ("location", "prefix"),
    [("s3://bucket", ""), ("s3://bucket/", ""), ("s3://bucket/images", "images/"), ("s3://bucket/a b/c//", "a b/c/")],
)
def test_a_target_means_the_folder_with_or_without_a_slash(location: str, prefix: str) -> None:
    assert Location.parse(location) == Location("bucket", prefix.rstrip("/"))
    assert Location.parse(location).prefix == prefix


def test_a_source_that_is_no_folder_is_a_usage_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file.jpg").write_bytes(b"-")
    for source in (tmp_path / "file.jpg", tmp_path / "nothing"):
        assert main(["stage", str(source), "s3://bucket/images/"]) == 2
        assert capsys.readouterr().err.splitlines()[0] == f"error: {source}: no such folder"


def test_an_empty_folder_is_a_failure_that_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / ".hidden").write_bytes(b"-")
    assert main(["stage", str(tmp_path), "s3://bucket/images/"]) == 1
    assert f"error: {tmp_path}: no file to upload" in capsys.readouterr().err


def test_without_credentials_one_line_says_so(
    photos: Path, target: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name)
    assert main(["stage", str(photos), target]) == 1
    assert "no AWS credentials" in capsys.readouterr().err
