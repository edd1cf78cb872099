"""Features to moments, on executors: each label's rows folded where they lie, files merged by label."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from job.contract import FEATURES
from job.errors import BadFeatures
from job.features.litert import Features
from job.pca.moments import Moments, load_moments, merge_all, moments_of, save_moments
from job.tasks import run_tasks

if TYPE_CHECKING:
    from pyspark import SparkContext

ROWS_PER_BLOCK = 2048  # rows folded at once: 10 MB, small beside the scatters that they are folded into
ROWS_PER_TASK = 4096  # below this a second task costs more, in moments to write and merge, than it saves
MOST_ROWS_PER_TASK = 200_000  # so that a cluster has enough tasks
POOLED = "pooled.npy"
INDEX = "labels.json"

Label = str | None


@dataclass(frozen=True, slots=True)
class FeatureSet:
    """A features dataset: its files, rows, and the features' length."""

    files: tuple[Path, ...]
    rows: tuple[int, ...]  # of each file
    length: int
    model: str  # digest of the network, "" where the dataset does not say

    @property
    def count(self) -> int:
        return sum(self.rows)


def open_features(folder: Path) -> FeatureSet:
    """The features dataset in `folder`, or in the results folder that it is; BadFeatures where there is none."""
    if (folder / FEATURES).is_dir():
        folder = folder / FEATURES
    files = tuple(sorted(folder.glob("*.parquet")))
    if not files:
        raise BadFeatures(f"no features in {folder}", "python -m job featurize makes them")
    try:
        rows = tuple(pq.read_metadata(file).num_rows for file in files)
        fullest = files[int(np.argmax(rows))]
        schema = pq.read_schema(fullest)
        if not {"path", "label", "features"} <= set(schema.names):
            raise BadFeatures(f"{fullest} has the columns {', '.join(schema.names)}; wanted path, label and features")
        first = next(pq.ParquetFile(fullest).iter_batches(1), None)
    except pa.ArrowInvalid as error:
        raise BadFeatures(f"{folder} is no Parquet dataset: {str(error).splitlines()[0]}") from error
    kind = schema.field("features").type
    row = first.to_pylist()[0] if first is not None and first.num_rows else {"features": ()}
    length = kind.list_size if pa.types.is_fixed_size_list(kind) else len(row["features"] or ())
    model = row.get("model") or ""
    return FeatureSet(files, rows, length, model)


def fold_features(
    sc: SparkContext,
    features: FeatureSet,
    *,
    label_cap: int,
    folder: Path,
    scratch: Path,
    only: frozenset[str] | None = None,
) -> None:
    """Writes the moments of all rows (with a label in `only`) to `folder`, pooled and by label.

    With more than `label_cap` labels only the pooled ones are kept: a label costs 13 MB in each worker's memory.
    """
    tasks = max(1, min(sc.defaultParallelism, features.count // ROWS_PER_TASK), features.count // MOST_ROWS_PER_TASK)
    shares = [(index, features.files[index::tasks]) for index in range(tasks) if features.files[index::tasks]]
    work = partial(_fold_share, length=features.length, label_cap=label_cap, only=only, scratch=scratch)
    folded = run_tasks(sc, work, shares)
    pooled = merge_all((load_moments(task.pooled) for task in folded), length=features.length)
    folder.mkdir()
    save_moments(pooled, folder / POOLED)
    by_label = _files_by_label(folded)
    if by_label is not None and len(by_label) <= label_cap:
        merges = [(files, folder / f"{index:05}.npy") for index, files in enumerate(by_label.values())]
        run_tasks(sc, partial(_merge_files, length=features.length), merges)
        index = [[label, target.name] for label, (_, target) in zip(by_label, merges, strict=True)]
        (folder / INDEX).write_text(json.dumps(index) + "\n")


def kept_moments(folder: Path, *, only: frozenset[str] | None) -> Moments | None:
    """What fold_features kept in `folder`, of all rows or of some labels; None where it did not keep that."""
    if only is None:
        return load_moments(folder / POOLED) if (folder / POOLED).is_file() else None
    if not (folder / INDEX).is_file():
        return None
    files = {label: folder / name for label, name in json.loads((folder / INDEX).read_text())}
    refuse_unknown_labels(only, files)
    chosen = [load_moments(files[label]) for label in sorted(only)]
    return merge_all(chosen, length=len(chosen[0].mean))


def refuse_unknown_labels(only: frozenset[str], known: Iterable[Label]) -> None:
    """BadFeatures for a label that no image has."""
    names = sorted(label for label in known if label is not None)
    if missing := sorted(only.difference(names)):
        shown = ", ".join(names[:8]) + (" …" if len(names) > 8 else "")
        raise BadFeatures(f"no features with the label {', '.join(missing)}", f"labels here: {shown or 'none'}")


@dataclass(frozen=True, slots=True)
class _Folded:
    """What one task left in scratch: its pooled moments, and those of each label unless there were too many."""

    pooled: Path
    by_label: tuple[tuple[Label, Path], ...] | None


def _fold_share(share: tuple[int, tuple[Path, ...]], *, length: int, label_cap: int, only: frozenset[str] | None, scratch: Path) -> _Folded:
    index, files = share
    by_label: dict[Label, Moments] = {}
    pooled = Moments.empty(length)
    overflowed = False
    for labels, rows in _blocks(files, length=length, only=only):
        if not overflowed and len(by_label.keys() | set(labels)) > label_cap:
            overflowed = True
            pooled = merge_all(by_label.values(), length=length)
            by_label = {}
        if overflowed:
            pooled = pooled.merge(moments_of(rows))
            continue
        for label in dict.fromkeys(labels):
            part = moments_of(rows[np.fromiter((other == label for other in labels), bool, len(labels))])
            by_label[label] = by_label[label].merge(part) if label in by_label else part
    if not overflowed:
        pooled = merge_all(by_label.values(), length=length)
    written = []
    for place, (label, moments) in enumerate(by_label.items()):
        file = scratch / f"moments-{index:05}-{place:05}.npy"
        save_moments(moments, file)
        written.append((label, file))
    file = scratch / f"moments-{index:05}.npy"
    save_moments(pooled, file)
    return _Folded(file, None if overflowed else tuple(written))


def _blocks(files: Iterable[Path], *, length: int, only: frozenset[str] | None) -> Iterator[tuple[list[Label], Features]]:
    """Labels and features (n, d) of the files' rows, about ROWS_PER_BLOCK at a time. BadFeatures at a NaN or infinity."""
    pending: list[pa.Table] = []
    for file in files:
        table = pq.read_table(file, columns=["path", "label", "features"], partitioning=None)
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


def _files_by_label(folded: list[_Folded]) -> dict[Label, list[Path]] | None:
    by_label: dict[Label, list[Path]] = {}
    for task in folded:
        if task.by_label is None:
            return None
        for label, file in task.by_label:
            by_label.setdefault(label, []).append(file)
    return by_label


def _merge_files(merge: tuple[list[Path], Path], *, length: int) -> None:
    files, target = merge
    if len(files) == 1:
        files[0].rename(target)
        return
    save_moments(merge_all(map(load_moments, files), length=length), target)
