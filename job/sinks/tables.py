"""The tables of a result, and how one file of each is written: whole, under its name, or not at all."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from job.features.precision import is_rounded
from job.features.stage import Embedded, Network
from job.pca.dataset import read_footers
from job.sources.readers import printable
from job.storage import Place, whole

COMPRESSION = {"compression": "zstd", "compression_level": 1}
REPEATED = ["label", "format", "model", "reason"]
ELEMENTS = "features.list.element"  # the numbers in `features`, by their Parquet name

SETTINGS = b"verger.settings"  # in a file's metadata

FAULTS = pa.schema(
    [
        pa.field("path", pa.string(), nullable=False),
        pa.field("label", pa.string()),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("detail", pa.string(), nullable=False),
        pa.field("size", pa.int64(), nullable=False),
        pa.field("modified", pa.timestamp("us", tz="UTC")),
        pa.field("etag", pa.string()),
        pa.field("listed", pa.string()),
    ]
)

PROJECTIONS = pa.schema(
    [
        pa.field("path", pa.string(), nullable=False),
        pa.field("label", pa.string()),
        pa.field("projection", pa.list_(pa.field("element", pa.float32(), nullable=False)), nullable=False),
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
            pa.field("listed", pa.string()),
            pa.field("width", pa.int32(), nullable=False),
            pa.field("height", pa.int32(), nullable=False),
            pa.field("format", pa.string(), nullable=False),
            pa.field("model", pa.string(), nullable=False),
        ]
    )


def features_table(outcomes: Iterable[Embedded], *, network: Network) -> pa.Table:
    """The features among `outcomes`."""
    rows = [row for row in outcomes if row.fault is None]
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
        pa.array([image.listed for image in images], pa.string()),
        pa.array([row.width for row in rows], pa.int32()),
        pa.array([row.height for row in rows], pa.int32()),
        pa.array([row.format for row in rows], pa.string()),
        pa.array([network.card.digest] * len(rows), pa.string()),
    ]
    return pa.table(columns, schema=schema)


def faults_table(outcomes: Iterable[Embedded]) -> pa.Table:
    """The faults among `outcomes`."""
    faults = [(row.image, row.fault) for row in outcomes if row.fault]
    images = [image for image, _ in faults]
    columns = [
        [printable(image.path) for image in images],
        [image.label for image in images],
        [fault.reason.value for _, fault in faults],
        [fault.detail for _, fault in faults],
        [image.size for image in images],
        [image.modified for image in images],
        [image.etag for image in images],
        [image.listed for image in images],
    ]
    return pa.table([pa.array(column, field.type) for column, field in zip(columns, FAULTS, strict=True)], schema=FAULTS)


def write_table(table: pa.Table, *, file: Place, settings: str) -> None:
    """One Parquet file, which says of itself with what settings it was made."""
    repeated = [*REPEATED, ELEMENTS] if _features_repeat(table) else REPEATED
    with whole(file) as half:
        pq.write_table(table.replace_schema_metadata({SETTINGS: settings}), half, use_dictionary=repeated, **COMPRESSION)


def _features_repeat(table: pa.Table) -> bool:
    """There are few features that differ. Else a dictionary of them would cost time, and make the file larger."""
    return "features" in table.column_names and all(is_rounded(chunk.flatten().to_numpy()) for chunk in table["features"].chunks)


def settings_in(schema: pa.Schema) -> str | None:
    """What write_table's `settings` were; None in a file that others wrote."""
    found: bytes | None = (schema.metadata or {}).get(SETTINGS)
    return None if found is None else found.decode()


def write_projections(tables: Iterable[tuple[pa.Table, NDArray[np.float32]]], *, k: int, parquet: Place, sheet: Place) -> None:
    """One Parquet file and one RFC 4180 sheet of projections, from tables with path and label and their (n, k)."""
    with whole(parquet) as half, pq.ParquetWriter(half, PROJECTIONS, **COMPRESSION) as sink, _sheet(sheet, k=k) as rows:
        for table, projections in tables:
            offsets = np.arange(0, projections.size + 1, k, dtype=np.int32)
            column = pa.ListArray.from_arrays(offsets, pa.array(projections.ravel()), type=PROJECTIONS.field("projection").type)
            sink.write_table(pa.table([table["path"], table["label"], column], schema=PROJECTIONS))
            # The text of a float32 is the shortest that reads back as the same float32.
            numbers = projections.astype(str).tolist()
            names = zip(table["path"].to_pylist(), table["label"].to_pylist(), strict=True)
            rows.writerows([*pair, *values] for pair, values in zip(names, numbers, strict=True))


class _Sheet(Protocol):
    """What the standard library's csv writers do; it does not name their type."""

    def writerows(self, rows: Iterable[Iterable[str]], /) -> None: ...


@contextmanager
def _sheet(file: Place, *, k: int) -> Iterator[_Sheet]:
    with whole(file) as half, half.open("w", newline="", encoding="utf-8") as text:
        sheet = csv.writer(text)  # RFC 4180: CRLF, and quotes where they are needed
        sheet.writerow(["path", "label", *(f"pc{place}" for place in range(1, k + 1))])
        yield sheet


def rows_in(folder: Place) -> int:
    """Rows of a dataset, counted from its files' footers."""
    return sum(footer.num_rows for footer in read_footers(folder.glob("*.parquet")))
