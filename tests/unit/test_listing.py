"""Listing: every image once, nothing on the driver that grows with their number, and what a local disk may hold."""

from __future__ import annotations

import os
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice, pairwise
from pathlib import Path
from threading import Thread
from unittest import mock

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from job.errors import StorageFailed, UsageError
from job.sources import folders, listers, stage
from job.sources.folders import WALKS_PER_SPLIT, WIDE, Disk, Walk, follow, plan_walks, visible
from job.sources.labels import label_of
from job.sources.listing import (
    LARGEST_SHARES,
    SMALLEST_SHARE,
    ImageSource,
    ListingPart,
    Share,
    first_labels,
    largest_share,
    matches,
    plan_shares,
    select,
    share_rests,
    share_size,
)
from job.sources.readers import Entry, File, Folder, LocalReader, local_path, location_of, open_reader, printable
from job.sources.reading import Image, read_images
from job.sources.stage import list_parts, list_pieces, rows_of

MILLION = 1_000_000
MEGABYTE = 1_000_000

Tree = dict[str, "Tree | None"]  # a folder's names; None is a file


# --- places that are not there --------------------------------------------------------------------------------------


class MadeUp:
    """A disk of files of one byte."""

    def look(self, path: str) -> Entry:
        return Entry(path, 1)


@dataclass
class TreeReader(MadeUp):
    """Nested dictionaries under /t, as folders."""

    tree: Tree

    def scan(self, folder: str, *, keep: Callable[[str], bool]) -> Iterator[File | Folder]:
        place: Tree | None = self.tree
        for name in folder.split("/")[2:]:
            assert place is not None
            place = place[name]
        assert place is not None
        for name, below in place.items():
            if keep(name):
                yield File(f"{folder}/{name}") if below is None else Folder(f"{folder}/{name}")


@dataclass
class WideReader(MadeUp):
    """/t with `width` names: files, or folders of one file each. Made as it is looked at, and counted."""

    width: int
    of_folders: bool
    looked_at: int = 0
    scans: list[str] = field(default_factory=list)

    def scan(self, folder: str, *, keep: Callable[[str], bool]) -> Iterator[File | Folder]:
        self.scans.append(folder)
        if folder != "/t":
            self.looked_at += 1
            if keep("only.jpg"):
                yield File(f"{folder}/only.jpg")
            return
        for number in range(self.width):
            self.looked_at += 1
            name = f"{number:07}"
            if keep(name):
                yield Folder(f"/t/{name}") if self.of_folders else File(f"/t/{name}")


def files_of(tree: Tree, folder: str = "/t") -> list[str]:
    """The visible files of a tree, found by the plainest recursion."""
    found = []
    for name, below in tree.items():
        if name[0] != "." and (below is None or name[0] != "_"):
            found += [f"{folder}/{name}"] if below is None else files_of(below, f"{folder}/{name}")
    return found


def followed(disk: Disk, walks: list[Walk], *, include: tuple[str, ...] = ()) -> list[str]:
    return [entry.path for walk in walks for _, entry in follow(disk, walk) if entry and matches(entry.path, include)]


# --- a million of anything ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("of_folders", [False, True], ids=["one folder of a million files", "a million folders of one file"])
@pytest.mark.parametrize("wanted", [64, 3200])
def test_planning_looks_at_few_of_a_million_names(of_folders: bool, wanted: int) -> None:
    reader = WideReader(MILLION, of_folders)
    walks = plan_walks(reader, ["/t"], wanted=wanted)
    assert reader.looked_at <= WIDE + 1
    assert len(walks) == wanted // WALKS_PER_SPLIT


@pytest.mark.parametrize("of_folders", [False, True], ids=["one folder of a million files", "a million folders of one file"])
def test_planning_over_a_million_names_takes_little_memory(of_folders: bool) -> None:
    tracemalloc.start()
    try:
        plan_walks(WideReader(MILLION, of_folders), ["/t"], wanted=3200)  # a hundred cores
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 10 * MEGABYTE


def test_planning_stops_at_enough_folders_however_many_lie_below() -> None:
    class Bushy(TreeReader):
        """A thousand folders in every folder, without end."""

        looked_at = 0

        def scan(self, folder: str, *, keep: Callable[[str], bool]) -> Iterator[File | Folder]:
            for number in range(1000):
                self.looked_at += 1
                if keep(str(number)):
                    yield Folder(f"{folder}/{number}")

    reader = Bushy({})
    walks = plan_walks(reader, ["/t"], wanted=3200)
    assert 3200 <= len(walks) < 3200 + WIDE
    assert reader.looked_at < 5 * WIDE


