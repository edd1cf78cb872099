"""Writes an archive whose bytes depend on what is in it, and on nothing else: not on the day, the machine or its file system."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from bootstrap.errors import BootstrapError

EPOCH = 315_532_800  # 1980-01-01: tar warns of older times, and zip has none
# Of 12. Level 12 takes many times as long for a few per cent.
LEVEL = 6


@dataclass(frozen=True, slots=True)
class Link:
    """A symbolic link to another path."""

    target: str


Content: TypeAlias = Path | bytes | Link
Contents: TypeAlias = Mapping[str, Content]  # by path in the archive


def size_of(content: Content) -> int:
    """Bytes that it takes unpacked; none for a link."""
    match content:
        case Path():
            return content.stat().st_size
        case bytes():
            return len(content)
        case Link():
            return 0


def write_archive(contents: Contents, out: Path) -> None:
    """Writes `contents` to a .tgz; holds all of it in memory."""
    try:
        import deflate  # zlib's bytes differ from Python to Python: some are built with zlib-ng
    except ImportError as missing:
        raise BootstrapError(f"packing needs deflate: {missing}", "make setup installs it") from missing
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in sorted(contents.items()):
            _add(tar, name, content)
    out.write_bytes(deflate.gzip_compress(buffer.getbuffer(), LEVEL))


def _add(tar: tarfile.TarFile, name: str, content: Content) -> None:
    member = tarfile.TarInfo(name)  # owner 0, group 0
    member.mtime = EPOCH
    if isinstance(content, Link):
        member.type, member.linkname, member.mode = tarfile.SYMTYPE, content.target, 0o777
        tar.addfile(member)
        return
    data = content.read_bytes() if isinstance(content, Path) else content
    member.size, member.mode = len(data), 0o644
    tar.addfile(member, io.BytesIO(data))
