"""What an earlier run has done is not done again: its rows are found by their keys, on executors, and its files stay as they are.

Three passes, none of which looks at features: the keys of earlier rows into arrays; each part of the listing against the index of
those; and the few files that hold rows that no longer count, written again without them. The driver sees files and counts. A
worker holds the index: 24 bytes a row.
"""

from __future__ import annotations

import os
import uuid
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pyspark import SparkContext

from job.contract import MOMENTS, PCA
from job.errors import RowsLost
from job.pca.kept import read_index
from job.sinks import tables
from job.sinks.earlier import KEY, Index, Keys, Ordinals, by_file, keys_of, without_unreadable
from job.sinks.layout import ROWS, UNFINISHED, number_of
from job.sinks.tally import Tally
from job.sources.listing import ListingPart
from job.sources.readers import printable
from job.sources.stage import Listing, select_rows, write_rows
from job.storage import Place, duplicate, fetched, opened, place_of, whole
from job.tasks import run_tasks

FILES_PER_TASK = 16  # of which the keys are read


@dataclass(frozen=True, slots=True)
class Resumed:
    """What is left of a listing, and what stays of earlier runs.

    files      of features and of faults, that stay as they are
    tally      their rows
    rewritten  rows of other files that were written again, without some
    number     the first that no file has
    complete   the results are what was asked for, as they are
    """

    left: Listing
    files: tuple[Place, ...] = ()
    tally: Tally = field(default_factory=Tally)
    rewritten: Tally = field(default_factory=Tally)
    number: int = 0
    complete: bool = False


@dataclass(frozen=True, slots=True)
class EarlierFile:
    """A file of rows that were made with the settings of this run."""

    file: Place
    tally: Tally


def resume(sc: SparkContext, listing: Listing, root: Place, *, settings: str, keep_removed: bool, scratch: Place, staged: Place) -> Resumed:
    """Takes out of a listing what the results in `root` have, as far as that was made with `settings`.

    Rows of images that were changed, or that are no longer listed and not to be kept, are left behind: the other rows of such a
    file are written to `staged`.
    """
    unfinished: list[Place] = [file for file in (root / UNFINISHED).rglob("part-*.parquet") if file.parent.name in ROWS]
    published = [file for name in ROWS for file in _parts(root / name)]
    files = unfinished + published
    groups = [(_new_array(scratch), files[start : start + FILES_PER_TASK]) for start in range(0, len(files), FILES_PER_TASK)]
    earlier = list(chain(*run_tasks(sc, partial(_read_keys, settings=settings), groups)))
    if not earlier:
        return Resumed(listing)
    known = _Known(tuple(str(keys) for keys, _ in groups), _bounds(earlier), keep_removed)
    matched = run_tasks(
        sc, partial(_match, labels=listing.labels, known=known, scratch=scratch), [part for part in listing.parts if part.count]
    )
    left = Listing(tuple(each.part for each in matched if each.part.count))
    if left.images + (found := sum(int(each.same.sum()) for each in matched)) != listing.images:
        raise RowsLost(f"{listing.images} images listed, {left.images} of them new and {found} not", "this is a bug: please report it")
    alive = matched[0].first - _total(each.other for each in matched) if keep_removed else _total(each.same for each in matched)
    stay = [each for each, rows in zip(earlier, alive, strict=True) if rows == each.tally.images]
    halves = [index for index, each in enumerate(earlier) if 0 < alive[index] < each.tally.images]
    number = 1 + max(number_of(place.name) for place in files)
    work = partial(_write_alive, known=known, marks=tuple(str(each.marks) for each in matched), settings=settings, staged=staged)
    rewritten = run_tasks(sc, work, [(index, earlier[index].file, number + place) for place, index in enumerate(halves)])
    tally = sum((each.tally for each in stay), Tally())
    stayed: tuple[Place, ...] = tuple(each.file for each in stay)
    complete = not left.parts and stayed == tuple(published)
    return Resumed(left, stayed, tally, sum(rewritten, Tally()), number + len(halves), complete)


def keep_components(root: Place, staged: Place, stay: Iterable[Place], *, frozen: bool) -> tuple[str, ...]:
    """Stages what of pca/ outlives a change of features, if anything: all if it is `frozen`, moments of files that `stay`."""
    old, new = root / PCA, staged / PCA
    if not frozen:
        kept = read_index(old / MOMENTS)
        if not kept or not {content[0] for content in kept.contents} <= {file.name for file in stay}:
            return ()
        new.mkdir()
        old, new = old / MOMENTS, new / MOMENTS
    duplicate(old, new)
    return (PCA,)


@dataclass(frozen=True, slots=True)
class _Known:
    """The keys of earlier rows: their files, where each earlier file's rows begin and end, and whether unlisted images stay."""

    keys: tuple[str, ...]
    bounds: Ordinals
    keep_removed: bool


