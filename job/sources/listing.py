"""Which images a run reads, and which of them make one task. Nothing here grows with their number.

Executors list (job.sources.listers) into *listing parts* of bounded size; the driver keeps a part's name and counts, and cuts
the parts into *shares*.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from job.sources.labels import LabelsFrom
from job.sources.readers import kind_of

ASSUMED_BYTES = 100_000  # an image of which no size is known
SMALLEST_SHARE = 64  # images of 5 KB; below this a task's fixed cost shows
LARGEST_SHARES = (1024, 4096)  # such images, of a small run and of a large one: a task begins with one request that nothing hides
IMAGE_S, BYTE_S = 4e-3, 70e-9  # what an image costs, roughly: inference, and decoding by size (12 megapixels in 3 MB: 0.2 s)


@dataclass(frozen=True, slots=True)
class ImageSource:
    """Which images a run reads.

    roots        folders, absolute, none inside another; or manifests; or inventories
    under        of a manifest or an inventory only what lies in these folders; none means all
    include      patterns of file names, such as "*.jpg"; none means every file that is not hidden
    labels_from  "parent": the folder's name; "none": no labels
    classes      only the first so many labels in order of name
    limit        only the first so many images in order of listing
    """

    roots: tuple[str, ...]
    include: tuple[str, ...] = ()
    labels_from: LabelsFrom = "parent"
    classes: int | None = None
    limit: int | None = None
    under: tuple[str, ...] = ()

    @property
    def is_list(self) -> bool:
        """The images were listed some time ago, and may be others by now."""
        return kind_of(self.roots[0]) in ("manifest", "inventory")

    @property
    def may_repeat(self) -> bool:
        """An image may be listed twice: by who wrote a manifest, or by two inventories of one bucket."""
        return self.is_list and (kind_of(self.roots[0]) == "manifest" or len(self.roots) > 1)

    def covers(self, other: ImageSource) -> bool:
        """Whatever images there are, all that `other` reads is read."""
        wider = self.include in ((), other.include) and self.under in ((), other.under) and set(self.roots) >= set(other.roots)
        if self.classes is None and self.limit is None:
            return wider
        # With a bound more of anything else would move what it cuts off
        alike = (set(self.roots), self.include, self.under) == (set(other.roots), other.include, other.under)
        if self.classes == other.classes:
            return alike and (self.limit is None or (other.limit is not None and self.limit >= other.limit))
        return alike and self.limit is None and other.limit is None and (self.classes or 0) >= (other.classes or 1 << 63)


@dataclass(frozen=True, slots=True)
class ListingPart:
    """One file of listed images, as the driver knows it.

    file         where the rows are
    count        rows that a run will read
    image_bytes  mean size of its images, negative where unknown
    labels       with --classes N: the part's N first labels and their counts
    """

    file: str
    count: int
    image_bytes: float
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
        selected.append(ListingPart(part.file, count, part.image_bytes, part.labels))
    return selected


def plan_shares(parts: Iterable[ListingPart], *, slots: int, labels: frozenset[str] | None = None) -> list[Share]:
    """Shares that together are every image of `parts` once, largest first.

    Sizes fall towards the end (guided self-scheduling, Polychronopoulos & Kuck 1987): large tasks cost little, and
    small ones last let `slots` cores finish together. Parts take turns, those that are far apart in the listing one after the
    other, as a part is of few prefixes, each of which answers 5,500 reads a second in S3, and some tens of cores ask for more.
    """
    turns = deque((part, 0) for part in _far_apart([part for part in parts if part.count], slots=slots))
    left = sum(part.count for part, _ in turns)
    largest = largest_share(left, slots=slots)
    shares: list[Share] = []
    while turns:
        part, start = turns.popleft()
        size = share_size(left, slots=slots, largest=largest, image_bytes=part.image_bytes)
        stop = min(part.count, start + size)
        shares.append(Share(len(shares), part.file, start, stop, part.count, labels))
        left -= stop - start
        if stop < part.count:
            turns.append((part, stop))
    return shares


def _far_apart(parts: list[ListingPart], *, slots: int) -> Iterator[ListingPart]:
    """The parts, in an order in which as many as there are cores are from all over the listing."""
    step = -(-len(parts) // slots)
    return (part for start in range(step) for part in parts[start::step])


def share_rests(shares: Iterable[Share], rests: Iterable[Share | None], *, slots: int, first: int) -> list[Share]:
    """What tasks left of their `shares`, in shares numbered from `first`.

    Each is of as many images as its task did in its time, but not of a handful, as who did next to nothing stood still; or of fewer where
    some of `slots` cores would have nothing to do.
    """
    left = [(rest.start - share.start, rest) for share, rest in zip(shares, rests, strict=True) if rest]
    most = -(-sum(rest.stop - rest.start for _, rest in left) // slots)
    cut = [
        (rest, start, min(rest.stop, start + size))
        for done, rest in left
        for size in (min(max(done, SMALLEST_SHARE), most),)
        for start in range(rest.start, rest.stop, size)
    ]
    return [replace(rest, index=index, start=start, stop=stop) for index, (rest, start, stop) in enumerate(cut, first)]


def largest_share(total: int, *, slots: int) -> int:
    """Images of 5 KB in the largest share of a run over `total` images on `slots` cores."""
    return min(max(total // (64 * slots), LARGEST_SHARES[0]), LARGEST_SHARES[1])


def share_size(left: int, *, slots: int, largest: int, image_bytes: float = 5000) -> int:
    """Images of the next share when `left` remain for `slots` cores: few where they are large, as a share is to take seconds.

    image_bytes: their mean size, negative where it is unknown
    """
    if image_bytes < 0:
        image_bytes = ASSUMED_BYTES
    costly = (IMAGE_S + BYTE_S * image_bytes) / (IMAGE_S + BYTE_S * 5000)
    return max(1, round(SMALLEST_SHARE / costly), min(round(largest / costly), left // (2 * slots)))
