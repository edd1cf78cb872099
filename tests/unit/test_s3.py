"""Images and files in S3, by a server on this machine."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from threading import Barrier, BrokenBarrierError
from typing import Any
from zipfile import ZIP_BZIP2, ZIP_DEFLATED, ZIP_LZMA, ZipFile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.zips import zip_files
from job import s3
from job.contract import FEATURIZE_CARD, SUCCESS
from job.errors import BadFeatures, BadModel, NoImages, StorageFailed
from job.features.stage import open_network
from job.pca.dataset import open_features, read_footers
from job.sources import keys, reading
from job.sources import s3 as images
from job.sources.keys import Range
from job.sources.listers import open_lister
from job.sources.listing import ImageSource, plan_shares
from job.sources.readers import Data, Entry, Found
from job.sources.reading import Image, read_images
from job.sources.s3 import S3Lister, S3Reader
from job.sources.stage import count_images, list_pieces, rows_of
from job.storage import END_BYTES, S3Path, duplicate, fetched, place_of, remove, versions, whole
from tests.conftest import REPOSITORY
from tests.s3 import Server

PATIENCE_S = 30.0  # less than a reader's, who would ask again
ODD = ["a b", "ü", "u\u0308", "50%20off", "a+b", "#1?", "~*", '"<>|`', "back\\slash", "…"]
UNNAMEABLE = ["a//b", "/lead", "./dot", "up/../x", "\x7f"]  # by obstore: it would refuse them, or read another key


def put(bucket: S3Path, *keys: str, data: bytes | None = None) -> None:
    """Objects that hold their own keys, or `data`."""
    for key in keys:
        s3.client().put_object(Bucket=bucket.bucket, Key=key, Body=key.encode() if data is None else data)


def listed(folder: S3Path | str) -> list[Entry]:
    """What a run would list."""
    lister = S3Lister((str(folder),))
    return [entry for piece in lister.pieces(wanted=8) for _, entry in lister.follow(piece) if entry]


def paths(found: list[Entry]) -> set[str]:
    return {entry.path for entry in found}


# --- images ---------------------------------------------------------------------------------------------------------


def test_a_folder_is_listed_with_all_that_lies_below_it(bucket: S3Path) -> None:
    put(bucket, "photos/a.jpg", "photos/sub/b.jpg", "photos/sub/further/c.jpg", "photos-old/c.jpg", "other.jpg")
    assert [entry.path for entry in listed(bucket / "photos")] == [
        f"{bucket}/photos/{name}" for name in ("a.jpg", "sub/b.jpg", "sub/further/c.jpg")
    ]


def test_an_entry_has_size_time_and_etag(bucket: S3Path) -> None:
    put(bucket, "a.jpg", data=b"12345")
    (entry,) = listed(bucket)
    head = s3.client().head_object(Bucket=bucket.bucket, Key="a.jpg")
    assert (entry.size, entry.etag) == (5, "827ccb0eea8a706c4c34a16891f84e7b")
    assert entry.modified is not None
    assert entry.modified / 1e6 == pytest.approx(head["LastModified"].timestamp(), abs=1)
    assert abs(entry.modified / 1e6 - time.time()) < 60


@pytest.mark.parametrize("mark", ["photos/", "photos/a/", "photos/b_$folder$"])
def test_a_mark_of_a_folder_is_no_image(bucket: S3Path, mark: str) -> None:
    put(bucket, mark, data=b"")
    assert not listed(bucket / "photos")


def test_an_empty_object_is_an_image_all_the_same(bucket: S3Path) -> None:
    put(bucket, "photos/empty.jpg", data=b"")
    assert paths(listed(bucket / "photos")) == {f"{bucket}/photos/empty.jpg"}
    assert S3Reader().read(f"{bucket}/photos/empty.jpg", limit=10).data == b""


def test_more_objects_than_one_answer_holds_are_each_found_once(bucket: S3Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(bucket, *(f"photos/{place:04}.jpg" for place in range(45)))
    monkeypatch.setattr(keys, "PAGE", 10)
    monkeypatch.setattr(keys, "FEW", 4)
    monkeypatch.setattr(keys, "LOOK", 4)
    found = Counter(entry.path for entry in listed(bucket / "photos"))
    assert len(found) == 45
    assert set(found.values()) == {1}


@pytest.mark.parametrize("key", ODD + UNNAMEABLE)
def test_a_key_of_any_characters_is_listed_and_read_as_it_is(bucket: S3Path, key: str) -> None:
    put(bucket, key, key.strip("/") + "-neighbour")
    reader = S3Reader()
    path = f"{bucket}/{key}"
    # Names that begin with a dot are hidden, wherever they are
    assert (path in paths(listed(bucket))) != any(part.startswith(".") for part in key.split("/"))
    assert reader.read(path, limit=100).data == key.encode()


@pytest.mark.parametrize("key", ["a.jpg", "a//b.jpg"])
def test_an_object_is_read_with_what_it_is_now_and_its_bytes_only_up_to_the_limit(bucket: S3Path, key: str) -> None:
    put(bucket, key, data=b"0123456789")
    head = s3.client().head_object(Bucket=bucket.bucket, Key=key)
    said = (10, round(head["LastModified"].timestamp() * 1e6), head["ETag"].strip('"'))
    assert S3Reader().read(f"{bucket}/{key}", limit=10) == Found(b"0123456789", *said)
    assert S3Reader().read(f"{bucket}/{key}", limit=4) == Found(None, *said)


@pytest.mark.parametrize("key", ["a.jpg", "a//b.jpg"])
@pytest.mark.parametrize("data", [b"another", b"other", b"longer than it may be"])
def test_an_object_that_was_replaced_since_it_was_listed_is_what_it_is_now(bucket: S3Path, key: str, data: bytes) -> None:
    put(bucket, key, "neighbour", data=b"first")
    then = [Image(entry.path, None, entry.size, entry.modified, entry.etag, None) for entry in listed(bucket)]
    put(bucket, key, data=data)
    now = {entry.path: entry for entry in listed(bucket)}
    for image, before in zip(read_images(then, reader=S3Reader(), max_bytes=10), then, strict=True):
        entry = now[image.path]
        assert (image.size, image.etag) == (entry.size, entry.etag)
        if image.path.endswith("neighbour"):
            assert (image.data, image.modified, image.listed) == (b"first", before.modified, None)
        else:
            assert image.data == (data if len(data) <= 10 else None)
            assert image.modified == pytest.approx(entry.modified, abs=1e6), "S3 answers with whole seconds"
            assert image.listed == f"5 {before.etag}"


def test_an_object_that_is_gone_is_a_fault_and_its_neighbours_are_read(bucket: S3Path) -> None:
    put(bucket, "a", "b", "c//d")
    found = S3Reader().read_many([f"{bucket}/{key}" for key in ("a", "gone", "b", "gone//too", "c//d")], limit=100)
    assert [each.data for each in found if isinstance(each, Found)] == [b"a", b"b", b"c//d"]
    for data in (found[1], found[3]):
        assert isinstance(data, FileNotFoundError)
        assert data.strerror is not None
        assert "no such object" in data.strerror


def test_an_object_that_may_not_be_read_is_a_fault(bucket: S3Path, s3_server: Server) -> None:
    put(bucket, "a", "b")
    s3_server.door.refuse = lambda method, path: 403 if method == "GET" and path.endswith("/a") else None
    denied, read = S3Reader().read_many([f"{bucket}/a", f"{bucket}/b"], limit=100)
    assert isinstance(denied, PermissionError)
    assert denied.strerror == "access denied to s3:GetObject"
    assert isinstance(read, Found)
    assert read.data == b"b"


@pytest.mark.parametrize("status", [500, 503])
@pytest.mark.parametrize("key", ["a", "a//b"])
def test_a_store_that_is_busy_for_a_while_is_asked_again(bucket: S3Path, s3_server: Server, status: int, key: str) -> None:
    put(bucket, key)
    S3Reader().read(f"{bucket}/{key}", limit=100)
    asked = iter(range(3))
    s3_server.door.refuse = lambda _method, _path: status if next(asked, None) is not None else None
    assert S3Reader().read(f"{bucket}/{key}", limit=100).data == key.encode()
    assert next(asked, None) is None


def test_a_store_that_stays_busy_fails_the_task_and_blames_no_image(
    bucket: S3Path, s3_server: Server, monkeypatch: pytest.MonkeyPatch, afresh: Callable[[], None]
) -> None:
    put(bucket, "a")
    afresh()
    monkeypatch.setattr(images, "RETRIES", {**images.RETRIES, "max_retries": 1})
    s3_server.door.refuse = lambda method, path: 503 if method == "GET" and path.endswith("/a") else None
    with pytest.raises(StorageFailed, match=r"/a cannot be read: .*503") as failed:
        S3Reader().read_many([f"{bucket}/a"], limit=100)
    assert "\n" not in str(failed.value)


def test_many_reads_are_under_way_at_once(bucket: S3Path, s3_server: Server) -> None:
    put(bucket, *(f"{place}" for place in range(16)))
    S3Reader().read(f"{bucket}/0", limit=1)
    together = Barrier(16)

    def hold(_method: str, _path: str) -> int | None:
        """No read is answered before all have come in."""
        try:
            together.wait(PATIENCE_S)
        except BrokenBarrierError:
            return 403
        return None

    s3_server.door.refuse = hold
    found = S3Reader().read_many([f"{bucket}/{place}" for place in range(16)], limit=100)
    assert [each.data for each in found if isinstance(each, Found)] == [f"{place}".encode() for place in range(16)]


def test_many_threads_make_one_client(bucket: S3Path, afresh: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
    put(bucket, *(f"{place}" for place in range(16)))
    made: list[object] = []
    store = images.S3Store

    def counting(*words: object, **how: object) -> object:
        made.append(words)
        time.sleep(0.1)
        return store(*words, **how)  # type: ignore[arg-type]

    monkeypatch.setattr(images, "S3Store", counting)
    afresh()
    S3Reader().read_many([f"{bucket}/{place}" for place in range(16)], limit=100)
    assert len(made) == 1


@pytest.mark.parametrize(("minutes", "asked"), [(images.CREDENTIALS_TTL.total_seconds() / 60, 1), (4, 2)])
def test_credentials_are_asked_for_again_before_they_end_and_not_for_each_read(
    bucket: S3Path, afresh: Callable[[], None], monkeypatch: pytest.MonkeyPatch, minutes: float, asked: int
) -> None:
    """boto3's last at least ten minutes when it hands them out; obstore takes those with less than five left for ended."""
    put(bucket, *(f"{place}" for place in range(8)))
    calls: list[object] = []

    class Counting(images.Boto3CredentialProvider):
        def __call__(self) -> Any:
            calls.append(self)
            return super().__call__()

    monkeypatch.setattr(images, "Boto3CredentialProvider", Counting)
    monkeypatch.setattr(images, "CREDENTIALS_TTL", timedelta(minutes=minutes))
    afresh()
    for _ in range(2):
        S3Reader().read_many([f"{bucket}/{place}" for place in range(8)], limit=100)
        time.sleep(0.3)  # obstore does not ask twice at once
    assert min(len(calls), 2) == asked, "more often only by reads that began later than that"


