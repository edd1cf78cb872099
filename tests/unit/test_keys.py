"""Ranges of keys: whatever keys there are, ranges next to each other are the plain listing, and what finds them is a few looks."""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from string import ascii_letters, digits
from unittest import mock

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from job.s3 import client
from job.sources import keys, s3, stage
from job.sources.keys import FEW, LAST, LOOK, PAGE, Range, behind, follow, hidden_in, split
from job.sources.listing import ImageSource, ListingPart, plan_shares, select
from job.sources.readers import Entry
from job.sources.s3 import S3Lister
from job.sources.stage import Listed, list_parts, rows_of
from job.storage import S3Path

ROOT = "s3://b/photos"


@dataclass
class Store:
    """Names in the order of their UTF-8, as S3 lists them; counts what it was asked for."""

    names: list[str]
    asked: list[tuple[str, int]] = field(default_factory=list)
    read: int = 0

    def __post_init__(self) -> None:
        self.names = sorted(set(self.names), key=lambda name: name.encode())

    def scan(self, after: str, at_once: int) -> Iterator[Entry]:
        self.asked.append((after, at_once))
        for place in range(bisect_right(self.names, after.encode(), key=str.encode), len(self.names)):
            self.read += 1
            yield Entry(f"{ROOT}/{self.names[place]}", 1)

    def listed(self, pieces: list[Range]) -> list[str]:
        return [piece.name_of(entry) for piece in pieces for _, entry in follow(self.scan, piece) if entry]

    def length(self, pieces: list[Range]) -> int:
        """All names, hidden ones as well."""
        return sum(1 for piece in pieces for _ in follow(self.scan, piece))


def plainly(names: list[str]) -> list[str]:
    """The names that are not hidden, by the plainest rule, in order."""
    return [
        name
        for name in sorted(set(names), key=str.encode)
        if not name.rpartition("/")[2].startswith(".") and not any(part.startswith((".", "_")) for part in name.split("/")[:-1])
    ]


CHARACTERS = st.sampled_from("ab0/._ \x01\x7f~é\ud7ff\ue000\uffff😀" + LAST)
NAMES = st.lists(
    st.text(CHARACTERS, min_size=1, max_size=6) | st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=4), max_size=60
)


@given(names=NAMES, wanted=st.integers(1, 40), look=st.integers(1, 6), hidden=st.integers(1, 4))
def test_ranges_one_after_the_other_are_the_plain_listing(names: list[str], wanted: int, look: int, hidden: int) -> None:
    store = Store(names)
    with mock.patch.multiple(keys, LOOK=look, HIDDEN_AT_MOST=hidden):
        pieces = split(store.scan, Range(ROOT), wanted=wanted)
        assert store.listed(pieces) == plainly(names)
    assert len(pieces) <= wanted


@given(names=NAMES, cuts=st.lists(st.text(CHARACTERS, min_size=1, max_size=4), max_size=5))
def test_any_cuts_make_ranges_that_are_the_plain_listing(names: list[str], cuts: list[str]) -> None:
    """So what a look at the store said, or whatever was changed in it since, decides about speed only."""
    bounds = ["", *sorted(set(cuts)), ""]
    pieces = [Range(ROOT, after, until) for after, until in pairwise(bounds)]
    assert Store(names).listed(pieces) == plainly(names)


@given(names=NAMES, after=st.text(CHARACTERS, max_size=4), wanted=st.integers(2, 9), length=st.integers(0, 4), data=st.data())
def test_a_range_is_split_into_ranges_of_its_own_names(names: list[str], after: str, wanted: int, length: int, data: st.DataObject) -> None:
    until = after + data.draw(st.text(CHARACTERS, min_size=length, max_size=length))
    piece = Range(ROOT, after, until) if until > after else Range(ROOT, after)
    with mock.patch.object(keys, "LOOK", 2):
        pieces = split(Store(names).scan, piece, wanted=wanted)
    assert Store(names).listed(pieces) == Store(names).listed([piece])


