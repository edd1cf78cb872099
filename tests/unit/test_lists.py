"""Lists of images instead of folders: manifests and S3 inventories, each against what listing the same images finds."""

from __future__ import annotations

import json
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from job import cli, s3
from job.errors import BadManifest, JobError, UsageError
from job.sources import duplicates, reading, stage, tables
from job.sources.duplicates import Repeated
from job.sources.inventory import InventoryLister
from job.sources.listers import open_lister
from job.sources.listing import ImageSource, first_labels, plan_shares, select
from job.sources.manifest import ManifestLister, resolve
from job.sources.readers import UNKNOWN, AnyReader, Data, Entry, Found, Labelled, kind_of, open_reader
from job.sources.reading import Image, read_images
from job.sources.stage import Listed, count_images, list_parts, rows_of
from job.storage import END_BYTES, S3Path, opened, read_range, whole

Rows = dict[str, Sequence[Any]]


def write(file: Path | S3Path, rows: Rows | pa.Table, *, groups: int = 1000) -> str:
    """A Parquet file of some columns, `groups` rows to a group; its location."""
    with whole(file) as half:
        pq.write_table(rows if isinstance(rows, pa.Table) else pa.table(rows), half, row_group_size=groups)
    return str(file)


def listed(*roots: str, wanted: int = 4, **how: Any) -> list[Entry]:
    """What executors would follow, in order."""
    lister = open_lister(ImageSource(roots, **how))
    return [entry for piece in lister.pieces(wanted=wanted) for _, entry in lister.follow(piece) if entry]


def rows_listed(source: ImageSource, *, scratch: Path) -> list[Image]:
    """What tasks would read, sorted by path."""
    parts = list_parts(lambda work, tasks: list(map(work, tasks)), source, slots=2, scratch=scratch, count=lambda _: None)
    labels = None if source.classes is None else frozenset(first_labels(parts, source.classes))
    shares = plan_shares(select(parts, labels=labels, limit=source.limit), slots=1, labels=labels)
    return sorted((row for share in shares for row in rows_of(share)), key=lambda row: row.path)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for label in ("apple", "pear"):
        (tmp_path / "photos" / label).mkdir(parents=True)
        for number in range(5):
            (tmp_path / "photos" / label / f"{number}.jpg").write_bytes(bytes(number))
    (tmp_path / "scratch").mkdir()
    return tmp_path / "photos"


# --- manifests ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["relative", "absolute", "bytes", "dictionary", "uri", "large"])
def test_a_manifest_of_a_folder_s_files_is_that_folder(photos: Path, how: str) -> None:
    files = sorted(photos.rglob("*.jpg"))
    paths: Any = [str(file) for file in files]
    if how == "relative":
        paths = [str(file.relative_to(photos)) for file in files]
    manifest = write(
        photos / "manifest.parquet",
        {
            "path": {
                "bytes": lambda: pa.array([path.encode() for path in paths], pa.binary()),
                "dictionary": lambda: pa.array(paths).dictionary_encode(),
                "large": lambda: pa.array(paths, pa.large_string()),
                "uri": lambda: pa.array([f"file://{path}" for path in paths]),
            }.get(how, lambda: pa.array(paths))()
        },
    )
    scratch = photos.parent / "scratch"
    by_folder = rows_listed(ImageSource((str(photos),), include=("*.jpg",)), scratch=scratch)
    assert rows_listed(ImageSource((manifest,)), scratch=scratch) == by_folder
    assert [row.label for row in by_folder] == ["apple"] * 5 + ["pear"] * 5


