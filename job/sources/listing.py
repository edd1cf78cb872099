"""Planning who lists what, and which images make one task. Nothing here grows with the number of images.

The driver looks only at the top of the tree. It hands out *walks*; executors follow them and write what they find
into *listing parts* of bounded size; the driver keeps a part's name and counts, and cuts the parts into *shares*.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import islice
from zlib import crc32

from job.sources.readers import Entry, Folder, Reader

WIDE = 1024  # entries at which the driver stops looking into a folder and lets executors split it by name
WALKS_PER_SLOT = 32  # walks wanted for each core: folders differ in size
SMALLEST_SHARE = 32  # images; below this a task's fixed cost shows
LARGEST_SHARES = (512, 4096)  # images, of a small run and of a large one: progress shows, and files have 2 to 20 MB


@dataclass(frozen=True, slots=True, order=True)
class Walk:
    """A folder to list: those of its names that hash to `index` of `count`; with everything below them if `deep`."""

    folder: str
    index: int = 0
    count: int = 1
    deep: bool = True

    def keeps(self, name: str) -> bool:
        # crc32 rather than hash(): every executor must agree
        return self.count == 1 or crc32(name.encode("utf-8", "surrogateescape")) % self.count == self.index


@dataclass(frozen=True, slots=True)
class ListingPart:
    """One file of listed images, as the driver knows it.

    file    where the rows are
    count   rows that a run will read
    size    their bytes
    labels  with --classes N: the part's N first labels and their counts
    """

    file: str
    count: int
    size: int
    labels: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Share:
    """The images of one task: rows [start, stop) of a listing part, out of its first `quota` with a label in `labels`."""

    index: int
    file: str
    start: int
    stop: int
    quota: int
    labels: frozenset[str] | None


def visible(name: str) -> bool:
    """Not hidden: Spark and Hadoop leave out names that begin with a dot or an underscore, and so do we."""
    return not name.startswith((".", "_"))


def plan_walks(reader: Reader, roots: Iterable[str], *, wanted: int) -> list[Walk]:
    """At least `wanted` walks over the trees under `roots` where they have as many folders, in order of path.

    Breadth first from the roots, until there is enough to hand out. A folder of more than WIDE entries is not read
    further: it becomes a few walks that split its names among them, as each has to list them all. So the driver holds
    at most some multiple of `wanted` * WIDE names.
    """
    split = -(-wanted // WALKS_PER_SLOT)
    frontier = deque(roots)
    walks: list[Walk] = []
    while frontier and len(frontier) + len(walks) < wanted:
        folder = frontier.popleft()
        entries = list(islice(reader.scan(folder, keep=visible), WIDE + 1))
        if len(entries) > WIDE:
            walks += [Walk(folder, index, split) for index in range(split)]
            continue
        frontier += sorted(entry.path for entry in entries if isinstance(entry, Folder))
        if any(isinstance(entry, Entry) for entry in entries):
            walks.append(Walk(folder, deep=False))
    return sorted(walks + [Walk(folder) for folder in frontier])


def follow(reader: Reader, walk: Walk, *, include: tuple[str, ...]) -> Iterator[Entry]:
    """The images of a walk in order of path, folder by folder; `include` are patterns of file names, none means all."""

    def keep(name: str) -> bool:
        return visible(name) and walk.keeps(name)

    pending = [(walk.folder, keep)]
    while pending:
        folder, wanted = pending.pop()
        found = sorted(reader.scan(folder, keep=wanted), key=lambda entry: entry.path)
        for entry in found:
            if isinstance(entry, Entry) and matches(entry.path, include):
                yield entry
        if walk.deep:
            pending += [(entry.path, visible) for entry in reversed(found) if isinstance(entry, Folder)]


def matches(path: str, include: tuple[str, ...]) -> bool:
    """The file's name fits one of the patterns, or there are none."""
    name = path.rpartition("/")[2]
    return not include or any(fnmatchcase(name, pattern) for pattern in include)


def first_labels(parts: Iterable[ListingPart], classes: int) -> list[str]:
    """The `classes` first labels of all parts, in order of name. Exact: each part brings its own first ones."""
    return heapq.nsmallest(classes, {label for part in parts for label, _ in part.labels})


def select(parts: list[ListingPart], *, labels: frozenset[str] | None, limit: int | None) -> list[ListingPart]:
    """The parts with the counts that remain after --classes and --limit; a limit takes the first images in listing order."""
    left = limit
    selected = []
    for part in parts:
        count = part.count
        if labels is not None:
            count = sum(number for label, number in part.labels if label in labels)
        if left is not None:
            count = min(count, left)
            left -= count
        selected.append(ListingPart(part.file, count, part.size, part.labels))
    return selected


def plan_shares(parts: Iterable[ListingPart], *, slots: int, labels: frozenset[str] | None = None) -> list[Share]:
    """Shares that together are every image of `parts` once, largest first.

    Sizes fall towards the end (guided self-scheduling, Polychronopoulos & Kuck 1987): large tasks cost little, and
    small ones last let `slots` cores finish together.
    """
    parts = [part for part in parts if part.count]
    left = sum(part.count for part in parts)
    largest = largest_share(left, slots=slots)
    shares: list[Share] = []
    for part in parts:
        start = 0
        while start < part.count:
            stop = min(part.count, start + share_size(left, slots=slots, largest=largest))
            shares.append(Share(len(shares), part.file, start, stop, part.count, labels))
            left -= stop - start
            start = stop
    return shares


def largest_share(total: int, *, slots: int) -> int:
    """Images of the largest share of a run over `total` images on `slots` cores."""
    return min(max(total // (64 * slots), LARGEST_SHARES[0]), LARGEST_SHARES[1])


def share_size(left: int, *, slots: int, largest: int) -> int:
    """Images of the next share when `left` remain for `slots` cores."""
    return max(SMALLEST_SHARE, min(largest, left // (2 * slots)))
