"""A file or folder somewhere: a `Path` on a disk, an `S3Path` in a bucket.

Both have the few operations that the job uses, under pathlib's names. What is written goes through `whole`, what is read
through `fetched`: either way the code between works on a local file. boto3 is loaded at the first use of an S3Path.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeAlias
from uuid import uuid4

from job.errors import UsageError

SCHEMES = ("s3", "s3a", "s3n")  # the last two are Hadoop's names of the same
BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]")


@dataclass(frozen=True, slots=True)
class Status:
    """An object as it is now: etag, when it was written, and how many seconds ago, by the store's own clock."""

    etag: str
    written: datetime
    age_s: float


@dataclass(frozen=True, slots=True, order=True)
class S3Path:
    """An object, or the folder of all objects whose keys begin with `key` and a slash; "" is the whole bucket.

    Reading raises FileNotFoundError where there is no object, StorageFailed where S3 gives no answer.
    """

    bucket: str
    key: str = ""

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}" if self.key else f"s3://{self.bucket}"

    def __truediv__(self, name: str) -> S3Path:
        return S3Path(self.bucket, f"{self.key}/{name}" if self.key else name)

    @property
    def name(self) -> str:
        return self.key.rpartition("/")[2]

    @property
    def parent(self) -> S3Path:
        return S3Path(self.bucket, self.key.rpartition("/")[0])

    @property
    def prefix(self) -> str:
        """What the keys in this folder begin with."""
        return f"{self.key}/" if self.key else ""

    def with_name(self, name: str) -> S3Path:
        return self.parent / name

    def mkdir(self, **_: bool) -> None:
        """Nothing: S3 has no folders to make."""

    def is_file(self) -> bool:
        try:
            self.status()
        except FileNotFoundError:
            return False
        return True

    def is_dir(self) -> bool:
        from job import s3

        page = next(s3.pages(self.bucket, self.prefix, PaginationConfig={"MaxItems": 2, "PageSize": 2}))
        return any(found["Key"] != self.prefix for found in page.get("Contents", ()))  # that one is a console's mark of a folder

    def exists(self) -> bool:
        return self.is_dir() or self.is_file()  # in this order: what refuses a HEAD cannot say why

    def glob(self, pattern: str) -> Iterator[S3Path]:
        """The objects directly in this folder whose names match, in order."""
        return (path for path in self.etags(deep=False) if fnmatchcase(path.name, pattern))

    def rglob(self, pattern: str) -> Iterator[S3Path]:
        """The objects anywhere below this folder whose names match, in order."""
        return (path for path in self.etags() if fnmatchcase(path.name, pattern))

    def etags(self, *, deep: bool = True) -> dict[S3Path, str]:
        """The objects in this folder, or with all below it, and their etags."""
        from job import s3

        pages = s3.pages(self.bucket, self.prefix, **({} if deep else {"Delimiter": "/"}))
        return {S3Path(self.bucket, found["Key"]): found["ETag"].strip('"') for page in pages for found in page.get("Contents", ())}

    def status(self) -> Status:
        from job import s3

        with s3.foreseen(str(self)):
            said = s3.client().head_object(Bucket=self.bucket, Key=self.key)
        now = s3.time_of(said)
        return Status(said["ETag"], said["LastModified"], (now - said["LastModified"]).total_seconds())

    def read_bytes(self) -> bytes:
        return self._get()[0]

    def read_end(self, count: int) -> tuple[bytes, int, str]:
        """The last `count` bytes, or all where it has fewer, the size of the whole, and its etag; "" for that of an empty object."""
        try:
            data, said = self._get(Range=f"bytes=-{count}")
        except EOFError:
            return b"", 0, ""
        return data, int(said["ContentRange"].rpartition("/")[2]) if "ContentRange" in said else len(data), said["ETag"]

    def read_range(self, start: int, stop: int, *, etag: str = "") -> bytes:
        """Bytes [start, stop); FileExistsError where it is no longer that of `etag`."""
        return self._get(Range=f"bytes={start}-{stop - 1}", **({"IfMatch": etag} if etag else {}))[0]

    def _get(self, **how: Any) -> tuple[bytes, dict[str, Any]]:
        from job import s3

        with s3.foreseen(str(self)):
            return s3.get(self.bucket, self.key, lambda said: said["Body"].read(), **how)

    def read_text(self) -> str:
        return self.read_bytes().decode()

    def write_text(self, text: str) -> None:
        self._put(text.encode())

    def write_new(self, text: str) -> str:
        """Writes it where there is nothing yet, and returns its etag; FileExistsError where there is."""
        return self._put(text.encode(), IfNoneMatch="*")

    def write_over(self, text: str, *, etag: str) -> str:
        """Writes it where `etag` is there now, and returns the new one; FileExistsError where another is, or none."""
        return self._put(text.encode(), IfMatch=etag)

    def _put(self, data: bytes, **condition: str) -> str:
        from job import s3

        with s3.foreseen(str(self)):
            return str(s3.client().put_object(Bucket=self.bucket, Key=self.key, Body=data, **condition)["ETag"])

    def unlink(self) -> None:
        remove([self])

    def download(self, file: Path) -> None:
        from job import s3

        def save(said: dict[str, Any]) -> None:
            with file.open("wb") as sink:
                sink.writelines(said["Body"].iter_chunks(1 << 20))

        with s3.foreseen(str(self)):
            s3.get(self.bucket, self.key, save)

    def upload(self, file: Path) -> None:
        from job import s3

        with s3.foreseen(str(self)), file.open("rb") as source:
            s3.client().put_object(Bucket=self.bucket, Key=self.key, Body=source)


