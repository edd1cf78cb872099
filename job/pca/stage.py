"""Features to moments, on executors: each label's rows folded where they lie, files merged by label."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial, reduce
from hashlib import sha256
from math import isqrt
from typing import TYPE_CHECKING, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from job.ahead import ahead
from job.contract import FEATURES, FEATURIZE_CARD, MOMENTS, SUCCESS
from job.errors import BadFeatures
from job.features.litert import Features
from job.pca.kept import POOLED, Content, Kept, Label, open_kept, read_index, write_index
from job.pca.moments import Folded, Moments, load_folded, load_moments, merge_all, save_folded, save_moments
from job.storage import Place, S3Path, duplicate, fetched, opened, versions
from job.tasks import run_tasks

if TYPE_CHECKING:
    from pyspark import SparkContext

ROWS_PER_BLOCK = 512  # rows read at once: 3 MB, small beside the scatters that they are folded into
ROWS_PER_TASK = 1024  # at least: below this a second task costs more, in files to write and merge, than it saves
MANY_SHARES = 64  # of moments: beyond, one reader would take minutes to fetch 13 MB of each, and groups of them are merged first
TASKS_PER_SLOT = 4  # at most, as long as a task has no more than MOST_ROWS_PER_TASK
MOST_ROWS_PER_TASK = 200_000
FOOTERS_AHEAD = 16  # as each is a request, where files are in S3

OF_ONE_NETWORK = "name results of the network that made the features"


@dataclass(frozen=True, slots=True)
class FeatureSet:
    """A features dataset: its files, rows, and the features' length."""

    files: tuple[Place, ...]
    rows: tuple[int, ...]  # of each file
    length: int
    model: str  # digest of the network, "" where the dataset does not say
    contents: tuple[Content, ...] = ()  # of each file what changes when it becomes another

    @property
    def count(self) -> int:
        return sum(self.rows)

    @property
    def fingerprint(self) -> str:
        """Changes when a file comes, goes or becomes another: says which features some moments are of."""
        return sha256(json.dumps([self.model, self.contents]).encode()).hexdigest()

    def without(self, contents: Iterable[Content]) -> FeatureSet:
        """Those files that are not among `contents`."""
        known = set(contents)
        left = [each for each in zip(self.files, self.rows, self.contents, strict=True) if each[2] not in known]
        files, rows, contents = zip(*left, strict=True) if left else ((), (), ())
        return replace(self, files=files, rows=rows, contents=contents)


def open_features(folder: Place) -> FeatureSet:
    """The features dataset in `folder`, or in the results folder that it is; BadFeatures where there is none, or half of one."""
    if (folder / FEATURES).is_dir():
        folder = folder / FEATURES
    files: tuple[Place, ...] = tuple(sorted(folder.glob("*.parquet"), key=str))
    if not files:
        raise BadFeatures(f"no features in {folder}", "python -m job featurize makes them")
    refuse_half(folder)
    try:
        footers = read_footers(files)
        rows = tuple(footer.num_rows for footer in footers)
        place = int(np.argmax(rows))
        fullest, schema = files[place], footers[place].schema.to_arrow_schema()
        if not {"path", "label", "features"} <= set(schema.names):
            raise BadFeatures(f"{fullest} has the columns {', '.join(schema.names)}; wanted path, label and features")
        with fetched(fullest) as here:
            first = next(pq.ParquetFile(here).iter_batches(1), None)
    except pa.ArrowInvalid as error:
        raise BadFeatures(f"{folder} is no Parquet dataset: {str(error).splitlines()[0]}") from error
    kind = schema.field("features").type
    if not (pa.types.is_fixed_size_list(kind) or pa.types.is_list(kind) or pa.types.is_large_list(kind)):
        raise BadFeatures(f"the features column of {fullest} holds {kind}; wanted a list of floats")
    row = first.to_pylist()[0] if first is not None and first.num_rows else {"features": ()}
    length = kind.list_size if pa.types.is_fixed_size_list(kind) else len(row["features"] or ())
    model = row.get("model") or ""
    contents = tuple((file.name, count, *version) for file, count, version in zip(files, rows, versions(files), strict=True))
    return FeatureSet(files, rows, length, model, contents)


def refuse_half(folder: Place) -> None:
    """BadFeatures where `folder` in S3 lacks the object that is written last. On a disk a dataset appears at once."""
    if isinstance(folder, S3Path) and not ((folder / FEATURIZE_CARD).is_file() or (folder / SUCCESS).is_file()):
        raise BadFeatures(
            f"{folder} is not a whole dataset: it has neither {FEATURIZE_CARD} nor {SUCCESS}",
            f"wait for the run that writes it, or run featurize again; if others wrote it and it is whole, put an empty {SUCCESS} there",
        )


