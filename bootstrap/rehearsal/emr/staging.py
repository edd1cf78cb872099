"""A run's files, from the bucket to where the driver finds them."""

from __future__ import annotations

import os
import sys
import tarfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

PACKED = (".zip", ".jar", ".tar", ".tgz", ".tar.gz")  # what Spark's Utils.unpack takes for an archive, by its name


@dataclass(frozen=True, slots=True)
class Staged:
    """Files of a run on this machine: the entry script, the packages for PYTHONPATH, and archives with their aliases."""

    entry_point: Path
    python_files: tuple[Path, ...]
    archives: tuple[str, ...]


def stage(submit: Mapping[str, Any], properties: Mapping[str, str], s3: Any, *, into: Path) -> Staged:
    """Fetches them with the run's own credentials, and unpacks archives for the driver into `into`, as EMR Serverless does.

    ClientError where the role may not read one. Executors are given the archives, which Spark itself unpacks there.
    """
    files = into / "files"
    entry_point = _fetch(submit["entryPoint"], s3, files)
    python_files = tuple(_fetch(uri, s3, files) for uri in _listed(properties.get("spark.submit.pyFiles", "")))
    archives = []
    for uri in _listed(properties.get("spark.archives", "")):
        source, _, alias = uri.partition("#")
        archive = _with_interpreter(_fetch(source, s3, files))
        unpack(archive, into / (alias or archive.name))
        archives.append(f"{archive}#{alias or archive.name}")
    return Staged(entry_point, python_files, tuple(archives))


def _listed(text: str) -> list[str]:
    return [each for each in text.split(",") if each]


def _fetch(uri: str, s3: Any, folder: Path) -> Path:
    where = urlsplit(uri)
    target = folder / where.netloc / where.path.lstrip("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(s3.get_object(Bucket=where.netloc, Key=where.path.lstrip("/"))["Body"].read())
    return target


def unpack(archive: Path, into: Path) -> None:
    """As Spark does, by the name's ending; what ends otherwise stays as it is, under the alias."""
    if archive.name.endswith((".zip", ".jar")):
        with zipfile.ZipFile(archive) as packed:
            packed.extractall(into)
    elif archive.name.endswith(PACKED):
        with tarfile.open(archive) as packed:
            packed.extractall(into, filter="fully_trusted")  # its interpreter is a link out of it, on purpose
    else:
        into.symlink_to(archive)


def _with_interpreter(archive: Path) -> Path:
    """The archive itself where the interpreter that it links to is on this machine, else one that links to ours."""
    if not archive.name.endswith((".tgz", ".tar.gz")):
        return archive
    with tarfile.open(archive) as packed:
        links = [each for each in packed if each.issym() and os.path.isabs(each.linkname) and not os.path.exists(each.linkname)]
        if not links:
            return archive
        changed = archive.with_name(f"linked-{archive.name}")
        with tarfile.open(changed, "w:gz", compresslevel=1) as made:
            for member in packed.getmembers():
                if member in links:
                    member.linkname = os.path.realpath(sys.executable)
                made.addfile(member, packed.extractfile(member) if member.isreg() else None)
    return changed