@given(
    counts=st.lists(st.integers(0, 30), min_size=1, max_size=4),
    groups=st.integers(1, 12),
    wanted=st.integers(1, 20),
    smallest=st.integers(1, 40),
)
def test_however_a_manifest_is_cut_each_row_is_read_once_and_in_order(
    tmp_path_factory: pytest.TempPathFactory, counts: list[int], groups: int, wanted: int, smallest: int
) -> None:
    folder = tmp_path_factory.mktemp("lists") / "manifest.parquet"
    folder.mkdir()
    paths = []
    for place, count in enumerate(counts):
        names = [f"/{place}/{row:03}.jpg" for row in range(count)]
        write(
            folder / f"part-{place}.parquet",
            {"path": pa.array(names, pa.string()), "size": pa.array([1] * count, pa.int32())},
            groups=groups,
        )
        paths += names
    write(folder / "_hidden.parquet", {"path": ["/never.jpg"]})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tables, "ROWS_PER_PIECE", smallest)
        patch.setattr(tables, "ROWS_AT_ONCE", 7)
        pieces = ManifestLister((str(folder),), under=()).pieces(wanted=wanted)
        assert [entry.path for entry in listed(str(folder), wanted=wanted)] == paths
    assert len(pieces) <= wanted + len(counts)


def test_what_a_manifest_says_of_an_image_is_believed(tmp_path: Path) -> None:
    when = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
    micros = round(when.timestamp() * 1e6)
    rows = {
        "path": ["s3://bkt/x/a.jpg", "s3a://bkt/c%20d"],
        "label": ["apple", None],
        "size": [5, 7],
        "etag": ['"e"', None],
        "modified": [when, None],
    }
    manifest = write(tmp_path / "manifest.parquet", rows)
    assert listed(manifest) == [Labelled("s3://bkt/x/a.jpg", 5, micros, "e", "apple"), Labelled("s3://bkt/c%20d", 7, None, None, None)]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC"])
def test_times_of_any_unit_are_microseconds(tmp_path: Path, unit: str, zone: str | None) -> None:
    column = pa.array([1_700_000_000], pa.timestamp("s", zone)).cast(pa.timestamp(unit, zone))
    (entry,) = listed(write(tmp_path / "manifest.parquet", pa.table({"path": ["s3://bkt/a"], "modified": column})))
    assert entry.modified == 1_700_000_000_000_000


@pytest.mark.parametrize(("labels_from", "labels"), [("parent", ["ripe", None]), ("none", [None, None])])
def test_labels_are_the_manifest_s_own_where_it_has_some(tmp_path: Path, labels_from: Any, labels: list[str | None]) -> None:
    manifest = write(tmp_path / "manifest.parquet", {"path": ["/x/apple/1.jpg", "/x/pear/2.jpg"], "label": ["ripe", None]})
    rows = rows_listed(ImageSource((manifest,), labels_from=labels_from), scratch=tmp_path)
    assert [row.label for row in rows] == labels


def test_classes_limit_and_include_are_of_a_manifest_s_rows(tmp_path: Path) -> None:
    paths = [f"/x/{name}.{kind}" for name in "dcba" for kind in ("jpg", "png")]
    manifest = write(tmp_path / "manifest.parquet", {"path": paths, "label": ["z", "y"] * 4})

    def found(**how: Any) -> list[str]:
        return [row.path for row in rows_listed(ImageSource((manifest,), **how), scratch=tmp_path)]

    assert found(include=("*.png",)) == ["/x/a.png", "/x/b.png", "/x/c.png", "/x/d.png"]
    assert found(classes=1) == found(include=("*.png",)), "of the label y"
    assert found(limit=3) == ["/x/c.jpg", "/x/d.jpg", "/x/d.png"], "the first rows, not the first names"


@pytest.mark.parametrize(
    ("path", "folder", "means"),
    [
        ("a/b.jpg", "/lists", "/lists/a/b.jpg"),
        ("b.jpg", "", "/b.jpg"),
        ("../b.jpg", "/lists", "/lists/../b.jpg"),
        ("a/b.jpg", "s3://bucket/lists", "s3://bucket/lists/a/b.jpg"),
        ("a/b.jpg", "s3://bucket", "s3://bucket/a/b.jpg"),
        ("/a/b.jpg", "s3://bucket/lists", "/a/b.jpg"),
        ("s3n://other//k", "/lists", "s3://other//k"),
        ("file:///a%20b.jpg", "/lists", "/a b.jpg"),
        ("~/b.jpg", "/lists", "/lists/~/b.jpg"),
    ],
)
def test_a_relative_path_is_from_the_manifest_s_folder(path: str, folder: str, means: str) -> None:
    assert resolve(path, folder=folder) == means


