"""What earlier runs have done: keys to know an image by, and the index of all the rows that they left.

An image is known by its path and its version: size, and etag or else modification time. That a row was made by the same network
in the same way, its file says (`tables.settings_of`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from job.decode.pixels import Reason
from job.sources.readers import UNKNOWN

# Half of a digest each. Of ten million paths two are alike in 64 bits with a chance of 3 in a million. One of the two images is
# then done again each time, and once it is gone its row is not kept.
KEY = np.dtype([("path", "<u8"), ("version", "<u8")])
NEVER = 0  # the version of a row that is no longer good, whatever the image is
ANY = 2**64 - 1  # the version of a listed image of which nothing is known but its path

Ordinals = NDArray[np.int64]  # rows of all files, counted through
Keys = NDArray[np.void]  # of dtype KEY


def keys_of(table: pa.Table, *, paths: Iterable[str]) -> Keys:
    """The keys (n,) of rows with size, modified (microseconds, or a timestamp) and etag, and their `paths` as results have them."""
    modified = table["modified"].cast(pa.int64()).to_pylist()
    versions = zip(table["size"].to_pylist(), modified, table["etag"].to_pylist(), strict=True)
    digests = (
        _digest(path, None if size == UNKNOWN and not (etag or modified) else f"{size} {etag or modified}")
        for path, (size, modified, etag) in zip(paths, versions, strict=True)
    )
    return np.frombuffer(b"".join(digests), KEY)


def _digest(path: str, version: str | None) -> bytes:
    """Digests of a path and of its version. A path with a backslash may be the printed form of another one: it is never known again."""
    name = path.encode("utf-8")
    if "\\" in path:
        said = NEVER.to_bytes(8)
    elif version is None:
        said = ANY.to_bytes(8)
    else:
        said = blake2b(b"%b\0%b" % (name, version.encode()), digest_size=8).digest()
    return blake2b(name, digest_size=8).digest() + said


def without_unreadable(keys: Keys, reasons: Sequence[str]) -> Keys:
    """The keys of faults, but for images that could not be read: another time they may."""
    unreadable = np.array([reason == Reason.UNREADABLE for reason in reasons], bool)
    known = keys.copy()
    known["version"][unreadable] = NEVER
    return known


@dataclass(frozen=True, slots=True)
class Index:
    """Rows by path: of a path with several rows only the first counts, as files are given. 25 bytes a row.

    paths     (n,) uint64, ascending
    ordinals  (n,) int64, the row of each, ascending where paths are alike
    versions  (n,) uint64, by row
    first     (n,) bool, by row: it counts
    """

    paths: NDArray[np.uint64]
    ordinals: Ordinals
    versions: NDArray[np.uint64]
    first: NDArray[np.bool_]

    @classmethod
    def of(cls, keys: Iterable[Keys], *, rows: int) -> Index:
        """The index of the keys of all `rows`, given some after the other.

        At tens of millions of rows each array counts: versions stay in order of row, paths are sorted where they are, and the
        four bytes a row that sorting takes beside the result are all.
        """
        paths, versions, start = np.empty(rows, np.uint64), np.empty(rows, np.uint64), 0
        for some in keys:
            stop = start + len(some)
            paths[start:stop], versions[start:stop] = some["path"], some["version"]
            start = stop
        ordinals = np.argsort(paths, kind="stable")
        paths.sort()
        first = np.empty(rows, bool)
        first[ordinals[:1]] = True
        first[ordinals[1:]] = paths[1:] != paths[:-1]
        return cls(paths, ordinals, versions, first)

    def find(self, keys: Keys) -> tuple[Ordinals, Ordinals]:
        """For each of `keys` (n,) the row of its path and version, and the row of its path with another version; -1 for none."""
        if not len(self.paths):
            nothing = np.full(len(keys), -1)
            return nothing, nothing
        places = np.minimum(np.searchsorted(self.paths, keys["path"]), len(self.paths) - 1)  # of paths alike the first
        path_known = self.paths[places] == keys["path"]
        rows = self.ordinals[places]
        versions = self.versions[rows]
        same = path_known & (versions != NEVER) & ((versions == keys["version"]) | (keys["version"] == ANY))
        return np.where(same, rows, -1), np.where(path_known & ~same, rows, -1)


def by_file(ordinals: Ordinals, bounds: Ordinals) -> tuple[Ordinals, Ordinals]:
    """The files that `ordinals` lie in, and how many in each: file i has the rows [bounds[i], bounds[i + 1])."""
    return np.unique(np.searchsorted(bounds, ordinals, side="right") - 1, return_counts=True)
