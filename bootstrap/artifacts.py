"""Whether the files of a run are whole, by what they say of themselves: the CRCs of their formats, the model's card, the links."""

from __future__ import annotations

import gzip
import re
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from typing import IO

from bootstrap.errors import BootstrapError
from job.contract import ENVIRONMENT_PYTHON, FLATBUFFER, MODEL_CARD, ModelCard
from job.releases import Architecture

ENTRY = "job/__main__.py"  # of the package: the script that a run starts with is a copy of it
# CDK takes an object that is there for the one that it would upload
REPAIR = "remove it and deploy again: cdk deploy uploads what is not there"

COMPILED = re.compile(r"\.cpython-3(\d+)-(x86_64|aarch64)-linux-gnu\.so$")  # PEP 3149, and the multiarch name of the platform
ARCHITECTURES: dict[str, Architecture] = {"x86_64": "x86_64", "aarch64": "arm64"}


@dataclass(frozen=True, slots=True)
class Packages:
    """What an archive of packages works on, as the archive itself shows.

    interpreter  path that its bin/python links to, "" for none
    compiled     versions of Python and architectures that its machine code is for
    files        how many it unpacks to
    """

    interpreter: str
    compiled: frozenset[tuple[str, Architecture]]
    files: int


def read_packages(file: IO[bytes]) -> Packages:
    """Reads a .tgz to its end, and so to the CRC of all of it. BootstrapError where it is damaged."""
    interpreter, files = "", 0
    compiled: set[tuple[str, Architecture]] = set()
    with _whole(), gzip.GzipFile(fileobj=file, mode="rb") as unpacked:
        with tarfile.open(fileobj=unpacked, mode="r|") as tar:
            for member in tar:
                files += 1
                if member.name == ENVIRONMENT_PYTHON:
                    interpreter = member.linkname
                if found := COMPILED.search(member.name):
                    compiled.add((f"3.{found[1]}", ARCHITECTURES[found[2]]))
        while unpacked.read(1 << 20):  # the CRC comes last, behind tar's padding
            pass
    return Packages(interpreter, frozenset(compiled), files)


def read_code(package: IO[bytes]) -> bytes:
    """Checks a zip of the job, and returns its entry script. BootstrapError where it is damaged, or has none."""
    with _whole(), zipfile.ZipFile(package) as archive:
        _refuse_damaged(archive)
        return archive.read(ENTRY)


def read_model(file: IO[bytes]) -> ModelCard:
    """Checks a zip of a compiled model, and returns its card. BootstrapError where it is damaged, or not what the card describes."""
    with _whole(), zipfile.ZipFile(file) as archive:
        _refuse_damaged(archive)
        card = ModelCard.from_json(archive.read(MODEL_CARD).decode())
        if sha256(archive.read(FLATBUFFER)).hexdigest() != card.sha256:
            raise BootstrapError(f"{FLATBUFFER} is not the file that its model card describes", "make model, and deploy again")
    return card


def _refuse_damaged(archive: zipfile.ZipFile) -> None:
    if damaged := archive.testzip():
        raise BootstrapError(f"it is damaged: {damaged} does not have its CRC", REPAIR)


@contextmanager
def _whole() -> Iterator[None]:
    """What the readers of archives raise for one that is damaged, as a BootstrapError."""
    try:
        yield
    except (EOFError, OSError, ValueError, KeyError, tarfile.TarError, zipfile.BadZipFile, zlib.error) as error:
        raise BootstrapError(f"it is damaged: {' '.join(str(error).split())}", REPAIR) from error
