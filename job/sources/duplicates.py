"""Images that are listed twice, as a manifest may do: two rows of a result, of which a later run could not tell one from the other.

Paths are compared by their digests, 8 bytes a row. Like paths have like digests, so ranges of digests are looked at apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import pairwise

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from job.ahead import ahead
from job.storage import Place, fetched, place_of, read_range, whole

Digests = NDArray[np.uint64]

ROWS_PER_RANGE = 8_000_000  # about, as digests are spread evenly (of unlike paths): 64 MB of them in a task, and as much to sort them
SUSPECTS = 100  # digests that are looked up at most: one of two unlike paths would be alike by chance, in a million lists of ten million
READ_AHEAD = 16  # as each is a request, where they are in S3


@dataclass(frozen=True, slots=True)
class Slice:
    """Of the digests of a listing part, which are in order, those of one range: [start, stop)."""

    file: str
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Repeated:
    """How many rows repeat a path, and such a path: of those in one range the one whose digest comes first."""

    count: int
    path: bytes


def ranges_for(rows: int) -> int:
    """In how many ranges of digests a list of so many rows is compared."""
    return -(-rows // ROWS_PER_RANGE)


def write_digests(file: str, *, ranges: int) -> list[Slice]:
    """Writes the digests of a listing part's paths beside it, in order; returns those of each of `ranges` ranges."""
    found = np.sort(digests(_paths(file)))
    with whole(_digests_of(file)) as half:
        found.tofile(half)
    firsts = np.array([(place << 64) // ranges for place in range(ranges)], np.uint64)
    bounds = [*np.searchsorted(found, firsts).tolist(), len(found)]
    return [Slice(file, start, stop) for start, stop in pairwise(bounds)]


def digests(paths: Iterable[bytes]) -> Digests:
    """One for each path (n,)."""
    return np.frombuffer(b"".join(blake2b(path, digest_size=8).digest() for path in paths), np.uint64)


def find_repeated(slices: Sequence[Slice]) -> Repeated | None:
    """The rows that repeat others in one range of digests, of which each part has a slice; None for none."""
    slices = [each for each in slices if each.start < each.stop]
    found = list(ahead(_load, slices, threads=READ_AHEAD))
    everything = np.concatenate([np.empty(0, np.uint64), *found])
    everything.sort()
    again = everything[1:][everything[1:] == everything[:-1]]
    for suspect in np.unique(again)[:SUSPECTS]:
        seen: set[bytes] = set()
        for each, ordered in zip(slices, found, strict=True):
            for path in _paths_with(suspect, each.file) if _holds(ordered, suspect) else ():
                if path in seen:
                    return Repeated(len(again), path)
                seen.add(path)
    return None


def _holds(ordered: Digests, digest: np.uint64) -> bool:
    place = np.searchsorted(ordered, digest)
    return bool(place < len(ordered) and ordered[place] == digest)


def _paths_with(digest: np.uint64, file: str) -> list[bytes]:
    """The paths in a listing part that have this digest."""
    paths = _paths(file)
    return [paths[place] for place in np.flatnonzero(digests(paths) == digest)]


def _digests_of(file: str) -> Place:
    part = place_of(file)
    return part.with_name(f"{part.name}.digests")


def _load(part: Slice) -> Digests:
    size = np.dtype(np.uint64).itemsize
    return np.frombuffer(read_range(_digests_of(part.file), part.start * size, part.stop * size), np.uint64)


def _paths(file: str) -> list[bytes]:
    with fetched(place_of(file)) as here, pa.memory_map(str(here)) as source:
        paths: list[bytes] = pa.ipc.open_file(source).read_all()["path"].to_pylist()
    return paths
