"""A store that answers every GET with the same bytes after a while, and little processor time: the peer of the S3 bench.

    python -m tests.bench.s3_server --milliseconds N --bytes N

Listens at a free port of 127.0.0.1, prints the address, and serves until its stdin ends.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from typing import cast


class _Answering(asyncio.Protocol):
    def __init__(self, answer: bytes, delay_s: float) -> None:
        self.answer, self.delay_s, self.received = answer, delay_s, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self.received += data
        while b"\r\n\r\n" in self.received:
            self.received = self.received.partition(b"\r\n\r\n")[2]
            asyncio.get_running_loop().call_later(self.delay_s, self.transport.write, self.answer)


async def serve(answer: bytes, delay_s: float) -> None:
    """Serves until stdin ends."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Answering(answer, delay_s), "127.0.0.1", 0)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.s3_server")
    parser.add_argument("--milliseconds", type=float, required=True, metavar="N", help="from request to answer")
    parser.add_argument("--bytes", type=int, required=True, metavar="N", help="of every object")
    flags = parser.parse_args()
    head = f'HTTP/1.1 200 OK\r\nContent-Length: {flags.bytes}\r\nETag: "x"\r\nLast-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\n\r\n'
    asyncio.run(serve(head.encode() + b"x" * flags.bytes, flags.milliseconds / 1000))


if __name__ == "__main__":
    main()
