"""Listing on executors, and reading many images at once inside one task."""

from __future__ import annotations

import heapq
import os
import random
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from job.ahead import ahead
from job.errors import NoImages
from job.sources.labels import label_of
from job.sources.listing import (
    WALKS_PER_SLOT,
    ImageSource,
    ListingPart,
    Share,
    Walk,
    first_labels,
    follow,
    plan_shares,
    plan_walks,
    select,
)
from job.sources.readers import Data, Entry, Reader, open_reader, printable
from job.storage import Place, fetched, place_of, whole
from job.tasks import run_tasks

if TYPE_CHECKING:
    from pyspark import SparkContext

ROWS_PER_PART = 65_536  # entries in one file: some 20 MB while it is made

CHUNK_IMAGES, CHUNK_BYTES = 16, 1 << 20  # handed over at once, whichever is reached first
BYTES_AHEAD = 64 << 20  # read and not decoded yet, in one worker

LISTING = pa.schema(
    [
        pa.field("path", pa.binary(), nullable=False),  # as the file system has it, which need not be UTF-8
        pa.field("label", pa.string()),
        pa.field("size", pa.int64(), nullable=False),
        pa.field("modified", pa.int64()),
        pa.field("etag", pa.string()),
        pa.field("position", pa.int64(), nullable=False),  # in order of path, before shuffling
    ]
)


@dataclass(frozen=True, slots=True)
class Listing:
    """What a run is asked to read: of each part the first `count` rows with a label in `labels`; None means all labels."""

    parts: tuple[ListingPart, ...]
    labels: frozenset[str] | None = None

    @property
    def images(self) -> int:
        return sum(part.count for part in self.parts)

    def shares(self, *, slots: int) -> list[Share]:
        """Work for `slots` cores, each image of the listing in one share."""
        return plan_shares(self.parts, slots=slots, labels=self.labels)


@dataclass(frozen=True, slots=True)
class Image:
    """One image to decode. `data` is its bytes, or the error that reading them met."""

    path: str
    label: str | None
    size: int
    modified: int | None
    etag: str | None
    data: Data | None


def list_images(sc: SparkContext, source: ImageSource, *, scratch: Place) -> Listing:
    """Lists every image under the roots, on executors, into `scratch`. NoImages where there are none."""
    slots = sc.defaultParallelism
    tasks = _listing_tasks(source, slots=slots)
    listed = run_tasks(sc, partial(list_walks, source=source, scratch=scratch), tasks)
    parts = [part for task in listed for part in task]
    labels = None if source.classes is None else frozenset(first_labels(parts, source.classes))
    listing = Listing(tuple(select(parts, labels=labels, limit=source.limit)), labels)
    if not listing.images:
        wanted = f" that match {' or '.join(source.include)}" if source.include else ""
        raise NoImages(f"no images{wanted} under {', '.join(map(printable, source.roots))}", "check --images and --include")
    return listing


def check_roots(source: ImageSource) -> None:
    """StorageFailed or NoImages where a root is of no use: found out before Spark starts."""
    for root in source.roots:
        open_reader(root).check(root)


def count_images(source: ImageSource) -> tuple[int, int]:
    """How many images a run would list, and their bytes, listed here and kept nowhere. --classes is not looked at."""
    reader = open_reader(source.roots[0])
    images = size = 0
    entries = (entry for root in sorted(source.roots) for entry in follow(reader, Walk(root), include=source.include))
    for entry in islice(entries, source.limit):
        images += 1
        size += entry.size
    return images, size