@given(names=NAMES, data=st.data())
def test_what_is_left_of_a_range_is_what_was_not_listed(names: list[str], data: st.DataObject) -> None:
    store = Store(names)
    whole = list(follow(store.scan, Range(ROOT)))
    assume(whole)
    stop = data.draw(st.integers(1, len(whole)))
    assert whole[:stop] + list(follow(store.scan, Range(ROOT, after=whole[stop - 1][0]))) == whole


def test_a_range_of_hidden_names_can_be_left_at_each_of_them() -> None:
    """There may be many before the first image."""
    steps = list(follow(Store(["_a/1", "_a/2", ".b", "c"]).scan, Range(ROOT)))
    assert steps == [(".b", None), ("_a/1", None), ("_a/2", None), ("c", Entry(f"{ROOT}/c", 1))]


@given(stem=st.text(st.characters(exclude_categories=["Cs"]), min_size=1), further=st.text(st.characters(exclude_categories=["Cs"])))
def test_behind_a_stem_comes_nothing_that_begins_with_it(stem: str, further: str) -> None:
    after = behind(stem)
    after.encode()  # no half of a pair
    assert after > stem + further if after else stem.endswith(LAST)


def numbers() -> list[str]:
    return [f"IMG_{number:07}.jpg" for number in range(60_000)]


def of_many_folders() -> list[str]:
    return [f"2026/{folder:03}/{name:03}.jpg" for folder in range(300) for name in range(200)]


def hashes() -> list[str]:
    chance = random.Random(0)
    return [f"{chance.getrandbits(64):016x}.jpg" for _ in range(60_000)]


def letters() -> list[str]:
    """Names of 62 characters, as of identifiers: a third level of stems would have a quarter of a million."""
    chance = random.Random(0)
    return ["".join(chance.choices(ascii_letters + digits, k=11)) for _ in range(60_000)]


def one_large_folder() -> list[str]:
    """More in one of a hundred folders than in all others."""
    return [f"{folder:02}/{name:03}.jpg" for folder in range(100) for name in range(120)] + [f"50/more-{name:05}" for name in range(18_000)]


@pytest.mark.parametrize("names", [numbers, of_many_folders, hashes, letters])
@pytest.mark.parametrize("wanted", [16, 64, 200])
def test_a_large_prefix_becomes_ranges_of_like_weight_by_few_looks(names: Callable[[], list[str]], wanted: int) -> None:
    store = Store(names())
    pieces = split(store.scan, Range(ROOT), wanted=wanted)
    assert wanted / 8 < len(pieces) <= wanted
    assert len(store.asked) < 6 * wanted
    assert store.read <= LOOK * len(store.asked)
    assert {at_once for _, at_once in store.asked} == {LOOK}
    sizes = [sum(1 for _ in follow(store.scan, piece)) for piece in pieces]
    assert sum(sizes) == len(store.names)
    assert max(sizes) < 4 * sum(sizes) / len(pieces), "the longest of them decides how long listing takes"


def test_what_is_left_of_a_long_range_is_split_anew_and_listed_by_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(one_large_folder())
    monkeypatch.setattr(s3, "scan", lambda _root, after, at_once: store.scan(after, at_once))
    monkeypatch.setattr(stage, "LONG", 2_000)
    monkeypatch.setattr(keys, "FEW", 0)
    rounds: list[list[int]] = []

    def run(work: Callable[[list[Range]], Listed], tasks: list[list[Range]]) -> list[Listed]:
        done = [work(task) for task in tasks]
        rounds.append([sum(part.count for part in each.parts) for each in done])
        return done

    counted: list[int] = []
    parts = list_parts(run, ImageSource((ROOT,)), slots=4, scratch=tmp_path, count=counted.append)
    shares = plan_shares(parts, slots=4)
    assert sorted(row.path.removeprefix(f"{ROOT}/") for share in shares for row in rows_of(share)) == store.names
    assert sum(counted) == len(store.names)
    first, second = rounds
    assert max(first) < 3_500, "18,000 are in one range, and its task left what comes after LONG"
    assert len(second) > 8
    assert max(second) < 4 * sum(second) / len(second)


