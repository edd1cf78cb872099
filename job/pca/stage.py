"""Features to moments, on executors: each label's rows folded where they lie, files merged by label."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial, reduce
from math import isqrt
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from job.contract import FEATURES, MOMENTS
from job.features.litert import Features
from job.pca.dataset import FeatureSet, read_features, rows_of_features
from job.pca.kept import POOLED, Kept, Label, read_index, write_index
from job.pca.moments import Folded, Moments, load_folded, load_moments, merge_all, save_folded, save_moments
from job.storage import Place, duplicate
from job.tasks import run_tasks

if TYPE_CHECKING:
    from pyspark import SparkContext

ROWS_PER_BLOCK = 512  # rows read at once: 3 MB, small beside the scatters that they are folded into
ROWS_PER_TASK = 1024  # at least: below this a second task costs more, in files to write and merge, than it saves
MANY_SHARES = 64  # of moments: beyond, one reader would take minutes to fetch 13 MB of each, and groups of them are merged first
TASKS_PER_SLOT = 4  # at most, as long as a task has no more than MOST_ROWS_PER_TASK
MOST_ROWS_PER_TASK = 200_000


def gather_moments(
    sc: SparkContext, features: FeatureSet, *, kept: Place, folder: Place, scratch: Place, label_cap: int, only: frozenset[str] | None
) -> tuple[str, Kept]:
    """The moments to fit, and what they were read from: "moments" that an earlier fit left in `kept`, "features", or both.

    Both, where there are features beside those that the moments are of: only these are read, and the moments merged.

    Those of all rows are in `folder` afterwards, for the next fit; those returned have the labels in `only` apart.
    """
    found = read_index(kept)
    if found and found.features == features.fingerprint:
        source = MOMENTS
        duplicate(kept, folder)
        own = replace(found, folder=folder)
    else:
        base = found if found and found.model == features.model and set(found.contents) < set(features.contents) else None
        source = f"{MOMENTS} and new {FEATURES}" if base else FEATURES
        own = fold_features(sc, features, base=base, label_cap=label_cap, folder=folder, scratch=scratch)
    if only is None or own.names is not None:
        return source, own
    # There were too many labels to keep each one's moments apart, so the features of these are read again.
    again = scratch / "only-labels"
    return FEATURES, fold_features(sc, features, label_cap=len(only), only=only, folder=again, scratch=scratch)


def fold_features(
    sc: SparkContext,
    features: FeatureSet,
    *,
    label_cap: int,
    folder: Place,
    scratch: Place,
    only: frozenset[str] | None = None,
    base: Kept | None = None,
) -> Kept:
    """Writes the moments of all rows (with a label in `only`) to `folder`, pooled and by label; files that `base` is of are not read.

    With more than `label_cap` labels only the pooled ones are kept: a label costs up to 13 MB in each worker's memory.
    """
    fresh = features.without(base.contents) if base else features
    most = max(TASKS_PER_SLOT * sc.defaultParallelism, fresh.count // MOST_ROWS_PER_TASK)
    tasks = max(1, min(most, fresh.count // ROWS_PER_TASK))
    shares = [(index, fresh.files[index::tasks]) for index in range(tasks) if fresh.files[index::tasks]]
    work = partial(_fold_share, length=features.length, label_cap=label_cap, only=only, scratch=scratch)
    folded = [*([_share_of(base)] if base else []), *run_tasks(sc, work, shares)]
    folder.mkdir()
    folded = _gathered(sc, folded, length=features.length, scratch=scratch)
    names, pooled = _merge_shares(sc, folded, length=features.length, label_cap=label_cap, folder=folder, scratch=scratch)
    save_moments(merge_all(map(load_moments, pooled), length=features.length), folder / POOLED)
    written = Kept(folder, features.fingerprint, features.model, names, features.contents)
    write_index(written)
    return written


def _merge_shares(
    sc: SparkContext, folded: list[_Share], *, length: int, label_cap: int, folder: Place, scratch: Place
) -> tuple[dict[Label, str] | None, list[Place]]:
    """Puts what tasks folded together: the files kept by label, None where there are too many, and files that are all rows together."""
    by_label: dict[Label, list[Place]] = {}
    for task in folded:
        for label, file in task.files:
            by_label.setdefault(label, []).append(file)
    work = partial(_merge, length=length, scratch=scratch)
    if len(by_label) > label_cap or any(task.overflowed for task in folded):
        merged = run_tasks(sc, work, [[_Merge(tuple(file for _, file in task.files))] for task in folded])
        return None, [pooled for pooled, _ in merged]
    merges = [_Merge(tuple(files), folder / f"{place:05}") for place, files in enumerate(by_label.values())]
    slots = min(sc.defaultParallelism, len(merges))  # as few as keep all cores busy: each writes 13 MB of pooled moments
    merged = run_tasks(sc, work, [merges[start::slots] for start in range(slots)])
    kept = {file.name.partition(".")[0]: file.name for _, files in merged for file in files}
    return {label: kept[f"{place:05}"] for place, label in enumerate(by_label)}, [pooled for pooled, _ in merged]


@dataclass(frozen=True, slots=True)
class _Share:
    """What one task left in scratch: a file for each label, or a single one once it had seen too many."""

    files: tuple[tuple[Label, Place], ...]
    overflowed: bool


def _share_of(kept: Kept) -> _Share:
    """Kept moments, as if a task had left them."""
    if kept.names is None:
        return _Share(((None, kept.folder / POOLED),), overflowed=True)
    return _Share(tuple((label, kept.folder / name) for label, name in kept.names.items()), overflowed=False)


@dataclass(frozen=True, slots=True)
class _Merge:
    """Files of rows and moments to put together, and the stem of the file to keep that in, if any."""

    files: tuple[Place, ...]
    stem: Place | None = None


def _fold_share(
    share: tuple[int, tuple[Place, ...]], *, length: int, label_cap: int, only: frozenset[str] | None, scratch: Place
) -> _Share:
    index, files = share
    folded: dict[Label, Folded] = {}
    nothing = Folded.nothing(length)
    overflowed = False
    for labels, rows in _blocks(files, length=length, only=only):
        if not overflowed and len(folded.keys() | set(labels)) > label_cap:
            overflowed = True
            folded = {None: reduce(Folded.merge, folded.values(), nothing)}
        if overflowed:
            folded[None] = folded[None].fold(rows)
            continue
        names = np.array(labels, dtype=object)
        for label in dict.fromkeys(labels):
            folded[label] = folded.get(label, nothing).fold(rows[names == label])
    stems = (scratch / f"folded-{index:05}-{place:05}" for place in range(len(folded)))
    written = [(label, save_folded(part, stem)) for (label, part), stem in zip(folded.items(), stems, strict=True)]
    return _Share(tuple(written), overflowed)


def _gathered(sc: SparkContext, shares: list[_Share], *, length: int, scratch: Place) -> list[_Share]:
    """The same moments in fewer shares where there are many: the root of their number, each put together by one task."""
    if len(shares) <= MANY_SHARES:
        return shares
    width = isqrt(len(shares))
    groups = [(index, shares[index::width]) for index in range(width)]
    return run_tasks(sc, partial(_gather, length=length, scratch=scratch), groups)


def _gather(group: tuple[int, list[_Share]], *, length: int, scratch: Place) -> _Share:
    index, shares = group
    overflowed = any(share.overflowed for share in shares)
    by_label: dict[Label, list[Place]] = {}
    for label, file in (each for share in shares for each in share.files):
        by_label.setdefault(None if overflowed else label, []).append(file)
    stems = (scratch / f"gathered-{index:05}-{place:05}" for place in range(len(by_label)))
    written = [
        (label, save_folded(_together(files, length=length), stem)) for (label, files), stem in zip(by_label.items(), stems, strict=True)
    ]
    return _Share(tuple(written), overflowed)


def _together(files: Iterable[Place], *, length: int) -> Folded:
    """What is in files of rows and moments, one after the other."""
    return reduce(Folded.merge, map(load_folded, files), Folded.nothing(length))


def _merge(merges: list[_Merge], *, length: int, scratch: Place) -> tuple[Place, list[Place]]:
    """Puts files together; returns a file of the moments of all of them, and the files kept."""
    kept: list[Place] = []

    def merged() -> Iterator[Moments]:
        for merge in merges:
            folded = _together(merge.files, length=length)
            if merge.stem:
                kept.append(save_folded(folded, merge.stem))
            yield from folded.parts()

    file = scratch / f"pooled-{uuid.uuid4().hex}.npy"
    save_moments(merge_all(merged(), length=length), file)
    return file, kept


def _blocks(files: Iterable[Place], *, length: int, only: frozenset[str] | None) -> Iterator[tuple[list[Label], Features]]:
    """Labels and features (n, d) of the files' rows, about ROWS_PER_BLOCK at a time. BadFeatures at a NaN or infinity."""
    pending: list[pa.Table] = []
    for file in files:
        table = read_features(file)
        pending.append(table if only is None else table.filter(pc.is_in(table["label"], pa.array(sorted(only)))))
        if sum(part.num_rows for part in pending) >= ROWS_PER_BLOCK:
            yield from _split(pa.concat_tables(pending), length)
            pending = []
    if pending:
        yield from _split(pa.concat_tables(pending), length)


def _split(table: pa.Table, length: int) -> Iterator[tuple[list[Label], Features]]:
    for start in range(0, table.num_rows, ROWS_PER_BLOCK):
        block = table.slice(start, ROWS_PER_BLOCK)
        yield block["label"].to_pylist(), rows_of_features(block, length=length)
