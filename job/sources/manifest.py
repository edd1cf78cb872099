"""A manifest: a Parquet file, or a folder of some, with a column of paths. What it says of an image is believed."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from job.errors import BadManifest, UsageError
from job.sources.readers import UNKNOWN, Entry, Labelled, local_path, printable
from job.sources.tables import TEXT, TIME, WHOLE, Columns, Row, TableLister
from job.storage import BUCKET, Place, is_s3, place_of


class ManifestLister(TableLister):
    """Manifests. A relative path is one from the folder that the manifest is in."""

    required: ClassVar[Columns] = {"path": TEXT}
    optional: ClassVar[Columns] = {"label": TEXT, "size": WHOLE, "modified": TIME, "etag": TEXT}

    def files(self, root: str) -> list[Place]:
        place = place_of(root)
        if not place.is_dir():
            return [place]
        found: list[Place] = [file for file in place.glob("*.parquet") if not file.name.startswith(("_", "."))]
        if not found:
            raise BadManifest(f"{printable(root)} is a folder without .parquet files", "a manifest is a Parquet file, or a folder of some")
        return sorted(found, key=str)

    def entry(self, row: Row, root: str) -> Entry:
        path = resolve(row["path"], folder=str(place_of(root).parent).rstrip("/"))
        size, modified = row.get("size"), row.get("modified")
        if size is None:
            size, modified = _looked_up(path, modified)
        found = (path, size, modified, (row.get("etag") or "").strip('"') or None)  # a header has it in quotes
        if "label" not in row:
            return Entry(*found)
        return Labelled(*found, row["label"] and printable(row["label"]))


def resolve(path: str | None, *, folder: str) -> str:
    """The path that a manifest in `folder` means. UsageError where it means none."""
    if not path:
        raise UsageError(f"the path is {'null' if path is None else 'empty'}", "each row names an image")
    if is_s3(path):
        bucket, _, key = path.partition("://")[2].partition("/")
        if not (BUCKET.fullmatch(bucket) and key):
            raise UsageError(f"{printable(path)} names no object of a bucket", "an image in S3 is s3://bucket/key")
        return f"s3://{bucket}/{key}"
    found = local_path(path) if "://" in path else path if path.startswith("/") else f"{folder}/{path}"
    if "\0" in found:
        raise UsageError(f"{path!r} holds a NUL, as no file's name does", "each row names an image")
    return found


def _looked_up(path: str, modified: int | None) -> tuple[int, int | None]:
    """Size and time of a file on a disk; in S3 that would be a request for each image, so there they stay unknown."""
    if is_s3(path):
        return UNKNOWN, modified
    try:
        status = Path(path).stat()
    except OSError:
        return 0, modified  # it is read all the same, and what that meets is a fault
    return status.st_size, status.st_mtime_ns // 1000 if modified is None else modified