def test_planning_and_following_find_what_was_put(bucket: S3Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"photos/{label}/{place}.jpg" for label in ("apple", "pear", "quince") for place in range(5)] + ["photos/top.jpg"]
    put(bucket, *names, "photos/.hidden/x.jpg", "photos/_temporary/x.jpg", "photos/.x.jpg")
    monkeypatch.setattr(keys, "FEW", 5)
    monkeypatch.setattr(keys, "LOOK", 5)
    lister = open_lister(ImageSource((f"{bucket}/photos",)))
    pieces = lister.pieces(wanted=12)
    assert len(pieces) == 3
    found = [entry.path for piece in pieces for _, entry in lister.follow(piece) if entry]
    assert found == sorted(f"{bucket}/{name}" for name in names)


@pytest.mark.parametrize("scratch", ["disk", "s3"])
def test_images_come_through_a_listing_with_label_and_bytes(bucket: S3Path, tmp_path: Path, scratch: str) -> None:
    put(bucket, "photos/apple/ü 1.jpg", "photos/pear/2.jpg", "photos/pear/3.jpg")
    source = ImageSource((f"{bucket}/photos",))
    place = tmp_path if scratch == "disk" else bucket / "scratch"
    parts = list_pieces([Range(f"{bucket}/photos")], source=source, scratch=place).parts
    rows = [row for share in plan_shares(parts, slots=1) for row in rows_of(share)]
    read = {row.path: row for row in read_images(rows, reader=S3Reader(), max_bytes=17)}
    assert {path: row.label for path, row in read.items()} == {
        f"{bucket}/photos/apple/ü 1.jpg": "apple",
        f"{bucket}/photos/pear/2.jpg": "pear",
        f"{bucket}/photos/pear/3.jpg": "pear",
    }
    assert read[f"{bucket}/photos/pear/2.jpg"].data == b"photos/pear/2.jpg"
    assert read[f"{bucket}/photos/apple/ü 1.jpg"].data is None, "larger than max_bytes by its listing: not read"
    assert all(row.etag and row.modified for row in read.values())
    assert count_images(source)[0] == 3


