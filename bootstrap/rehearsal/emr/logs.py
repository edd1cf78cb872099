"""Where the driver's logs go: lines to CloudWatch while it runs, files to S3 when it has ended."""

from __future__ import annotations

import gzip
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

WORKER = "SPARK_DRIVER"
EVERY_S = 1.0
GROUP = "/aws/emr-serverless"  # where an application names none


class Logs:
    """monitoring: an application's monitoringConfiguration. place: applications/…/jobs/…, of this attempt. aws: a client, by service."""

    def __init__(self, monitoring: Mapping[str, Any], place: str, aws: Callable[[str], Any], *, files: Mapping[str, Path]) -> None:
        self._files, self._place, self._aws = files, place, aws
        self._log_uri: str = monitoring.get("s3MonitoringConfiguration", {}).get("logUri", "")
        cloudwatch = monitoring.get("cloudWatchLoggingConfiguration", {})
        self._group = cloudwatch.get("logGroupName", GROUP) if cloudwatch.get("enabled") else ""
        prefix = cloudwatch.get("logStreamNamePrefix", "")
        self._stream = f"{prefix}/{place}" if prefix else place
        wanted = cloudwatch.get("logTypes", {WORKER: ["STDOUT", "STDERR"]}).get(WORKER, [])
        self._streamed = {name: 0 for name in files if name.upper() in wanted}  # bytes that have gone
        self._client: Any = None
        self._last = 0.0

    def open(self) -> None:
        """Makes the streams. ClientError where the role may not, or the group is not there."""
        if not self._group:
            return
        self._client = self._aws("logs")
        found = self._client.describe_log_groups(logGroupNamePrefix=self._group)["logGroups"]
        if not any(group["logGroupName"] == self._group for group in found):
            self._client.create_log_group(logGroupName=self._group)
        for name in self._streamed:
            stream = f"{self._stream}/{WORKER}/{name}"
            there = self._client.describe_log_streams(logGroupName=self._group, logStreamNamePrefix=stream)["logStreams"]
            if not there:
                self._client.create_log_stream(logGroupName=self._group, logStreamName=stream)

    def stream(self, *, now: bool = False) -> None:
        """Sends what has been written since, once a second."""
        if not self._client or (time.monotonic() - self._last < EVERY_S and not now):
            return
        self._last = time.monotonic()
        for name in self._streamed:
            if not (lines := self._fresh(name)):
                continue
            events = [{"timestamp": int(time.time() * 1000), "message": line} for line in lines]
            for start in range(0, len(events), 1000):
                self._client.put_log_events(
                    logGroupName=self._group, logStreamName=f"{self._stream}/{WORKER}/{name}", logEvents=events[start : start + 1000]
                )

    def _fresh(self, name: str) -> list[str]:
        """Whole lines that have not been sent."""
        with self._files[name].open("rb") as opened:
            opened.seek(self._streamed[name])
            data = opened.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._streamed[name] += len(whole)
        return [line for line in whole.decode(errors="replace").splitlines() if line]

    def close(self) -> None:
        """Sends the rest, and the files to S3."""
        self.stream(now=True)
        if not self._log_uri:
            return
        where = urlsplit(self._log_uri)
        base = where.path.strip("/")
        for name, file in self._files.items():
            key = "/".join(part for part in (base, self._place, WORKER, f"{name}.gz") if part)
            self._aws("s3").put_object(Bucket=where.netloc, Key=key, Body=gzip.compress(file.read_bytes()))
