"""What an earlier run has done is not done again: its rows are found by their keys, by tasks, and its files stay as they are.

Three passes: the keys of earlier rows into arrays; each part of the listing against the index of those; and files that hold rows
which no longer count, written again without them. The first two read no features; of more than a few files the driver sees no keys.
"""

from __future__ import annotations

import os
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from itertools import chain, pairwise
from time import monotonic
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pyspark import SparkContext

from job.ahead import ahead
from job.contract import FEATURES, FEATURIZE_CARD, MOMENTS, PCA
from job.errors import RowsLost
from job.pca.dataset import naming_damage
from job.pca.kept import read_index
from job.sinks import tables
from job.sinks.earlier import KEY, Index, Keys, Ordinals, by_file, keys_of, without_unreadable
from job.sinks.layout import KEPT, ROWS, UNFINISHED, part
from job.sinks.tally import Tally
from job.sources.listing import ListingPart
from job.sources.readers import printable
from job.sources.stage import Listing, select_rows, write_rows
from job.storage import Place, duplicate, fetched, is_damage, opened, place_of, whole
from job.tasks import run_tasks

TASKS_PER_SLOT = 4  # that read keys: each leaves an array, which each worker fetches
FILES_PER_TASK = 500  # at most, of some 4,096 rows each: more tasks then
FEW_FILES = 64  # of rows, some 4,096 each at most: their keys are a few MB
HERE_S = 1.0  # about what starting Python workers takes
KEY_COLUMNS = ("path", "label", "size", "modified", "etag", "listed", "reason")  # those that a file has
ARRAYS_AHEAD = 16  # as each is a request, where they are in S3


@dataclass(frozen=True, slots=True)
class Resumed:
    """What is left of a listing, and what stays of earlier runs.

    files      of features and of faults, that stay as they are
    tally      their rows
    rewritten  rows of other files that were written again, without some
    removed    rows that do not stay, as their images are no longer listed
    complete   the results are what was asked for, as they are
    """

    left: Listing
    files: tuple[Place, ...] = ()
    tally: Tally = field(default_factory=Tally)
    rewritten: Tally = field(default_factory=Tally)
    removed: int = 0
    complete: bool = False

    @property
    def stayed(self) -> Tally:
        """All rows of earlier runs."""
        return self.tally + self.rewritten


@dataclass(frozen=True, slots=True)
class Before:
    """Files of rows that are there before a run: of runs that did not end, and of its results.

    unfinished  of the latest run first, which knows best how the images are: of a path with several rows only the first counts
    whole       the results have their card, so that readers take them
    here_until  by `monotonic`, until when the driver lists and compares by itself, where files are few: there may be nothing else to do,
                and then no Python worker has to start
    """

    unfinished: list[Place]
    published: list[Place]
    whole: bool
    here_until: float

    @classmethod
    def under(cls, root: Place) -> Before:
        """Those of a results folder, now."""
        unfinished = [file for file in reversed(_parts(root / UNFINISHED, deep=True)) if file.parent.name in ROWS]
        published = [file for name in ROWS for file in _parts(root / name)]
        few = 0 < len(unfinished) + len(published) <= FEW_FILES
        has_card = (root / FEATURES / FEATURIZE_CARD).is_file()
        return cls(unfinished, published, has_card, monotonic() + HERE_S if few else 0.0)

    @property
    def files(self) -> list[Place]:
        return self.unfinished + self.published


