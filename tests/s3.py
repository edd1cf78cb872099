"""S3 on this machine: moto behind a door that can count, hold up and refuse requests. Nothing here can reach AWS."""

from __future__ import annotations

import base64
import functools
import io
import logging
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from werkzeug.serving import make_server

from job import s3
from job.sources import s3 as images

Wsgi = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

LOCAL = {  # stands before whatever a developer's shell and home folder say
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_SESSION_TOKEN": "testing",
    "AWS_REGION": "eu-west-1",
    "AWS_CONFIG_FILE": "/dev/null",
    "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_ENDPOINT_URL": "http://127.0.0.1:9",  # nobody answers there
    "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9",
}

CONDITIONS = ("HTTP_IF_MATCH", "HTTP_IF_NONE_MATCH")
PATIENCE_S = 60.0


@functools.cache
def _moto() -> Wsgi:
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

    return DomainDispatcherApplication(create_backend_app)


@dataclass
class Door:
    """What happens to requests on their way in.

    refuse   says of (method, path) which status to answer with, None to let it through
    cut      says of (method, path) what becomes of a body after its half: "off" or "stall", None where all of it is sent
    seen     requests so far, by method and path
    """

    refuse: Callable[[str, str], int | None] = lambda _method, _path: None
    cut: Callable[[str, str], str | None] = lambda _method, _path: None
    seen: Counter[tuple[str, str]] = field(default_factory=Counter)
    _inside: int = 0
    _left: threading.Condition = field(default_factory=threading.Condition)
    _in_one: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, environ: dict[str, Any], respond: Callable[..., Any]) -> Iterable[bytes]:
        with self._left:
            self._inside += 1
        try:
            return self._answer(environ, respond)
        finally:
            with self._left:
                self._inside -= 1
                self._left.notify_all()

    def wait_until_empty(self) -> None:
        """Until all that has come in is done, also for clients that are gone by now."""
        with self._left:
            assert self._left.wait_for(lambda: not self._inside, PATIENCE_S)

    def _answer(self, environ: dict[str, Any], respond: Callable[..., Any]) -> Iterable[bytes]:
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        self.seen[method, path] += 1
        refused = self.refuse(method, path)
        damaged = None if refused else _refuse_damaged(environ)
        if not (status := refused or damaged):
            # What is written on a condition: S3 looks and writes in one, and moto in two
            with self._in_one if any(name in environ for name in CONDITIONS) else nullcontext():
                answer = _moto()(environ, respond)
            how = self.cut(method, path)
            return _half(b"".join(answer), how) if how else answer
        environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        code = "BadDigest" if damaged else {400: "ExpiredToken", 403: "AccessDenied", 503: "SlowDown"}.get(status, "InternalError")
        respond(f"{status} {code}", [("Content-Type", "application/xml"), ("Connection", "close")])
        return [f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode()]

    def open(self) -> None:
        """Lets everything through, and forgets what it saw."""
        self.refuse = self.cut = lambda _method, _path: None
        self.seen.clear()


def _half(body: bytes, how: str) -> Iterator[bytes]:
    """Half of a body, of which the head has said that it is longer."""
    yield body[: len(body) // 2]
    if how == "stall":
        time.sleep(1)  # longer than a test has its client wait
    raise ConnectionResetError  # at which the server closes the connection


def _refuse_damaged(environ: dict[str, Any]) -> int | None:
    """400 for a body whose CRC32 is not the one that its header claims, as S3 answers; moto believes any."""
    if not (claimed := environ.get("HTTP_X_AMZ_CHECKSUM_CRC32")) or environ["REQUEST_METHOD"] != "PUT":
        return None
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    environ["wsgi.input"] = io.BytesIO(body)
    return None if base64.b64decode(claimed) == zlib.crc32(body).to_bytes(4, "big") else 400


def forget() -> None:
    """Clients are made anew, from the environment as it is now."""
    for cached in (s3.client, s3.session, s3.region_of, images._made_store):
        cached.cache_clear()


def refuse_aws() -> None:
    """A test that is about to talk to anything but this machine fails first."""
    host = urlsplit(s3.client().meta.endpoint_url).hostname
    assert host in ("127.0.0.1", "localhost"), f"tests may not talk to {host}"


class Server:
    """A server at a free port of 127.0.0.1, on a thread of this process."""

    def __init__(self) -> None:
        logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
        self.door = Door()
        self._server = make_server("127.0.0.1", 0, self.door, threaded=True)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
