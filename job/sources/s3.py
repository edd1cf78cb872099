"""Images in S3: listed by boto3, read by obstore, whose requests cost a fraction of boto3's processor time (docs/decisions/0005).

Keys are text and taken as they are: a path is "s3://bucket/" and the key. obstore cannot name every key, so boto3 reads those few.
"""

from __future__ import annotations

import errno
import functools
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from threading import Lock
from typing import Any

import obstore
from obstore.auth.boto3 import Boto3CredentialProvider
from obstore.exceptions import BaseError, PermissionDeniedError
from obstore.store import S3Store

from job import s3
from job.ahead import ahead
from job.errors import NoImages, StorageFailed
from job.sources import keys
from job.sources.keys import Range
from job.sources.readers import Data, Entry, Found, attempt, marks_folder

REQUESTS = 32  # at once in a worker
WANTED_PER_RANGE = 4  # pieces wanted for each range: a range is found by a look at the store, and weighs about what another does

# Shorter than the ten minutes for which boto3 promises that what it hands out stays valid, longer than obstore's five of reserve
CREDENTIALS_TTL = timedelta(minutes=9)

# Each wait is drawn between the first and `base` times the one before: it grows by half of `base` on average. By 2 it hardly does,
# and ten attempts can be over in two seconds, sooner than a store that is away for a few is back.
RETRIES: Any = {
    "max_retries": 40,  # the two minutes are over before, as a rule
    "retry_timeout": timedelta(minutes=2),
    "backoff": {"init_backoff": timedelta(milliseconds=100), "max_backoff": timedelta(seconds=10), "base": 3},
}


_making = Lock()


