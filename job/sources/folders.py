"""Listing folders, as a disk has them: who walks which. Nothing here grows with the number of images.

The driver looks only at the top of the tree. It hands out *walks*; executors follow them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Protocol
from zlib import crc32

from job.sources.readers import Entry, Folder

WIDE = 1024  # entries at which the driver stops looking into a folder and lets executors split it by name
WALKS_PER_SPLIT = 32  # a folder that is split becomes one walk for so many wanted, as each has to list all of its names


class Scan(Protocol):
    def __call__(self, folder: str, *, keep: Callable[[str], bool]) -> Iterator[Entry | Folder]:
        """What lies directly in `folder` under a name that `keep` accepts, in any order. StorageFailed where it cannot be listed."""
        ...


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


def visible(name: str) -> bool:
    """Not hidden: a name that begins with a dot."""
    return not name.startswith(".")


def entered(folder: Folder) -> bool:
    """Not a folder that Spark and Hadoop keep to themselves, such as _temporary. Cameras name *files* _MG_1234.JPG."""
    return not folder.path.rpartition("/")[2].startswith("_")


def plan_walks(scan: Scan, roots: Iterable[str], *, wanted: int) -> list[Walk]:
    """At least `wanted` walks over the trees under `roots` where they have as many folders, in order of path.

    Breadth first from the roots, until there is enough to hand out. A folder of more than WIDE entries is not read
    further: it becomes a few walks that split its names among them, as each has to list them all. So the driver holds
    at most some multiple of `wanted` * WIDE names.
    """
    split = -(-wanted // WALKS_PER_SPLIT)
    frontier = deque(roots)
    walks: list[Walk] = []
    while frontier and len(frontier) + len(walks) < wanted:
        folder = frontier.popleft()
        entries = list(islice(scan(folder, keep=visible), WIDE + 1))
        if len(entries) > WIDE:
            walks += [Walk(folder, index, split) for index in range(split)]
            continue
        frontier += sorted(entry.path for entry in entries if isinstance(entry, Folder) and entered(entry))
        if any(isinstance(entry, Entry) for entry in entries):
            walks.append(Walk(folder, deep=False))
    return sorted(walks + [Walk(folder) for folder in frontier])


def follow(scan: Scan, walk: Walk) -> Iterator[Entry]:
    """The files of a walk in order of path, folder by folder."""

    def keep(name: str) -> bool:
        return visible(name) and walk.keeps(name)

    pending = [(walk.folder, keep)]
    while pending:
        folder, wanted = pending.pop()
        found = sorted(scan(folder, keep=wanted), key=lambda entry: entry.path)
        for entry in found:
            if isinstance(entry, Entry):
                yield entry
        if walk.deep:
            pending += [(entry.path, visible) for entry in reversed(found) if isinstance(entry, Folder) and entered(entry)]