@pytest.mark.parametrize("of_folders", [False, True], ids=["files", "folders"])
def test_one_walk_of_a_million_finds_its_share_of_them_and_none_of_another_s(of_folders: bool) -> None:
    reader = WideReader(MILLION, of_folders)
    walks = [Walk("/t", index, 2000) for index in (0, 1999)]
    first, second = (set(followed(reader, [walk])) for walk in (walks[0], walks[-1]))
    assert not first & second
    # 500 each if names were dealt out by chance: five standard deviations of that either way.
    assert all(388 < len(found) < 612 for found in (first, second))


@pytest.mark.parametrize("of_folders", [False, True], ids=["one folder of 20,000 files", "20,000 folders of one file"])
def test_all_walks_together_find_each_of_20_000_files_once(of_folders: bool) -> None:
    reader = WideReader(20_000, of_folders)
    walks = plan_walks(reader, ["/t"], wanted=3 * WALKS_PER_SPLIT)
    assert len(walks) == 3
    found = Counter(followed(reader, walks))
    assert len(found) == 20_000
    assert set(found.values()) == {1}


@given(name=st.text(min_size=1), count=st.integers(1, 500))
def test_a_name_is_in_exactly_one_walk_of_a_split_folder(name: str, count: int) -> None:
    name = os.fsdecode(name.encode("utf-8", "surrogatepass"))  # any bytes that a file system may hold
    assert sum(Walk("/t", index, count).keeps(name) for index in range(count)) == 1


# --- trees ----------------------------------------------------------------------------------------------------------

NAMES = st.text("ab.é_1", min_size=1, max_size=3)
TREES: st.SearchStrategy[Tree] = st.recursive(
    st.dictionaries(NAMES, st.none(), max_size=6),
    lambda below: st.dictionaries(NAMES, st.none() | below, max_size=6),
    max_leaves=40,
)


@given(tree=TREES, wanted=st.integers(1, 40), wide=st.integers(1, 8))
def test_every_visible_file_of_a_tree_is_found_once(tree: Tree, wanted: int, wide: int) -> None:
    reader = TreeReader(tree)
    with mock.patch.object(folders, "WIDE", wide):  # so that small trees have folders too wide for the driver
        walks = plan_walks(reader, ["/t"], wanted=wanted)
    assert sorted(followed(reader, walks)) == sorted(files_of(tree))


@given(trees=st.lists(TREES, min_size=2, max_size=4), wanted=st.integers(1, 40))
def test_every_root_is_walked(trees: list[Tree], wanted: int) -> None:
    reader = TreeReader({f"root{number}": tree for number, tree in enumerate(trees)})
    roots = [f"/t/root{number}" for number in range(len(trees))]
    found = followed(reader, plan_walks(reader, roots, wanted=wanted))
    assert sorted(found) == sorted(path for root, tree in zip(roots, trees, strict=True) for path in files_of(tree, root))


@given(tree=TREES, wanted=st.integers(1, 40))
def test_a_plan_is_the_same_whatever_order_the_disk_has(tree: Tree, wanted: int) -> None:
    def turned(tree: Tree) -> Tree:
        return {name: None if below is None else turned(below) for name, below in reversed(tree.items())}

    assert plan_walks(TreeReader(tree), ["/t"], wanted=wanted) == plan_walks(TreeReader(turned(tree)), ["/t"], wanted=wanted)


@given(tree=TREES, wanted=st.integers(1, 40))
def test_walks_are_in_order_of_path(tree: Tree, wanted: int) -> None:
    folders = [walk.folder for walk in plan_walks(TreeReader(tree), ["/t"], wanted=wanted)]
    assert folders == sorted(folders)


@given(tree=TREES)
def test_a_walk_yields_a_folder_s_files_in_order_of_path(tree: Tree) -> None:
    found = followed(TreeReader(tree), [Walk("/t")])
    folders = [path.rpartition("/")[0] for path in found]
    assert len([1 for one, other in pairwise(folders) if one != other]) == len(set(folders)) - bool(folders)  # each in one piece
    assert all(one < other for one, other in pairwise(found) if one.rpartition("/")[0] == other.rpartition("/")[0])


