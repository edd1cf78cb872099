"""A store that answers after a while, for little processor time: the peer of the S3 benches.

    python -m tests.bench.s3_server --milliseconds N (--bytes N | --folder DIR)

Every GET is answered with the same bytes, or with a file of a folder, which is one bucket of any name and can be listed. All of it is
kept in memory. Listens at a free port of 127.0.0.1, prints the address, and serves until its stdin ends.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import subprocess
import sys
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TypeAlias, cast
from urllib.parse import parse_qs, quote, urlsplit
from xml.sax.saxutils import escape

from tests.bench.harness import ROOT

Answer: TypeAlias = Callable[[bytes], bytes]  # the head of a request -> all of its answer
DATE = "Thu, 01 Jan 2026 00:00:00 GMT"
PAGE = 1_000  # keys in a page of a listing, as S3 has it
RANGE = re.compile(rb"\r\nrange: bytes=0-(\d+)\r\n", re.IGNORECASE)


class Objects:
    """Answers from the files of a folder: GET, also of a first range, HEAD of the bucket, ListObjectsV2."""

    def __init__(self, folder: Path) -> None:
        found = {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
        self._sizes = {key: len(found[key]) for key in sorted(found)}
        self._keys = list(self._sizes)
        self._objects = {quote(key).encode(): _object(data) for key, data in found.items()}
        self._page = lru_cache(maxsize=None)(self._listed)

    def __call__(self, head: bytes) -> bytes:
        method, target, _ = head.split(b" ", 2)
        key = target[1:].partition(b"/")[2]
        if found := self._objects.get(key):
            return _first(found, int(asked[1]) + 1) if (asked := RANGE.search(head)) else found
        if method == b"HEAD":
            return _answer(b"", "x-amz-bucket-region: us-east-1")
        query = parse_qs(urlsplit(target.decode()).query)
        if "list-type" not in query:
            return _answer(b"<Error><Code>NoSuchKey</Code></Error>", status="404 Not Found")
        prefix, delimiter, start = (query.get(name, [""])[0] for name in ("prefix", "delimiter", "start-after"))
        after = query.get("continuation-token", [start])[0]
        return self._page(prefix, delimiter, after, min(PAGE, int(query.get("max-keys", [PAGE])[0])))

    def _listed(self, prefix: str, delimiter: str, after: str, most: int) -> bytes:
        """One page: up to `most` keys and common prefixes behind `after`."""
        items: dict[str, str] = {}
        place = bisect_right(self._keys, max(after, prefix[:-1]))
        while place < len(self._keys) and len(items) < most:
            key = self._keys[place]
            if not key.startswith(prefix):
                break
            folder, cut, _ = key[len(prefix) :].partition(delimiter) if delimiter else (key, "", "")
            common = prefix + folder + cut if cut else ""
            items[common or key] = _common(common) if common else _contents(key, self._sizes[key])
            place = bisect_right(self._keys, common + chr(0x10FFFF)) if common else place + 1
        more = place < len(self._keys) and self._keys[place].startswith(prefix)
        last = self._keys[place - 1]
        token = f"<NextContinuationToken>{escape(last)}</NextContinuationToken>" if more else ""
        truncated = f"<IsTruncated>{str(more).lower()}</IsTruncated>{token}<KeyCount>{len(items)}</KeyCount>"
        return _answer(f"<ListBucketResult>{truncated}{''.join(items.values())}</ListBucketResult>".encode())


def same(size: int) -> Answer:
    """The same object for every request."""
    answer = _object(b"x" * size)
    return lambda _head: answer


def _object(data: bytes) -> bytes:
    return _answer(data, 'ETag: "x"', f"Last-Modified: {DATE}")


def _first(answer: bytes, size: int) -> bytes:
    """The first bytes of an object."""
    data = answer.partition(b"\r\n\r\n")[2]
    content = f"Content-Range: bytes 0-{min(size, len(data)) - 1}/{len(data)}"
    return _answer(data[:size], 'ETag: "x"', f"Last-Modified: {DATE}", content, status="206 Partial Content")


def _answer(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", f"Date: {DATE}", *headers, "", ""]).encode() + body


def _contents(key: str, size: int) -> str:
    modified = "2026-01-01T00:00:00.000Z"
    return f'<Contents><Key>{escape(key)}</Key><LastModified>{modified}</LastModified><ETag>"x"</ETag><Size>{size}</Size></Contents>'


def _common(prefix: str) -> str:
    return f"<CommonPrefixes><Prefix>{escape(prefix)}</Prefix></CommonPrefixes>"


class _Answering(asyncio.Protocol):
    def __init__(self, answer: Answer, delay_s: float) -> None:
        self.answer, self.delay_s, self.received = answer, delay_s, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self.received += data
        while b"\r\n\r\n" in self.received:
            head, _, self.received = self.received.partition(b"\r\n\r\n")
            answer = self.answer(head + b"\r\n")
            if self.delay_s:
                asyncio.get_running_loop().call_later(self.delay_s, self.transport.write, answer)
            else:
                self.transport.write(answer)


async def serve(answer: Answer, delay_s: float) -> None:
    """Serves until stdin ends."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Answering(answer, delay_s), "127.0.0.1", 0, backlog=1024)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


@contextmanager
def store(milliseconds: float, what: Sequence[str]) -> Iterator[tuple[str, int]]:
    """A store as a process of its own: its address and its process id. `what` is --bytes N or --folder DIR."""
    command = [sys.executable, "-m", "tests.bench.s3_server", "--milliseconds", str(milliseconds), *what]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        yield server.stdout.readline().strip(), server.pid  # leaving closes its stdin, which ends it


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.s3_server")
    parser.add_argument("--milliseconds", type=float, required=True, metavar="N", help="from request to answer")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--bytes", type=int, metavar="N", help="of every object")
    what.add_argument("--folder", type=Path, metavar="DIR", help="whose files are the objects")
    flags = parser.parse_args()
    asyncio.run(serve(Objects(flags.folder) if flags.folder else same(flags.bytes), flags.milliseconds / 1000))


if __name__ == "__main__":
    main()
