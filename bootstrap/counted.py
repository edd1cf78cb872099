"""How many images a run has done: while it runs by what it leaves beside its results, then by their summary."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from botocore.exceptions import ClientError

from bootstrap.aws import client, foreseen
from bootstrap.locations import Location
from bootstrap.run import Seen
from job.contract import PROGRESS, STAGING, SUMMARY
from job.pace import Pace

HIDDEN = ("NoSuchKey", "AccessDenied", "404", "403")  # not there; S3 says "denied" of it to who may not list


def pace_of(seen: Seen) -> Pace | None:
    """Images done of all, and how fast. None before the first is, and of what another run left there or may not be read."""
    if not seen.results:
        return None
    return _summarised(seen, seen.results) if seen.has_ended else _told(seen, seen.results)


def _told(seen: Seen, results: Location) -> Pace | None:
    found = _read(results / STAGING / PROGRESS, region=seen.run.deployment.region)
    if found is None or found[1] < seen.tried:  # by a run or an attempt that was killed: the next one takes it away once it has started
        return None
    try:
        return Pace.from_json(found[0])
    except ValueError:  # a later version's
        return None


def _summarised(seen: Seen, results: Location) -> Pace | None:
    """By the account of featurizing, if that is this run's: a later run of the same name replaces it."""
    found = _read(results / SUMMARY, region=seen.run.deployment.region)
    try:
        account: dict[str, Any] = json.loads(found[0] if found else "")["featurize"]
        finished = datetime.fromisoformat(account["finished"])
        images, before = account["images"], account.get("stayed", 0)  # an account of an earlier version has none
        pace = Pace(images, images, account["faults"], before, account["seconds"]["featurize"])
    except (ValueError, KeyError, TypeError):  # none, or of another version
        return None
    return pace if seen.created.replace(microsecond=0) <= finished <= (seen.ended or finished) else None


def _read(place: Location, *, region: str) -> tuple[str, datetime] | None:
    """The text of an object and when it was written, by the store's clock; None where it cannot be had."""
    with foreseen(f"reading {place}"):
        try:
            found = client("s3", region=region).get_object(Bucket=place.bucket, Key=place.key)
        except ClientError as error:
            if error.response["Error"].get("Code") in HIDDEN:
                return None
            raise
        return found["Body"].read().decode(), found["LastModified"]
