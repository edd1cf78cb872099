"""A command line of the job, timed from when Spark's session is up: prints {"seconds": …}."""

from __future__ import annotations

import json
import sys
from contextlib import nullcontext
from time import perf_counter
from unittest import mock

from job import cli, pipeline
from job.session import spark_context


def main() -> None:
    command = cli.parse(sys.argv[1:])
    with spark_context(command.session) as sc, mock.patch.object(pipeline, "spark_context", return_value=nullcontext(sc)):
        started = perf_counter()
        pipeline.execute(command)
        seconds = perf_counter() - started
    print(json.dumps({"seconds": seconds}))


if __name__ == "__main__":
    main()
