"""Clients of AWS, and its errors as one line with what to do next."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import boto3
from botocore import exceptions as boto
from botocore.config import Config
from botocore.parsers import ResponseParserError
from s3transfer import exceptions as transfer

from bootstrap.errors import BootstrapError

RETRIES = 10  # boto3's standard mode waits up to 20 s before each: minutes of throttling or of no network, in all

HINTS = {
    "400": "where the credentials have expired: get new ones and ask again",  # a HEAD's answer has no code but its status
    "404": "it is not there; cdk deploy uploads what is missing",
    "AccessDenied": "the role or user lacks this permission; infra/delivery.py lists what starting and following a run needs",
    "ConflictException": "this was asked for before with other settings; --again makes it a new run",
    "ExpiredToken": "the credentials have expired; get new ones and ask again",
    "InvalidAccessKeyId": "AWS does not know these credentials; which profile is this? aws sts get-caller-identity",
    "NoSuchEntity": "deploy the environment again",
    "NoSuchBucket": "the bucket's name is the output BucketName of `cdk deploy`",
    "ParameterNotFound": "deploy the environment first, or name the region that it is in with --region",
    "ResourceNotFoundException": "it may have been deleted, or deployed again meanwhile",
    "Throttling": "AWS asks for fewer requests; try again in a minute",
    "TooManyRequestsException": "AWS asks for fewer requests; try again in a minute",
    "InvalidClientTokenId": "AWS does not know these credentials; which profile is this? aws sts get-caller-identity",
    "UnrecognizedClientException": "AWS does not know these credentials; which profile is this? aws sts get-caller-identity",
}


MISSING = ("ResourceNotFound",)
DENIED = ("AccessDenied", "403", "Forbidden", "UnauthorizedOperation")
EXPIRED = ("ExpiredToken", "RequestExpired", "400")
BUSY = ("Throttling", "TooManyRequests", "SlowDown", "ServiceUnavailable", "InternalServer", "InternalError")
# Of downloads in parts: the network, or the object, was another one halfway. They are no kinds of boto3's own
BROKEN_OFF = (transfer.RetriesExceededError, transfer.S3DownloadFailedError, transfer.S3ValidationError)
HINTS_OF_FILES = {
    boto.ProfileNotFound: "AWS_PROFILE names it; aws configure list-profiles has those that there are",
    boto.PartialCredentialsError: "key id and secret go together, in a file or in the environment; or name another profile by AWS_PROFILE",
    boto.ConfigParseError: "mend that file, or name another by AWS_CONFIG_FILE or AWS_SHARED_CREDENTIALS_FILE",
}
UNREADABLE = tuple(HINTS_OF_FILES)
NO_RENEWAL = (boto.TokenRetrievalError, boto.UnauthorizedSSOTokenError, boto.SSOTokenLoadError, boto.CredentialRetrievalError)


class Denied(BootstrapError):
    """AWS knows who asks, and does not let them."""


class Missing(BootstrapError):
    """AWS has no such thing."""


class Unreadable(BootstrapError):
    """The files or variables that say who asks, and where, are incomplete or broken."""


class Expired(BootstrapError):
    """The credentials were good once. New ones may come."""


class Unreachable(BootstrapError):
    """AWS gives no answer, or asks for fewer requests. It may pass."""


def client(service: str, *, region: str | None, connections: int = 10) -> Any:
    """A boto3 client that retries. connections: requests at once. BootstrapError for an endpoint that is none.

    region None is that of AWS_REGION, as in AWS' other tools, which boto3 itself does not read; else of AWS_DEFAULT_REGION or the profile.
    """
    retries = {"mode": "standard", "total_max_attempts": RETRIES}
    region = region or os.environ.get("AWS_REGION") or None
    try:
        return boto3.client(service, region_name=region, config=Config(retries=retries, max_pool_connections=connections))
    except boto.BotoCoreError:  # some of which are ValueErrors as well
        raise
    except ValueError as error:
        raise BootstrapError(_line(str(error)), "AWS_ENDPOINT_URL begins with https:// or http://") from error


def look_for_new_credentials() -> bool:
    """Has later clients look for credentials where the first ones found them. False where those cannot change: in the environment."""
    found = (boto3.DEFAULT_SESSION or boto3.Session()).get_credentials()
    boto3.setup_default_session()
    return found is None or found.method not in ("env", "explicit")


@contextmanager
def foreseen(doing: str) -> Iterator[None]:
    """What AWS refuses inside, as a BootstrapError that says what was being done, of one of the kinds above where it is one."""
    try:
        yield
    except boto.ClientError as error:
        code, message = str(error.response["Error"].get("Code", "")), str(error.response["Error"].get("Message", ""))
        hint = next((hint for known, hint in HINTS.items() if code.startswith(known)), "")
        raise _kind(code)(f"{doing}: {code}{f': {_line(message)}' if message else ''}", hint) from error
    except boto.NoCredentialsError as error:
        raise BootstrapError(f"{doing}: no AWS credentials", "aws configure sso, or set AWS_PROFILE") from error
    except UNREADABLE as error:
        hint = next(hint for kind, hint in HINTS_OF_FILES.items() if isinstance(error, kind))
        raise Unreadable(f"{doing}: {_line(str(error))}", hint) from error
    except boto.NoRegionError as error:
        raise BootstrapError(f"{doing}: no region", "--region, or set AWS_REGION") from error
    except NO_RENEWAL as error:
        raise Expired(f"{doing}: {_line(str(error))}", HINTS["ExpiredToken"]) from error
    except (boto.HTTPClientError, boto.ConnectionError) as error:
        raise Unreachable(f"{doing}: {_line(str(error))}", "is the network there, and is the region's name right?") from error
    except BROKEN_OFF as error:
        why = getattr(error, "last_exception", error)
        raise Unreachable(f"{doing}: broken off: {_line(str(why))}", "try again; is the network there?") from error
    except boto.BotoCoreError as error:
        raise BootstrapError(f"{doing}: {_line(str(error))}", "is the network there, and is the region's name right?") from error
    except ResponseParserError as error:  # no kind of boto3's own, and with all of the answer in its words
        raise not_of_aws(doing) from error


def not_of_aws(doing: str) -> BootstrapError:
    """For an answer that has not the shape of AWS' own."""
    return BootstrapError(f"{doing}: the answer is none of AWS'", "does a proxy ask for a login, or AWS_ENDPOINT_URL name another server?")


def _kind(code: str) -> type[BootstrapError]:
    kinds = {MISSING: Missing, DENIED: Denied, EXPIRED: Expired, BUSY: Unreachable}
    return next((kind for codes, kind in kinds.items() if code.startswith(codes)), BootstrapError)


def _line(text: str) -> str:
    return " ".join(text.split())
