"""S3 Inventory, in Parquet: the list of a bucket's objects that S3 writes every day or week (docs/s3.md)."""

from __future__ import annotations

import json
from typing import Any, ClassVar

from job.errors import BadManifest
from job.sources.keys import hidden_in
from job.sources.readers import UNKNOWN, Entry, marks_folder, printable
from job.sources.tables import TEXT, TIME, TRUTH, WHOLE, Columns, Row, TableLister
from job.storage import S3Path, place_of

HINT = "--images takes the manifest.json that S3 Inventory writes beside its files"


class InventoryLister(TableLister):
    """Inventories. The images are those that listing the bucket, or the folders `under` in it, would have found then."""

    # Keys are URL-encoded in CSV only (S3 User Guide, "Amazon S3 Inventory list")
    required: ClassVar[Columns] = {"bucket": TEXT, "key": TEXT}
    optional: ClassVar[Columns] = {"size": WHOLE, "last_modified_date": TIME, "e_tag": TEXT, "is_latest": TRUTH, "is_delete_marker": TRUTH}

    def files(self, root: str) -> list[S3Path]:
        said = _read(root)
        if said["fileFormat"] != "Parquet":
            raise BadManifest(
                f"{printable(root)} is of an inventory in {said['fileFormat']}", "set the inventory's output format to Parquet"
            )
        if elsewhere := [folder for folder in self._under if not folder.startswith(f"s3://{said['sourceBucket']}/")]:
            raise BadManifest(f"{printable(root)} is of the bucket {said['sourceBucket']}", f"--under {elsewhere[0]} is in another one")
        bucket = said["destinationBucket"].rpartition(":")[2]  # an ARN
        return [S3Path(bucket, file["key"]) for file in said["files"]]

    def entry(self, row: Row, root: str) -> Entry | None:  # noqa: ARG002  an inventory's keys stand for themselves
        bucket, key, size = row["bucket"], row["key"], row.get("size")
        if row.get("is_latest") is False or row.get("is_delete_marker") or marks_folder(key, size):
            return None
        path = f"s3://{bucket}/{key}"
        folder = next(filter(path.startswith, self._under), f"s3://{bucket}/")
        if hidden_in(path[len(folder) :]):
            return None
        return Entry(path, UNKNOWN if size is None else size, row.get("last_modified_date"), row.get("e_tag"))


def _read(root: str) -> dict[str, Any]:
    """What a manifest.json says. BadManifest where it is none."""
    shown = printable(root)
    try:
        said = json.loads(place_of(root).read_text())
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        raise BadManifest(f"{shown} cannot be read: {error.strerror}", HINT) from error
    except ValueError as error:  # no JSON, or no text
        raise BadManifest(f"{shown} is no JSON: {error}", HINT) from error
    wanted = {"sourceBucket", "destinationBucket", "fileFormat", "files"}
    if not isinstance(said, dict) or wanted - said.keys():
        raise BadManifest(f"{shown} is no manifest of S3 Inventory: it lacks {', '.join(sorted(wanted - set(said)))}", HINT)
    return said
