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

# Half of a digest each. Of ten million paths two are alike in 64 bits with a chance of 3 in a million, and then one of the two
# images is done again.
KEY = np.dtype([("path", "<u8"), ("version", "<u8")])
NOBODY = 0  # a path's digest that is never looked for

Ordinals = NDArray[np.int64]  # rows of all files, counted through
Keys = NDArray[np.void]  # of dtype KEY


def keys_of(table: pa.Table, *, paths: Iterable[str]) -> Keys:
    """The keys (n,) of rows with size, modified (microseconds, or a timestamp) and etag, and their `paths` as results have them."""
    modified = table["modified"].cast(pa.int64()).to_pylist()
    versions = zip(table["size"].to_pylist(), modified, table["etag"].to_pylist(), strict=True)
    digests = (_digest(path, f"{size} {etag or modified}") for path, (size, modified, etag) in zip(paths, versions, strict=True))
    return np.frombuffer(b"".join(digests), KEY)


def _digest(path: str, version: str) -> bytes:
    """Digests of a path and of its version. A path with a backslash may be the printed form of another one: it has no key."""
    name = path.encode("utf-8")
    if "\\" in path:
        return bytes(KEY.itemsize)
    return blake2b(name, digest_size=8).digest() + blake2b(b"%b\0%b" % (name, version.encode()), digest_size=8).digest()


def without_unreadable(keys: Keys, reasons: Sequence[str]) -> Keys:
    """The keys of faults, but for images that could not be read: another time they may."""
    unreadable = np.array([reason == Reason.UNREADABLE for reason in reasons], bool)
    return np.where(unreadable, np.zeros(1, KEY), keys)


@dataclass(frozen=True, slots=True)
class Index:
    """Rows by path: of a path with several rows only the first, as files are given.

    paths     (m,) uint64, ascending, each once
    versions  (m,) uint64
    ordinals  (m,) int64
    """

    paths: NDArray[np.uint64]
    versions: NDArray[np.uint64]
    ordinals: Ordinals

    @classmethod
    def of(cls, keys: Keys) -> Index:
        """The index of the keys (n,) of all rows, in order."""
        paths, first = np.unique(keys["path"], return_index=True)
        known = paths != NOBODY
        return cls(paths[known], keys["version"][first[known]], first[known])

    def find(self, keys: Keys) -> tuple[Ordinals, Ordinals]:
        """For each of `keys` (n,) the row of its path and version, and the row of its path with another version; -1 for none."""
        if not len(self.paths):
            nothing = np.full(len(keys), -1)
            return nothing, nothing
        places = np.minimum(np.searchsorted(self.paths, keys["path"]), len(self.paths) - 1)
        path_known = self.paths[places] == keys["path"]
        same = path_known & (self.versions[places] == keys["version"])
        rows = self.ordinals[places]
        return np.where(same, rows, -1), np.where(path_known & ~same, rows, -1)


def by_file(ordinals: Ordinals, bounds: Ordinals) -> Ordinals:
    """How many of `ordinals` lie in each file: file i has the rows [bounds[i], bounds[i + 1])."""
    return np.bincount(np.searchsorted(bounds, ordinals, side="right") - 1, minlength=len(bounds) - 1)
