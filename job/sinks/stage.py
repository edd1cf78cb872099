"""Rows to files, in the worker that made them: only counts go back to the driver."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from time import monotonic

import numpy as np
from pyspark import Broadcast, SparkContext

from job import contract
from job.ahead import ahead
from job.contract import Precision
from job.decode.options import Decoding
from job.errors import RowsLost
from job.features.stage import Embedded, Network, Stopwatch, compare_first_scaled, embed_images
from job.pca.dataset import FeatureSet, read_features, rows_of_features
from job.pca.model import PcaModel
from job.sinks import tables
from job.sinks.layout import KEPT, ROWS, part
from job.sinks.resume import forget_index
from job.sinks.tally import Tally
from job.sources.listing import Share
from job.sources.readers import open_reader
from job.sources.reading import read_images
from job.sources.stage import rows_of
from job.storage import Place
from job.tasks import TASK_S, run_tasks

COMPARED_SHARES = 16  # one share in so many measures fast decoding: of photographs a share has only a few
ROWS_PER_SHEET = 100_000  # of projections in one file: a spreadsheet opens it


@dataclass(frozen=True, slots=True)
class Featurizing:
    """All that a task needs to know beside its share."""

    root: str  # one of the image roots: says which reader
    network: Network
    how: Decoding
    precision: Precision
    settings: str  # by which another run knows that it would do the same
    staged: Place
    folder: Callable[[], Path]  # on a worker: where the network's files are
    task_s: float = TASK_S


@dataclass(frozen=True, slots=True)
class Featurized:
    """What a task did: its rows, their files, and what of its share it left to others."""

    tally: Tally
    files: tuple[str, ...]
    rest: Share | None


def featurize_share(share: Share, *, plan: Featurizing, count: Callable[[Tally], None]) -> Featurized:
    """Reads, decodes, embeds and writes the images of one share, as far as it gets in its time; runs on an executor."""
    watch, ends = Stopwatch(), monotonic() + plan.task_s
    forget_index()
    images = read_images(rows_of(share), reader=open_reader(plan.root), max_bytes=plan.how.max_bytes)
    embed = partial(embed_images, network=plan.network, folder=plan.folder(), precision=plan.precision)
    plainly = partial(embed, how=replace(plan.how, fast=False), watch=Stopwatch())
    embedded = embed(images, how=plan.how, watch=watch)
    if share.index % COMPARED_SHARES == 0:
        embedded = compare_first_scaled(embedded, plainly=plainly, watch=watch)
    rows = list(_until(ends, _without_bytes(embedded)))
    left = replace(share, start=share.start + len(rows))
    # A task may be tried again, or twice at once, and get less far: rows of less than a share are not to take the place of others
    files = _write(rows, plan=plan, index=share.index, of="" if left.start == left.stop else f"-{len(rows)}", watch=watch)
    reasons = Counter(row.fault.reason.value for row in rows if row.fault)
    errors = tuple(row.fast_decode_error for row in rows if row.fast_decode_error is not None)
    rounding = sorted(row.rounding_error for row in rows if row.rounding_error is not None)[-1:]
    size = sum(row.image.size for row in rows)
    tally = Tally(len(rows) - reasons.total(), reasons, size, Counter(watch.seconds), errors, tuple(rounding))
    count(tally)
    return Featurized(tally, files, left if left.start < left.stop else None)


def _until(ends: float, rows: Iterable[Embedded]) -> Iterator[Embedded]:
    """The rows until it is that late, but always one."""
    for row in rows:
        yield row
        if monotonic() >= ends:
            return


def _write(rows: Sequence[Embedded], *, plan: Featurizing, index: int, of: str, watch: Stopwatch) -> tuple[str, ...]:
    """Writes features and faults, and returns the files."""
    both = {contract.FEATURES: tables.features_table(rows, network=plan.network), contract.FAULTS: tables.faults_table(rows)}
    watch.lap("arrow")
    files = [(part(plan.staged, dataset, index, of=of), table) for dataset, table in both.items() if table.num_rows]
    for file, table in files:
        tables.write_table(table, file=file, settings=plan.settings)
    watch.lap("parquet")
    return tuple(str(file) for file, _ in files)


def _without_bytes(rows: Iterable[Embedded]) -> Iterator[Embedded]:
    """The rows without the files that they came from, so that a share's memory is its features."""
    for row in rows:
        yield replace(row, image=replace(row.image, data=None))


def remove_strays(staged: Place, *, files: Set[str]) -> None:
    """Takes away rows of new images that lie in other files than these: of tasks that were tried again, and got less far, or further."""
    strays = [file for name in ROWS for file in (staged / name).glob("part-*.parquet") if str(file) not in files and KEPT not in file.name]
    for file in strays:
        file.unlink()


def write_missing(plan: Featurizing, *, stay: Iterable[Place]) -> None:
    """An empty file for a dataset that would have no files, so that it can be read all the same."""
    empty = {contract.FEATURES: tables.features_table([], network=plan.network), contract.FAULTS: tables.faults_table([])}
    have = {file.parent.name for file in stay}
    for name in empty:
        if name not in have and not any((plan.staged / name).glob("*.parquet")):
            tables.write_table(empty[name], file=part(plan.staged, name, 0), settings=plan.settings)


def check_rows(tally: Tally, *, images: int, staged: Place) -> None:
    """RowsLost unless each of `images` is a row of features or of faults, by the files themselves."""
    features, faults = (tables.rows_in(staged / name) for name in (contract.FEATURES, contract.FAULTS))
    if features + faults != images or (features, faults) != (tally.features, tally.faults.total()):
        raise RowsLost(
            f"{images} images listed, but {features} rows of features and {faults} of faults",
            "nothing was published; run again, and report it if it happens twice",
        )


def write_projections(sc: SparkContext, features: FeatureSet, model: PcaModel, *, centered: bool, staging: Place) -> None:
    """Projects every row of `features` into `projections/` and `projections.csv/`. RowsLost where one is missing."""
    for name in (contract.PROJECTIONS, contract.PROJECTIONS_CSV):
        (staging / name).mkdir()
    work = partial(_project_group, model=sc.broadcast(model), length=features.length, centered=centered, staging=staging)
    run_tasks(sc, work, list(enumerate(_groups(features))))
    if (written := tables.rows_in(staging / contract.PROJECTIONS)) != features.count:
        raise RowsLost(f"{features.count} rows of features, {written} of projections", "this is a bug: please report it")


def _groups(features: FeatureSet) -> list[list[Place]]:
    """Files for one task each, of about ROWS_PER_SHEET rows."""
    groups: list[list[Place]] = [[]]
    rows = 0
    for file, count in zip(features.files, features.rows, strict=True):
        if groups[-1] and rows + count > ROWS_PER_SHEET:
            groups.append([])
            rows = 0
        groups[-1].append(file)
        rows += count
    return groups


def _project_group(group: tuple[int, list[Place]], *, model: Broadcast[PcaModel], length: int, centered: bool, staging: Place) -> None:
    index, files = group
    read = ahead(read_features, files, threads=1)
    projected = (
        (table, model.value.project(rows_of_features(table, length=length), centered=centered).astype(np.float32)) for table in read
    )
    tables.write_projections(
        projected,
        k=len(model.value.components),
        parquet=staging / contract.PROJECTIONS / f"part-{index:06}.parquet",
        sheet=staging / contract.PROJECTIONS_CSV / f"part-{index:06}.csv",
    )
