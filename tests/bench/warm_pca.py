"""Verger's fit and project as they run inside `run`: the session is up and its Python workers have started.

    python -m tests.bench.warm_pca --results DIR --components K

MLlib's side is given its vectors in memory and a JVM that has counted them; this side is given workers that have
imported what they need, and reads Parquet, keeps moments and writes both forms of projections within its time.
Prints one JSON object: seconds of fit and project, rows, variance explained.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from job import pipeline
from job.config import FitConfig, ProjectConfig, Session
from job.report.summary import summarise
from job.session import spark_context
from job.sinks.layout import Results
from job.tasks import run_tasks


def main(argv: list[str] | None = None) -> int:
    """Fits and projects once."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.warm_pca", description="fit and project with warm workers.")
    parser.add_argument("--results", required=True, type=Path, metavar="DIR", help="results with features")
    parser.add_argument("--components", type=int, required=True, metavar="K", help="how many")
    flags = parser.parse_args(argv)
    results = Results(flags.results)
    with results.staging() as staging, spark_context(Session(quiet=True)) as sc:
        run_tasks(sc, _import, range(sc.defaultParallelism))
        run = pipeline.Run(sc, results, staging, quiet=True, overwrite=True)
        pipeline.fit(run, FitConfig(components=flags.components))
        pipeline.project(run, ProjectConfig())
    summary = summarise(flags.results)
    fitted, projected = summary["fit"], summary["project"]
    told = {"fit": fitted["seconds"], "project": projected["seconds"], "rows": projected["rows"], "explained": fitted["explained"]}
    print(json.dumps({**told, "from_features": fitted["moments_from"] == "features"}))
    return 0


def _import(_place: int) -> None:
    """Has a worker import what tasks import, and take long enough that each worker gets one."""
    import job.sinks.stage  # noqa: F401

    time.sleep(0.5)


if __name__ == "__main__":
    sys.exit(main())