def read_footers(files: Iterable[Place]) -> list[pq.FileMetaData]:
    """The files' footers: rows and schema. pa.ArrowInvalid for what is no Parquet."""
    return list(ahead(_read_footer, files, threads=FOOTERS_AHEAD))


def _read_footer(file: Place) -> pq.FileMetaData:
    with opened(file) as source:
        return pq.read_metadata(source)


def open_others(folders: Iterable[Place], features: FeatureSet, *, only: frozenset[str] | None) -> tuple[Kept, ...]:
    """The moments in `folders`, which can be merged with those of `features`. BadFeatures otherwise."""
    others = tuple(map(open_kept, folders))
    network, seen = features.model, {features.fingerprint}
    for other in others:
        if other.model and network and other.model != network:
            raise BadFeatures(f"{other.folder} has moments of network {other.model}, others are of {network}", OF_ONE_NETWORK)
        if (length := len(other.moments().mean)) != features.length:
            raise BadFeatures(f"{other.folder} has moments of {length} features, here are {features.length}", OF_ONE_NETWORK)
        if other.features in seen:
            raise BadFeatures(f"{other.folder} has moments of features that count already", "give each results folder once, and no copies")
        if only is not None:
            other.files(only)  # refuses here, before Spark starts
        network = network or other.model
        seen.add(other.features)
    return others


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
    by_label: dict[Label, list[Place]] = {}
    folded = _gathered(sc, folded, length=features.length, scratch=scratch)
    for task in folded:
        for label, file in task.files:
            by_label.setdefault(label, []).append(file)
    if len(by_label) <= label_cap and not any(task.overflowed for task in folded):
        merges = [_Merge(tuple(files), folder / f"{place:05}") for place, files in enumerate(by_label.values())]
        slots = min(sc.defaultParallelism, len(merges))  # as few as keep all cores busy: each writes 13 MB of pooled moments
        groups = [merges[start::slots] for start in range(slots)]
        merged = run_tasks(sc, partial(_merge, length=features.length, scratch=scratch), groups)
        kept = {file.name.partition(".")[0]: file.name for _, files in merged for file in files}
        names: dict[Label, str] | None = {label: kept[f"{place:05}"] for place, label in enumerate(by_label)}
    else:
        groups = [[_Merge(tuple(file for _, file in task.files))] for task in folded]
        merged = run_tasks(sc, partial(_merge, length=features.length, scratch=scratch), groups)
        names = None
    save_moments(merge_all((load_moments(pooled) for pooled, _ in merged), length=features.length), folder / POOLED)
    written = Kept(folder, features.fingerprint, features.model, names, features.contents)
    write_index(written)
    return written


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


def read_features(file: Place) -> pa.Table:
    """Place, label and features of one file's rows."""
    with fetched(file) as here:
        return pq.read_table(here, columns=["path", "label", "features"], partitioning=None)


def _split(table: pa.Table, length: int) -> Iterator[tuple[list[Label], Features]]:
    for start in range(0, table.num_rows, ROWS_PER_BLOCK):
        block = table.slice(start, ROWS_PER_BLOCK)
        yield block["label"].to_pylist(), rows_of_features(block, length=length)


def rows_of_features(table: pa.Table, *, length: int) -> Features:
    """The features column as (n, d) float32. BadFeatures where a row has another length, or holds what is not a number."""
    column = table["features"]
    sizes = pc.list_value_length(column)
    if table.num_rows and (column.null_count or pc.any(pc.not_equal(sizes, length)).as_py()):
        bad = pc.index(pc.not_equal(pc.fill_null(sizes, -1), length), True).as_py()
        raise BadFeatures(
            f"{table['path'][bad].as_py()} has {sizes[bad].as_py()} features, others {length}",
            "featurize again with one model",
        )
    flat = pc.list_flatten(column).to_numpy()
    rows = cast("Features", flat.reshape(table.num_rows, length))
    if not np.isfinite(rows).all():
        bad = np.flatnonzero(~np.isfinite(rows).all(axis=1))
        raise BadFeatures(
            f"{len(bad)} of these {len(rows)} rows hold NaN or infinity, the first {table['path'][int(bad[0])].as_py()}",
            "verger never writes such rows; remove them from the dataset",
        )
    return rows
