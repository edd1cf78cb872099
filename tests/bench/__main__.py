"""Benchmarks: one line of figures each on stdout, what goes on meanwhile on stderr.

python -m tests.bench [NAME ...] [--repeats N] [--quick]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.bench import end_to_end, featurize, rerun, s3
from tests.bench.data import shared_data
from tests.bench.driver import driver
from tests.bench.executors import executors
from tests.bench.going_on import going_on
from tests.bench.harness import ROOT, BenchError, Setting, cores
from tests.bench.latency import clients, latency
from tests.bench.memory import memory
from tests.bench.pca import pca
from tests.bench.photographs import photographs
from tests.bench.planning import planning
from tests.bench.precision import precision
from tests.bench.rehearse import rehearse
from tests.bench.scaling import over_s3, scaling
from tests.bench.synth import synth

REPEATS = 3

BENCHES: dict[str, Callable[[Setting], str]] = {
    "end-to-end-1400": end_to_end.small,
    "end-to-end-12000": end_to_end.large,
    "featurize-12000": featurize.rate,
    "pca-12000": pca,
    "photographs": photographs,
    "memory": memory,
    "rerun-12000": rerun.nothing_to_do,
    "new-on-12000": rerun.new_on_top,
    "s3-requests": s3.requests,
    "s3-clients": clients,
    "s3-latency": latency,
    "executors": executors,
    "driver": driver,
    "scaling": scaling,
    "scaling-s3": over_s3,
    "planning": planning,
    "going-on": going_on,
    "precision": precision,
    "where-time-goes": featurize.where_time_goes,
    "synth": synth,
    "rehearse": rehearse,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the benches named, or all; 1 where one cannot be measured, 2 for a command line that cannot be used."""
    parser = _parser()
    flags = parser.parse_args(argv)
    if unknown := [name for name in flags.names if name not in BENCHES]:
        parser.error(f"no bench {unknown[0]!r}; there are {', '.join(BENCHES)}")
    try:
        setting = Setting(shared_data(), flags.work.resolve(), flags.repeats or (1 if flags.quick else REPEATS), flags.quick)
        setting.work.mkdir(parents=True, exist_ok=True)
        print(f"{cores()} cores, work in {setting.work}", file=sys.stderr)
        for name in flags.names or BENCHES:
            print(f"{name}:", file=sys.stderr, flush=True)
            print("quick: " * setting.quick + BENCHES[name](setting), flush=True)
    except BenchError as failed:
        print(f"error: {failed}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("error: interrupted", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="Verger's speed, as ratios within one run.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(BENCHES)} (default: all)")
    parser.add_argument("--repeats", type=_count, metavar="N", help=f"measurements of each side (default: {REPEATS}, 1 with --quick)")
    parser.add_argument("--quick", action="store_true", help="a tenth of the images: to see whether the benches run")
    parser.add_argument(
        "--work",
        type=Path,
        default=ROOT / "build" / "bench",
        metavar="DIR",
        help="folder for pictures and results, used again (default: build/bench)",
    )
    return parser


def _count(text: str) -> int:
    count = int(text)
    if count < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return count


if __name__ == "__main__":
    sys.exit(main())
