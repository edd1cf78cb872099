"""Count, mean and scatter: all that exact PCA needs, mergeable in any order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from job.errors import BadFeatures
from job.storage import Place, fetched, whole

ROWS_PER_PART = 512


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
        del part  # 13 MB that would lie about while the next is made
    if not counts:
        return Moments.empty(length)
    count = sum(counts)
    weights = np.array(counts, np.float64)[:, None]
    gaps = np.array(means) - means[0]  # from one of the means, so that a large common offset costs no digits
    shift = (gaps * weights).sum(axis=0) / count
    between = (gaps - shift) * np.sqrt(weights)
    scatter += between.T @ between
    return Moments(count, means[0] + shift, scatter)


@dataclass(frozen=True, slots=True)
class Folded:
    """Rows put together: moments, and up to d rows that are not in them yet.

    While there are only rows, they take less room than moments would, and folding d rows at a time costs one product
    for all of them instead of one for each handful.
    """

    rows: NDArray[np.floating]  # (n, d), n <= d
    moments: Moments | None = None

    def fold(self, rows: NDArray[np.floating]) -> Folded:
        """These and further rows (n, d)."""
        together = np.concatenate([self.rows, rows])
        if len(together) <= together.shape[1]:
            return Folded(together, self.moments)
        return Folded(together[:0], _merged(self.moments, moments_of(together)))

    def merge(self, other: Folded) -> Folded:
        """These and the other's rows."""
        both = Folded(self.rows, _merged(self.moments, other.moments) if other.moments else self.moments)
        return both.fold(other.rows)

    def parts(self) -> Iterator[Moments]:
        """Moments that merge to those of all rows; of a few hundred rows at a time, whose float64 copy is small."""
        if self.moments:
            yield self.moments
        for start in range(0, len(self.rows), ROWS_PER_PART):
            yield moments_of(self.rows[start : start + ROWS_PER_PART])

    @property
    def total(self) -> Moments:
        """The moments of all rows."""
        return merge_all(self.parts(), length=self.rows.shape[1])

    @classmethod
    def nothing(cls, length: int) -> Folded:
        return cls(np.empty((0, length), np.float32))


def _merged(one: Moments | None, other: Moments) -> Moments:
    return one.merge(other) if one else other


def save_folded(folded: Folded, stem: Place) -> Place:
    """Writes `stem`.rows.npy while there are only rows, `stem`.moments.npy of everything otherwise; returns which."""
    if folded.moments:
        file = stem.with_name(f"{stem.name}.moments.npy")
        save_moments(folded.total, file)
    else:
        file = stem.with_name(f"{stem.name}.rows.npy")
        with whole(file) as half, half.open("wb") as sink:
            np.save(sink, folded.rows)
    return file


def load_folded(file: Place) -> Folded:
    """What save_folded wrote."""
    if file.name.endswith(".rows.npy"):
        return Folded(_mapped(file))
    moments = load_moments(file)
    return Folded(np.empty((0, len(moments.mean)), np.float32), moments)


def save_moments(moments: Moments, file: Place) -> None:
    """Writes moments as one (d + 2, d) float64 array: the count, the mean, the scatter. 13 MB for 1,280 features."""
    length = len(moments.mean)
    with whole(file) as half, half.open("wb") as sink:  # given a name, NumPy would append .npy to another ending
        np.save(sink, np.concatenate([np.full((1, length), moments.count, np.float64), moments.mean[None], moments.scatter]))


def load_moments(file: Place) -> Moments:
    """What save_moments wrote. BadFeatures where it is damaged."""
    array = _mapped(file)
    return Moments(int(array[0, 0]), np.array(array[1]), array[2:])


def _mapped(file: Place) -> NDArray[Any]:
    """The array in a file, mapped rather than read: merging looks at each number once. BadFeatures where it is damaged."""
    try:
        with fetched(file) as here:
            array: NDArray[Any] = np.load(here, mmap_mode="r")
    except (ValueError, EOFError, OSError) as error:
        raise BadFeatures(f"{file} is damaged: {error}", f"remove {file.parent}, and fit reads the features again") from error
    return array
