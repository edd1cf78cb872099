"""Images that are listed already, in Parquet files: read by row groups, each once, on executors. Nothing is asked of a store."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any, ClassVar, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq

from job.ahead import ahead
from job.errors import BadManifest, UsageError
from job.sources.readers import Entry, printable
from job.storage import Place, opened, place_of, version_of_open

ROWS_PER_PIECE = 65_536  # at least: a listing part
ROWS_AT_ONCE = 8192
BYTES_AT_ONCE = 4 << 20  # of a column, as requests cost time
FOOTERS_AT_ONCE = 16

Row: TypeAlias = dict[str, Any]  # of the columns that there are
Column: TypeAlias = tuple[str, Callable[[pa.DataType], bool]]  # what it holds, in words, and whether a type does
Columns: TypeAlias = dict[str, Column]


@dataclass(frozen=True, slots=True, order=True)
class RowGroups:
    """Row groups [start, stop) of a Parquet file, which belongs to the list `root`; of their rows those after row `after` of the file.

    version  of the file: row groups of another are other rows
    """

    root: str
    file: str
    version: str
    start: int
    stop: int
    after: int = 0


class TableLister(ABC):
    """A list in Parquet files.

    required, optional   the columns that are read, by name
    """

    seeks = False  # it reads the rows of a row group once more
    required: ClassVar[Columns]
    optional: ClassVar[Columns]

    def __init__(self, roots: tuple[str, ...], *, under: tuple[str, ...]) -> None:
        self._roots = sorted(roots)
        self._under = tuple(f"{folder.rstrip('/')}/" for folder in under)

    @abstractmethod
    def files(self, root: str) -> Sequence[Place]:
        """The Parquet files of a list. BadManifest where it is none."""

    @abstractmethod
    def entry(self, row: Row, root: str) -> Entry | None:
        """The image of a row; None where it is of none. UsageError where it should be of one."""

    def check(self) -> None:
        self._footers()

    def pieces(self, *, wanted: int) -> list[RowGroups]:
        footers = self._footers()
        rows = sum(footer.num_rows for _, _, _, footer in footers)
        enough = max(ROWS_PER_PIECE, -(-rows // wanted))
        return [
            RowGroups(root, str(file), version, start, stop)
            for root, file, version, footer in footers
            for start, stop in _cut(footer, rows=enough)
        ]

    def follow(self, piece: RowGroups) -> Iterator[tuple[int, Entry | None]]:
        for number, row in _foreseen(self._rows(piece), piece.file):
            try:
                entry = self.entry(row, piece.root)
            except UsageError as error:
                raise BadManifest(f"{printable(piece.file)}: row {number}: {error}", error.hint) from error
            wanted = entry and (not self._under or entry.path.startswith(self._under))
            yield number, entry if wanted else None

    def _rows(self, piece: RowGroups) -> Iterator[tuple[int, Row]]:
        """The rows of a piece, and their numbers in its file. BadManifest where that is another by now."""
        with opened(place_of(piece.file)) as source:
            if version_of_open(source) != piece.version:
                raise BadManifest(f"{printable(piece.file)} was replaced while it was read", "run again, once it stays as it is")
            file = pq.ParquetFile(source, pre_buffer=False, buffer_size=BYTES_AT_ONCE)
            names = [name for name in {**self.required, **self.optional} if name in file.schema_arrow.names]
            ends = [0, *accumulate(file.metadata.row_group(group).num_rows for group in range(piece.stop))]
            first = next((group for group in range(piece.start, piece.stop) if ends[group + 1] > piece.after), piece.stop)
            done = ends[first]
            for batch in file.iter_batches(ROWS_AT_ONCE, row_groups=range(first, piece.stop), columns=names):
                left = batch.slice(max(0, piece.after - done))
                rows = zip(*(values(left[name]) for name in names), strict=True)
                done += batch.num_rows
                yield from enumerate((dict(zip(names, row, strict=True)) for row in rows), 1 + done - left.num_rows)

    def split(self, piece: RowGroups, *, wanted: int) -> list[RowGroups]:
        size = -(-(piece.stop - piece.start) // wanted)
        return [replace(piece, start=start, stop=min(start + size, piece.stop)) for start in range(piece.start, piece.stop, size)]

    def _footers(self) -> list[tuple[str, Place, str, pq.FileMetaData]]:
        """Of each list each file, its version, and its footer."""
        files = [(root, file) for root in self._roots for file in self.files(root)]
        return list(ahead(lambda each: (*each, *self._footer(each[1])), files, threads=FOOTERS_AT_ONCE))

    def _footer(self, file: Place) -> tuple[str, pq.FileMetaData]:
        """A file's version and footer. BadManifest where its columns are others."""
        shown = printable(str(file))
        try:
            with opened(file) as source:
                version, footer = version_of_open(source), pq.read_metadata(source)
        except pa.ArrowInvalid as error:
            raise BadManifest(
                f"{shown} is no Parquet file: {str(error).splitlines()[0]}", "give a file that Parquet's writers made"
            ) from error
        except (FileNotFoundError, PermissionError, IsADirectoryError) as error:
            raise BadManifest(f"{shown} cannot be read: {error.strerror}", "check --images, and who may read it") from error
        self._check_columns(shown, footer.schema.to_arrow_schema())
        return version, footer

    def _check_columns(self, file: str, schema: pa.Schema) -> None:
        hint = f"it needs {_described(self.required)}, and may have {_described(self.optional)}"
        for name in self.required:
            if name not in schema.names:
                raise BadManifest(f"{file} has no column {name}, but {', '.join(schema.names) or 'none at all'}", hint)
        for name, (what, holds) in {**self.required, **self.optional}.items():
            if name in schema.names and not holds(kind := schema.field(name).type):
                raise BadManifest(f"{file}: the column {name} holds {kind}; wanted {what}", hint)


