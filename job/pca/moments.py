"""Count, mean and scatter: all that exact PCA needs, mergeable in any order."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Moments:
    """Count, mean and centred scatter of rows with d features.

    count   : int            rows folded in
    mean    : (d,)   float64
    scatter : (d, d) float64 sum of outer products about the mean (not divided by count)
    """

    count: int
    mean: NDArray[np.float64]
    scatter: NDArray[np.float64]

    def merge(self, other: Moments) -> Moments:
        """Moments of both sets of rows; order does not matter."""
        return merge_all([self, other], length=len(self.mean))

    @classmethod
    def empty(cls, length: int) -> Moments:
        """Moments of no rows: what merging starts from."""
        return cls(0, np.zeros(length), np.zeros((length, length)))


def moments_of(rows: NDArray[np.floating]) -> Moments:
    """Moments of `rows` (n, d), in float64 whatever their dtype; n may be 0."""
    if not len(rows):
        return Moments.empty(rows.shape[1])
    # Shifted by a row first, so that a large common offset costs the mean no digits.
    shifted = rows.astype(np.float64)
    origin = shifted[0].copy()
    shifted -= origin
    mean = shifted.mean(axis=0)
    shifted -= mean
    return Moments(len(rows), origin + mean, shifted.T @ shifted)  # NumPy sees A.T @ A and computes one triangle (syrk)


def merge_all(moments: Iterable[Moments], *, length: int) -> Moments:
    """Moments of all rows that any of `moments` has seen; of none, where there are none.

    The pairwise update of Chan, Golub & LeVeque (1983) for any number of sets: what is within them adds up, and what
    is between them is the scatter of their means.
    """
    scatter = np.zeros((length, length))
    counts, means = [], []
    for part in moments:
        if part.count:
            scatter += part.scatter  # at once: `moments` may be read from files, one by one
            counts.append(part.count)
            means.append(part.mean)
    if not counts:
        return Moments.empty(length)
    count = sum(counts)
    weights = np.array(counts, np.float64)[:, None]
    gaps = np.array(means) - means[0]  # from one of the means, so that a large common offset costs no digits
    shift = (gaps * weights).sum(axis=0) / count
    between = (gaps - shift) * np.sqrt(weights)
    scatter += between.T @ between
    return Moments(count, means[0] + shift, scatter)


# Rows themselves while they are few, moments from there on: either gives the other rows' moments when merged.
Folded: TypeAlias = Moments | NDArray[np.floating]


def fold(folded: Folded, more: Folded) -> Folded:
    """Both together: rows (n, d) as long as n <= d, when they take no more than half the room of moments."""
    if isinstance(folded, Moments) or isinstance(more, Moments):
        return moments_in(folded).merge(moments_in(more))
    rows = np.concatenate([folded, more])
    return rows if len(rows) <= rows.shape[1] else moments_of(rows)


def moments_in(folded: Folded) -> Moments:
    """The moments of what has been folded."""
    return folded if isinstance(folded, Moments) else moments_of(folded)


def save_folded(folded: Folded, stem: Path) -> Path:
    """Writes `stem`.rows.npy or `stem`.moments.npy; returns which."""
    if isinstance(folded, Moments):
        file = stem.with_name(f"{stem.name}.moments.npy")
        save_moments(folded, file)
        return file
    file = stem.with_name(f"{stem.name}.rows.npy")
    np.save(file, folded)
    return file


def load_folded(file: Path) -> Folded:
    """What save_folded wrote."""
    if file.name.endswith(".rows.npy"):
        rows: NDArray[np.floating] = np.load(file)
        return rows
    return load_moments(file)


def save_moments(moments: Moments, file: Path) -> None:
    """Writes moments as one (d + 2, d) float64 array: the count, the mean, the scatter. 13 MB for 1,280 features."""
    length = len(moments.mean)
    with file.open("wb") as sink:  # given a name, NumPy would append .npy to another ending
        np.save(sink, np.concatenate([np.full((1, length), moments.count, np.float64), moments.mean[None], moments.scatter]))


def load_moments(file: Path) -> Moments:
    """What save_moments wrote, mapped rather than read: merging looks at each number once."""
    array = np.load(file, mmap_mode="r")
    return Moments(int(array[0, 0]), np.array(array[1]), array[2:])
