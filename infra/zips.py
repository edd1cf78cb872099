"""Zips that are the same wherever and whenever they are made. No CDK in here."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest date that a zip can hold


def zip_files(files: list[Path], *, base: Path, out: Path) -> Path:
    """A zip of `files` under their names relative to `base`: the same bytes on every machine and every day.

    Stored, as what deflate makes of a file depends on the version of zlib.
    """
    with whole(out) as half, zipfile.ZipFile(half, "w", zipfile.ZIP_STORED) as archive:
        for file in files:
            entry = zipfile.ZipInfo(file.relative_to(base).as_posix(), EPOCH)
            entry.create_system = 3  # Unix, wherever it is made
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, file.read_bytes())
    return out


@contextmanager
def whole(file: Path) -> Iterator[Path]:
    """A file to write to, which becomes `file` at the end: whole, or not at all. Two commands may write it at once.

    `whole` of job.storage does so as well, but of the job the stacks see only its contract.
    """
    half = file.with_name(f"_{file.name}-{uuid4().hex[:8]}")
    try:
        yield half
        half.replace(file)
    finally:
        half.unlink(missing_ok=True)