def _listing_tasks(source: ImageSource, *, slots: int) -> list[list[Walk]]:
    if source.limit is not None:  # the first N are the same on every machine, and listing can stop there
        return [[Walk(root) for root in sorted(source.roots)]]
    walks = plan_walks(open_reader(source.roots[0]), source.roots, wanted=WALKS_PER_SLOT * slots)
    size = max(1, -(-len(walks) // slots))
    return [walks[start : start + size] for start in range(0, len(walks), size)]


def list_walks(walks: Iterable[Walk], *, source: ImageSource, scratch: Place) -> list[ListingPart]:
    """Follows walks and writes listing parts; runs on an executor."""
    reader = open_reader(source.roots[0])
    entries: Iterator[Entry] = (entry for walk in walks for entry in follow(reader, walk, include=source.include))
    if source.classes is None:
        entries = islice(entries, source.limit)
    parts = []
    while batch := list(islice(entries, ROWS_PER_PART)):
        parts.append(_write_part(batch, source=source, scratch=scratch))
    return parts


def _write_part(entries: list[Entry], *, source: ImageSource, scratch: Place) -> ListingPart:
    """One listing part, shuffled: neighbours in a folder cost alike, and a share should not be all of one kind."""
    labels = [label_of(printable(entry.path), source.labels_from) for entry in entries]
    order = list(range(len(entries)))
    random.Random(0).shuffle(order)  # seeded: the same images make the same shares
    rows = [
        (os.fsencode(entry.path), labels[place], entry.size, entry.modified, entry.etag, place)
        for place in order
        for entry in (entries[place],)
    ]
    table = pa.table([pa.array(column, field.type) for column, field in zip(zip(*rows, strict=True), LISTING, strict=True)], LISTING)
    file = write_rows(table, scratch=scratch)
    counts = Counter(label for label in labels if label is not None)
    first = heapq.nsmallest(source.classes or 0, counts)
    return ListingPart(
        str(file), len(entries), sum(e.size for e in entries) / len(entries), tuple((label, counts[label]) for label in first)
    )


def write_rows(table: pa.Table, *, scratch: Place) -> Place:
    """A file of rows of LISTING, under a name of its own."""
    file = scratch / f"listing-{uuid.uuid4().hex}.arrow"
    with whole(file) as half, pa.OSFile(str(half), "wb") as sink, pa.ipc.new_file(sink, LISTING) as writer:
        writer.write_table(table)
    return file


def select_rows(file: str, *, quota: int, labels: frozenset[str] | None) -> pa.Table:
    """Of a listing part the first `quota` rows, in order of path, that have a label in `labels`; as they were shuffled."""
    with fetched(place_of(file)) as here, pa.memory_map(str(here)) as source:
        table = pa.ipc.open_file(source).read_all()
        if labels is not None:
            table = table.filter(pc.is_in(table["label"], pa.array(sorted(labels))))
        if quota < table.num_rows:
            last = pc.sort_indices(table["position"])[quota - 1].as_py()
            table = table.filter(pc.less_equal(table["position"], table["position"][last]))
    return table


def rows_of(share: Share) -> list[Image]:
    """The images of a share, their bytes not read yet."""
    table = select_rows(share.file, quota=share.quota, labels=share.labels)
    rows = table.slice(share.start, share.stop - share.start).drop_columns(["position"]).to_pylist()
    return [Image(os.fsdecode(row.pop("path")), **row, data=None) for row in rows]


def read_images(images: Iterable[Image], *, reader: Reader, max_bytes: int) -> Iterator[Image]:
    """The same images in the same order with their bytes, `reader.in_flight` chunks read ahead but no more than BYTES_AHEAD.

    One that is larger than `max_bytes` is not read.
    """
    read = partial(_read_chunk, reader=reader, max_bytes=max_bytes)
    for chunk in ahead(read, _chunks(images), threads=reader.in_flight, weigh=_size, budget=BYTES_AHEAD):
        yield from chunk


def _chunks(images: Iterable[Image]) -> Iterator[list[Image]]:
    """Images for one read each: handing over single small ones between threads would cost a noticeable part of inference."""
    chunk: list[Image] = []
    size = 0
    for image in images:
        chunk.append(image)
        size += image.size
        if len(chunk) == CHUNK_IMAGES or size >= CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _size(chunk: list[Image]) -> int:
    return sum(image.size for image in chunk)


def _read_chunk(images: list[Image], *, reader: Reader, max_bytes: int) -> list[Image]:
    wanted = [image.path for image in images if image.size <= max_bytes]
    found = dict(zip(wanted, reader.read_many(wanted, limit=max_bytes), strict=True))
    return [replace(image, data=found.get(image.path)) for image in images]