def test_reading_ahead_is_bounded_by_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    held = most = 0

    class Counting(S3Reader):
        def read_many(self, paths: object, *, limit: int) -> list[Data]:  # noqa: ARG002
            nonlocal held, most
            held += 30
            most = max(most, held)
            return [Found(b"", 30)]

    monkeypatch.setattr(reading, "BYTES_AHEAD", 64)
    monkeypatch.setattr(reading, "CHUNK_BYTES", 1)
    rows = [Image(f"s3://b/{place}", None, 30, None, None, None) for place in range(20)]
    for _ in read_images(rows, reader=Counting(), max_bytes=100):
        time.sleep(0.005)
        held -= 30
    assert 30 < most <= 90, "two of 30 bytes ahead, and the one that is being taken"


@pytest.mark.parametrize("folder", ["photos", "Photos/x"])
def test_a_prefix_with_nothing_in_it_is_found_out_at_once(bucket: S3Path, folder: str) -> None:
    put(bucket, "photos/", data=b"")
    with pytest.raises(NoImages, match=f"no objects under {bucket}/{folder}/"):
        S3Lister((f"{bucket}/{folder}",)).check()


# --- what goes wrong ------------------------------------------------------------------------------------------------

USES: list[Callable[[S3Path], object]] = [
    lambda path: S3Lister((str(path),)).check(),
    lambda path: (path / "x").read_text(),
    lambda path: (path / "x").write_text("x"),
    lambda path: list(path.glob("*")),
    lambda path: path.exists(),
]
NAMES = ["images", "read", "write", "list", "exists"]


