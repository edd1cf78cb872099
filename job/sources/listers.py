"""Who lists: a source's images in pieces of work, planned on the driver and followed on executors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol, TypeVar

from job.sources import folders
from job.sources.folders import Walk
from job.sources.inventory import InventoryLister
from job.sources.listing import ImageSource
from job.sources.manifest import ManifestLister
from job.sources.readers import Entry, LocalReader, kind_of

Piece = TypeVar("Piece")


class Lister(Protocol[Piece]):
    """What knows the images of a source. Its pieces go to executors; together they are every image once.

    seeks  it goes on behind a place at no cost, so that a piece may be left for no other reason than that it is long
    """

    seeks: bool

    def check(self) -> None:
        """Raises what can be known to be of no use, before Spark starts."""
        ...

    def pieces(self, *, wanted: int) -> list[Piece]:
        """The whole source, in about `wanted` pieces where it is large enough; what follows what is the order of listing."""
        ...

    def follow(self, piece: Piece) -> Iterator[tuple[Any, Entry | None]]:
        """The images of a piece, in an order that stays, and None for what is no image, each with its place.

        The same piece, but `after` a place, is what comes behind it.
        """
        ...

    def split(self, piece: Piece, *, wanted: int) -> list[Piece]:
        """A piece in smaller ones, for about `wanted` where it can."""
        ...


class DiskLister:
    """Folders on a disk, as trees: looked at from the top, walked below."""

    seeks = False  # it lists the names of a folder once more

    def __init__(self, roots: tuple[str, ...]) -> None:
        self._roots = sorted(roots)
        self._disk = LocalReader()

    def check(self) -> None:
        for root in self._roots:
            next(self._disk.scan(root, keep=lambda _: True), None)

    def pieces(self, *, wanted: int) -> list[Walk]:
        return folders.plan_walks(self._disk, self._roots, wanted=wanted)

    def follow(self, piece: Walk) -> Iterator[tuple[str, Entry | None]]:
        return folders.follow(self._disk, piece)

    def split(self, piece: Walk, *, wanted: int) -> list[Walk]:
        return folders.split(piece, wanted=wanted)


def open_lister(source: ImageSource) -> Lister[Any]:
    """Who lists the images of a source."""
    match kind_of(source.roots[0]):
        case "folder":
            return DiskLister(source.roots)
        case "prefix":
            from job.sources.s3 import S3Lister  # boto3 and obstore: not for those who read a disk

            return S3Lister(source.roots)
        case "manifest":
            return ManifestLister(source.roots, under=source.under)
        case "inventory":
            return InventoryLister(source.roots, under=source.under)
