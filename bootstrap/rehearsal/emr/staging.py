"""What the driver finds in its working folder: the run's archives, unpacked. All else that is a run's, Spark itself fetches over S3A."""

from __future__ import annotations

import os
import shlex
import sys
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

PACKED = (".zip", ".jar", ".tar", ".tgz", ".tar.gz")  # what Spark's Utils.unpack takes for an archive, by its name


def stage(properties: Mapping[str, str], s3: Any, *, into: Path) -> None:
    """Unpacks the archives into `into`, fetched with the run's own credentials, as EMR Serverless does before it starts a driver.

    ClientError where the role may not read one.
    """
    for uri in filter(None, properties.get("spark.archives", "").split(",")):
        source, _, alias = uri.partition("#")
        archive = _fetch(source, s3, into / "files")
        unpack(archive, into / (alias or archive.name))


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


def interpreter(named: str, *, folder: Path) -> str:
    """A command that starts the Python of this path, in whatever folder it is asked.

    One inside an archive is a link to the release's own. Where this machine has that elsewhere, the link is made anew once Spark has
    unpacked the archive, so that all get the archive as it lies in the bucket.
    """
    if os.path.isabs(named):
        return named
    python, ours = shlex.quote(named), shlex.quote(os.path.realpath(sys.executable))
    starter = folder / named.strip("./").replace("/", "-")
    starter.write_text(f'#!/bin/sh\n[ -e {python} ] || ln -sf {ours} {python}\nexec {python} "$@"\n')
    starter.chmod(0o755)
    return str(starter)