@given(tree=TREES, count=st.integers(1, 3), wanted=st.integers(1, 6), data=st.data())
def test_what_is_left_of_a_walk_is_what_was_not_listed(tree: Tree, count: int, wanted: int, data: st.DataObject) -> None:
    walk = Walk("/t", data.draw(st.integers(0, count - 1)), count, deep=data.draw(st.booleans()))
    whole = list(follow(TreeReader(tree), walk))
    assume(whole)
    stop = data.draw(st.integers(1, len(whole)))
    rest = replace(walk, after=whole[stop - 1][0])
    assert whole[:stop] + list(follow(TreeReader(tree), rest)) == whole
    with mock.patch.object(folders, "WALKS_PER_SPLIT", 2):
        walks = folders.split(rest, wanted=wanted)
    files = [place for place, entry in whole[stop:] if entry]
    assert sorted(place for each in walks for place, entry in follow(TreeReader(tree), each) if entry) == sorted(files)


@given(tree=TREES, count=st.integers(1, 4))
def test_walks_that_share_the_names_of_a_folder_find_all_files_below_it(tree: Tree, count: int) -> None:
    assert sorted(followed(TreeReader(tree), [Walk("/t", index, count) for index in range(count)])) == sorted(files_of(tree))


@pytest.mark.parametrize("name", ["2", "a", "b"])
def test_what_is_left_of_a_walk_is_found_where_the_last_file_or_its_folder_is_gone(name: str) -> None:
    below: Tree = {"b": {"1": None, "2": None, "3": None}, "c": {"4": None}}
    tree: Tree = {"a": below, "d": {"5": None}}
    left = {"2": ["/t/a/b/3", "/t/a/c/4", "/t/d/5"], "b": ["/t/a/c/4", "/t/d/5"], "a": ["/t/d/5"]}
    for place in (tree, below, below["b"]):
        (place or {}).pop(name, None)
    assert followed(TreeReader(tree), [Walk("/t", after="a/b/2")]) == left[name]


def test_many_files_are_looked_at_ahead_and_come_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "LOOKS_TOGETHER", 3)
    names = [f"{place:03}" for place in range(200)]
    disk = TreeReader(dict.fromkeys(reversed(names)))
    looked: list[str] = []
    disk.look = lambda path: looked.append(path) or Entry(path, int(path[-3:]))
    walk = follow(disk, Walk("/t"))
    assert next(walk) == ("000", Entry("/t/000", 0))
    assert 3 <= len(looked) <= 3 * (folders.LOOKING + 2)
    assert [entry for _, entry in walk] == [Entry(f"/t/{name}", int(name)) for name in names[1:]]


@dataclass
class SlowDisk(TreeReader):
    """Listing the names of a folder takes so many seconds, and a look one."""

    scan_s: int = 0
    now: float = 0.0

    def scan(self, folder: str, *, keep: Callable[[str], bool]) -> Iterator[File | Folder]:
        self.now += self.scan_s
        return super().scan(folder, keep=keep)

    def look(self, path: str) -> Entry:
        self.now += 1
        return super().look(path)


@pytest.mark.parametrize(("scan_s", "rounds"), [(0, 4), (10_000, 4)])
def test_a_folder_that_takes_long_to_list_is_listed_in_few_rounds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scan_s: int, rounds: int
) -> None:
    """Each of them lists it once more, and then works for its time."""
    disk = SlowDisk(dict.fromkeys(f"{place:04}" for place in range(1_000)), scan_s)
    monkeypatch.setattr(stage, "monotonic", lambda: disk.now)
    monkeypatch.setattr(stage, "TOLD_EVERY", 10)
    monkeypatch.setattr(stage, "LONG", 10)
    monkeypatch.setattr(folders, "LOOKS_TOGETHER", 1_000)
    monkeypatch.setattr(listers, "LocalReader", lambda: disk)
    done = []

    def run(work: Callable[[list[Walk]], stage.Listed], tasks: list[list[Walk]]) -> list[stage.Listed]:
        done.append([work(task) for task in tasks])
        return done[-1]

    parts = list_parts(run, ImageSource(("/t",), limit=5_000), slots=1, scratch=tmp_path, count=lambda _: None)
    assert sum(part.count for part in parts) == 1_000
    assert len(done) == rounds


def test_a_walk_of_many_files_is_not_left_where_it_is_quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever goes on would list its folder once more."""
    monkeypatch.setattr(stage, "TOLD_EVERY", 1)
    monkeypatch.setattr(stage, "LONG", 3)
    monkeypatch.setattr(listers, "LocalReader", lambda: TreeReader(dict.fromkeys("123456789")))
    done = list_pieces([Walk("/t")], source=ImageSource(("/t",)), scratch=tmp_path)
    assert (sum(part.count for part in done.parts), done.rests) == (9, [])


def test_many_small_walks_in_one_task_can_be_left_to_executors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or to nobody, after Ctrl-C."""
    asked: list[None] = []
    monkeypatch.setattr(stage, "not_too_long", lambda: asked.append(None))
    monkeypatch.setattr(listers, "LocalReader", lambda: TreeReader({name: {"1": None} for name in "abcde"}))
    list_pieces([Walk(f"/t/{name}") for name in "abcde"], source=ImageSource(("/t",)), scratch=tmp_path)
    assert len(asked) == 5


