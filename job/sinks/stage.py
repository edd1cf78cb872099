"""Rows to files, in the worker that made them: only counts go back to the driver."""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from job import contract
from job.decode.pixels import Decoding
from job.errors import RowsLost
from job.features.stage import Embedded, Network, Stopwatch, embed_images
from job.pca.model import PcaModel
from job.pca.stage import FeatureSet, rows_of_features
from job.sources.listing import Share
from job.sources.readers import open_reader, printable
from job.sources.stage import read_images, rows_of
from job.tasks import run_tasks

if TYPE_CHECKING:
    from pyspark import SparkContext

ROWS_PER_PROJECTION = 100_000  # one file of projections, small enough for any spreadsheet

FAULTS = pa.schema(
    [
        pa.field("path", pa.string(), nullable=False),
        pa.field("label", pa.string()),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("detail", pa.string(), nullable=False),
    ]
)


def features_schema(length: int) -> pa.Schema:
    """Columns of `features/`: what was seen, what came of it, and what identifies image and model."""
    return pa.schema(
        [
            pa.field("path", pa.string(), nullable=False),
            pa.field("label", pa.string()),
            pa.field("features", pa.list_(pa.field("element", pa.float32(), nullable=False), length), nullable=False),
            pa.field("size", pa.int64(), nullable=False),
            pa.field("modified", pa.timestamp("us", tz="UTC")),
            pa.field("etag", pa.string()),
            pa.field("width", pa.int32(), nullable=False),
            pa.field("height", pa.int32(), nullable=False),
            pa.field("format", pa.string(), nullable=False),
            pa.field("model", pa.string(), nullable=False),
        ]
    )


def projections_schema() -> pa.Schema:
    """Columns of `projections/`."""
    return pa.schema(
        [
            pa.field("path", pa.string(), nullable=False),
            pa.field("label", pa.string()),
            pa.field("projection", pa.list_(pa.field("element", pa.float32(), nullable=False)), nullable=False),
        ]
    )


@dataclass(frozen=True, slots=True)
class Tally:
    """What a task, or a run, did: rows written by kind, faults by reason, bytes read, seconds of workers by step."""

    features: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    size: int = 0
    seconds: Counter[str] = field(default_factory=Counter)

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.features + other.features, self.faults + other.faults, self.size + other.size, self.seconds + other.seconds
        )

    @property
    def images(self) -> int:
        return self.features + self.faults.total()


@dataclass(frozen=True, slots=True)
class Featurizing:
    """All that a task needs to know beside its share."""

    root: str  # one of the image roots: says which reader
    network: Network
    how: Decoding
    staging: Path
    folder: Callable[[], Path]  # on a worker: where the network's files are


def featurize_share(share: Share, *, plan: Featurizing, count: Callable[[Tally], None]) -> Tally:
    """Reads, decodes, embeds and writes the images of one share; runs on an executor."""
    watch = Stopwatch()
    reader = open_reader(plan.root)
    images = read_images(rows_of(share), reader=reader, max_bytes=plan.how.max_bytes)
    rows = list(_without_bytes(embed_images(images, network=plan.network, folder=plan.folder(), how=plan.how, watch=watch)))
    usable = [row for row in rows if row.fault is None]
    faults = [row for row in rows if row.fault is not None]
    name = f"part-{share.index:06}.parquet"
    if usable:
        write_features(usable, network=plan.network, file=plan.staging / contract.FEATURES / name)
    if faults:
        write_faults(faults, file=plan.staging / contract.FAULTS / name)
    watch.lap("write")
    tally = Tally(
        len(usable),
        Counter(row.fault.reason.value for row in faults if row.fault),
        sum(row.image.size for row in rows),
        Counter(watch.seconds),
    )
    count(tally)
    return tally


def _without_bytes(rows: Iterable[Embedded]) -> Iterator[Embedded]:
    """The rows without the files that they came from, so that a share's memory is its features."""
    for row in rows:
        image = row.image
        bare = type(image)(image.path, image.label, image.size, image.modified, image.etag, None)
        yield Embedded(bare, row.width, row.height, row.format, row.features, row.fault)


def write_features(rows: list[Embedded], *, network: Network, file: Path) -> None:
    """One Parquet file of features; each row has them."""
    images = [row.image for row in rows]
    flat = np.concatenate([row.features for row in rows if row.features is not None]) if rows else np.empty(0, np.float32)
    schema = features_schema(network.card.feature_length)
    columns = [
        pa.array([printable(image.path) for image in images], pa.string()),
        pa.array([image.label for image in images], pa.string()),
        pa.FixedSizeListArray.from_arrays(pa.array(flat, pa.float32()), type=schema.field("features").type),
        pa.array([image.size for image in images], pa.int64()),
        pa.array([image.modified for image in images], pa.timestamp("us", tz="UTC")),
        pa.array([image.etag for image in images], pa.string()),
        pa.array([row.width for row in rows], pa.int32()),
        pa.array([row.height for row in rows], pa.int32()),
        pa.array([row.format for row in rows], pa.string()),
        pa.array([network.card.digest] * len(rows), pa.string()),
    ]
    _write(pa.table(columns, schema=schema), file)


