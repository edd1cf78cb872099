"""Where images are: one small interface, and the local file system behind it (S3 is in job.sources.s3).

Paths are strings as the user would type them. A local name that is not UTF-8 arrives with surrogate escapes
(PEP 383), which is what `open` takes back; `printable` makes it fit for a result.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias
from urllib.parse import unquote, urlsplit

from job.errors import StorageFailed, UsageError
from job.storage import is_s3, s3_path

UNKNOWN = -1  # the size of an image of which nobody has said it

Kind = Literal["folder", "prefix", "manifest", "inventory"]  # on a disk, in S3, and lists wherever they are

MARK = "_$folder$"  # how EMR's file system once marked folders


@dataclass(frozen=True, slots=True, order=True)
class Entry:
    """One file found: path, size in bytes or UNKNOWN, modification time in microseconds since 1970 UTC, etag where a store has one."""

    path: str
    size: int
    modified: int | None = None
    etag: str | None = None


@dataclass(frozen=True, slots=True, order=True)
class Labelled(Entry):
    """A file whose label is given by who listed it, and not by its folder."""

    label: str | None = None


@dataclass(frozen=True, slots=True, order=True)
class _Named:
    path: str

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]


class Folder(_Named):
    """One folder found."""

    __slots__ = ()


class File(_Named):
    """What was found that is no folder, and not looked at yet."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Found:
    """A file as it was when it was read, which may be another than was listed.

    data  its bytes; None where there are more than the reader was to read
    size, modified, etag  as an Entry has them
    """

    data: bytes | None
    size: int
    modified: int | None = None
    etag: str | None = None


Data: TypeAlias = Found | OSError  # what a file holds, or why it cannot be read


class Reader(Protocol):
    """A place that images are read from.

    in_flight    chunks of images that are read ahead in a worker; what hides the latency of the place
    knows_sizes  what was listed says how large its files are, but for a few
    """

    in_flight: int
    knows_sizes: bool

    def read_many(self, paths: Sequence[str], *, limit: int) -> list[Data]:
        """Each file with its bytes, if those are no more than `limit`; the error of one that cannot be read.

        StorageFailed where it is the place that fails, so that images are not blamed for it.
        """
        ...


class LocalReader:
    """Files on this machine, or on a disk that every executor mounts."""

    in_flight, knows_sizes = 2, True

    def scan(self, folder: str, *, keep: Callable[[str], bool]) -> Iterator[File | Folder]:
        try:
            with os.scandir(folder) as found:
                for item in found:
                    if keep(item.name):
                        # Folders behind links are left out, as they can form circles: `look` takes them for no file
                        yield (Folder if item.is_dir(follow_symlinks=False) else File)(item.path)
        except OSError as error:
            raise StorageFailed(f"cannot list {printable(folder)}: {error.strerror}", "check the folder's name and permissions") from error

    def look(self, path: str) -> Entry | None:
        """The file of that name, or behind that link; None for sockets, pipes and devices, which would block a read.

        A link to nothing is a file of no bytes: its read fails, as a fault.
        """
        try:
            status = os.stat(path)
        except OSError:
            return Entry(path, 0)
        return Entry(path, status.st_size, status.st_mtime_ns // 1000) if stat.S_ISREG(status.st_mode) else None

    def read_many(self, paths: Sequence[str], *, limit: int) -> list[Data]:
        return [attempt(self.read, path, limit=limit) for path in paths]

    def read(self, path: str, *, limit: int) -> Found:
        """The file with its bytes, if those are no more than `limit`; OSError where it cannot be read."""
        with open(path, "rb", buffering=0, opener=_open_at_once) as file:
            status = os.fstat(file.fileno())  # before its bytes: of one that is being written the next listing says another time
            if not stat.S_ISREG(status.st_mode):  # which a list may name: a device need not end
                raise OSError(errno.EINVAL, "Not a regular file", path)
            return Found(file.readall() if status.st_size <= limit else None, status.st_size, status.st_mtime_ns // 1000)


def _open_at_once(path: str, flags: int) -> int:
    """For `open`: does not wait until somebody writes to a pipe."""
    return os.open(path, flags | os.O_NONBLOCK)


class AnyReader:
    """Files wherever their paths say that they are, as a list names them."""

    in_flight, knows_sizes = 4, False

    def read_many(self, paths: Sequence[str], *, limit: int) -> list[Data]:
        found: dict[str, Data] = {}
        for here in ([path for path in paths if not is_s3(path)], [path for path in paths if is_s3(path)]):
            if here:
                found |= zip(here, open_reader(here[0]).read_many(here, limit=limit), strict=True)
        return [found[path] for path in paths]


def attempt(read: Callable[..., Found], path: str, *, limit: int) -> Data:
    """read(path, limit=limit), or the OSError that it raises."""
    try:
        return read(path, limit=limit)
    except OSError as error:
        return error


def version_of(size: int, modified: int | None, etag: str | None) -> str | None:
    """What tells a file from what it was before: size, and etag or else time. None where nothing of it is known."""
    return None if size == UNKNOWN and not (etag or modified) else f"{size} {etag or modified}"


def location_of(location: str) -> str:
    """The absolute path, or s3://bucket/key, that a location means. UsageError where it means neither."""
    return str(s3_path(location)) if is_s3(location) else local_path(location)


def local_path(location: str) -> str:
    """The absolute local path that a location means: a path or file:// URI. UsageError for any other scheme."""
    scheme = urlsplit(location).scheme if "://" in location else "file"
    if scheme != "file":
        raise UsageError(f"{location}: {scheme}:// is not supported", "give a local folder or s3://bucket/folder")
    if "://" in location and urlsplit(location).netloc not in ("", "localhost"):
        raise UsageError(
            f"{location}: {urlsplit(location).netloc!r} would be a host", "a local folder is file:///folder, with three slashes"
        )
    path = unquote(urlsplit(location).path) if "://" in location else location
    if not path:
        raise UsageError(f"{location!r} names no folder", "give a path")
    return os.path.abspath(os.path.expanduser(path))


def kind_of(location: str) -> Kind:
    """What a location is, by its name: a folder unless it is called x.parquet or manifest.json."""
    if location.endswith(".parquet"):
        return "manifest"
    if location.rpartition("/")[2] == "manifest.json":
        return "inventory"
    return "prefix" if is_s3(location) else "folder"


def open_reader(root: str) -> Reader:
    """Who reads the images of a root, or an image; UsageError for a scheme that has no reader."""
    if kind_of(root) in ("manifest", "inventory"):
        return AnyReader()
    if is_s3(root):
        from job.sources.s3 import S3Reader  # boto3 and obstore: not for those who read a disk

        return S3Reader()
    local_path(root)
    return LocalReader()


def marks_folder(key: str, size: int | None) -> bool:
    """An object that only marks a folder, for consoles and Hadoop."""
    return not size and key.endswith(("/", MARK))


def printable(path: str) -> str:
    """`path` with undecodable bytes as \\xNN, so that UTF-8 can hold it."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
