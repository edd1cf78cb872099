"""Listing on executors, into parts, and the rows of a part that a task reads."""

from __future__ import annotations

import heapq
import os
import random
import uuid
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from job.ahead import ahead
from job.errors import BadManifest, NoImages
from job.sources.duplicates import find_repeated, ranges_for, write_digests
from job.sources.keys import LOOKS_AT_ONCE
from job.sources.labels import LabelsFrom, label_of
from job.sources.listers import Lister, open_lister
from job.sources.listing import ImageSource, ListingPart, Share, first_labels, matches, plan_shares, select
from job.sources.readers import UNKNOWN, Entry, Labelled, printable
from job.sources.reading import Image
from job.storage import Place, fetched, place_of, whole
from job.tasks import TASK_S, not_too_long, run_tasks

if TYPE_CHECKING:
    from pyspark import SparkContext

PIECES_PER_SLOT = 32  # of work wanted for each core: folders differ in size
TASKS_PER_SLOT = 4  # that list: what is found is counted when one ends
LONG = 200_000  # names listed one after the other, where they can be split further: two hundred requests to S3
TOLD_EVERY = 1000  # names, and then the clock is looked at: a page of S3's
ROWS_PER_PART = 65_536  # entries in one file: some 20 MB while it is made

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
    """What a run is asked to read: of each part the first `count` rows with a label in `labels`; None means all labels.

    by_lists: it was listed some time ago, by somebody else
    """

    parts: tuple[ListingPart, ...]
    labels: frozenset[str] | None = None
    by_lists: bool = False

    @property
    def images(self) -> int:
        return sum(part.count for part in self.parts)

    def shares(self, *, slots: int) -> list[Share]:
        """Work for `slots` cores, each image of the listing in one share."""
        return plan_shares(self.parts, slots=slots, labels=self.labels)


@dataclass(frozen=True, slots=True)
class Listed:
    """What a listing task did: the parts that it wrote, and the pieces that it left to others."""

    parts: list[ListingPart]
    rests: list[Any]


def list_images(
    sc: SparkContext, source: ImageSource, *, scratch: Place, count: Callable[[int], None] = lambda _: None, here_until: float = 0.0
) -> Listing:
    """Lists every image of the source, by tasks, into `scratch`; `count` is told there how many. NoImages where there are none.

    here_until  as of `run_tasks`
    """
    run = partial(run_tasks, sc, here_until=here_until)
    parts = list_parts(run, source, slots=sc.defaultParallelism, scratch=scratch, count=count)
    if source.may_repeat:
        _refuse_repeated(sc, parts, source)
    labels = None if source.classes is None else frozenset(first_labels(parts, source.classes))
    listing = Listing(tuple(select(parts, labels=labels, limit=source.limit)), labels, source.is_list)
    if not listing.images:
        wanted = f" that match {' or '.join(source.include)}" if source.include else ""
        raise NoImages(f"no images{wanted} under {', '.join(map(printable, source.under or source.roots))}", "check --images and --include")
    return listing


def _refuse_repeated(sc: SparkContext, parts: Sequence[ListingPart], source: ImageSource) -> None:
    """BadManifest where an image is listed twice."""
    ranges = ranges_for(sum(part.count for part in parts))
    slices = run_tasks(sc, partial(write_digests, ranges=ranges), [part.file for part in parts])
    repeated = [found for found in run_tasks(sc, find_repeated, zip(*slices, strict=True)) if found]
    if repeated:
        count, name = sum(found.count for found in repeated), printable(os.fsdecode(repeated[0].path))
        lists = ", ".join(map(printable, source.roots))
        raise BadManifest(f"{lists}: {name} is listed twice; rows that repeat others: {count}", "list each image once")


def check_roots(source: ImageSource) -> None:
    """StorageFailed or NoImages where a root is of no use: found out before Spark starts."""
    open_lister(source).check()


def count_images(source: ImageSource) -> tuple[int, int | None]:
    """How many images a run would list, and their bytes where all are known, listed here and kept nowhere. --classes is not looked at."""
    return deque(count_so_far(source), maxlen=1).pop()


def count_so_far(source: ImageSource) -> Iterator[tuple[int, int | None]]:
    """The same of what has been listed so far: now and then, and at the end."""
    lister = open_lister(source)
    images = size = unknown = 0
    for images, entry in enumerate(islice(_entries(lister, lister.pieces(wanted=1), source=source), source.limit), 1):
        size += entry.size
        unknown += entry.size == UNKNOWN
        if not images % TOLD_EVERY:
            yield images, None if unknown else size
    yield images, None if unknown else size