@given(names=NAMES, after=st.lists(st.integers(0, 9)), page=st.integers(1, 4), pieces=st.integers(1, 6))
def test_whenever_their_time_is_over_tasks_together_list_each_name_once(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], after: list[int], page: int, pieces: int
) -> None:
    """Each task of them a page at least, or its first piece where that has less."""
    store, scratch = Store(names), tmp_path_factory.mktemp("parts")
    times = iter(after)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(s3, "scan", lambda _root, after, at_once: store.scan(after, at_once))
        patch.setattr(stage, "TOLD_EVERY", page)
        patch.setattr(keys, "LOOK", 2)
        left, found = split(store.scan, Range(ROOT), wanted=pieces), []
        while left:
            in_pages(patch, next(times, 0))
            whole = store.listed(left)
            done = stage.list_pieces(left, source=ImageSource((ROOT,)), scratch=scratch)
            listed = sorted(read(done.parts), key=str.encode)
            assert store.length(left) - store.length(done.rests) >= min(page, store.length(left[:1]))
            assert listed + store.listed(done.rests) == whole
            assert len(done.rests) < len(left) or done.rests != left
            left = done.rests
            found += listed
    assert found == plainly(names)


def in_pages(patch: pytest.MonkeyPatch, pages: int) -> None:
    """A task's time is over when the clock has been looked at so often after it began."""
    clock = iter([0.0] * (pages + 1))
    patch.setattr(stage, "monotonic", lambda: next(clock, stage.TASK_S))


def read(parts: Iterable[ListingPart]) -> list[str]:
    return [row.path.removeprefix(f"{ROOT}/") for share in plan_shares(parts, slots=1) for row in rows_of(share)]


def test_a_task_whose_time_is_over_hands_on_what_it_has_not_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store([f"{folder}/{place:04}" for folder in "abc" for place in range(3_000)])
    monkeypatch.setattr(s3, "scan", lambda _root, after, at_once: store.scan(after, at_once))
    in_pages(monkeypatch, 4)  # three, a look between two pieces, and one
    pieces = [Range(ROOT, until="a0"), Range(ROOT, "a0", "b0"), Range(ROOT, "b0")]
    done = stage.list_pieces(pieces, source=ImageSource((ROOT,)), scratch=tmp_path)
    assert sorted(read(done.parts)) == store.names[:4_000]
    assert done.rests == [Range(ROOT, "b/0999", "b0"), pieces[2]]


