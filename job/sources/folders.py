"""Listing folders, as a disk has them: who walks which. Nothing here grows with the number of images.

The driver looks only at the top of the tree. It hands out *walks*; executors follow them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import Protocol
from zlib import crc32

from job.ahead import ahead
from job.sources.readers import Entry, File, Folder

WIDE = 1024  # entries at which the driver stops looking into a folder and lets executors split it by name
LOOKS_TOGETHER = 64  # files that a thread looks at, one after the other: each is a request, where many machines mount a disk
LOOKING = 4  # such threads
WALKS_PER_SPLIT = 32  # a folder that is split becomes one walk for so many wanted, as each has to list all of its names


class Disk(Protocol):
    """Names, and what is behind them: to look at each costs more than to list all, where a disk is far away."""

    def scan(self, folder: str, *, keep: Callable[[str], bool]) -> Iterator[File | Folder]:
        """What lies directly in `folder` under a name that `keep` accepts, in any order. StorageFailed where it cannot be listed."""
        ...

    def look(self, path: str) -> Entry | None:
        """The file of that name; None for what is none."""
        ...


@dataclass(frozen=True, slots=True, order=True)
class Walk:
    """A folder to list: those of its names that hash to `index` of `count`; with everything below them if `deep`.

    after  the path, relative to the folder, of the last name that is done; "a/" where the folder a has begun
    """

    folder: str
    index: int = 0
    count: int = 1
    deep: bool = True
    after: str = ""

    def keeps(self, name: str) -> bool:
        # crc32 rather than hash(): every executor must agree
        return visible(name) and (self.count == 1 or crc32(name.encode("utf-8", "surrogateescape")) % self.count == self.index)


def visible(name: str) -> bool:
    """Not hidden: a name that begins with a dot."""
    return not name.startswith(".")


def entered(folder: Folder) -> bool:
    """Not a folder that Spark and Hadoop keep to themselves, such as _temporary. Cameras name *files* _MG_1234.JPG."""
    return not folder.name.startswith("_")


def plan_walks(disk: Disk, roots: Iterable[str], *, wanted: int) -> list[Walk]:
    """At least `wanted` walks over the trees under `roots` where they have as many folders, in order of path.

    Breadth first from the roots, until there is enough to hand out. A folder of more than WIDE entries is not read
    further: it becomes a few walks that split its names among them, as each has to list them all. So the driver holds
    at most some multiple of `wanted` * WIDE names.
    """
    frontier = deque(roots)
    walks: list[Walk] = []
    while frontier and len(frontier) + len(walks) < wanted:
        folder = frontier.popleft()
        entries = list(islice(disk.scan(folder, keep=visible), WIDE + 1))
        if len(entries) > WIDE:
            walks += split(Walk(folder), wanted=wanted)
            continue
        frontier += sorted(entry.path for entry in entries if isinstance(entry, Folder) and entered(entry))
        if any(isinstance(entry, File) for entry in entries):
            walks.append(Walk(folder, deep=False))
    return sorted(walks + [Walk(folder) for folder in frontier])


def follow(disk: Disk, walk: Walk) -> Iterator[tuple[str, Entry | None]]:
    """The files of a walk in order of path, folder by folder, each with its place: what `after` is of a walk of the rest.

    Folders below have a place too, "a/", before their files; so has what is no file. Both come with None.
    """
    pending = [(walk.folder, "", walk.after.split("/") if walk.after else [])]
    while pending:
        folder, place, done = pending.pop()  # done: the names of what is done in it, down to a file; none where it has not begun
        found = sorted(disk.scan(folder, keep=visible if place else walk.keeps), key=lambda each: each.path)
        begin, *deeper = done or [""]
        if place and not done:
            yield place, None
        if not deeper:
            files = [each for each in found if isinstance(each, File) and each.name > begin]
            yield from zip((place + each.name for each in files), _looked_at(disk, files), strict=True)
        if walk.deep:
            inside = [each for each in found if isinstance(each, Folder) and entered(each) and (not deeper or each.name >= begin)]
            pending += [(each.path, f"{place}{each.name}/", deeper if each.name == begin else []) for each in reversed(inside)]


def _looked_at(disk: Disk, files: Sequence[File]) -> Iterator[Entry | None]:
    """What is behind each of the names, looked at ahead of whoever takes it."""
    if len(files) <= LOOKS_TOGETHER:
        return (disk.look(each.path) for each in files)
    together = (files[start : start + LOOKS_TOGETHER] for start in range(0, len(files), LOOKS_TOGETHER))
    return chain.from_iterable(ahead(lambda some: [disk.look(each.path) for each in some], together, threads=LOOKING))


def split(walk: Walk, *, wanted: int) -> list[Walk]:
    """A walk as a few for so many wanted, which share the names of its folder among them: each has to list all of those."""
    ways = -(-wanted // WALKS_PER_SPLIT)
    return [replace(walk, index=walk.index + way * walk.count, count=walk.count * ways) for way in range(ways)]