def write_faults(rows: list[Embedded], *, file: Path) -> None:
    """One Parquet file of faults; each row has one."""
    faults = [(printable(row.image.path), row.image.label, row.fault.reason.value, row.fault.detail) for row in rows if row.fault]
    columns = zip(*faults, strict=True) if faults else [[]] * len(FAULTS)
    _write(pa.table([pa.array(column, pa.string()) for column in columns], schema=FAULTS), file)


def _write(table: pa.Table, file: Path) -> None:
    """Writes a file under its name when it is whole: a task may be tried again, or twice at once."""
    half = file.with_name(f"_{file.name}-{os.getpid()}")
    # Features are all different: a dictionary of them costs time and space.
    strings = [column.name for column in table.schema if column.type == pa.string() and column.name != "path"]
    pq.write_table(table, half, compression="zstd", compression_level=1, use_dictionary=strings)
    half.replace(file)


def write_missing(network: Network, staging: Path) -> None:
    """An empty file for a dataset that got no rows, so that it can be read all the same."""
    if not any((staging / contract.FEATURES).glob("*.parquet")):
        write_features([], network=network, file=staging / contract.FEATURES / "part-000000.parquet")
    if not any((staging / contract.FAULTS).glob("*.parquet")):
        write_faults([], file=staging / contract.FAULTS / "part-000000.parquet")


def rows_in(folder: Path) -> int:
    """Rows of a dataset, counted from its files' footers."""
    return sum(pq.read_metadata(file).num_rows for file in folder.glob("*.parquet"))


def write_projections(
    sc: SparkContext, features: FeatureSet, model: PcaModel, *, centered: bool, staging: Path
) -> None:
    """Projects every row of `features` into `projections/` and `projections.csv/`. RowsLost where one is missing."""
    for name in (contract.PROJECTIONS, contract.PROJECTIONS_CSV):
        (staging / name).mkdir()
    work = partial(_project_group, model=sc.broadcast(model), length=features.length, centered=centered, staging=staging)
    run_tasks(sc, work, list(enumerate(_groups(features))))
    if (written := rows_in(staging / contract.PROJECTIONS)) != features.count:
        raise RowsLost(f"{features.count} rows of features, {written} of projections", "this is a bug: please report it")


def _groups(features: FeatureSet) -> list[list[Path]]:
    """Files for one task each, of about ROWS_PER_PROJECTION rows."""
    groups: list[list[Path]] = [[]]
    rows = 0
    for file, count in zip(features.files, features.rows, strict=True):
        if groups[-1] and rows + count > ROWS_PER_PROJECTION:
            groups.append([])
            rows = 0
        groups[-1].append(file)
        rows += count
    return groups


def _project_group(group, *, model, length, centered, staging):  # type: ignore[no-untyped-def]
    index, files = group
    fitted: PcaModel = model.value
    k = len(fitted.components)
    schema = projections_schema()
    parquet = staging / contract.PROJECTIONS / f"_part-{index:06}.parquet-{os.getpid()}"
    table = staging / contract.PROJECTIONS_CSV / f"_part-{index:06}.csv-{os.getpid()}"
    with pq.ParquetWriter(parquet, schema, compression="zstd", compression_level=1) as sink, table.open("w", newline="", encoding="utf-8") as text:
        sheet = csv.writer(text)  # RFC 4180: CRLF, quotes only where needed
        sheet.writerow(["path", "label", *(f"pc{place}" for place in range(1, k + 1))])
        for file in files:
            rows = pq.read_table(file, columns=["path", "label", "features"], partitioning=None)
            projected = fitted.project(rows_of_features(rows, length=length), centered=centered).astype(np.float32)
            offsets = np.arange(0, projected.size + 1, k, dtype=np.int32)
            projection = pa.ListArray.from_arrays(offsets, pa.array(projected.ravel()), type=schema.field("projection").type)
            sink.write_table(pa.table([rows["path"], rows["label"], projection], schema=schema))
            # str of a float32 is the shortest text that reads back as the same float32
            numbers = projected.astype(str).tolist()
            sheet.writerows([path, label, *row] for path, label, row in zip(rows["path"].to_pylist(), rows["label"].to_pylist(), numbers, strict=True))
    parquet.replace(parquet.with_name(f"part-{index:06}.parquet"))
    table.replace(table.with_name(f"part-{index:06}.csv"))
