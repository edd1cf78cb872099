"""A features dataset: what is in it, and its rows as arrays."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from job.ahead import ahead
from job.contract import FEATURES, FEATURIZE_CARD, SUCCESS
from job.errors import BadFeatures
from job.features.litert import Features
from job.pca.kept import Content, Kept, open_kept
from job.storage import Place, S3Path, fetched, is_damage, opened, versions

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
        with naming_damage(fullest), fetched(fullest) as here:
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


def read_features(file: Place) -> pa.Table:
    """Place, label and features of one file's rows. BadFeatures where the file is damaged."""
    with naming_damage(file), fetched(file) as here:
        return pq.read_table(here, columns=["path", "label", "features"], partitioning=None)


@contextmanager
def naming_damage(file: Place) -> Iterator[None]:
    """BadFeatures where what is read inside shows that the file is damaged."""
    try:
        yield
    except (pa.ArrowInvalid, OSError) as error:
        if not is_damage(error):
            raise
        hint = "remove it and featurize again: its images are done again"
        raise BadFeatures(f"{file} is damaged: {str(error).splitlines()[0]}", hint) from error


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