def resume(
    sc: SparkContext, listing: Listing, before: Before, *, settings: str, keep_removed: bool, scratch: Place, staged: Place
) -> Resumed:
    """Takes out of a listing what earlier files have, as far as that was made with `settings`.

    Rows of images that were changed, or that are no longer listed and not to be kept, are left behind: the other rows of such a
    file are written to `staged`.
    """
    run = partial(run_tasks, sc, here_until=before.here_until)
    slots, by_lists = sc.defaultParallelism, listing.by_lists
    keys, earlier = _read_earlier(run, before.files, slots=slots, settings=settings, by_lists=by_lists, scratch=scratch)
    known = _Known(keys, np.cumsum([0, *(each.tally.images for each in earlier)]), keep_removed)
    if not earlier:
        return Resumed(listing)
    parts = [part for part in listing.parts if part.count]
    matched = run(partial(_match, labels=listing.labels, known=known, scratch=scratch), parts)
    left = Listing(tuple(each.part for each in matched if each.part.count))
    same, other = (_total(counts, files=len(earlier)) for counts in ([each.same for each in matched], [each.other for each in matched]))
    if left.images + same.sum() != listing.images:
        raise RowsLost(f"{listing.images} images listed, {left.images} of them new and {same.sum()} not", "this is a bug: please report it")
    alive = same
    if keep_removed:
        alive = _total(run(_count_first, [known]), files=len(earlier)) - other
    # Of files without rows only those that are published: a run that was killed while it published left second names of them
    published = set(before.published)
    stay = [each for each, rows in zip(earlier, alive, strict=True) if rows == each.tally.images and (rows or each.file in published)]
    halves = [(index, each.file) for index, each in enumerate(earlier) if 0 < alive[index] < each.tally.images]
    work = partial(_write_alive, known=known, marks=tuple(str(each.marks) for each in matched), settings=settings, staged=staged)
    rewritten = sum(run(work, halves), Tally())
    forget_index()
    files: tuple[Place, ...] = tuple(each.file for each in stay)
    complete = before.whole and not left.parts and not halves and files == tuple(before.published)
    removed = 0 if keep_removed else matched[0].known - int(same.sum() + other.sum())
    return Resumed(left, files, sum((each.tally for each in stay), Tally()), rewritten, removed, complete)


def keep_moments(root: Place, staged: Place, stay: Iterable[Place]) -> tuple[str, ...]:
    """Stages the moments of an earlier fit, if all files that they are of stay: the next fit starts from them."""
    kept = read_index(root / PCA / MOMENTS)
    if not kept or not {content[0] for content in kept.contents} <= {file.name for file in stay}:
        return ()
    (staged / PCA).mkdir()
    duplicate(root / PCA / MOMENTS, staged / PCA / MOMENTS)
    return (PCA,)


@dataclass(frozen=True, slots=True)
class EarlierFile:
    """A file of rows that were made with the settings of this run."""

    file: Place
    tally: Tally


@dataclass(frozen=True, slots=True)
class _Known:
    """The keys of earlier rows: their files, where each earlier file's rows begin and end, and whether unlisted images stay."""

    keys: tuple[str, ...]
    bounds: Ordinals
    keep_removed: bool

    @property
    def rows(self) -> int:
        return int(self.bounds[-1])


Counts = tuple[Ordinals, Ordinals]  # some files, and how many rows of each


@dataclass(frozen=True, slots=True)
class _Matched:
    """One part of the listing after matching: what is left of it, and earlier rows by file.

    same    rows that are of listed images as they are now
    other   rows of listed images that have changed
    known   rows of all files that count at all, each image's once
    marks   where the ordinals of `same`, or with keep_removed of `other`, are
    """

    part: ListingPart
    same: Counts
    other: Counts
    known: int
    marks: Place


