"""The stand-in's process: `python -m bootstrap.rehearsal.server` serves AWS' protocols at a free port of this machine.

It prints its endpoint as its first line, keeps everything in memory and in one temporary folder, and ends, with the runs that it
started, at SIGTERM, at SIGINT, or when its standard input closes: that is when whoever started it is gone, even by SIGKILL.
A folder that is its argument is its to discard in the last case.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import tempfile
import threading
import warnings
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from werkzeug.serving import make_server

from bootstrap.rehearsal import buckets, cloudformation, permissions, resources, simulator, tagging
from bootstrap.rehearsal.door import Door
from bootstrap.rehearsal.emr.service import Service
from bootstrap.rehearsal.local import local_environment
from bootstrap.rehearsal.remains import discard


def main(owned: Sequence[str]) -> int:
    let_go = threading.Event()
    try:
        _serve(let_go)
    finally:
        for folder in owned if let_go.is_set() else ():
            discard(Path(folder))
    return 0


def _serve(let_go: threading.Event) -> None:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", message="Tried to parse AWS::CDK::Metadata")
    with tempfile.TemporaryDirectory(prefix="verger-rehearsal-") as folder:
        door = Door()
        server = make_server("127.0.0.1", 0, door, threaded=True)
        # Not 127.0.0.1: moto tells from the name `localhost` that a template's address is one of its own
        endpoint = f"http://localhost:{server.server_port}"
        environment = local_environment(os.environ, endpoint=endpoint)
        os.environ.clear()
        os.environ.update(environment)
        service = Service(endpoint, Path(folder))
        door.open(service)
        cloudformation.install()
        permissions.install()
        buckets.install()
        tagging.install()
        simulator.install()
        resources.install(service)
        _end_with_parent(server.shutdown, let_go)
        print(endpoint, flush=True)
        try:
            server.serve_forever()
        finally:
            service.stop()
            server.server_close()


def _end_with_parent(shutdown: object, let_go: threading.Event) -> None:
    """Has the server end at a signal, and at the end of standard input, where it is let go."""

    def end(_number: int = 0, _frame: FrameType | None = None) -> None:
        threading.Thread(target=shutdown, daemon=True).start()  # type: ignore[arg-type]  # it waits for the loop that runs here

    def watch() -> None:
        os.read(0, 1)  # nobody writes: it returns at the end, and holds no lock of sys.stdin that an exit at a signal would want
        let_go.set()
        end()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