def _foreseen(rows: Iterator[tuple[int, Row]], file: str) -> Iterator[tuple[int, Row]]:
    """The same rows. BadManifest where the file is damaged, or gone."""
    try:
        yield from rows
    except (pa.ArrowInvalid, OSError) as error:
        hint = "write it again; where it was replaced during the run, run again"
        raise BadManifest(f"{printable(file)} cannot be read: {str(error).splitlines()[0]}", hint) from error


def _described(columns: Columns) -> str:
    return ", ".join(f"{name} ({what})" for name, (what, _) in columns.items())


def _cut(footer: pq.FileMetaData, *, rows: int) -> Iterator[tuple[int, int]]:
    """Row groups [start, stop) of about so many rows."""
    start = count = 0
    for group in range(footer.num_row_groups):
        count += footer.row_group(group).num_rows
        if count >= rows or group + 1 == footer.num_row_groups:
            yield start, group + 1
            start, count = group + 1, 0


def is_text(kind: pa.DataType) -> bool:
    """Text, or bytes that may be UTF-8; also by a dictionary."""
    if pa.types.is_dictionary(kind):
        return is_text(kind.value_type)
    text = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    data = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view)
    return any(claim(kind) for claim in text + data)


def is_time(kind: pa.DataType) -> bool:
    return bool(pa.types.is_timestamp(kind) or pa.types.is_int64(kind))


TEXT: Column = ("text", is_text)
WHOLE: Column = ("whole numbers", pa.types.is_integer)
TIME: Column = ("times", is_time)
TRUTH: Column = ("true or false", pa.types.is_boolean)


def values(column: pa.Array) -> list[Any]:
    """A column's values: times as microseconds since 1970, bytes as names that a file system may have (PEP 383)."""
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("us", column.type.tz), safe=False).cast(pa.int64())
    return [os.fsdecode(value) if isinstance(value, bytes) else value for value in column.to_pylist()]