def test_a_manifest_that_is_a_folder_counts_as_one_file(bucket: S3Path) -> None:
    write(bucket / "lists" / "manifest.parquet" / "part-0.parquet", {"path": ["a.jpg"]})
    write(bucket / "lists" / "other.parquet", {"path": ["a.jpg"]})
    roots = (f"{bucket}/lists/manifest.parquet", f"{bucket}/lists/other.parquet")
    assert [entry.path for root in roots for entry in listed(root)] == [f"{bucket}/lists/a.jpg"] * 2


def test_only_what_lies_under_the_folders_named_is_read(tmp_path: Path) -> None:
    manifest = write(tmp_path / "manifest.parquet", {"path": ["/x/a/1.jpg", "/x/ab/2.jpg", "s3://bkt/x/3.jpg", "/y/4.jpg"]})
    assert [entry.path for entry in listed(manifest, under=("/x/a", "s3://bkt/x"))] == ["/x/a/1.jpg", "s3://bkt/x/3.jpg"]


def test_images_in_s3_of_which_no_size_is_said_have_an_unknown_one(bucket: S3Path, tmp_path: Path) -> None:
    (bucket / "a.jpg").write_text("12345")
    manifest = write(tmp_path / "manifest.parquet", {"path": [f"{bucket}/a.jpg", f"{bucket}/gone.jpg"]})
    source = ImageSource((manifest,))
    rows = rows_listed(source, scratch=tmp_path)
    assert [row.size for row in rows] == [UNKNOWN, UNKNOWN]
    assert count_images(source) == (2, None)
    read, gone = read_images(rows, reader=open_reader(manifest), max_bytes=100)
    assert (read.size, read.data) == (5, b"12345")
    assert gone.size == 0
    assert isinstance(gone.data, FileNotFoundError)


def test_a_manifest_may_name_files_here_and_in_s3(bucket: S3Path, tmp_path: Path) -> None:
    (bucket / "b").write_text("there")
    (tmp_path / "a").write_text("here")
    paths = [str(tmp_path / "a"), f"{bucket}/b", str(tmp_path / "a"), f"{bucket}/c"]
    found = AnyReader().read_many(paths, limit=100)
    assert [each.data for each in found if isinstance(each, Found)] == [b"here", b"there", b"here"]
    assert isinstance(found[3], FileNotFoundError)