def test_a_walk_of_empty_folders_can_be_left_at_each_of_them() -> None:
    disk = TreeReader({"a": {}, "b": {"c": {}, "d": {}}, "e": {"1": None}})
    steps = list(follow(disk, Walk("/t")))
    assert steps == [("a/", None), ("b/", None), ("b/c/", None), ("b/d/", None), ("e/", None), ("e/1", Entry("/t/e/1", 1))]


def test_a_walk_looks_at_a_file_when_it_is_its_turn_and_at_none_that_was_listed() -> None:
    """A look is a request to a server, on a disk that many machines mount: all of a folder's before its first file may take hours."""
    disk = TreeReader({"a": dict.fromkeys("1234"), "b": dict.fromkeys("56")})
    looked: list[str] = []
    disk.look = lambda path: looked.append(path) or Entry(path, 1)
    walk = follow(disk, Walk("/t", after="a/2"))
    assert next(walk)[0] == "a/3"
    assert looked == ["/t/a/3"]


def test_an_empty_folder_needs_no_walk() -> None:
    assert plan_walks(TreeReader({}), ["/t"], wanted=8) == []


@pytest.mark.parametrize(("name", "seen"), [("a.jpg", True), ("a", True), (".a", False), ("_MG_1234.JPG", True), ("a_.b", True)])
def test_names_that_begin_with_a_dot_are_hidden(name: str, seen: bool) -> None:
    assert visible(name) is seen


def test_nothing_below_a_hidden_folder_is_found_but_a_hidden_root_is_read() -> None:
    reader = TreeReader({"_root": {"_a.jpg": None, ".cache": {"b.jpg": None}, "_tmp": {"c.jpg": None}}})
    for wanted in (1, 8):
        assert followed(reader, plan_walks(reader, ["/t/_root"], wanted=wanted)) == ["/t/_root/_a.jpg"]


# --- patterns and labels --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("include", "found"),
    [
        ((), ["a.jpg", "b.png", "c.JPG", "jpg"]),
        (("*.jpg",), ["a.jpg"]),
        (("*.jpg", "*.png"), ["a.jpg", "b.png"]),
        (("*.[jJ][pP][gG]",), ["a.jpg", "c.JPG"]),
        (("*.gif",), []),
        (("t*",), []),  # of the file's name, not of its path
    ],
)
def test_include_is_about_names_of_files(include: tuple[str, ...], found: list[str]) -> None:
    reader = TreeReader(dict.fromkeys(["a.jpg", "b.png", "c.JPG", "jpg"]))
    assert followed(reader, [Walk("/t")], include=include) == [f"/t/{name}" for name in found]


def test_include_does_not_choose_folders() -> None:
    reader = TreeReader({"apples": {"a.jpg": None}})
    assert followed(reader, [Walk("/t")], include=("*.jpg",)) == ["/t/apples/a.jpg"]


def test_a_name_in_the_root_matches_as_any_other() -> None:
    assert matches("/a.jpg", ("a.*",))


@pytest.mark.parametrize(
    ("path", "label"),
    [("/photos/Apple Red/1.jpg", "Apple Red"), ("/a/b.c/d.jpg", "b.c"), ("/photos/pommé/x", "pommé"), ("/x.jpg", "")],
)
def test_a_label_is_the_name_of_the_parent_folder(path: str, label: str) -> None:
    assert label_of(path, "parent") == label


def test_there_are_no_labels_where_none_are_asked_for() -> None:
    assert label_of("/photos/Apple/1.jpg", "none") is None


def part(file: str, labels: dict[str, int] | None = None, count: int | None = None) -> ListingPart:
    labels = labels or {}
    return ListingPart(file, sum(labels.values()) if count is None else count, 0, tuple(labels.items()))


def test_the_first_labels_are_first_in_order_of_name_over_all_parts() -> None:
    parts = [part("1", {"b": 1, "d": 1}), part("2", {"c": 5, "b": 2}), part("3", {"a": 1})]
    assert first_labels(parts, 3) == ["a", "b", "c"]