@pytest.mark.parametrize("use", USES, ids=NAMES)
def test_a_bucket_that_is_not_there_is_named(bucket: S3Path, use: Callable[[S3Path], object]) -> None:
    with pytest.raises(StorageFailed, match=r"s3://no-such-bucket/photos.* there is no such bucket") as failed:
        use(S3Path(f"no-such-{bucket.bucket.partition('-')[0]}", "photos"))
    assert failed.value.hint


@pytest.mark.parametrize("use", USES, ids=NAMES)
def test_a_refusal_says_which_action_on_which_key(bucket: S3Path, s3_server: Server, use: Callable[[S3Path], object]) -> None:
    s3_server.door.refuse = lambda _method, _path: 403
    with pytest.raises(StorageFailed, match=rf"{bucket}/photos.*: access denied to s3:(ListBucket|GetObject|PutObject)") as failed:
        use(bucket / "photos")
    assert "needs s3:" in failed.value.hint


def test_images_that_may_be_listed_but_not_read_are_found_out_at_once(bucket: S3Path, s3_server: Server) -> None:
    put(bucket, "photos/a.jpg")
    s3_server.door.refuse = lambda method, path: 403 if method == "GET" and path.endswith("a.jpg") else None
    with pytest.raises(StorageFailed, match=f"{bucket}/photos/a.jpg: access denied to s3:GetObject"):
        S3Lister((f"{bucket}/photos",)).check()


@pytest.mark.parametrize("use", USES, ids=NAMES)
def test_a_run_without_credentials_is_told_where_they_are_looked_for(
    bucket: S3Path, use: Callable[[S3Path], object], monkeypatch: pytest.MonkeyPatch, afresh: Callable[[], None]
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name)
    afresh()
    with pytest.raises(StorageFailed, match="no usable AWS credentials") as failed:
        use(bucket)
    assert "AWS_PROFILE" in failed.value.hint