@dataclass(frozen=True, slots=True)
class _Matched:
    """One part of the listing after matching: what is left of it, and earlier rows by file.

    same    (files,) rows that are of listed images as they are now
    other   (files,) rows of listed images that have changed
    first   (files,) rows that count at all
    marks   where the ordinals of `same`, or with keep_removed of `other`, are
    """

    part: ListingPart
    same: Ordinals
    other: Ordinals
    first: Ordinals
    marks: Place


def _parts(folder: Place) -> list[Place]:
    return sorted(folder.glob("part-*.parquet"), key=str)


def _total(counts: Iterable[Ordinals]) -> Ordinals:
    total: Ordinals = np.sum(list(counts), axis=0, dtype=np.int64)
    return total


def _bounds(earlier: Iterable[EarlierFile]) -> Ordinals:
    return np.cumsum([0, *(each.tally.images for each in earlier)])


def _new_array(scratch: Place) -> Place:
    """A name that no array has yet: workers remember by it what they have loaded."""
    return scratch / f"array-{uuid.uuid4().hex}.npy"


def _read_keys(group: tuple[Place, Sequence[Place]], *, settings: str) -> list[EarlierFile]:
    """Writes the keys of the files' rows, and tells which files were made with `settings`; runs on an executor."""
    target, files = group
    found, keys = [], [np.empty(0, KEY)]
    for file in files:
        with opened(file) as source:
            parquet = pq.ParquetFile(source, pre_buffer=False)
            if tables.settings_in(parquet.schema_arrow) != settings:
                continue
            columns = ["path", "size", "modified", "etag"] + (["reason"] if "reason" in parquet.schema_arrow.names else [])
            rows = parquet.read(columns)
        found.append(EarlierFile(file, _tally_of(rows)))
        keys.append(_keys_of_rows(rows))
    _save(np.concatenate(keys), target)
    return found


def _tally_of(rows: pa.Table) -> Tally:
    reasons = Counter(rows["reason"].to_pylist()) if "reason" in rows.column_names else Counter()
    return Tally(rows.num_rows - reasons.total(), reasons, pc.sum(rows["size"]).as_py() or 0)


def _keys_of_rows(rows: pa.Table) -> Keys:
    keys = keys_of(rows, paths=rows["path"].to_pylist())
    return without_unreadable(keys, rows["reason"].to_pylist()) if "reason" in rows.column_names else keys


def _match(part: ListingPart, *, labels: frozenset[str] | None, known: _Known, scratch: Place) -> _Matched:
    """Takes out of a part what earlier rows have; runs on an executor."""
    index = _index(known.keys)
    rows = select_rows(part.file, quota=part.count, labels=labels)
    same, other = index.find(keys_of(rows, paths=[printable(os.fsdecode(path)) for path in rows["path"].to_pylist()]))
    marks = _new_array(scratch)
    same_rows, other_rows = np.unique(same[same >= 0]), np.unique(other[other >= 0])
    _save(other_rows if known.keep_removed else same_rows, marks)
    left = rows.filter(pa.array(same < 0))
    file = str(write_rows(left, scratch=scratch)) if left.num_rows else ""
    mean = (pc.mean(left["size"]).as_py() or 0.0) if left.num_rows else 0.0
    counted = partial(by_file, bounds=known.bounds)
    return _Matched(ListingPart(file, left.num_rows, mean), counted(same_rows), counted(other_rows), counted(index.ordinals), marks)


def _write_alive(task: tuple[int, Place, int], *, known: _Known, marks: tuple[str, ...], settings: str, staged: Place) -> Tally:
    """Writes the rows of an earlier file that still count to a file of another number; runs on an executor."""
    index, file, number = task
    start, stop = known.bounds[index], known.bounds[index + 1]
    with fetched(file) as here:
        rows = pq.read_table(here, partitioning=None)
    marked = _marked(marks)
    alive = np.isin(np.arange(start, stop), _index(known.keys).ordinals if known.keep_removed else marked)
    if known.keep_removed:
        alive &= ~np.isin(np.arange(start, stop), marked)
    rows = rows.filter(pa.array(alive))
    tables.write_table(rows, file=staged / file.parent.name / f"part-{number:06}.parquet", settings=settings)
    return _tally_of(rows)


@lru_cache(maxsize=1)  # of a worker, for all its tasks of a run
def _index(files: tuple[str, ...]) -> Index:
    return Index.of(np.concatenate([_load(file) for file in files]))


@lru_cache(maxsize=1)
def _marked(files: tuple[str, ...]) -> Ordinals:
    return np.concatenate([_load(file) for file in files])


def _save(array: NDArray[Any], file: Place) -> None:
    with whole(file) as half, half.open("wb") as sink:
        np.save(sink, array)


def _load(file: str) -> NDArray[Any]:
    with fetched(place_of(file)) as here:
        array: NDArray[Any] = np.load(here)
    return array
