"""Reading many images at once inside one task, ahead of who decodes them, with bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial

from job.ahead import ahead
from job.sources.readers import UNKNOWN, Data, Found, Reader, version_of

CHUNK_IMAGES, CHUNK_BYTES = 16, 1 << 20  # handed over at once, whichever is reached first
BYTES_AHEAD = 64 << 20  # read and not decoded yet, in one worker


@dataclass(frozen=True, slots=True)
class Image:
    """One image to decode: as it was listed, and once it is read, as it was then.

    size    bytes; may be UNKNOWN before it is read
    data    its bytes, or the error that reading them met; None of one that is too large
    listed  its version by the listing, where another was read
    """

    path: str
    label: str | None
    size: int
    modified: int | None
    etag: str | None
    data: bytes | OSError | None
    listed: str | None = None


def read_images(images: Iterable[Image], *, reader: Reader, max_bytes: int) -> Iterator[Image]:
    """The same images in the same order with their bytes, `reader.in_flight` chunks read ahead but no more than BYTES_AHEAD.

    One that is larger than `max_bytes` is not read. One whose size is not known, or is listed as less, counts as the mean of those
    read so far: lists may be out of date, and before one image is read they are not believed.
    """
    read = partial(_read_chunk, reader=reader, max_bytes=max_bytes)
    mean = _Mean(reader.knows_sizes)
    for chunk in ahead(read, _chunks(images, mean.size_of), threads=reader.in_flight, weigh=mean.weigh, budget=BYTES_AHEAD):
        mean.learn(chunk)
        yield from chunk


class _Mean:
    """The mean size of images so far; of the first a large one, so that what is read before anything is known is little.

    knows_sizes  listed sizes say more than that
    """

    def __init__(self, knows_sizes: bool) -> None:
        self._knows_sizes = knows_sizes
        self._images = self._bytes = 0

    def learn(self, chunk: list[Image]) -> None:
        sizes = [len(image.data) for image in chunk if isinstance(image.data, bytes)]
        self._images += len(sizes)
        self._bytes += sum(sizes)

    def size_of(self, image: Image) -> int:
        if not self._images:
            return image.size if self._knows_sizes and image.size != UNKNOWN else max(image.size, CHUNK_BYTES)
        return max(image.size, self._bytes // self._images)

    def weigh(self, chunk: list[Image]) -> int:
        return sum(map(self.size_of, chunk))


def _chunks(images: Iterable[Image], size_of: Callable[[Image], int]) -> Iterator[list[Image]]:
    """Images for one read each: handing over single small ones between threads would cost a noticeable part of inference."""
    chunk: list[Image] = []
    size = 0
    for image in images:
        chunk.append(image)
        size += size_of(image)
        if len(chunk) == CHUNK_IMAGES or size >= CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _read_chunk(images: list[Image], *, reader: Reader, max_bytes: int) -> list[Image]:
    wanted = [image.path for image in images if image.size <= max_bytes]
    found = dict(zip(wanted, reader.read_many(wanted, limit=max_bytes), strict=True))
    return [_with_data(image, found.get(image.path)) for image in images]


def _with_data(image: Image, data: Data | None) -> Image:
    if not isinstance(data, Found):
        return replace(image, data=data, size=0 if image.size == UNKNOWN else image.size)
    listed = version_of(image.size, image.modified, image.etag)
    if listed == version_of(data.size, data.modified, data.etag):
        return replace(image, data=data.data, modified=image.modified or data.modified)  # S3 lists milliseconds, and answers with seconds
    return replace(image, data=data.data, size=data.size, modified=data.modified, etag=data.etag, listed=listed)