@pytest.mark.parametrize("listed", [UNKNOWN, 10])
@pytest.mark.parametrize("size", [1_000, 400_000])
def test_reading_ahead_stays_bounded_where_sizes_are_unknown_or_were_others(
    monkeypatch: pytest.MonkeyPatch, size: int, listed: int
) -> None:
    budget = 1 << 20
    monkeypatch.setattr(reading, "BYTES_AHEAD", budget)
    monkeypatch.setattr(reading, "CHUNK_BYTES", budget // 4)
    held = most = 0
    several = False
    lock = threading.Lock()

    class Counting(AnyReader):
        def read_many(self, paths: Sequence[str], *, limit: int) -> list[Data]:  # noqa: ARG002
            nonlocal held, most, several
            with lock:
                held += size * len(paths)
                most = max(most, held)
                several |= len(paths) > 4
            return [Found(bytes(size), size)] * len(paths)

    rows = [Image(f"s3://bkt/{place}", None, listed, None, None, None) for place in range(100)]
    for image in read_images(rows, reader=Counting(), max_bytes=1 << 30):
        time.sleep(0.001)
        assert image.size == size
        with lock:
            held -= size
    assert most <= budget + 5 * size, "the budget, and the few that were begun before anything was known"
    assert several == (size < budget // 64), "small ones are soon read many at once"


# --- manifests that cannot be used ----------------------------------------------------------------------------------

BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "no path": (lambda file: write(file, {"file": ["a"], "size": [1]}), r"has no column path, but file, size"),
    "wrong type": (lambda file: write(file, {"path": [1]}), r"the column path holds int64; wanted text"),
    "wrong size": (lambda file: write(file, {"path": ["a"], "size": ["1"]}), r"the column size holds string; wanted whole numbers"),
    "wrong time": (lambda file: write(file, {"path": ["a"], "modified": ["2026"]}), r"the column modified holds string; wanted times"),
    "no Parquet": (lambda file: file.write_text("path\na.jpg\n"), r"is no Parquet file"),
    "nothing": (lambda file: file.touch(), r"is no Parquet file"),
    "cut": (lambda file: file.write_bytes(Path(write(file, {"path": ["a"]})).read_bytes()[:-9]), r"is no Parquet file"),
    "not there": (lambda _: None, r"cannot be read: No such file"),
    "folder": (lambda file: file.mkdir(), r"is a folder without \.parquet files"),
}


@pytest.mark.parametrize(("make", "said"), BAD.values(), ids=BAD)
def test_a_bad_manifest_is_one_clear_line_before_anything_starts(tmp_path: Path, make: Callable[[Path], object], said: str) -> None:
    make(tmp_path / "manifest.parquet")
    with pytest.raises(BadManifest, match=said) as refused:
        open_lister(ImageSource((str(tmp_path / "manifest.parquet"),))).check()
    assert str(tmp_path / "manifest.parquet") in str(refused.value)
    assert refused.value.hint
    assert "\n" not in str(refused.value) + refused.value.hint


@pytest.mark.parametrize("harm", ["damaged", "gone"])
def test_a_manifest_that_does_not_last_is_named(tmp_path: Path, harm: str) -> None:
    file = tmp_path / "manifest.parquet"
    lister = ManifestLister((write(file, {"path": [f"/{place * 7919}.jpg" for place in range(1000)]}),), under=("/",))
    (piece,) = lister.pieces(wanted=1)
    assert len(list(lister.follow(piece))) == 1000
    data, times = file.read_bytes(), file.stat()
    file.unlink() if harm == "gone" else file.write_bytes(data[:400] + bytes(400) + data[800:])
    if harm == "damaged":  # by its disk, which changes no time
        os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    with pytest.raises(BadManifest, match=f"{file} cannot be read: .") as refused:
        list(lister.follow(piece))
    assert refused.value.hint


@pytest.mark.parametrize("name", ["empty", "missing", "text"])
def test_a_bad_manifest_in_s3_is_one_clear_line(bucket: S3Path, name: str) -> None:
    place = bucket / f"{name}.parquet"
    if name != "missing":
        place.write_text("" if name == "empty" else "text" * 9)
    with pytest.raises(JobError, match=f"{place}") as refused:
        open_lister(ImageSource((str(place),))).check()
    assert isinstance(refused.value, BadManifest)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("path", "said"),
    [
        (None, "the path is null"),
        ("", "the path is empty"),
        ("s3://bucket", "s3://bucket names no object of a bucket"),
        ("s3://bucket/", "s3://bucket/ names no object of a bucket"),
        ("s3://Bad_Bucket!/a.jpg", "Bad_Bucket!/a.jpg names no object of a bucket"),
        ("/a\0b.jpg", r"'/a\\x00b.jpg' holds a NUL"),
        ("file:///a%00b.jpg", r"a%00b.jpg' holds a NUL"),
        ("https://x/a.jpg", "https:// is not supported"),
    ],
)
def test_a_row_that_names_no_image_is_told_by_its_number(tmp_path: Path, path: str | None, said: str) -> None:
    manifest = write(tmp_path / "manifest.parquet", {"path": ["/a"] * 10 + [path]}, groups=3)
    open_lister(ImageSource((manifest,))).check()
    with pytest.raises(BadManifest, match=f"manifest.parquet: row 11: .*{said}") as refused:
        listed(manifest)
    assert refused.value.hint


