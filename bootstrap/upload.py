"""Files to S3, many at once, none that is there already.

Whether a file is there is decided by size and CRC32 of the whole, which S3 checked when it took the object and keeps with it. An ETag would
not do: under SSE-KMS and after a multipart upload it is no digest of the content ("Object", Amazon S3 API Reference). Nor would SHA-256,
which S3 keeps of a multipart upload's parts only, where CRCs can be of the whole ("Checking object integrity in Amazon S3", S3 User Guide).
An object without a CRC32 of the whole, as other tools may leave it, is uploaded again.
"""

from __future__ import annotations

import base64
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Literal, TypeAlias, TypeVar

from boto3.s3.transfer import TransferConfig, create_transfer_manager
from botocore.exceptions import BotoCoreError, ClientError

from bootstrap.aws import EXPIRED
from bootstrap.folder import Failure, File
from bootstrap.locations import Location

REQUESTS = 32  # at once: bringing a small file is nearly all waiting
AHEAD = 4 * REQUESTS
BLOCK = 1 << 20
MOST_KEY_BYTES = 1024  # "Naming Amazon S3 objects", S3 User Guide
OURS = TransferConfig(use_threads=False)  # the threads are ours; large files still go in parts

CHANGED = {"BadDigest", "IncompleteBody", "XAmzContentChecksumMismatch"}
OF_ALL = {*EXPIRED, "InvalidAccessKeyId", "InvalidToken", "NoSuchBucket", "SignatureDoesNotMatch"}  # no other file fares better

Outcome: TypeAlias = Literal["uploaded", "skipped"] | Failure
Item = TypeVar("Item")
Result = TypeVar("Result")


class Uploader:
    """Brings files to one folder. sizes: of the objects that are there, by key; dry: nothing is written."""

    def __init__(self, s3: Any, target: Location, *, dry: bool = False) -> None:
        self._s3, self._target, self._dry = s3, target, dry
        self._sizes = dict(_sizes(s3, target))

    def bring(self, file: File) -> Outcome:
        """Has the file in S3, and says how. ClientError or BotoCoreError where no other file would fare better."""
        key = self._target.prefix + file.name
        if (length := len(key.encode())) > MOST_KEY_BYTES:
            return Failure(file.name, f"its key would have {length} bytes, and S3 takes {MOST_KEY_BYTES}")
        try:
            return self._bring(file, key)
        except BotoCoreError:  # some of which are OSErrors as well: the network is gone, not the file
            raise
        except OSError as error:
            return Failure(file.name, error.strerror or str(error))
        except ClientError as error:
            code, message = error.response["Error"].get("Code", ""), error.response["Error"].get("Message", "")
            if code in CHANGED:
                return Failure(file.name, "it changed while it was uploaded")
            if code in OF_ALL:
                raise
            return Failure(file.name, f"{code}: {' '.join(message.split())}", by_s3=True)

    def _bring(self, file: File, key: str) -> Outcome:
        if self._dry and self._sizes.get(key) != file.size:
            return "uploaded"
        checksum = crc32_of(file.path)
        if self._sizes.get(key) == file.size and self._checksum(key) == checksum:
            return "skipped"
        if not self._dry:
            self._upload(file, key, checksum)
        return "uploaded"

    def _checksum(self, key: str) -> str | None:
        """The CRC32 of an object, None where S3 has none of all of it."""
        said = self._s3.head_object(Bucket=self._target.bucket, Key=key, ChecksumMode="ENABLED")
        return said.get("ChecksumCRC32") if said.get("ChecksumType") != "COMPOSITE" else None

    def _upload(self, file: File, key: str, checksum: str) -> None:
        """S3 compares what arrives with the checksum, and keeps nothing where they differ."""
        claims = {"ChecksumAlgorithm": "CRC32", "ChecksumCRC32": checksum}
        with create_transfer_manager(self._s3, OURS) as manager:
            manager.upload(file.path, self._target.bucket, key, claims).result()


def _sizes(s3: Any, target: Location) -> Iterator[tuple[str, int]]:
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=target.bucket, Prefix=target.prefix):
        for found in page.get("Contents", ()):
            yield found["Key"], found["Size"]


def crc32_of(path: str) -> str:
    """The file's CRC32 as S3 writes it: base64 of four bytes, the highest first. OSError where it cannot be read."""
    crc = 0
    with open(path, "rb") as file:
        while block := file.read(BLOCK):
            crc = zlib.crc32(block, crc)
    return base64.b64encode(crc.to_bytes(4, "big")).decode()


def at_once(act: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """act(item) of each, REQUESTS at once and few ahead of whoever takes the results, which come in order.

    What has not begun when the taker stops, or when one raises, is not begun any more; what has is waited for.
    """
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(REQUESTS) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(act, item))
                if len(waiting) > AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
