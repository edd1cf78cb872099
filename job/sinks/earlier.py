"""What earlier runs have done: keys to know an image by, and the index of all the rows that they left.

An image is known by its path and its version: size, and etag or else modification time, and its label. A list may be older than
what was read: then a row is also known by what that list said, so that it is not made anew for as long as the list stays
(docs/decisions/0010). That a row was made by the same network in the same way, its file says (`tables.settings_in`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from job.decode.pixels import Reason
from job.sources.readers import version_of

# Digests, of 64 bits each. Of ten million paths two are alike in 64 bits with a chance of 3 in a million. One of the two images is
# then done again each time, and once it is gone its row is not kept.
KEY = np.dtype([("path", "<u8"), ("version", "<u8"), ("listed", "<u8")])
NEVER = 0  # the version of a row that is no longer good, whatever the image is

Ordinals = NDArray[np.int64]  # rows of all files, counted through
Keys = NDArray[np.void]  # of dtype KEY


def keys_of(table: pa.Table, *, paths: Iterable[str], by_lists: bool = False) -> Keys:
    """The keys (n,) of rows with label, size, modified (microseconds, or a timestamp) and etag, and their `paths` as results have them.

    by_lists: the rows are known also by what a list said; of one that said nothing else than was read, by a list that says nothing
    """
    names = table.column_names
    said = table["listed"].to_pylist() if "listed" in names else [None] * table.num_rows
    rows = zip(
        *(table[name].to_pylist() for name in ("label", "size", "etag")), table["modified"].cast(pa.int64()).to_pylist(), strict=True
    )
    digests = []
    for path, listed, (label, size, etag, modified) in zip(paths, said, rows, strict=True):
        version = _digest(path, version_of(size, modified, etag), label)
        digests += [_short(path.encode()), version, _digest(path, listed, label) if by_lists else version]
    return np.frombuffer(b"".join(digests), KEY)


def _digest(path: str, version: str | None, label: str | None) -> bytes:
    """Of an image with a label. A path with a backslash may be the printed form of another one: it is never known again."""
    return NEVER.to_bytes(8) if "\\" in path else _short(repr((path, version, label)).encode("utf-8"))


def _short(data: bytes) -> bytes:
    return blake2b(data, digest_size=8).digest()


def without_unreadable(keys: Keys, reasons: Sequence[str]) -> Keys:
    """The keys of faults, but for images that could not be read: another time they may."""
    unreadable = np.array([reason == Reason.UNREADABLE for reason in reasons], bool)
    known = keys.copy()
    known["version"][unreadable] = known["listed"][unreadable] = NEVER
    return known


@dataclass(frozen=True, slots=True)
class Index:
    """Rows by path: of a path with several rows only the first counts, as files are given. 25 bytes a row, of a list's 33.

    paths     (n,) uint64, ascending
    ordinals  (n,) int64, the row of each, ascending where paths are alike
    versions  (n,) uint64, by row
    listed    (n,) uint64, by row: versions that lists gave; the same array where no list is read
    first     (n,) bool, by row: it counts
    """

    paths: NDArray[np.uint64]
    ordinals: Ordinals
    versions: NDArray[np.uint64]
    listed: NDArray[np.uint64]
    first: NDArray[np.bool_]

    @classmethod
    def of(cls, keys: Iterable[Keys], *, rows: int) -> Index:
        """The index of the keys of all `rows`, given some after the other.

        At tens of millions of rows each array counts: versions stay in order of row, paths are sorted where they are, and the
        four bytes a row that sorting takes beside the result are all.
        """
        paths, versions, listed = (np.empty(rows, np.uint64) for _ in range(3))
        start = 0
        for some in keys:
            stop = start + len(some)
            paths[start:stop], versions[start:stop], listed[start:stop] = some["path"], some["version"], some["listed"]
            start = stop
        if np.array_equal(versions, listed):
            listed = versions
        ordinals = np.argsort(paths, kind="stable")
        paths.sort()
        first = np.empty(rows, bool)
        first[ordinals[:1]] = True
        first[ordinals[1:]] = paths[1:] != paths[:-1]
        return cls(paths, ordinals, versions, listed, first)

    def find(self, keys: Keys) -> tuple[Ordinals, Ordinals]:
        """For each of `keys` (n,) the row of its path and version, and the row of its path with another version; -1 for none."""
        if not len(self.paths):
            nothing = np.full(len(keys), -1)
            return nothing, nothing
        places = np.minimum(np.searchsorted(self.paths, keys["path"]), len(self.paths) - 1)  # of paths alike the first
        path_known = self.paths[places] == keys["path"]
        rows = self.ordinals[places]
        versions = self.versions[rows]
        same = path_known & (versions != NEVER) & ((versions == keys["version"]) | (self.listed[rows] == keys["version"]))
        return np.where(same, rows, -1), np.where(path_known & ~same, rows, -1)


def by_file(ordinals: Ordinals, bounds: Ordinals) -> tuple[Ordinals, Ordinals]:
    """The files that `ordinals` lie in, and how many in each: file i has the rows [bounds[i], bounds[i + 1])."""
    return np.unique(np.searchsorted(bounds, ordinals, side="right") - 1, return_counts=True)