PATHS = st.lists(st.lists(st.binary(min_size=1, max_size=2), max_size=8), max_size=5)


@given(parts=PATHS, bits=st.sampled_from([2, 64]), per_range=st.integers(1, 50))
def test_a_path_that_is_listed_twice_is_found_wherever_it_is(
    tmp_path_factory: pytest.TempPathFactory, parts: list[list[bytes]], bits: int, per_range: int
) -> None:
    """In one range of digests or in many, and where digests of unlike paths are alike, as those of two bits must be."""
    files = [listing_part(tmp_path_factory.mktemp("parts") / "part.arrow", paths) for paths in parts]
    counted = Counter(path for paths in parts for path in paths)
    repeated = {path for path, times in counted.items() if times > 1}
    with pytest.MonkeyPatch.context() as patch:
        whole_digests = duplicates.digests
        patch.setattr(duplicates, "digests", lambda paths: whole_digests(paths) >> np.uint64(64 - bits) << np.uint64(64 - bits))
        patch.setattr(duplicates, "ROWS_PER_RANGE", per_range)
        one, many = repeated_in(files, ranges=1), repeated_in(files, ranges=duplicates.ranges_for(counted.total()))
    assert bool(many) == bool(one) == bool(repeated)
    assert not repeated or many[0].path == one[0].path, "the same one, however it was found"
    assert {found.path for found in many} <= repeated
    if bits == 64:
        assert sum(found.count for found in many) == sum(found.count for found in one) == counted.total() - len(counted)


def listing_part(file: Path | S3Path, paths: Sequence[bytes]) -> str:
    table = pa.table({"path": pa.array(paths, pa.binary())})
    with whole(file) as half, pa.ipc.new_file(half, table.schema) as writer:
        writer.write_table(table)
    return str(file)


def repeated_in(files: Sequence[str], *, ranges: int) -> list[Repeated]:
    slices = [duplicates.write_digests(file, ranges=ranges) for file in files]
    return [found for each in zip(*slices, strict=True) if (found := duplicates.find_repeated(each))]