def _read_earlier(
    run: Callable[..., list[Any]], files: Sequence[Place], *, slots: int, settings: str, by_lists: bool, scratch: Place
) -> tuple[tuple[str, ...], list[EarlierFile]]:
    """Where the keys of all rows are that were made with `settings`, and the files that have these."""
    size = max(1, min(FILES_PER_TASK, -(-len(files) // (TASKS_PER_SLOT * slots))))
    groups = [(_new_array(scratch), files[start : start + size]) for start in range(0, len(files), size)]
    earlier = list(chain(*run(partial(_read_keys, settings=settings, by_lists=by_lists), groups)))
    return tuple(str(keys) for keys, _ in groups), earlier


def _parts(folder: Place, *, deep: bool = False) -> list[Place]:
    return sorted((folder.rglob if deep else folder.glob)("part-*.parquet"), key=str)


def _total(counts: Iterable[Counts], *, files: int) -> Ordinals:
    total = np.zeros(files, np.int64)
    for places, rows in counts:
        total[places] += rows
    return total


def _new_array(scratch: Place) -> Place:
    """A name that no array has yet: workers remember by it what they have loaded."""
    return scratch / f"array-{uuid.uuid4().hex}.npy"


def _read_keys(group: tuple[Place, Sequence[Place]], *, settings: str, by_lists: bool) -> list[EarlierFile]:
    """Writes the keys of the files' rows, and tells which files were made with `settings`."""
    target, files = group
    found, keys = [], [np.empty(0, KEY)]
    for file in files:
        rows = _key_columns(file, settings=settings)
        if rows is not None:
            found.append(EarlierFile(file, _tally_of(rows)))
            keys.append(_keys_of_rows(rows, by_lists=by_lists))
    _save(np.concatenate(keys), target)
    return found


def _key_columns(file: Place, *, settings: str) -> pa.Table | None:
    """What keys are made from; None of a file that was made with other settings, or is damaged: its images are done again."""
    try:
        with opened(file) as source:
            parquet = pq.ParquetFile(source, pre_buffer=False)
            if tables.settings_in(parquet.schema_arrow) != settings:
                return None
            rows = parquet.read([name for name in KEY_COLUMNS if name in parquet.schema_arrow.names])
            rows.validate(full=True)  # that text is text
            return rows
    except (pa.ArrowInvalid, OSError) as error:
        if not is_damage(error):
            raise
        return None


def _tally_of(rows: pa.Table) -> Tally:
    reasons = Counter(rows["reason"].to_pylist()) if "reason" in rows.column_names else Counter()
    return Tally(rows.num_rows - reasons.total(), reasons, pc.sum(rows["size"]).as_py() or 0)


def _keys_of_rows(rows: pa.Table, *, by_lists: bool) -> Keys:
    keys = keys_of(rows, paths=rows["path"].to_pylist(), by_lists=by_lists)
    return without_unreadable(keys, rows["reason"].to_pylist()) if "reason" in rows.column_names else keys


def _match(part: ListingPart, *, labels: frozenset[str] | None, known: _Known, scratch: Place) -> _Matched:
    """Takes out of a part what earlier rows have."""
    index = _index(known.keys, rows=known.rows)
    rows = select_rows(part.file, quota=part.count, labels=labels)
    same, other = index.find(keys_of(rows, paths=[printable(os.fsdecode(path)) for path in rows["path"].to_pylist()]))
    marks = _new_array(scratch)
    same_rows, other_rows = np.unique(same[same >= 0]), np.unique(other[other >= 0])
    _save(other_rows if known.keep_removed else same_rows, marks)
    left = rows.filter(pa.array(same < 0))
    file = str(write_rows(left, scratch=scratch)) if left.num_rows else ""
    mean = (pc.mean(left["size"]).as_py() or 0.0) if left.num_rows else 0.0
    todo = ListingPart(file, left.num_rows, mean)
    return _Matched(todo, by_file(same_rows, known.bounds), by_file(other_rows, known.bounds), int(np.count_nonzero(index.first)), marks)


def _count_first(known: _Known) -> Counts:
    """Rows that count at all, of each path the first."""
    first = _index(known.keys, rows=known.rows).first
    counts = [np.count_nonzero(first[start:stop]) for start, stop in pairwise(known.bounds)]
    return np.arange(len(counts)), np.array(counts)


def _write_alive(task: tuple[int, Place], *, known: _Known, marks: tuple[str, ...], settings: str, staged: Place) -> Tally:
    """Writes the rows of an earlier file that still count to a file of this run."""
    index, file = task
    here = slice(known.bounds[index], known.bounds[index + 1])
    marked = _marked(marks, rows=known.rows)[here]
    alive = _index(known.keys, rows=known.rows).first[here] & ~marked if known.keep_removed else marked
    with naming_damage(file), fetched(file) as copy:
        rows = pq.read_table(copy, partitioning=None).filter(pa.array(alive))
    tables.write_table(rows, file=part(staged, file.parent.name, index, of=KEPT), settings=settings)
    return _tally_of(rows)


@lru_cache(maxsize=1)  # of a process, for all its tasks of a run
def _index(files: tuple[str, ...], *, rows: int) -> Index:
    return Index.of(_load_each(files), rows=rows)


def forget_index() -> None:
    """Gives back what this process kept for `resume`."""
    _index.cache_clear()
    _marked.cache_clear()


@lru_cache(maxsize=1)
def _marked(files: tuple[str, ...], *, rows: int) -> NDArray[np.bool_]:
    """Which of all rows are in one of the files of ordinals."""
    marked = np.zeros(rows, bool)
    for ordinals in _load_each(files):
        marked[ordinals] = True
    return marked


def _save(array: NDArray[Any], file: Place) -> None:
    with whole(file) as half, half.open("wb") as sink:
        np.save(sink, array)


def _load_each(files: Iterable[str]) -> Iterator[NDArray[Any]]:
    return ahead(_load, files, threads=ARRAYS_AHEAD)


def _load(file: str) -> NDArray[Any]:
    with fetched(place_of(file)) as here:
        array: NDArray[Any] = np.load(here)
    return array