@pytest.mark.parametrize("limit", [1, 3, 7, 100])
@pytest.mark.parametrize("pages", [0, 2, 1000])
@pytest.mark.parametrize("classes", [None, 1])
def test_the_first_images_are_listed_by_one_task_after_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int, pages: int, classes: int | None
) -> None:
    store = Store([f"{place:03}" for place in range(50)])
    monkeypatch.setattr(s3, "scan", lambda _root, after, at_once: store.scan(after, at_once))
    monkeypatch.setattr(stage, "LONG", 3)
    monkeypatch.setattr(stage, "TOLD_EVERY", 3)

    def run(work: Callable[[list[Range]], Listed], tasks: list[list[Range]]) -> list[Listed]:
        in_pages(monkeypatch, pages)
        (task,) = tasks
        return [work(task)]

    source = ImageSource((ROOT,), limit=limit, classes=classes)
    parts = list_parts(run, source, slots=16, scratch=tmp_path, count=lambda _: None)
    assert len(parts) == (1 if pages == 1000 else -(-(min(limit, 50) if classes is None else 50) // (3 * (pages + 1))))
    assert sorted(read(select(parts, labels=None if classes is None else frozenset({"photos"}), limit=limit))) == store.names[:limit]
    assert classes or sum(part.count for part in parts) == min(limit, 50), "and no more than these"


@pytest.mark.parametrize(("left", "looks"), [(8, False), (7, True)])
def test_what_is_left_is_not_cut_where_there_is_some_for_each_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: int, looks: bool
) -> None:
    """Looks at a store that is slow take long, and executors wait for them."""
    store, rounds = Store([f"{place:05}" for place in range(20_000)]), list[list[Range]]()
    monkeypatch.setattr(s3, "scan", lambda _root, after, at_once: store.scan(after, at_once))
    rests = [Range(ROOT, f"{place:02}", f"{place + 1:02}") for place in range(left)]

    def run(_work: object, tasks: list[list[Range]]) -> list[Listed]:
        if not rounds:
            store.asked.clear()
        rounds.append([piece for task in tasks for piece in task])
        return [Listed([], rests if len(rounds) == 1 else [])]

    list_parts(run, ImageSource((ROOT,)), slots=2, scratch=tmp_path, count=lambda _: None)
    assert bool(store.asked) == looks
    assert (rounds[1] == rests) != looks


def test_a_small_prefix_stays_one_range_after_one_look() -> None:
    store = Store([f"{place}.jpg" for place in range(LOOK - 1)])
    assert split(store.scan, Range(ROOT), wanted=64) == [Range(ROOT)]
    assert len(store.asked) == 1


@pytest.mark.parametrize(("names", "pieces"), [(FEW, 1), (FEW + 1, 10)])
def test_a_prefix_of_few_names_is_not_looked_at_to_cut_it(monkeypatch: pytest.MonkeyPatch, names: int, pieces: int) -> None:
    store = Store([f"{place:05}.jpg" for place in range(names)])
    monkeypatch.setattr(s3, "scan", lambda _root, after, at_once: store.scan(after, at_once))
    assert len(S3Lister((ROOT,)).pieces(wanted=64)) == pieces
    assert store.asked[0] == ("", PAGE)
    assert (len(store.asked) == 1) == (pieces == 1)


@pytest.mark.parametrize("begin", ["_temporary/", ".git/", ".", "._IMG_", "a/._IMG_", "a/.b/c"])
def test_the_rest_of_many_hidden_names_is_jumped_over(begin: str) -> None:
    """Also of files, as those that macOS leaves beside others."""
    store = Store([f"{begin}{place:06}" for place in range(50_000)] + ["a.jpg", "a/b.jpg", "_temporary0.jpg"])
    assert store.listed([Range(ROOT)]) == plainly(store.names)
    assert store.read < 2 * keys.HIDDEN_AT_MOST


@pytest.mark.parametrize(
    ("name", "hidden"),
    [
        ("a/b.jpg", ""),
        ("_MG_1234.JPG", ""),
        ("a/_MG_1234.JPG", ""),
        ("_a/b.jpg", "_a/"),
        ("a/_b/c/d.jpg", "a/_b/"),
        ("a/.b/c", "a/.b/"),
        (".a/_b/c", ".a/"),
        (".a", ".a"),
        ("a/.b", "a/.b"),
        ("a._/b", ""),
        ("//a", ""),
    ],
)
def test_names_and_folders_are_hidden_as_on_a_disk(name: str, hidden: str) -> None:
    assert hidden_in(name) == hidden


def test_a_store_of_s3_s_protocol_lists_ranges_as_they_are(bucket: S3Path, monkeypatch: pytest.MonkeyPatch) -> None:
    odd = [
        "a b",
        "ü",
        "u\u0308",
        "50%20off",
        "a+b",
        "#1?",
        "~*",
        "back\\slash",
        "…",
        "😀",
        "a//b",
        "a/b/c",
        "a/_b/c",
        "a-b/c",
        "\x7f",
        "z&<>",
    ]
    names = [*odd, *(f"IMG_{place:03}" for place in range(40))]
    for name in names:
        client().put_object(Bucket=bucket.bucket, Key=f"photos/{name}", Body=b"1")
    monkeypatch.setattr(keys, "FEW", 0)
    monkeypatch.setattr(keys, "LOOK", 2)
    monkeypatch.setattr(keys, "PAGE", 7)
    lister = S3Lister((f"{bucket}/photos",))
    for wanted in (1, 40, 200):
        pieces = lister.pieces(wanted=wanted)
        found = [piece.name_of(entry) for piece in pieces for _, entry in lister.follow(piece) if entry]
        assert found == plainly(names)
    assert len(pieces) == 5