def test_a_task_compares_only_the_digests_of_its_range(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [listing_part(tmp_path / f"{part}.arrow", [b"%d/%d" % (part, row) for row in range(1000)]) for part in range(5)]
    ranges = list(zip(*(duplicates.write_digests(file, ranges=4) for file in files), strict=True))
    loaded: list[int] = []

    def counted(file: Path | S3Path, start: int, stop: int) -> bytes:
        loaded.append((stop - start) // 8)
        return read_range(file, start, stop)

    monkeypatch.setattr(duplicates, "read_range", counted)
    for each in ranges:
        loaded.clear()
        assert duplicates.find_repeated(each) is None
        assert 1100 < sum(loaded) < 1400, "a quarter of 5,000, about"


def test_a_list_of_usual_length_is_compared_by_one_task() -> None:
    assert [duplicates.ranges_for(rows) for rows in (0, 1, 8_000_000, 8_000_001, 100_000_000)] == [0, 1, 1, 2, 13]


def test_digests_of_parts_in_s3_are_read_by_ranges(bucket: S3Path) -> None:
    files = [listing_part(bucket / f"{part}.arrow", [b"%d" % row for row in range(part, 8 + part, 2)]) for part in range(3)]
    found = repeated_in(files, ranges=3)
    assert sum(each.count for each in found) == 3
    assert {each.path for each in found} <= {b"2", b"4", b"6"}


@pytest.mark.parametrize("limit", [None, 7])
@pytest.mark.parametrize("under", ["disk", "lists"])
def test_walks_and_row_groups_are_left_where_a_task_s_time_is_over_and_followed_by_others(
    photos: Path, monkeypatch: pytest.MonkeyPatch, under: str, limit: int | None
) -> None:
    monkeypatch.setattr(stage, "TOLD_EVERY", 1)
    monkeypatch.setattr(stage, "TASK_S", 0)
    monkeypatch.setattr(tables, "ROWS_PER_PIECE", 1)
    root = str(photos)
    if under == "lists":
        root = write(photos / "manifest.parquet", {"path": [str(file) for file in sorted(photos.rglob("*.jpg"))]}, groups=5)
    source = ImageSource((root,), include=("*.jpg",), limit=limit)
    tasks: list[Listed] = []

    def run(work: Callable[[list[Any]], Listed], lists: list[list[Any]]) -> list[Listed]:
        done = [work(pieces) for pieces in lists]
        tasks.extend(done)
        return done

    parts = list_parts(run, source, slots=1, scratch=photos.parent / "scratch", count=lambda _: None)
    read = [row.path for share in plan_shares(select(parts, labels=None, limit=limit), slots=1) for row in rows_of(share)]
    assert sorted(read) == sorted(map(str, photos.rglob("*.jpg")))[:limit]
    assert max(sum(part.count for part in task.parts) for task in tasks) == 1, "a page each"


@given(
    groups=st.integers(1, 12),
    rows=st.integers(1, 40),
    at_once=st.integers(1, 9),
    wanted=st.integers(1, 9),
    data=st.data(),
)
def test_what_is_left_of_row_groups_is_what_was_not_listed(
    tmp_path_factory: pytest.TempPathFactory, groups: int, rows: int, at_once: int, wanted: int, data: st.DataObject
) -> None:
    """Also of rows that are not asked for, of which there may be millions before the next image."""
    folder = tmp_path_factory.mktemp("rows")
    file = write(folder / "manifest.parquet", {"path": [f"/{'ab'[row % 2]}/{row}" for row in range(rows)]}, groups=groups)
    lister = ManifestLister((file,), under=data.draw(st.sampled_from([(), ("/a",)])))
    last = -(-rows // groups)
    begin = data.draw(st.integers(0, last - 1))
    (whole_file,) = lister.pieces(wanted=1)
    piece = replace(whole_file, start=begin, stop=data.draw(st.integers(begin + 1, last)))
    with mock.patch.object(tables, "ROWS_AT_ONCE", at_once):
        whole = list(lister.follow(piece))
        assert len(whole) == min(rows, piece.stop * groups) - begin * groups, "each row has a place"
        stop = data.draw(st.integers(1, len(whole)))
        rest = replace(piece, after=whole[stop - 1][0])
        assert whole[:stop] + list(lister.follow(rest)) == whole
        pieces = lister.split(rest, wanted=wanted)
        assert len(pieces) <= wanted
        assert whole[:stop] + [each for some in pieces for each in lister.follow(some)] == whole


@pytest.mark.parametrize("groups", [10, 40])
@pytest.mark.parametrize("where", ["on a disk", "in S3"])
def test_a_manifest_that_is_replaced_while_it_is_listed_is_not_read_in_two_versions(
    tmp_path: Path, bucket: S3Path, where: str, groups: int
) -> None:
    """Its row groups would be others, and rows lost, or there twice."""
    place = bucket / "manifest.parquet" if where == "in S3" else tmp_path / "manifest.parquet"

    def put(groups: int) -> None:
        with whole(place) as half:
            write(half, {"path": [f"/{number}.jpg" for number in range(1000)]}, groups=groups)

    put(20)
    lister = ManifestLister((str(place),), under=())
    (piece,) = lister.pieces(wanted=1)
    put(groups)
    with pytest.raises(BadManifest, match=f"{place} was replaced while it was read") as refused:
        list(lister.follow(piece))
    assert refused.value.hint == "run again, once it stays as it is"


def test_an_object_that_is_replaced_while_it_is_read_is_not_read_on(bucket: S3Path) -> None:
    file = bucket / "large"
    file.write_text("a" * 3 * END_BYTES)
    with opened(file) as source:
        assert source.read(3) == b"aaa"
        file.write_text("b" * 3 * END_BYTES)
        with pytest.raises(FileExistsError):
            source.read(3)


# --- inventories ----------------------------------------------------------------------------------------------------

KEYS = ["photos/apple/a b.jpg", "photos/apple/c+d%20e.jpg", "photos/ü/😀.png", "photos//x", "photos/_MG_1.jpg", "top.jpg", "photosx/1.jpg"]
HIDDEN = ["photos/.x", "photos/_temporary/1.jpg", ".git/config"]
MARKS = ["photos/pear/", "photos/quince_$folder$"]


def object_rows(bucket: S3Path) -> list[dict[str, Any]]:
    """Rows that S3 Inventory would have, from the plainest listing."""
    found = s3.client().list_objects_v2(Bucket=bucket.bucket)["Contents"]
    return [
        {
            "bucket": bucket.bucket,
            "key": each["Key"],
            "size": each["Size"],
            "last_modified_date": each["LastModified"],
            "e_tag": each["ETag"].strip('"'),
            "storage_class": "STANDARD",
        }
        for each in found
    ]


def inventory(bucket: S3Path, rows: list[dict[str, Any]], *, to: S3Path | Path, files: int = 2, **changes: Any) -> str:
    """An inventory in two files, as S3 lays it out: data by key in the destination bucket, a manifest.json that may be anywhere."""
    keys = [f"inventory/{bucket.bucket}/daily/data/{place}.parquet" for place in range(files)]
    for place, key in enumerate(keys):
        table = pa.Table.from_pylist(rows[place::files])
        if "last_modified_date" in table.column_names:
            column = table.column_names.index("last_modified_date")
            table = table.set_column(column, "last_modified_date", table["last_modified_date"].cast(pa.timestamp("ms", "UTC")))
        write(S3Path(bucket.bucket, key), table, groups=2)
    said = {
        "sourceBucket": bucket.bucket,
        "destinationBucket": f"arn:aws:s3:::{bucket.bucket}",
        "version": "2016-11-30",
        "creationTimestamp": "1514944800000",
        "fileFormat": "Parquet",
        "fileSchema": "message s3.inventory { required binary bucket (STRING); required binary key (STRING); … }",
        "files": [{"key": key, "size": 1, "MD5checksum": "f11166069f1990abeb9c97ace9cdfabc"} for key in keys],
    }
    place = to / "manifest.json"
    place.write_text(json.dumps({name: value for name, value in {**said, **changes}.items() if value is not None}))
    return str(place)


@pytest.fixture
def filled(bucket: S3Path) -> S3Path:
    for key in KEYS + HIDDEN:
        s3.client().put_object(Bucket=bucket.bucket, Key=key, Body=key.encode())
    for key in MARKS:
        s3.client().put_object(Bucket=bucket.bucket, Key=key, Body=b"")
    return bucket


@pytest.mark.parametrize("where", ["here", "there"])
@pytest.mark.parametrize("under", ["", "photos", "photos/_temporary"])
def test_an_inventory_is_what_listing_the_bucket_finds(filled: S3Path, tmp_path: Path, where: str, under: str) -> None:
    folder = f"{filled}/{under}".rstrip("/")
    plainly = listed(folder)
    assert plainly
    location = inventory(filled, object_rows(filled), to=tmp_path if where == "here" else filled / "inventory" / "2026")
    found = listed(location, under=(folder,) if under else ())
    assert sorted(found) == sorted(plainly)
    assert not [entry for entry in found if isinstance(entry, Labelled)], "labels are from folders, as of a listing"


def test_of_versions_only_the_last_is_read_and_of_removed_objects_none(filled: S3Path, tmp_path: Path) -> None:
    rows = object_rows(filled)
    old = [{**row, "size": 1, "e_tag": "old", "version_id": "1", "is_latest": False, "is_delete_marker": False} for row in rows]
    new = [{**row, "version_id": "2", "is_latest": True, "is_delete_marker": False} for row in rows]
    gone = [{**rows[0], "key": "gone.jpg", "size": None, "version_id": "3", "is_latest": True, "is_delete_marker": True}]
    assert sorted(listed(inventory(filled, [*old, *new, *gone], to=tmp_path))) == sorted(_without_inventory(filled))


def _without_inventory(filled: S3Path) -> list[Entry]:
    """What the bucket holds but for the inventory's own files."""
    return [entry for entry in listed(str(filled)) if "/inventory/" not in entry.path]


def test_an_inventory_without_sizes_leaves_them_unknown(filled: S3Path, tmp_path: Path) -> None:
    rows = [{"bucket": filled.bucket, "key": row["key"]} for row in object_rows(filled)]
    found = listed(inventory(filled, rows, to=tmp_path), under=(f"{filled}/photos/apple",))
    assert sorted(found) == [Entry(f"{filled}/{key}", UNKNOWN) for key in KEYS[:2]]


@pytest.mark.parametrize("kind", ["CSV", "ORC"])
def test_an_inventory_of_another_format_is_refused_by_name(filled: S3Path, tmp_path: Path, kind: str) -> None:
    location = inventory(filled, object_rows(filled), to=tmp_path, fileFormat=kind)
    with pytest.raises(BadManifest, match=f"manifest.json is of an inventory in {kind}") as refused:
        InventoryLister((location,), under=()).check()
    assert "Parquet" in refused.value.hint


def test_a_folder_of_another_bucket_is_not_looked_for_in_an_inventory(filled: S3Path, tmp_path: Path) -> None:
    location = inventory(filled, object_rows(filled), to=tmp_path)
    with pytest.raises(BadManifest, match=f"is of the bucket {filled.bucket}") as refused:
        InventoryLister((location,), under=(f"{filled}x/photos",)).check()
    assert f"{filled}x/photos" in refused.value.hint


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{}", "it lacks destinationBucket, fileFormat, files, sourceBucket"),
        ('["a"]', "is no manifest of S3 Inventory"),
        ("", "is no JSON"),
        (None, "cannot be read: No such file"),
    ],
)
def test_what_is_no_inventory_is_refused(tmp_path: Path, text: str | None, said: str) -> None:
    if text is not None:
        (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(BadManifest, match=said) as refused:
        open_lister(ImageSource((str(tmp_path / "manifest.json"),))).check()
    assert refused.value.hint


# --- the command line -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("location", "kind"),
    [
        ("/photos", "folder"),
        ("/photos.parquet", "manifest"),
        ("s3://bkt/lists/all.parquet", "manifest"),
        ("s3://bkt/inventory/2026/manifest.json", "inventory"),
        ("s3://bkt/my-manifest.json", "prefix"),
        ("s3://b", "prefix"),
    ],
)
def test_a_name_says_what_a_location_is(location: str, kind: str) -> None:
    assert kind_of(location) == kind


def parse(*words: str) -> ImageSource:
    command = cli.parse(["featurize", "--model", "m", "--results", "out", *words])
    assert command.featurize
    return command.featurize.source


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--images", "a.parquet", "--images", "b"), "is a manifest and --images .*b on a disk"),
        (("--images", "s3://bucket/manifest.json", "--images", "s3://bucket/b"), "is an inventory and --images .*b in S3"),
        (("--images", "a", "--under", "a/b"), "--under .*a/b is for a manifest or an inventory"),
        (("--images", "a.parquet", "--images", "a.parquet"), "would count twice"),
        (("--images", "a.parquet", "--under", "x", "--under", "x/y"), "--under .* lies inside --under .* would count twice"),
        (("--images", "a.parquet", "--under", "."), "--results .* lies inside --under"),
    ],
)
def test_what_a_list_cannot_be_used_with_is_said(words: tuple[str, ...], said: str) -> None:
    with pytest.raises(UsageError, match=said) as refused:
        parse(*words)
    assert refused.value.hint


def test_a_list_and_the_folders_wanted_of_it_are_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    source = parse("--images", "a.parquet", "--under", "x/", "--under", "s3a://bucket/y/")
    assert (source.roots, source.under) == ((str(tmp_path / "a.parquet"),), (str(tmp_path / "x"), "s3://bucket/y"))