@pytest.mark.parametrize("use", USES, ids=NAMES)
@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:9", "nonsense"])
def test_an_endpoint_that_cannot_be_reached_is_named(
    bucket: S3Path, use: Callable[[S3Path], object], endpoint: str, monkeypatch: pytest.MonkeyPatch, afresh: Callable[[], None]
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", endpoint)
    monkeypatch.setattr(s3, "Config", lambda **how: _Config(**{**how, "retries": {"total_max_attempts": 1}}))
    afresh()
    with pytest.raises(StorageFailed, match=endpoint) as failed:
        use(bucket)
    assert "AWS_ENDPOINT_URL" in failed.value.hint


_Config = s3.Config


@pytest.mark.usefixtures("afresh")
def test_the_region_is_the_bucket_s_own(bucket: S3Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3.client(), "head_bucket", lambda **_: {"ResponseMetadata": {"HTTPHeaders": {"x-amz-bucket-region": "sa-east-1"}}})
    assert s3.region_of(bucket.bucket) == "sa-east-1"


def test_aws_itself_is_addressed_by_the_bucket_s_host_name(monkeypatch: pytest.MonkeyPatch, afresh: Callable[[], None]) -> None:
    """Making clients sends nothing."""
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3")
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    afresh()
    assert s3.client().meta.endpoint_url == "https://s3.eu-west-1.amazonaws.com"
    url = s3.client().generate_presigned_url("get_object", Params={"Bucket": "orchard", "Key": "k"})
    assert url.startswith("https://orchard.s3")


# --- files ----------------------------------------------------------------------------------------------------------


def test_a_place_reads_back_as_it_is_shown() -> None:
    for location in ("s3://bucket", "s3://bucket/a", "s3://bucket/a//b c%20", "/a/b"):
        assert str(place_of(location)) == location


def test_a_path_in_s3_is_put_together_as_one_on_a_disk() -> None:
    path = S3Path("bucket") / "a" / "b.txt"
    assert (path.key, path.name, path.parent, path.with_name("c")) == ("a/b.txt", "b.txt", S3Path("bucket", "a"), S3Path("bucket", "a/c"))


def test_what_is_there_is_told_from_what_begins_alike(bucket: S3Path) -> None:
    put(bucket, "run-1/features/part", "run-10", "marked/")
    assert (bucket / "run-1").exists()
    assert (bucket / "run-1").is_dir()
    assert not (bucket / "run-1").is_file()
    assert (bucket / "run-10").is_file()
    assert not (bucket / "run-10").is_dir()
    assert not (bucket / "run").exists()
    assert not (bucket / "marked").is_dir()
    assert [path.name for path in (bucket / "run-1" / "features").glob("*")] == ["part"]
    assert list((bucket / "run-1").glob("*")) == []


@pytest.mark.parametrize("place", ["disk", "s3"])
def test_a_file_is_written_whole_or_not_at_all(bucket: S3Path, tmp_path: Path, place: str) -> None:
    file = tmp_path / "file" if place == "disk" else bucket / "file"
    with whole(file) as half:
        half.write_bytes(b"new")
        assert not file.is_file()
    assert file.read_bytes() == b"new"

    def fail() -> None:
        with whole(file) as half:
            half.write_bytes(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert file.read_bytes() == b"new"


def test_what_is_mapped_of_a_fetched_file_outlives_it(bucket: S3Path) -> None:
    with whole(bucket / "rows.npy") as half, half.open("wb") as sink:
        np.save(sink, np.arange(10_000))
    with fetched(bucket / "rows.npy") as here:
        rows = np.load(here, mmap_mode="r")
    assert not here.exists()
    assert rows.sum() == 49_995_000


def test_a_fetched_file_on_a_disk_is_that_file(tmp_path: Path) -> None:
    with fetched(tmp_path) as here:
        assert here == tmp_path


@pytest.mark.parametrize("place", ["disk", "s3"])
def test_a_folder_is_duplicated_with_all_in_it(bucket: S3Path, tmp_path: Path, place: str) -> None:
    root = tmp_path if place == "disk" else bucket
    (root / "one").mkdir()
    for name in ("a", "b"):
        (root / "one" / name).write_text(name)
    duplicate(root / "one", root / "two")
    assert {file.name: file.read_text() for file in (root / "two").glob("*")} == {"a": "a", "b": "b"}


@pytest.mark.parametrize("place", ["disk", "s3"])
def test_a_version_changes_with_the_file(bucket: S3Path, tmp_path: Path, place: str) -> None:
    root = tmp_path if place == "disk" else bucket
    files = [root / "a", root / "b"]
    for file in files:
        file.write_text("old")
    before = versions(files)
    files[1].write_text("newer")
    after = versions(files)
    assert before[0] == after[0]
    assert before[1] != after[1]


def test_thousands_are_removed(bucket: S3Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3, "DELETED_AT_ONCE", 4)
    put(bucket, *(f"x/{place}" for place in range(10)), "y")
    remove((bucket / "x").etags())
    assert [path.key for path in bucket.etags()] == ["y"]


def test_an_object_that_may_not_be_removed_is_named(bucket: S3Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer to a removal of many is a success that lists its failures."""
    errors = [{"Key": "x/1", "Code": "AccessDenied", "Message": "no"}]
    monkeypatch.setattr(s3.client(), "delete_objects", lambda **_: {"Errors": errors})
    with pytest.raises(StorageFailed, match=f"{bucket}/x/1: access denied to s3:DeleteObject"):
        remove([bucket / "x" / "0", bucket / "x" / "1"])


def write_features(folder: S3Path, *, columns: int = 0) -> None:
    table = pa.table({"path": ["a", "b"], "label": ["x", "y"], "features": [[1.0, 2.0], [3.0, 4.0]]})
    for place in range(columns):
        table = table.append_column(f"a column with a long name, number {place}", pa.array([1, 2]))
    with whole(folder / "part-0.parquet") as half:
        pq.write_table(table, half)


@pytest.mark.parametrize("mark", [FEATURIZE_CARD, SUCCESS])
def test_a_dataset_is_there_once_it_is_marked_as_whole(bucket: S3Path, mark: str) -> None:
    write_features(bucket / "features")
    with pytest.raises(BadFeatures, match="is not a whole dataset") as refused:
        open_features(bucket)
    assert SUCCESS in refused.value.hint
    (bucket / "features" / mark).write_text("{}")
    features = open_features(bucket)
    assert (features.count, features.length) == (2, 2)


@pytest.mark.parametrize("columns", [0, 700])
def test_a_footer_of_any_length_is_read(bucket: S3Path, columns: int) -> None:
    write_features(bucket, columns=columns)
    (file,) = bucket.glob("*.parquet")
    with fetched(file) as here:
        expected = pq.read_metadata(here)
    assert (expected.serialized_size > END_BYTES) == bool(columns)
    (footer,) = read_footers([file])
    assert footer.equals(expected)


def test_what_is_no_parquet_is_refused(bucket: S3Path) -> None:
    put(bucket, "features/a.parquet", f"features/{SUCCESS}")
    with pytest.raises(BadFeatures, match="no Parquet dataset"):
        open_features(bucket)


# --- the network ----------------------------------------------------------------------------------------------------

MODEL = REPOSITORY / "tests" / "spark" / "tiny"


@pytest.mark.parametrize("named", [True, False])
def test_a_network_in_s3_is_brought_here_with_its_card(bucket: S3Path, named: bool) -> None:
    folder = bucket / "model" / "digest"
    for name in ("model.tflite", "model.json"):
        (folder / name).upload(MODEL / name)
    network = open_network(folder / "model.tflite" if named else folder, engine="litert")
    assert network.flatbuffer.read_bytes() == (MODEL / "model.tflite").read_bytes()
    assert network.card.feature_length == 48


def test_a_zip_of_a_network_is_brought_here_once_and_without_a_listing(bucket: S3Path, s3_server: Server, tmp_path: Path) -> None:
    packed = bucket / "model" / "digest.zip"
    packed.upload(zip_files([MODEL / "model.tflite", MODEL / "model.json"], base=MODEL, out=tmp_path / "model.zip"))
    s3_server.door.open()
    here, again = (open_network(packed, engine="litert") for _ in range(2))
    assert here == again == replace(open_network(MODEL, engine="litert"), flatbuffer=here.flatbuffer)
    assert here.flatbuffer.read_bytes() == (MODEL / "model.tflite").read_bytes()
    assert s3_server.door.seen == {("GET", f"/{bucket.bucket}/model/digest.zip"): 1}


@given(position=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_of_a_damaged_zip_comes_the_network_or_a_failure(tmp_path_factory: pytest.TempPathFactory, position: float, bit: int) -> None:
    """The network where nothing reads what is damaged, such as a date."""
    file = tmp_path_factory.mktemp("damaged") / "model.zip"
    data = bytearray(zip_files([MODEL / "model.tflite", MODEL / "model.json"], base=MODEL, out=file).read_bytes())
    data[int(position * len(data))] ^= 1 << bit
    file.write_bytes(data)
    with suppress(BadModel):
        assert open_network(file, engine="litert").digests == open_network(MODEL, engine="litert").digests


@pytest.mark.parametrize("data", [b"", b"no zip", None])
def test_what_is_no_zip_is_refused_by_name(tmp_path: Path, data: bytes | None) -> None:
    file = tmp_path / "model.zip"
    if data is not None:
        file.write_bytes(data)
    with pytest.raises(BadModel, match=f"{file}"):
        open_network(file, engine="litert")


@pytest.mark.parametrize("method", [ZIP_BZIP2, ZIP_DEFLATED, ZIP_LZMA])
def test_a_zip_whose_packed_bytes_are_damaged_is_refused_by_name(tmp_path: Path, method: int) -> None:
    file = tmp_path / "model.zip"
    with ZipFile(file, "w", method) as archive:
        archive.write(MODEL / "model.tflite", "model.tflite")
    data = bytearray(file.read_bytes())
    data[60:160] = bytes(100)
    file.write_bytes(data)
    with pytest.raises(BadModel, match=f"{file} is no zip of a model, or damaged"):
        open_network(file, engine="litert")


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        ({"model/model.tflite": "model.tflite", "model/model.json": "model.json"}, " holds 0 .tflite files"),
        ({"model.tflite": "model.tflite"}, ": model.json: No such file or directory"),
        ({"model.tflite": "model.json", "model.json": "model.json"}, ": model.tflite is not the file that its model card describes"),
        ({"model.tflite": "model.tflite", "model.json": "model.tflite"}, ": model.json: "),
    ],
)
def test_what_is_wrong_in_a_zip_is_said_of_the_zip(tmp_path: Path, names: dict[str, str], problem: str) -> None:
    """Where it was unpacked is gone by the time anyone looks."""
    with ZipFile(file := tmp_path / "model.zip", "w") as archive:
        for name, of in names.items():
            archive.write(MODEL / of, name)
    with pytest.raises(BadModel, match=re.escape(f"{file}{problem}")):
        open_network(file, engine="litert")


def test_a_network_that_is_named_needs_no_listing(bucket: S3Path, s3_server: Server) -> None:
    for name in ("model.tflite", "model.json"):
        (bucket / name).upload(MODEL / name)
    s3_server.door.refuse = lambda _method, path: 403 if path == f"/{bucket.bucket}" else None
    assert open_network(bucket / "model.tflite", engine="litert").card.feature_length == 48


def test_a_network_in_s3_is_checked_as_one_on_a_disk(bucket: S3Path) -> None:
    with pytest.raises(BadModel, match=f"{bucket}/model.tflite: no such object"):
        open_network(bucket / "model.tflite", engine="litert")
    put(bucket, "model.tflite")
    with pytest.raises(BadModel, match=f"{bucket}/model.json: no such object"):
        open_network(bucket / "model.tflite", engine="litert")
    (bucket / "model.json").upload(MODEL / "model.json")
    with pytest.raises(BadModel, match="not the file that its model card describes"):
        open_network(bucket / "model.tflite", engine="litert")


# --- what local runs are spared -------------------------------------------------------------------------------------


def test_nothing_of_s3_is_loaded_where_all_is_on_a_disk() -> None:
    code = (
        "import sys; from job.cli import parse; import job.pipeline, job.report.plan\n"
        "from job.sources.readers import open_reader; from job.sinks.stage import featurize_share\n"
        "open_reader('/tmp'); parse(['fit', '--results', '/out']).target\n"
        "print([name for name in sys.modules if name.split('.')[0] in ('boto3', 'botocore', 'obstore')])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True, env=dict(os.environ))
    assert done.stdout == "[]\n"