Place: TypeAlias = Path | S3Path

END_BYTES = 1 << 16  # read of an object at once: the footer of a Parquet file, and the small columns before it


class _Object(io.RawIOBase):
    """An object as a file that is read in parts: its end at first, other parts, of the same version, as they are asked for."""

    def __init__(self, path: S3Path) -> None:
        self._path = path
        self._end, self._size, self.etag = path.read_end(END_BYTES)
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        stop = min(self._at + len(view), self._size)
        if stop <= self._at:
            return 0
        behind = self._at - (self._size - len(self._end))
        data = self._end[behind : behind + stop - self._at] if behind >= 0 else self._path.read_range(self._at, stop, etag=self.etag)
        view[: len(data)] = data
        self._at += len(data)
        return len(data)


def is_s3(location: str) -> bool:
    """A location of one of S3's schemes."""
    return "://" in location and location.partition("://")[0].lower() in SCHEMES


def s3_path(location: str) -> S3Path:
    """What s3://bucket/key means; the key is taken as it is typed, but for slashes at its end. UsageError for no bucket."""
    bucket, _, key = location.partition("://")[2].partition("/")
    if not BUCKET.fullmatch(bucket):
        raise UsageError(f"{location}: {bucket!r} is no name of a bucket", "a place in S3 is s3://bucket/folder")
    return S3Path(bucket, key.rstrip("/"))


def place_of(location: str) -> Place:
    """The place that an absolute path or an s3:// location is."""
    return s3_path(location) if is_s3(location) else Path(location)


@contextmanager
def whole(file: Place) -> Iterator[Path]:
    """A local file to write to, which becomes `file` at the end: whole, or not at all. A task may be tried again, or twice at once."""
    if isinstance(file, S3Path):
        with _scratch(file.name) as half:
            yield half
            file.upload(half)
    else:
        half = file.with_name(f"_{file.name}-{uuid4().hex[:8]}")
        yield half
        half.replace(file)


@contextmanager
def fetched(file: Place) -> Iterator[Path]:
    """A local file to read from: `file` itself, or a copy that is gone afterwards. What is mapped of it stays mapped."""
    if isinstance(file, S3Path):
        with _scratch(file.name) as copy:
            file.download(copy)
            yield copy
    else:
        yield file


def opened(file: Place) -> io.IOBase:
    """A file to read parts of, wherever it is."""
    return _Object(file) if isinstance(file, S3Path) else file.open("rb")


def version_of_open(source: io.IOBase) -> str:
    """Of a file that is open: what changes when its name becomes another's. Its etag in S3; size and time on a disk."""
    if isinstance(source, _Object):
        return source.etag
    status = os.fstat(source.fileno())
    return f"{status.st_size} {status.st_mtime_ns}"


def read_range(file: Place, start: int, stop: int) -> bytes:
    """Bytes [start, stop) of a file, wherever it is; at least one."""
    if isinstance(file, S3Path):
        return file.read_range(start, stop)
    with file.open("rb") as source:
        source.seek(start)
        return source.read(stop - start)


@contextmanager
def _scratch(name: str) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="verger-") as folder:
        yield Path(folder, name)


def remove(files: Iterable[S3Path]) -> None:
    """Removes objects of one bucket, many at once."""
    from job import s3

    paths = list(files)
    if paths:
        s3.remove(paths[0].bucket, [path.key for path in paths])


def copy(pairs: Iterable[tuple[S3Path, S3Path]]) -> None:
    """Has the store copy objects, many at once."""
    from job import s3

    s3.copy(((source.bucket, source.key), (target.bucket, target.key)) for source, target in pairs)


def duplicate(folder: Place, target: Place) -> None:
    """The same files in another folder of the same kind of place; on a disk under second names, as they are never written to again."""
    if isinstance(folder, S3Path) and isinstance(target, S3Path):
        copy((file, S3Path(target.bucket, target.prefix + file.key.removeprefix(folder.prefix))) for file in folder.etags())
    else:
        shutil.copytree(str(folder), str(target), copy_function=link, dirs_exist_ok=True)


def link(source: str | Path, target: str | Path) -> None:
    """A second name for a file; a copy where the file system has no such thing. FileExistsError where `target` is there."""
    try:
        os.link(source, target)
    except FileExistsError:
        raise
    except OSError:
        shutil.copy2(source, target)


def is_damage(error: Exception) -> bool:
    """Of what reading a Parquet file raised: it is the file's fault. Arrow raises a ValueError then, or an OSError without a number."""
    return isinstance(error, ValueError) or (isinstance(error, OSError) and error.errno is None)


def digest_of(file: Place) -> str:
    """Changes with what is in a small file."""
    return sha256(file.read_text().encode()).hexdigest()


def versions(files: Iterable[Place]) -> list[tuple[str | int, ...]]:
    """For each file what changes when it becomes another: size and time on a disk, the etag in S3."""
    paths = list(files)
    etags: dict[S3Path, str] = {}
    for folder in {path.parent for path in paths if isinstance(path, S3Path)}:
        etags |= folder.etags(deep=False)
    return [(etags[path],) if isinstance(path, S3Path) else (path.stat().st_size, path.stat().st_mtime_ns) for path in paths]
