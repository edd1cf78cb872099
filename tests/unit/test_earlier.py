"""Knowing an image again: keys, and the index of what earlier runs left."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from job.sinks import resume
from job.sinks.earlier import Index, Keys, by_file, keys_of, without_unreadable
from job.sinks.tables import FAULTS
from job.sources.readers import UNKNOWN
from job.sources.stage import LISTING

PATH = "/photos/apple/1.jpg"
IMAGE = {"label": "apple", "size": 5000, "modified": 1_700_000_000_000_000, "etag": None}
SILENT = {"size": UNKNOWN, "modified": None}  # of which nothing is said

paths = st.text(st.characters(exclude_characters="\\", exclude_categories=["Cs"]), min_size=1, max_size=8)


def keys(*rows: tuple[str, dict[str, object]], kind: pa.DataType | None = None, by_lists: bool = False) -> Keys:
    """The keys of images as a listing has them, or with times of another kind, or as rows of results are known by lists."""
    said = {name: [image[name] for _, image in rows] for name in IMAGE}
    modified = pa.array(said["modified"], pa.int64()).cast(kind or pa.int64())
    table = pa.table({**said, "modified": modified})
    if by_lists:
        table = table.append_column("listed", pa.array([image.get("listed") for _, image in rows], pa.string()))
    return keys_of(table, paths=[path for path, _ in rows], by_lists=by_lists)


def test_a_row_of_results_has_the_key_of_the_listing_that_it_came_from() -> None:
    kinds = {FAULTS.field("modified").type, LISTING.field("modified").type}
    assert len(kinds) == 2
    assert len({keys((PATH, IMAGE), kind=kind).tobytes() for kind in kinds}) == 1


@pytest.mark.parametrize(
    "change", [{"size": 5001}, {"modified": 1}, {"modified": None}, {"etag": "abc"}, {"label": "pear"}, {"label": None}]
)
def test_a_changed_image_has_another_version_of_the_same_path(change: dict[str, object]) -> None:
    one, other = keys((PATH, IMAGE), (PATH, IMAGE | change))
    assert one["path"] == other["path"]
    assert one["version"] != other["version"]


def test_an_object_is_known_by_its_etag_whenever_it_was_written() -> None:
    one, other = keys((PATH, IMAGE | {"etag": "abc", "modified": 1}), (PATH, IMAGE | {"etag": "abc", "modified": 2}))
    assert one == other


def test_alike_images_of_other_paths_have_other_versions_too() -> None:
    one, other = keys(("a", IMAGE), ("b", IMAGE))
    assert one["path"] != other["path"]
    assert one["version"] != other["version"]


@pytest.mark.parametrize(
    ("listed", "then", "known"),
    [
        ("5000 old", {"etag": "old"}, True),  # the list as it was
        ("5000 old", {"etag": "new"}, True),  # a list that says what was read
        ("5000 old", {"etag": "newer"}, False),
        ("5000 old", {"etag": "old", "label": "pear"}, False),
        (None, {"etag": "new"}, True),
        (None, SILENT, True),
        (None, SILENT | {"label": "pear"}, False),
        (None, {"etag": "old"}, False),
    ],
)
def test_a_row_is_known_by_what_was_read_and_by_what_a_list_said(listed: str | None, then: dict[str, object], known: bool) -> None:
    row = ("a", IMAGE | {"etag": "new", "listed": listed})
    same, other = Index.of([keys(row, by_lists=True)], rows=1).find(keys(("a", IMAGE | then)))
    assert (same.tolist(), other.tolist()) == (([0], [-1]) if known else ([-1], [0]))


def test_what_a_folder_has_now_is_not_taken_for_what_was_replaced_before_it_was_read() -> None:
    row = ("a", IMAGE | {"etag": "new", "listed": "5000 old"})
    same, _ = Index.of([keys(row)], rows=1).find(keys(("a", IMAGE | {"etag": "old"}), ("a", IMAGE | {"etag": "new"})))
    assert same.tolist() == [-1, 0]


def test_a_path_that_may_stand_for_another_is_never_known_again() -> None:
    """What printable() makes of the byte 0xff is what the name \\xff looks like."""
    name = keys(("\\xff.jpg", IMAGE))
    assert [found.tolist() for found in Index.of([name], rows=1).find(name)] == [[-1], [0]]


def test_a_fault_that_was_not_the_images_own_is_never_known_again() -> None:
    both = keys(("a", IMAGE), ("b", IMAGE))
    same, other = Index.of([without_unreadable(both, ["unreadable", "truncated"])], rows=2).find(both)
    assert (same.tolist(), other.tolist()) == ([-1, 1], [0, -1])


def test_rows_of_no_list_take_one_array_of_versions() -> None:
    index = Index.of([without_unreadable(keys(("a", IMAGE), ("b", IMAGE)), ["unreadable", "truncated"])], rows=2)
    assert index.listed is index.versions


@given(earlier=st.lists(st.tuples(paths, st.integers(0, 2))), now=st.lists(st.tuples(paths, st.integers(0, 2))), data=st.data())
def test_the_index_finds_what_a_dictionary_finds(earlier: list[tuple[str, int]], now: list[tuple[str, int]], data: st.DataObject) -> None:
    now = now + [row for row in earlier if data.draw(st.booleans())]
    rows = [keys(*((path, IMAGE | {"size": size}) for path, size in some)) for some in (earlier, now)]
    known: dict[str, tuple[int, int]] = {}
    for ordinal, (path, size) in enumerate(earlier):
        known.setdefault(path, (ordinal, size))  # the first of a path counts
    index = Index.of(np.array_split(rows[0], 3), rows=len(earlier))
    assert np.flatnonzero(index.first).tolist() == sorted(ordinal for ordinal, _ in known.values())
    same, other = index.find(rows[1])
    found = [known.get(path, (-1, -1)) for path, _ in now]
    assert same.tolist() == [ordinal if size == now[place][1] else -1 for place, (ordinal, size) in enumerate(found)]
    assert other.tolist() == [ordinal if size != now[place][1] else -1 for place, (ordinal, size) in enumerate(found)]


@given(sizes=st.lists(st.integers(0, 5), min_size=1), data=st.data())
def test_rows_are_counted_in_the_file_that_has_them(sizes: list[int], data: st.DataObject) -> None:
    files = np.repeat(np.arange(len(sizes)), sizes)
    chosen = np.array([row for row in range(len(files)) if data.draw(st.booleans())], np.int64)
    found, counts = by_file(chosen, np.cumsum([0, *sizes]))
    assert dict(zip(found.tolist(), counts.tolist(), strict=True)) == dict(Counter(files[chosen].tolist()))


@pytest.mark.parametrize(("files", "slots", "tasks"), [(0, 1, 0), (1, 4, 1), (64, 2, 8), (100_000, 2, 200), (100_000, 100, 400)])
def test_a_task_reads_the_keys_of_few_files_however_few_cores_there_are(files: int, slots: int, tasks: int) -> None:
    read: list[int] = []

    def run(_work: object, groups: list[tuple[Path, list[Path]]]) -> list[Any]:
        read.extend(len(each) for _, each in groups)
        return [[] for _ in groups]

    resume._read_earlier(run, [Path("part.parquet")] * files, slots=slots, settings="", by_lists=False, scratch=Path())
    assert sum(read) == files
    assert len(read) == tasks
    assert max(read, default=0) <= resume.FILES_PER_TASK