def list_parts(
    run: Callable[[Callable[[list[Any]], Listed], list[list[Any]]], list[Listed]],
    source: ImageSource,
    *,
    slots: int,
    scratch: Place,
    count: Callable[[int], None],
) -> list[ListingPart]:
    """All listing parts of a source. `run` does work over lists of pieces, on executors.

    Where a piece turns out to be long, or a task's time is over, what is left is listed in the next round, split anew where it is little.
    With a limit one task at a time goes on where the last one stopped: the first N are the same on every machine.
    """
    lister = open_lister(source)
    wanted, tasks = (PIECES_PER_SLOT * slots, TASKS_PER_SLOT * slots) if source.limit is None else (1, 1)
    parts: list[ListingPart] = []
    pieces = lister.pieces(wanted=wanted)
    while pieces:
        work = partial(list_pieces, source=_without(parts, source), scratch=scratch, count=count)
        done = run(work, _dealt(pieces, most=tasks))
        parts += [part for each in done for part in each.parts]
        rests = [rest for each in done for rest in each.rests]
        # Where there is one for each task, they stay as they are: to split one takes looks at the store, while executors wait
        each_wanted = -(-wanted // len(rests)) if 0 < len(rests) < tasks else 1
        split = ahead(partial(lister.split, wanted=each_wanted), rests, threads=LOOKS_AT_ONCE)
        pieces = [piece for pieces_of_rest in split for piece in pieces_of_rest]
    return parts


def _without(parts: Iterable[ListingPart], source: ImageSource) -> ImageSource:
    """The source with a limit on what is to be listed beside `parts`, where it has one that listing can stop at."""
    if source.limit is None or source.classes is not None:
        return source
    return replace(source, limit=source.limit - sum(part.count for part in parts))


def _dealt(pieces: list[Any], *, most: int) -> list[list[Any]]:
    """The pieces in no more than `most` lists, neighbours together."""
    size = -(-len(pieces) // most)
    return [pieces[start : start + size] for start in range(0, len(pieces), size)]


def list_pieces(pieces: Iterable[Any], *, source: ImageSource, scratch: Place, count: Callable[[int], None] = lambda _: None) -> Listed:
    """Follows pieces, as far as it gets in its time, and writes listing parts; runs on an executor, or on the driver for a second."""
    rests: list[Any] = []
    entries = _entries(open_lister(source), pieces, source=source, rests=rests, lasts=TASK_S)
    if source.classes is None:
        entries = islice(entries, source.limit)
    parts = []
    while batch := list(islice(entries, ROWS_PER_PART)):
        parts.append(_write_part(batch, source=source, scratch=scratch))
    count(sum(part.count for part in parts))
    return Listed(parts, rests)


def _entries(
    lister: Lister[Any], pieces: Iterable[Any], *, source: ImageSource, rests: list[Any] | None = None, lasts: float = inf
) -> Iterator[Entry]:
    """The images of pieces, in order; where `rests` is there, it takes what is left when a piece is long, or after `lasts` seconds.

    At least a page of the first piece is followed, so rounds end. The time is counted from the first name, so that they are not many: the
    way there may be long, as all of a folder is listed before, and whoever goes on has it before them again.
    """
    stops_early = lister.seeks and source.limit is None  # with a limit nothing else is listed meanwhile
    ends = None
    waiting = iter(pieces)
    for piece in waiting:
        for number, (place, entry) in enumerate(lister.follow(piece), 1):
            ends = monotonic() + lasts if ends is None else ends
            if entry and matches(entry.path, source.include):
                yield entry
            if number % TOLD_EVERY:
                continue
            not_too_long()
            long = stops_early and number >= LONG
            if rests is not None and (long or monotonic() >= ends):
                rests.append(replace(piece, after=place))
                break
        not_too_long()
        ends = monotonic() + lasts if ends is None else ends
        if rests is not None and monotonic() >= ends:
            rests.extend(waiting)


def _write_part(entries: list[Entry], *, source: ImageSource, scratch: Place) -> ListingPart:
    """One listing part, shuffled: neighbours in a folder cost alike, and a share should not be all of one kind."""
    labels = [_label(entry, source.labels_from) for entry in entries]
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


def _label(entry: Entry, labels_from: LabelsFrom) -> str | None:
    if isinstance(entry, Labelled) and labels_from != "none":
        return entry.label
    return label_of(printable(entry.path), labels_from)


def rows_of(share: Share) -> list[Image]:
    """The images of a share, their bytes not read yet."""
    table = select_rows(share.file, quota=share.quota, labels=share.labels)
    rows = table.slice(share.start, share.stop - share.start).drop_columns(["position"]).to_pylist()
    return [Image(os.fsdecode(row.pop("path")), **row, data=None) for row in rows]
