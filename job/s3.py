"""Amazon S3 as boto3 sees it: one client a process, and its failures as ours. Imported only where S3 is used.

Image bytes, the many small reads, go through job.sources.s3 instead; that asks here who we are and where the store is.
"""

from __future__ import annotations

import errno
import functools
import os
import random
import re
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

import boto3
from botocore import exceptions as boto
from botocore.config import Config
from botocore.credentials import RefreshableCredentials

from job.errors import JobError, StorageFailed

REQUESTS = 64  # at once, where there are many to make: what the driver copies at the end of a run holds up all executors
DELETED_AT_ONCE = 1000  # what DeleteObjects takes
ATTEMPTS = 11  # of a request that meets 500, or nobody: half a minute; that meets 503: a minute, as boto3 then waits longer
CONNECT_S, ANSWER_S = 5.0, 60.0  # for a connection, and an answer, of an image with its body; then it is tried on another connection
BODIES = 5  # attempts at a body that breaks off or stalls
RENEWALS = 4  # attempts of one whose token has expired: seconds, as a run makes many requests before it gives up
LONGEST_PAUSE_S = 20.0  # between two attempts

Taken = TypeVar("Taken")

AMAZON = re.compile(r"https://s3(\.[a-z0-9-]+)?\.amazonaws\.com")  # anything else is addressed path style

