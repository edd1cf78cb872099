"""Python workers that read one object at a time, as Spark's binaryFile does: a daemon for spark.python.daemon.module."""

from __future__ import annotations

from collections.abc import Sequence

from pyspark import daemon

from job.sources import s3
from job.sources.readers import Data, attempt


class SerialReader(s3.S3Reader):
    """One request at a time. The next chunk is read while one is decoded, as Spark's own reader is ahead of Python by a buffer."""

    in_flight = 1

    def read_many(self, paths: Sequence[str], *, limit: int) -> list[Data]:
        return [attempt(self.read, path, limit=limit) for path in paths]


s3.S3Reader = SerialReader  # type: ignore[misc]  # before any worker is forked

if __name__ == "__main__":
    daemon.manager()
