"""Places in S3, as command lines and requests name them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from bootstrap.errors import UsageError

SCHEMES = ("s3", "s3a", "s3n")  # the last two are Hadoop's names of the same

LISTS = (".parquet", "manifest.json")  # of images that lie anywhere, in place of a folder: docs/lists.md


@dataclass(frozen=True, slots=True)
class Location:
    """A bucket and a key without slashes at its end, "" for all of the bucket."""

    bucket: str
    key: str

    @classmethod
    def parse(cls, location: str) -> Location:
        """What s3://bucket/folder means, with or without a slash at its end. UsageError where it means nothing."""
        found = re.fullmatch(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/(.*))?", location, re.DOTALL)
        if not found:
            raise UsageError(f"{location!r} is no place in S3", "s3://BUCKET/images/")
        return cls(found[1], (found[2] or "").rstrip("/"))

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}"

    def __truediv__(self, name: str) -> Location:
        return Location(self.bucket, f"{self.key}/{name}" if self.key else name)

    @property
    def prefix(self) -> str:
        """What all keys in it begin with."""
        return f"{self.key}/" if self.key else ""

    @property
    def folder(self) -> Location:
        """What it lies in."""
        return Location(self.bucket, self.key.rpartition("/")[0])


def locations_in(named: Iterable[str]) -> list[Location]:
    """Those of them that are in S3, in order."""
    found = [each.partition("://") for each in named]
    places = [rest.partition("/") for scheme, _, rest in found if scheme.lower() in SCHEMES]
    return [Location(bucket, key.rstrip("/")) for bucket, _, key in places]


def is_list(images: str) -> bool:
    """What --images names is a manifest, a file or a folder of some, or an inventory."""
    return images.rstrip("/").endswith(LISTS)