def test_fewer_labels_than_asked_for_are_all_of_them() -> None:
    assert first_labels([part("1", {"b": 1, "a": 1})], 15) == ["a", "b"]


@given(sizes=st.lists(st.integers(0, 50), max_size=8), limit=st.integers(1, 400) | st.none())
def test_a_limit_takes_the_first_images_and_no_more(sizes: list[int], limit: int | None) -> None:
    kept = [each.count for each in select([part(str(place), count=size) for place, size in enumerate(sizes)], labels=None, limit=limit)]
    everything = [place for place, size in enumerate(sizes) for _ in range(size)]
    assert kept == [everything[:limit].count(place) for place in range(len(sizes))]


def test_labels_count_the_images_that_have_them() -> None:
    parts = [part("1", {"a": 3, "b": 4}, count=20), part("2", {"b": 1}, count=9), part("3", {"c": 2}, count=2)]
    assert [each.count for each in select(parts, labels=frozenset("ab"), limit=None)] == [7, 1, 0]


def test_a_limit_counts_images_of_the_labels_only() -> None:
    parts = [part("1", {"a": 3, "b": 4}, count=20), part("2", {"b": 5}, count=9)]
    assert [each.count for each in select(parts, labels=frozenset("b"), limit=6)] == [4, 2]


# --- shares ---------------------------------------------------------------------------------------------------------

PARTS = st.lists(st.integers(0, 20_000), max_size=12)


def planned(sizes: list[int], slots: int) -> list[Share]:
    return plan_shares([part(str(place), count=size) for place, size in enumerate(sizes)], slots=slots)


@given(sizes=PARTS, slots=st.integers(1, 64))
def test_shares_cover_every_row_of_every_part_once(sizes: list[int], slots: int) -> None:
    rows = {str(place): iter(range(size)) for place, size in enumerate(sizes)}
    for share in planned(sizes, slots):
        count = share.stop - share.start
        assert list(islice(rows[share.file], count)) == list(range(share.start, share.stop))  # the next ones, in order
    assert not any(list(left) for left in rows.values())


@given(sizes=PARTS, slots=st.integers(1, 64))
def test_no_share_is_empty_or_larger_than_the_largest(sizes: list[int], slots: int) -> None:
    assert all(1 <= share.stop - share.start <= LARGEST_SHARES[1] for share in planned(sizes, slots))


@given(sizes=PARTS, slots=st.integers(1, 64))
def test_only_the_end_of_a_part_is_smaller_than_the_smallest_share(sizes: list[int], slots: int) -> None:
    assert all(share.stop - share.start >= SMALLEST_SHARE or share.stop == share.quota for share in planned(sizes, slots))


@given(size=st.integers(1, 100_000), slots=st.integers(1, 64))
def test_sizes_fall_towards_the_end(size: int, slots: int) -> None:
    sizes = [share.stop - share.start for share in planned([size], slots)]
    assert sizes == sorted(sizes, reverse=True)


@given(sizes=PARTS, slots=st.integers(1, 64))
def test_a_share_is_cut_for_what_is_left_unless_its_part_ends(sizes: list[int], slots: int) -> None:
    left = sum(sizes)
    largest = largest_share(left, slots=slots)
    for share in planned(sizes, slots):
        assert share.stop - share.start == min(share_size(left, slots=slots, largest=largest, image_bytes=0), share.quota - share.start)
        left -= share.stop - share.start


@given(left=st.integers(1, 10**7), slots=st.integers(1, 1000))
def test_a_share_leaves_enough_for_the_other_cores(left: int, slots: int) -> None:
    assert share_size(left, slots=slots, largest=left) * slots <= max(left / 2, SMALLEST_SHARE * slots)


@given(sizes=PARTS, slots=st.integers(1, 64))
def test_shares_are_numbered_as_they_are_cut(sizes: list[int], slots: int) -> None:
    shares = planned(sizes, slots)
    assert [share.index for share in shares] == list(range(len(shares)))


def test_labels_and_quota_go_with_every_share_of_a_part() -> None:
    shares = plan_shares([part("1", count=100)], slots=1, labels=frozenset("ab"))
    assert {(share.labels, share.quota) for share in shares} == {(frozenset("ab"), 100)}


@given(sizes=st.lists(st.integers(1, 20_000), min_size=2, max_size=12), slots=st.integers(1, 64))
def test_parts_take_turns_as_long_as_they_have_images_left(sizes: list[int], slots: int) -> None:
    seen: Counter[str] = Counter()
    order: dict[str, int] = {}
    turns = []
    for share in planned(sizes, slots):
        turns.append((seen[share.file], order.setdefault(share.file, len(order))))
        seen[share.file] += 1
    assert turns == sorted(turns)


