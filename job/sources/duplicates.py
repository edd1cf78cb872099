"""Images that are listed twice, as a manifest may do: two rows of a result, of which a later run could not tell one from the other.

Paths are compared by their digests: 8 bytes a row, in one worker.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import blake2b

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from job.storage import Place, fetched, place_of, whole

Digests = NDArray[np.uint64]

SUSPECTS = 100  # digests that are looked up at once: one of two unlike paths would be alike by chance, in a million lists of ten million


def write_digests(file: str) -> None:
    """Writes the digests of a listing part's paths beside it."""
    with whole(_digests_of(file)) as half, half.open("wb") as sink:
        np.save(sink, digests(_paths(file).to_pylist()))


def digests(paths: Iterable[bytes]) -> Digests:
    """One for each path (n,)."""
    return np.frombuffer(b"".join(blake2b(path, digest_size=8).digest() for path in paths), np.uint64)


def find_repeated(files: Sequence[str]) -> tuple[int, bytes]:
    """How many rows of listing parts, whose digests are written, repeat a path, and such a path; (0, b"") for none."""
    everything = np.sort(np.concatenate([_load(file) for file in files])) if files else np.empty(0, np.uint64)
    again = everything[1:][everything[1:] == everything[:-1]]
    suspects = np.unique(again)[:SUSPECTS]
    seen: set[bytes] = set()
    for file in files if len(suspects) else ():
        places = np.flatnonzero(np.isin(_load(file), suspects))
        for path in _paths(file).take(pa.array(places)).to_pylist():
            if path in seen:
                return len(again), path
            seen.add(path)
    return 0, b""


def _digests_of(file: str) -> Place:
    part = place_of(file)
    return part.with_name(f"{part.name}.digests.npy")


def _load(file: str) -> Digests:
    with fetched(_digests_of(file)) as here:
        found: Digests = np.load(here)
    return found


def _paths(file: str) -> pa.ChunkedArray:
    with fetched(place_of(file)) as here, pa.memory_map(str(here)) as source:
        return pa.ipc.open_file(source).read_all()["path"]
