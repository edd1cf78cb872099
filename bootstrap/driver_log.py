"""Why a run failed, by its driver's log: first what the job itself gives as the reason, then the last lines."""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO

from bootstrap.aws import client, foreseen
from bootstrap.console import printable
from bootstrap.run import Run, Seen

DRIVER = "SPARK_DRIVER/"
FILES = ("stderr.gz", "stdout.gz")  # what a Python driver says on stderr comes on stdout: spark-submit's PythonRunner sends it there
LAST = 15  # lines that are shown
ATTEMPT = re.compile(r"/attempts/(\d+)/")  # in the paths of runs that may be tried again
RAISED = re.compile(r"(Caused by: |: )?[\w.$]*(Error|Exception|Killed|Interrupted)\b.*")  # of a traceback, of the JVM or of Python
# What Spark fetches of a run is said by Hadoop's S3A with its address; AWS' SDK below it says the reason only
OF_SDK, AT = "Caused by: software.amazon.awssdk.", re.compile(r"[\w.$]*Exception: (s3a?://\S+): .*")
DENIED_OR_GONE = "it is not there, or the role may not read it, which is the same answer without s3:ListBucket; bootstrap doctor tells"


@dataclass(frozen=True, slots=True)
class LastWords:
    """cause, hint: "" where the log does not say."""

    cause: str
    hint: str
    lines: tuple[str, ...]


def last_words(run: Run, *, attempt: int) -> LastWords | None:
    """Of the driver in that attempt; None until its log has arrived."""
    with foreseen(f"reading {run.logs}"):
        s3 = client("s3", region=run.deployment.region)
        pages = s3.get_paginator("list_objects_v2").paginate(Bucket=run.logs.bucket, Prefix=run.logs.prefix)
        keys = _of_attempt(attempt, [each["Key"] for page in pages for each in page.get("Contents", ())])
        logs = [_unpacked(s3.get_object(Bucket=run.logs.bucket, Key=key)["Body"].read()) for key in keys]
    lines = [printable(line.expandtabs(4)) for log in logs for line in log.decode(errors="replace").splitlines() if line.strip()]
    return read_cause(lines) if keys else None


def may_come(seen: Seen) -> bool:
    """Whether there is a log to come: its run has had a driver, and its application writes logs to S3."""
    if not seen.started:
        return False
    with foreseen(f"looking at application {seen.run.deployment.application_id}"):
        emr = client("emr-serverless", region=seen.run.deployment.region)
        said = emr.get_application(applicationId=seen.run.deployment.application_id)["application"]
    return "logUri" in said.get("monitoringConfiguration", {}).get("s3MonitoringConfiguration", {})


def _unpacked(log: bytes) -> bytes:
    """As much of a gzip file as is whole: half of a log says something, too."""
    found = bytearray()
    with suppress(EOFError, gzip.BadGzipFile, zlib.error), gzip.GzipFile(fileobj=BytesIO(log)) as file:
        while part := file.read1():
            found += part
    return bytes(found)


def _of_attempt(number: int, keys: Sequence[str]) -> list[str]:
    """Those of the driver: where a run is tried once only, its logs' paths say nothing of attempts."""
    mine = [key for key in keys if (found := ATTEMPT.search(key)) is None or int(found[1]) == number]
    return [key for name in FILES for key in mine if key.endswith(DRIVER + name)]


def read_cause(lines: Sequence[str]) -> LastWords:
    """The job's own error and hint, or else the exception that was raised last."""
    words = LastWords("", "", tuple(lines[-LAST:]))
    for place, line in _from_the_end(lines):
        if line.startswith("error: "):
            after = lines[place + 1] if place + 1 < len(lines) else ""
            return LastWords(line.removeprefix("error: "), after.removeprefix("hint: ") if after.startswith("hint: ") else "", words.lines)
    raised = [line for _, line in _from_the_end(lines) if RAISED.match(line)]
    named = [line for line in raised if AT.search(line)] if raised and raised[0].startswith(OF_SDK) else []
    cause = next(iter(named or raised), "")
    return LastWords(cause, DENIED_OR_GONE if named and "AccessDenied" in cause else "", words.lines)


def _from_the_end(lines: Sequence[str]) -> Iterator[tuple[int, str]]:
    return reversed(list(enumerate(lines)))