@pytest.mark.parametrize("slots", [4, 32, 61, 1000])
@pytest.mark.parametrize("prefixes", [1, 3, 4, 100])
def test_what_runs_at_the_same_time_reads_from_all_prefixes_alike(prefixes: int, slots: int) -> None:
    """Parts are in order of key: in one window of cores after the other, no prefix has half as many cores again as its share."""
    each = 256 // prefixes
    parts = [ListingPart(f"{prefix}", 65_536, 5_000) for prefix in range(prefixes) for _ in range(each)]
    first_turn = plan_shares(parts, slots=slots)[: len(parts)]
    for start in range(0, len(parts) - slots, slots):
        cores = Counter(share.file for share in first_turn[start : start + slots])
        assert max(cores.values()) <= 1.5 * slots / prefixes + 2


RESTS = st.lists(st.tuples(st.integers(1, 500), st.integers(0, 500)), min_size=1, max_size=12)  # images done and left, of each task


def left_of(work: list[tuple[int, int]]) -> tuple[list[Share], list[Share | None]]:
    shares = [Share(place, f"{place}", 7, 7 + done + left, 2000, None) for place, (done, left) in enumerate(work)]
    return shares, [replace(share, start=7 + done) if left else None for share, (done, left) in zip(shares, work, strict=True)]


@given(work=RESTS, slots=st.integers(1, 64))
def test_what_tasks_left_is_shared_out_once_and_none_gets_more_than_one_did_or_a_handful(work: list[tuple[int, int]], slots: int) -> None:
    shares, rests = left_of(work)
    again = share_rests(shares, rests, slots=slots, first=100)
    assert [share.index for share in again] == list(range(100, 100 + len(again)))
    rows = {rest.file: iter(range(rest.start, rest.stop)) for rest in rests if rest}
    for share in again:
        assert list(islice(rows[share.file], share.stop - share.start)) == list(range(share.start, share.stop))
        assert 1 <= share.stop - share.start <= max(work[int(share.file)][0], SMALLEST_SHARE)
    assert not any(list(left) for left in rows.values())