class S3Lister:
    """Prefixes of S3, in ranges of their keys."""

    seeks = True

    def __init__(self, roots: tuple[str, ...]) -> None:
        self._roots = sorted(roots)

    def check(self) -> None:
        """Finds out with two requests a root whether images can be listed and read."""
        for root in self._roots:
            _check(root)

    def pieces(self, *, wanted: int) -> list[Range]:
        each = -(-wanted // len(self._roots))
        pieces = [Range(root) for root in self._roots]
        if each <= WANTED_PER_RANGE:
            return pieces
        few = ahead(lambda piece: keys.are_few(functools.partial(scan, piece.root), piece), pieces, threads=keys.LOOKS_AT_ONCE)
        return [part for piece, one in zip(pieces, few, strict=True) for part in ([piece] if one else self.split(piece, wanted=each))]

    def follow(self, piece: Range) -> Iterator[tuple[str, Entry | None]]:
        return keys.follow(functools.partial(scan, piece.root), piece)

    def split(self, piece: Range, *, wanted: int) -> list[Range]:
        return keys.split(functools.partial(scan, piece.root), piece, wanted=-(-wanted // WANTED_PER_RANGE))


def scan(root: str, after: str, at_once: int) -> Iterator[Entry]:
    """What lies below `root`, however deep, from the first name after `after`; asked for `at_once` keys at a time, in order of name."""
    bucket, prefix = _prefix_of(root)
    start = {"StartAfter": prefix + after} if after else {}
    for page in s3.pages(bucket, prefix, **start, PaginationConfig={"PageSize": at_once}):
        for found in page.get("Contents", ()):
            if not marks_folder(found["Key"], found["Size"]):
                yield _entry(bucket, found)


def _check(root: str) -> None:
    bucket, prefix = _prefix_of(root)
    page = next(s3.pages(bucket, prefix, PaginationConfig={"MaxItems": 8, "PageSize": 8}))
    found = [item for item in page.get("Contents", ()) if not marks_folder(item["Key"], item["Size"])]
    if not found:
        raise NoImages(f"no objects under s3://{bucket}/{prefix}", "check --images: a key's case and slashes count")
    try:
        S3Reader().read(f"s3://{bucket}/{found[0]['Key']}", limit=0)
    except PermissionError as error:
        raise StorageFailed(
            f"{error.filename}: access denied to s3:GetObject", "the role or user of this run needs s3:GetObject there"
        ) from error
    except FileNotFoundError:
        pass  # removed since; others may be there


class S3Reader:
    """Objects in S3, or in a store that speaks its protocol. A request that stays away is tried again on a new connection."""

    in_flight, knows_sizes = 4, True  # the requests of a chunk go out together

    def read_many(self, paths: Sequence[str], *, limit: int) -> list[Data]:
        return list(_pool().map(functools.partial(attempt, self.read, limit=limit), paths))

    def read(self, path: str, *, limit: int) -> Found:
        bucket, key = _split(path)
        if not _nameable(key):
            return _read_by_boto3(bucket, key, limit=limit)
        try:
            found = obstore.get(_store(bucket), key)
            said = found.meta
            data = bytes(found.bytes()) if said["size"] <= limit else None
            return Found(data, said["size"], _micros(said["last_modified"]), _bare(said["e_tag"]))
        except FileNotFoundError as error:
            raise FileNotFoundError(errno.ENOENT, "no such object: removed since it was listed", path) from error
        except PermissionDeniedError as error:
            raise PermissionError(errno.EACCES, "access denied to s3:GetObject", path) from error
        except (BaseError, OSError, ValueError) as error:
            if "<Code>ExpiredToken<" in str(error):  # obstore keeps a token for minutes; boto3 asks for another, or says what is wrong
                return _read_by_boto3(bucket, key, limit=limit)
            raise StorageFailed(f"{path} cannot be read: {_reason(error)}", "run again; where it stays, ask who keeps the store") from error


def _read_by_boto3(bucket: str, key: str, *, limit: int) -> Found:
    with s3.foreseen(f"s3://{bucket}/{key}"):
        data, said = s3.get(bucket, key, lambda said: said["Body"].read() if said["ContentLength"] <= limit else None)
    return Found(data, said["ContentLength"], _micros(said["LastModified"]), _bare(said["ETag"]))


@functools.cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(REQUESTS, thread_name_prefix="s3")


def _store(bucket: str) -> S3Store:
    """obstore's client of a bucket; the first of many threads makes it."""
    with _making:
        return _made_store(bucket)


@functools.cache
def _made_store(bucket: str) -> S3Store:
    """A client with boto3's credentials, endpoint and region."""
    endpoint = s3.client().meta.endpoint_url
    where = {} if s3.AMAZON.fullmatch(endpoint) else {"endpoint": endpoint}
    try:
        who = Boto3CredentialProvider(s3.session(), ttl=CREDENTIALS_TTL)
    except ValueError as error:
        raise StorageFailed("no AWS credentials found", s3.CREDENTIALS_HINT) from error
    options: Any = {
        "connect_timeout": timedelta(seconds=s3.CONNECT_S),
        "timeout": timedelta(seconds=s3.ANSWER_S),
        "allow_http": endpoint.startswith("http://"),
    }
    return S3Store(
        bucket,
        region=s3.region_of(bucket),
        virtual_hosted_style_request=not where and "." not in bucket,  # Amazon's certificate covers names without dots
        credential_provider=who,
        client_options=options,
        retry_config=RETRIES,
        **where,
    )


def _split(path: str) -> tuple[str, str]:
    bucket, _, key = path.removeprefix("s3://").partition("/")
    return bucket, key


def _prefix_of(folder: str) -> tuple[str, str]:
    """Bucket and what the keys in a folder begin with. "s3://b" is the bucket, "s3://b/" a folder without a name in it."""
    bucket, slash, key = folder.removeprefix("s3://").partition("/")
    return bucket, key + "/" if slash else ""


def _nameable(key: str) -> bool:
    """obstore reads this key and not another: it drops slashes at the ends, and refuses empty segments, dots and control characters."""
    return key.isprintable() and not {"", ".", ".."} & set(key.split("/"))


def _entry(bucket: str, found: dict[str, Any]) -> Entry:
    return Entry(f"s3://{bucket}/{found['Key']}", found["Size"], _micros(found["LastModified"]), _bare(found["ETag"]))


def _micros(when: datetime) -> int:
    return round(when.timestamp() * 1e6)


def _bare(etag: str | None) -> str | None:
    """An etag without the quotes that it has in a header."""
    return etag and etag.strip('"')


def _reason(error: BaseException) -> str:
    """What obstore says, without the stack that it appends."""
    return " ".join(str(error).partition("\n\nDebug source")[0].split())[:300]
