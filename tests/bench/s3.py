"""What a GET costs: processor time and rate of the clients that could read images, against one store on this machine.

    python -m tests.bench.s3 SIDE --url URL --count N      one side, as a process of its own; prints one JSON object

The store's own processor time is not counted, but it shares the cores.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from tests.bench.harness import Figures, Setting, alternate, line, middle, ratio, run_python, scale_note
from tests.bench.s3_server import store

GETS, LATENCY_MS, BYTES, AT_ONCE = 4_000, 30, 5_000, 32
BUCKET = "bench"


def requests(setting: Setting) -> str:
    """Processor milliseconds a GET of the job's reader, of obstore's asyncio interface, of pyarrow and of boto3."""
    count = setting.scaled(GETS)
    with store(LATENCY_MS, ["--bytes", str(BYTES)]) as (url, _):
        runs = alternate({side: partial(_measured, setting, side, url, count) for side in SIDES}, repeats=setting.repeats)
    return line(
        "s3-requests",
        scale_note(setting, GETS, count, "GETs"),
        f"{BYTES:,} bytes after {LATENCY_MS} ms:",
        ", ".join(f"{side} {middle(each, 'ms'):.3f} ms CPU at {middle(each, 'rate'):.0f}/s" for side, each in runs.items()),
        *(f"{side} / reader {ratio(runs[side], runs['reader'], 'ms'):.1f} x" for side in ("asyncio", "pyarrow", "boto3")),
        f"n={setting.repeats}",
    )


def _measured(setting: Setting, side: str, url: str, count: int) -> Figures:
    return run_python(setting, "-m", "tests.bench.s3", side, "--url", url, "--count", str(count)).last_line


def _reader(keys: list[str]) -> None:
    """As a worker reads: chunks of images, a few of them ahead."""
    from job.ahead import ahead
    from job.sources.readers import Data, Found
    from job.sources.reading import CHUNK_IMAGES
    from job.sources.s3 import S3Reader

    reader = S3Reader()
    chunks = (keys[start : start + CHUNK_IMAGES] for start in range(0, len(keys), CHUNK_IMAGES))

    def read(chunk: list[str]) -> list[Data]:
        return reader.read_many([f"s3://{BUCKET}/{key}" for key in chunk], limit=BYTES)

    assert all(isinstance(found, Found) for each in ahead(read, chunks, threads=reader.in_flight) for found in each)


def _asyncio(keys: list[str]) -> None:
    import obstore

    from job.sources.s3 import _store as store_of

    async def read_all() -> None:
        free = asyncio.Semaphore(AT_ONCE)

        async def read(key: str) -> bytes:
            async with free:
                return bytes(await (await obstore.get_async(store_of(BUCKET), key)).bytes_async())

        await asyncio.gather(*map(read, keys))

    asyncio.run(read_all())


def _boto3(keys: list[str]) -> None:
    import boto3
    from botocore.config import Config

    config = Config(max_pool_connections=AT_ONCE, s3={"addressing_style": "path"})
    client = boto3.client("s3", region_name="us-east-1", config=config)

    def read(key: str) -> bytes:
        data: bytes = client.get_object(Bucket=BUCKET, Key=key)["Body"].read()
        return data

    with ThreadPoolExecutor(AT_ONCE) as pool:
        assert all(len(data) == BYTES for data in pool.map(read, keys))


def _pyarrow(keys: list[str]) -> None:
    from pyarrow import fs

    store = fs.S3FileSystem(endpoint_override=os.environ["AWS_ENDPOINT_URL_S3"].removeprefix("http://"), scheme="http")

    def read(key: str) -> bytes:
        with store.open_input_file(f"{BUCKET}/{key}") as file:
            data: bytes = file.read()
        return data

    with ThreadPoolExecutor(AT_ONCE) as pool:
        assert all(len(data) == BYTES for data in pool.map(read, keys))


SIDES: dict[str, Callable[[list[str]], None]] = {"reader": _reader, "asyncio": _asyncio, "pyarrow": _pyarrow, "boto3": _boto3}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.s3")
    parser.add_argument("side", choices=SIDES)
    parser.add_argument("--url", required=True)
    parser.add_argument("--count", type=int, required=True)
    flags = parser.parse_args()
    assert flags.url.startswith("http://127.0.0.1:"), "benches talk to this machine only"
    who = {"AWS_ACCESS_KEY_ID": "bench", "AWS_SECRET_ACCESS_KEY": "bench", "AWS_EC2_METADATA_DISABLED": "true"}
    os.environ.update(who, AWS_ENDPOINT_URL_S3=flags.url, TOKIO_WORKER_THREADS="1")  # as the job's workers have it
    SIDES[flags.side]([f"warm/{place}.jpg" for place in range(AT_ONCE)])
    cpu, started = _cpu_s(), time.perf_counter()
    SIDES[flags.side]([f"images/{place}.jpg" for place in range(flags.count)])
    print(json.dumps({"ms": 1000 * (_cpu_s() - cpu) / flags.count, "rate": flags.count / (time.perf_counter() - started)}))


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