@given(left=st.integers(1, 5000), slots=st.integers(1, 64))
def test_what_one_slow_task_left_is_work_for_all_cores(left: int, slots: int) -> None:
    again = share_rests(*left_of([(500, left)]), slots=slots, first=1)
    assert max(share.stop - share.start for share in again) <= -(-left // slots)


def test_ten_million_images_are_planned_in_little_memory() -> None:
    parts = [part(f"listing-{place}.arrow", count=stage.ROWS_PER_PART) for place in range(10 * MILLION // stage.ROWS_PER_PART)]
    shares = plan_shares(parts, slots=64)
    assert sum(share.stop - share.start for share in shares) == len(parts) * stage.ROWS_PER_PART
    tracemalloc.start()
    try:
        plan_shares(parts, slots=64)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 10 * MEGABYTE


# --- from files to the rows of a task, without Spark ----------------------------------------------------------------


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Five labels of seven files each, and a scratch folder beside them."""
    for label in "abcde":
        (tmp_path / "photos" / label).mkdir(parents=True)
        for number in range(7):
            (tmp_path / "photos" / label / f"{number}.jpg").write_bytes(bytes(number))
    (tmp_path / "scratch").mkdir()
    return tmp_path / "photos"


def rows_read(source: ImageSource, *, per_part: int = 4) -> list[Image]:
    """What the tasks of a run would read, listed in parts of a few rows."""
    scratch = Path(source.roots[0]).parent / "scratch"
    with mock.patch.object(stage, "ROWS_PER_PART", per_part):
        parts = list_pieces([Walk(root) for root in sorted(source.roots)], source=source, scratch=scratch).parts
    labels = None if source.classes is None else frozenset(first_labels(parts, source.classes))
    shares = plan_shares(select(parts, labels=labels, limit=source.limit), slots=1, labels=labels)
    return [row for share in shares for row in rows_of(share)]


@pytest.mark.parametrize("per_part", [1, 4, 7, 100])
@pytest.mark.parametrize(("classes", "limit"), [(None, None), (None, 10), (2, None), (2, 10), (3, 1), (9, 99)])
def test_classes_and_limit_read_the_first_images_of_the_first_labels(
    photos: Path, classes: int | None, limit: int | None, per_part: int
) -> None:
    rows = rows_read(ImageSource((str(photos),), classes=classes, limit=limit), per_part=per_part)
    expected = [str(photos / label / f"{number}.jpg") for label in "abcde"[:classes] for number in range(7)][:limit]
    assert sorted(row.path for row in rows) == expected


def test_rows_carry_label_size_and_time_of_their_file(photos: Path) -> None:
    for row in rows_read(ImageSource((str(photos),))):
        status = os.stat(row.path)
        assert (row.label, row.size, row.modified) == (row.path.split("/")[-2], status.st_size, status.st_mtime_ns // 1000)
        assert row.data is None


def test_the_same_files_make_the_same_rows_in_the_same_order(photos: Path) -> None:
    source = ImageSource((str(photos),))
    assert rows_read(source) == rows_read(source)


# --- a local disk ---------------------------------------------------------------------------------------------------


def entries(folder: Path) -> list[Entry]:
    return [entry for _, entry in follow(LocalReader(), Walk(str(folder))) if entry]


def listed(folder: Path | str, *, include: tuple[str, ...] = ()) -> list[str]:
    return followed(LocalReader(), [Walk(str(folder))], include=include)


def test_a_local_file_is_listed_with_size_and_time(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"12345")
    os.utime(tmp_path / "a.jpg", ns=(0, 1_700_000_000_123_456_789))
    assert entries(tmp_path) == [Entry(str(tmp_path / "a.jpg"), 5, 1_700_000_000_123_456)]


def test_a_local_file_is_read_whole(tmp_path: Path) -> None:
    content = os.urandom(300_000)
    (tmp_path / "a.jpg").write_bytes(content)
    assert LocalReader().read(str(tmp_path / "a.jpg"), limit=300_000).data == content


def test_a_broken_link_is_listed_so_that_it_becomes_a_fault(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").symlink_to(tmp_path / "gone.jpg")
    assert listed(tmp_path) == [str(tmp_path / "a.jpg")]
    with pytest.raises(FileNotFoundError):
        LocalReader().read(str(tmp_path / "a.jpg"), limit=100)


def test_a_link_to_itself_is_listed_as_a_broken_one(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").symlink_to(tmp_path / "a.jpg")
    assert entries(tmp_path) == [Entry(str(tmp_path / "a.jpg"), 0)]


def test_a_pipe_is_left_out_since_reading_it_would_wait_for_ever(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.jpg")
    (tmp_path / "b.jpg").symlink_to(tmp_path / "a.jpg")
    assert listed(tmp_path) == []


def test_a_pipe_that_a_list_names_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.jpg")
    writer = Thread(target=lambda: open(tmp_path / "a.jpg", "wb").close(), daemon=True)  # who waits for one would go on
    writer.start()
    with pytest.raises(OSError, match="Not a regular file"):
        LocalReader().read(str(tmp_path / "a.jpg"), limit=100)


def test_a_link_to_a_file_is_that_file_under_the_link_s_name(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a.jpg").write_bytes(b"12345")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "b.jpg").symlink_to(tmp_path / "elsewhere" / "a.jpg")
    (entry,) = entries(tmp_path / "photos")
    assert (entry.path, entry.size) == (str(tmp_path / "photos" / "b.jpg"), 5)


def test_a_link_to_a_folder_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"1")
    (tmp_path / "circle").symlink_to(tmp_path, target_is_directory=True)
    assert listed(tmp_path) == [str(tmp_path / "a.jpg")]


def test_a_root_may_itself_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(b"1")
    (tmp_path / "link").symlink_to(tmp_path / "photos", target_is_directory=True)
    assert listed(tmp_path / "link") == [str(tmp_path / "link" / "a.jpg")]


@pytest.mark.parametrize("name", [b"caf\xe9.jpg", b"\xff\xfe", b"a b\nc.jpg", "pommé 🍎.jpg".encode()])
def test_a_name_of_any_bytes_is_listed_read_and_made_printable(tmp_path: Path, name: bytes) -> None:
    (tmp_path / os.fsdecode(name)).write_bytes(b"12345")
    (path,) = listed(tmp_path)
    assert os.fsencode(path).endswith(b"/" + name)
    assert LocalReader().read(path, limit=100).data == b"12345"
    assert printable(path).encode("utf-8")  # which surrogates refuse


def test_a_name_of_any_bytes_comes_through_a_listing(tmp_path: Path) -> None:
    (tmp_path / "photos" / os.fsdecode(b"p\xe9ches")).mkdir(parents=True)
    (tmp_path / "photos" / os.fsdecode(b"p\xe9ches") / os.fsdecode(b"\xff.jpg")).write_bytes(b"1")
    (tmp_path / "scratch").mkdir()
    (row,) = rows_read(ImageSource((str(tmp_path / "photos"),)))
    assert os.fsencode(row.path).endswith(b"/p\xe9ches/\xff.jpg")
    assert row.label == r"p\xe9ches"


@pytest.mark.parametrize(("name", "shown"), [(b"caf\xe9", r"caf\xe9"), ("café".encode(), "café"), (b"plain", "plain")])
def test_printable_spells_out_what_is_not_utf_8(name: bytes, shown: str) -> None:
    assert printable(os.fsdecode(name)) == shown


def test_a_folder_that_is_not_there_cannot_be_listed(tmp_path: Path) -> None:
    with pytest.raises(StorageFailed, match=r"cannot list .*gone: No such file") as failed:
        listed(tmp_path / "gone")
    assert failed.value.hint


def test_a_file_cannot_be_listed(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"1")
    with pytest.raises(StorageFailed, match="Not a directory"):
        listed(tmp_path / "a.jpg")


# --- locations ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("location", "path"),
    [
        ("/photos", "/photos"),
        ("/photos/", "/photos"),
        ("/a/../photos", "/photos"),
        ("/50%20off", "/50%20off"),  # a path is no URI
        ("file:///photos", "/photos"),
        ("file:///my%20photos", "/my photos"),
        ("FILE:///photos", "/photos"),
        ("file://localhost/photos", "/photos"),
    ],
)
def test_a_location_means_a_local_path(location: str, path: str) -> None:
    assert local_path(location) == path


def test_a_relative_location_is_made_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert local_path("photos") == str(tmp_path / "photos")


@pytest.mark.parametrize(("location", "below"), [("~", ""), ("~/photos", "/photos")])
def test_a_tilde_is_the_home_folder(monkeypatch: pytest.MonkeyPatch, location: str, below: str) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    assert local_path(location) == f"/home/somebody{below}"


@pytest.mark.parametrize("location", ["hdfs://host/x", "https://example.org/x", "s3n2://bucket/x"])
def test_a_scheme_without_a_reader_is_refused_by_name(location: str) -> None:
    for refusing in (local_path, location_of, open_reader):
        with pytest.raises(UsageError, match=location.partition("/")[0]) as refused:
            refusing(location)
        assert refused.value.hint


@pytest.mark.parametrize("location", ["", "file://"])
def test_a_location_without_a_path_is_refused(location: str) -> None:
    with pytest.raises(UsageError, match="names no folder"):
        local_path(location)


@pytest.mark.parametrize("location", ["file://photos/apples", "file://~/photos"])
def test_a_file_uri_of_another_host_is_not_taken_for_a_local_path(location: str) -> None:
    # Two slashes where three belong: the first folder's name becomes a host, and another folder would be read.
    with pytest.raises(UsageError):
        local_path(location)


def test_the_reader_of_a_local_path_reads_it(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"12345")
    assert open_reader(str(tmp_path)).read(str(tmp_path / "a.jpg"), limit=100).data == b"12345"


def test_a_file_that_grew_beyond_the_limit_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"x" * 100)
    found = LocalReader().read(str(tmp_path / "a.jpg"), limit=10)
    assert (found.data, found.size) == (None, 100)


def test_a_file_that_was_replaced_since_it_was_listed_is_what_it_is_now(photos: Path) -> None:
    rows = rows_read(ImageSource((str(photos),)))
    changed = {rows[3].path: b"other bytes", rows[7].path: Path(rows[7].path).read_bytes()}
    for path, data in changed.items():
        Path(path).write_bytes(data)
        os.utime(path, (7, 7))
    for image, before in zip(read_images(rows, reader=LocalReader(), max_bytes=100), rows, strict=True):
        if image.path in changed:
            assert (image.data, image.size, image.modified) == (changed[image.path], len(changed[image.path]), 7_000_000)
            assert image.listed == f"{before.size} {before.modified}"
        else:
            assert image == replace(before, data=Path(image.path).read_bytes())


def test_shares_of_photographs_are_of_few_images() -> None:
    small, photographs = (plan_shares([ListingPart("a", 200, image_bytes)], slots=2) for image_bytes in (5_000.0, 3_000_000.0))
    assert max(share.stop - share.start for share in photographs) < max(share.stop - share.start for share in small)
    assert photographs[-1].stop - photographs[-1].start <= 2, "one core must not finish seconds after the other"