ACTIONS = {  # what a policy has to allow, where it is not "s3:" and the operation's name
    "ListObjectsV2": "s3:ListBucket",
    "HeadObject": "s3:GetObject",
    "DeleteObjects": "s3:DeleteObject",
    "CopyObject": "s3:GetObject and s3:PutObject",
}
MISSING = {"NoSuchKey", "NotFound", "404"}
CONFLICT = {"PreconditionFailed", "ConditionalRequestConflict", "412"}
BROKEN_OFF = (boto.ReadTimeoutError, boto.ResponseStreamingError, boto.IncompleteReadError)
DENIED = {"AccessDenied", "Forbidden", "403", "AllAccessDisabled"}
BUSY = {"InternalError", "ServiceUnavailable", "SlowDown"}
EXPIRED = {"ExpiredToken", "400"}  # the second is all that the answer to a HEAD says
UNKNOWN = {"InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "TokenRefreshRequired", "RequestTimeTooSkewed"}
ELSEWHERE = {"PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "301"}

CREDENTIALS_HINT = "set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run where a role is given"
EXPIRED_HINT = "where they have expired: get new ones, such as with aws sso login, and run again"


@functools.cache
def session() -> boto3.Session:
    """Who we are, from the places where boto3 looks; it renews what expires."""
    return boto3.Session()


@functools.cache  # safe to use from several threads
def client() -> Any:
    """The client of this process. Endpoint and region come from the standard places; AWS_REGION first, as in AWS' own services."""
    config = Config(
        connect_timeout=CONNECT_S,
        read_timeout=ANSWER_S,
        retries={"mode": "standard", "total_max_attempts": ATTEMPTS},  # backed off with jitter
        max_pool_connections=2 * REQUESTS,
    )
    region = os.environ.get("AWS_REGION") or session().region_name or "us-east-1"
    try:
        made = session().client("s3", region_name=region, config=config)
        if not AMAZON.fullmatch(made.meta.endpoint_url):
            made = session().client("s3", region_name=region, config=config.merge(Config(s3={"addressing_style": "path"})))
    except (boto.BotoCoreError, ValueError) as error:
        raise StorageFailed(f"S3 cannot be used: {error}", "check AWS_PROFILE, AWS_REGION and AWS_ENDPOINT_URL") from error
    made.meta.events.register("needs-retry.s3", _pause_for_renewal)
    return made


def _pause_for_renewal(*, response: Any, attempts: int, **_: Any) -> float | None:
    """Seconds after which a request whose token had expired is signed and sent again; None where that is no use.

    boto3 renews what a role gives long before it ends, so this is for a giver that is late with its renewal.
    """
    code = response[1].get("Error", {}).get("Code") if response else None
    if code not in EXPIRED or attempts >= RENEWALS or not isinstance(session().get_credentials(), RefreshableCredentials):
        return None
    return pause(attempts)


def pause(attempts: int) -> float:
    """Seconds before another attempt, after so many: at random, so that those who were refused together do not come back together."""
    return random.uniform(0, min(2**attempts, LONGEST_PAUSE_S))


@functools.cache
def region_of(bucket: str) -> str:
    """Where a bucket is: S3 says so even to those who may not look into it. The client's region where the store does not say."""
    with foreseen(f"s3://{bucket}"):
        try:
            said = client().head_bucket(Bucket=bucket)
        except boto.ClientError as error:
            said = error.response
    headers = said["ResponseMetadata"]["HTTPHeaders"]
    return str(headers.get("x-amz-bucket-region") or client().meta.region_name)


def time_of(answer: dict[str, Any]) -> datetime:
    """What time it was at the store when it gave an answer."""
    return parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"])


def pages(bucket: str, prefix: str, **how: Any) -> Iterator[dict[str, Any]]:
    """The answers of ListObjectsV2, a thousand keys each."""
    with foreseen(f"s3://{bucket}/{prefix}"):
        yield from client().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix, **how)


def get(bucket: str, key: str, take: Callable[[dict[str, Any]], Taken], *, attempts: int = 1, **how: Any) -> tuple[Taken, dict[str, Any]]:
    """What `take` makes of the answer of a GET, and the answer. It begins anew where the body breaks off, or stalls for ANSWER_S.

    boto3 tries again only until the head of an answer is there.
    """
    said = client().get_object(Bucket=bucket, Key=key, **how)
    try:
        with said["Body"]:
            return take(said), said
    except BROKEN_OFF:
        if attempts == BODIES:
            raise
    time.sleep(pause(attempts))  # what cut it off may be a server that is busy
    return get(bucket, key, take, attempts=attempts + 1, **how)


def remove(bucket: str, keys: Iterable[str]) -> None:
    """Removes objects, a thousand at a time; one that is not there is no failure."""
    names = list(keys)
    for start in range(0, len(names), DELETED_AT_ONCE):
        _remove(bucket, names[start : start + DELETED_AT_ONCE])


def _remove(bucket: str, keys: list[str], *, attempts: int = 1) -> None:
    """Removes them with one request; those that S3 was too busy for, which boto3 takes for answered, with further ones."""
    with foreseen(f"s3://{bucket}/{keys[0]}"):
        said = client().delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": key} for key in keys], "Quiet": True})
    left = said.get("Errors", ())
    for failed in left:
        if failed["Code"] not in BUSY or attempts == ATTEMPTS:
            raise _failure(failed["Code"], failed.get("Message", ""), "DeleteObjects", f"s3://{bucket}/{failed['Key']}")
    if left:
        time.sleep(pause(attempts))  # boto3's own pauses are for requests that failed as a whole
        _remove(bucket, [failed["Key"] for failed in left], attempts=attempts + 1)


def copy(pairs: Iterable[tuple[tuple[str, str], tuple[str, str]]]) -> None:
    """Has the store copy objects, many at once: ((bucket, key) of the source, of the target)."""
    with ThreadPoolExecutor(REQUESTS) as pool:
        for _ in pool.map(_copy, pairs):
            pass


def _copy(pair: tuple[tuple[str, str], tuple[str, str]]) -> None:
    (bucket, key), (to_bucket, to_key) = pair
    with foreseen(f"s3://{bucket}/{key}"):
        client().copy_object(Bucket=to_bucket, Key=to_key, CopySource={"Bucket": bucket, "Key": key})


@contextmanager
def foreseen(place: str) -> Iterator[None]:
    """Has boto3's exceptions arrive as ours.

    FileNotFoundError for an object that is not there, EOFError for bytes that it has not, FileExistsError where a condition
    did not hold, StorageFailed for the rest.
    """
    try:
        yield
    except boto.ClientError as error:
        said = error.response.get("Error", {})
        raise _failure(str(said.get("Code")), str(said.get("Message")), error.operation_name, place, response=error.response) from error
    except (boto.NoCredentialsError, boto.PartialCredentialsError, boto.CredentialRetrievalError, boto.TokenRetrievalError) as error:
        raise StorageFailed(f"{place}: no usable AWS credentials: {_line(error)}", CREDENTIALS_HINT) from error
    except (boto.HTTPClientError, boto.ConnectionError) as error:
        hint = "check the network, AWS_ENDPOINT_URL and AWS_REGION"
        raise StorageFailed(f"{place}: {client().meta.endpoint_url} cannot be reached: {_line(error)}", hint) from error
    except boto.BotoCoreError as error:
        raise StorageFailed(f"{place}: {_line(error)}", "check the name, and AWS_PROFILE, AWS_REGION and AWS_ENDPOINT_URL") from error


def _failure(code: str, message: str, operation: str, place: str, *, response: Any = None) -> JobError | OSError | EOFError:
    """What to raise for an answer of S3's."""
    action = ACTIONS.get(operation, f"s3:{operation}")
    if code in MISSING:
        return FileNotFoundError(errno.ENOENT, "no such object", place)
    if code == "InvalidRange":  # also of any range of an empty object
        return EOFError(f"{place} has no such bytes")
    if code in CONFLICT:
        return FileExistsError(errno.EEXIST, "another has written it", place)
    if code in DENIED:
        return StorageFailed(f"{place}: access denied to {action}", f"the role or user of this run needs {action} there")
    if code == "NoSuchBucket":
        return StorageFailed(f"{place}: there is no such bucket", "check its name, and AWS_ENDPOINT_URL where that is set")
    if code in EXPIRED:
        return StorageFailed(f"{place}: S3 refuses these credentials: {code}", EXPIRED_HINT)
    if code in UNKNOWN:
        return StorageFailed(f"{place}: S3 refuses these credentials: {code}", CREDENTIALS_HINT)
    if code in ELSEWHERE:
        headers = (response or {}).get("ResponseMetadata", {}).get("HTTPHeaders", {})
        return StorageFailed(
            f"{place}: the bucket is in another region than {client().meta.region_name}",
            f"set AWS_REGION={headers.get('x-amz-bucket-region', 'to the region of the bucket')}",
        )
    return StorageFailed(f"{place}: {operation}: {code}: {message}", "run again; where it stays, ask who keeps the store")


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())
