"""Python workers that read S3 another way, which the environment names: a daemon for spark.python.daemon.module."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cache
from threading import Lock
from typing import Any

from pyspark import daemon

from job.sources import s3
from job.sources.readers import Data, Found, attempt

READER = "VERGER_BENCH_READER"
AS_DAEMON = {"PYSPARK_SUBMIT_ARGS": "--conf spark.python.daemon.module=tests.bench.s3_readers pyspark-shell"}


class SerialReader(s3.S3Reader):
    """One request at a time. The next chunk is read while one is decoded, as Spark's own reader is ahead of Python by a buffer."""

    in_flight = 1

    def read_many(self, paths: Sequence[str], *, limit: int) -> list[Data]:
        return [attempt(self.read, path, limit=limit) for path in paths]


class Boto3Reader(s3.S3Reader):
    """As the job reads, by boto3."""

    def read(self, path: str, *, limit: int) -> Found:
        from job.s3 import client

        bucket, _, key = path.removeprefix("s3://").partition("/")
        data = client().get_object(Bucket=bucket, Key=key)["Body"].read(limit + 1)
        return Found(data, len(data))


class ArrowReader(s3.S3Reader):
    """As the job reads, by pyarrow's S3FileSystem."""

    def read(self, path: str, *, limit: int) -> Found:
        with _making:
            files = _arrow_files()
        with files.open_input_file(path.removeprefix("s3://")) as file:
            data = file.read(limit + 1)
        return Found(data, len(data))


_making = Lock()  # pyarrow starts its S3 once, and many threads ask for it


@cache
def _arrow_files() -> Any:
    from pyarrow import fs

    scheme, _, endpoint = os.environ["AWS_ENDPOINT_URL_S3"].partition("://")
    fs.initialize_s3(num_event_loop_threads=1)
    return fs.S3FileSystem(endpoint_override=endpoint, scheme=scheme)


READERS = {"serial": SerialReader, "boto3": Boto3Reader, "pyarrow": ArrowReader}

if READER in os.environ:
    s3.S3Reader = READERS[os.environ[READER]]  # type: ignore[misc]  # before any worker is forked

if __name__ == "__main__":
    daemon.manager()
