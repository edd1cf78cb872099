"""How things are measured here: whole processes, both sides in turn, medians, and the ratio of each pair."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, TypeAlias

ROOT = Path(__file__).resolve().parents[2]  # the repository; every process is started there
SAMPLE_S = 0.05  # between two looks at a process that is watched
NAME_WIDTH = 17

Figures: TypeAlias = dict[str, float]
Measure: TypeAlias = Callable[[], Figures]
Runs: TypeAlias = list[Figures]


class BenchError(Exception):
    """A benchmark that cannot be measured here; `str()` says why in one line."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What all benches share.

    shared   folder of pictures and weights, described in its README
    work     folder for what is made here: pictures, model, features, results, logs
    repeats  how often each side is measured
    quick    a tenth of everything, to see whether the benches run; the figures mean little
    """

    shared: Path
    work: Path
    repeats: int
    quick: bool

    def scaled(self, count: int) -> int:
        """`count`, or in a quick run a tenth of it."""
        return count // 10 if self.quick else count


@dataclass(frozen=True, slots=True)
class Finished:
    """A process that ended well: seconds from its start to its exit, and what it printed."""

    seconds: float
    stdout: str

    @property
    def last_line(self) -> Figures:
        """The JSON object in its last line."""
        figures: Figures = json.loads(self.stdout.splitlines()[-1])
        return figures


def cores() -> int:
    """Processor cores that a process started here may use: those of both sides."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1  # macOS has no affinity


def peak_mb() -> float:
    """The largest resident size that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def run_python(setting: Setting, *arguments: str | Path, watch: Callable[[int], None] | None = None, **surroundings: str) -> Finished:
    """Runs `python ARGUMENTS` to its end; `watch` is called with its process id every SAMPLE_S. BenchError where it fails."""
    spark = {"PYSPARK_PYTHON": sys.executable, "SPARK_LOCAL_IP": "127.0.0.1"}
    return run(setting, [sys.executable, *map(str, arguments)], spark | surroundings, watch=watch)


def run(
    setting: Setting, command: Sequence[str], surroundings: Mapping[str, str], *, watch: Callable[[int], None] | None = None
) -> Finished:
    """Runs a command in the repository, with `surroundings` added to its environment, as run_python does."""
    environment = {**os.environ, **surroundings}
    output, log = setting.work / "last-process.out", setting.work / "last-process.log"
    with output.open("w") as stdout, log.open("w") as stderr:
        started = time.perf_counter()
        with subprocess.Popen(command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr) as process:
            while watch and process.poll() is None:
                watch(process.pid)
                time.sleep(SAMPLE_S)
            code = process.wait()
        seconds = time.perf_counter() - started
    if code:
        said = [line for line in log.read_text(errors="replace").splitlines() if line.strip()] or ["nothing"]
        reason = next((text for text in said if text.startswith("error: ")), said[-1])
        raise BenchError(f"exit code {code} of {' '.join([Path(command[0]).name, *command[1:4]])} ...: {reason[:300]} (all of it in {log})")
    return Finished(seconds, output.read_text())


@dataclass(frozen=True, slots=True)
class JobRun:
    """One `python -m job`: seconds of the whole process, and the summary it wrote."""

    seconds: float
    summary: dict[str, Any]

    @property
    def stages(self) -> Figures:
        """Seconds by stage as the job counts them: session, listing, featurize, and fit and project where they are there."""
        found = dict(self.summary["featurize"]["seconds"])
        for stage in ("fit", "project"):
            if self.summary[stage]:
                found[stage] = self.summary[stage]["seconds"]
        return found

    @property
    def images(self) -> int:
        """Images that have features; a bench of fewer than it was given would flatter."""
        count: int = self.summary["featurize"]["features"]
        return count


def run_job(
    setting: Setting, verb: str, *flags: str | Path, results: Path, watch: Callable[[int], None] | None = None, **surroundings: str
) -> JobRun:
    """`python -m job VERB FLAGS --results RESULTS --quiet`, with `surroundings` in its environment."""
    done = run_python(setting, "-m", "job", verb, *flags, "--results", results, "--quiet", watch=watch, **surroundings)
    return JobRun(done.seconds, json.loads((results / "summary.json").read_text()))


def fresh(folder: Path) -> Path:
    """`folder`, not there any more."""
    shutil.rmtree(folder, ignore_errors=True)
    return folder


def require(holds: bool, otherwise: str) -> None:
    """BenchError unless both sides did the work that they are compared on."""
    if not holds:
        raise BenchError(otherwise)


def alternate(sides: Mapping[str, Measure], *, repeats: int, once: Sequence[str] = ()) -> dict[str, Runs]:
    """Measures the sides in turn, A B A B, `repeats` times; those in `once` in the first round only. Tells each on stderr."""
    runs: dict[str, Runs] = {side: [] for side in sides}
    for turn in range(repeats):
        for side, measure in sides.items():
            if turn and side in once:
                continue
            runs[side].append(measure())
            told = ", ".join(f"{name} {value:.4g}" for name, value in runs[side][-1].items())
            print(f"  {side} {turn + 1}/{repeats}: {told}", file=sys.stderr, flush=True)
    return runs


def middle(runs: Runs, figure: str) -> float:
    """The median of a figure."""
    return median(run[figure] for run in runs)


def ratio(over: Runs, under: Runs, figure: str) -> float:
    """The median over pairs of over / under. A side measured once stands in every pair."""
    pairs = max(len(over), len(under))
    return median(over[min(pair, len(over) - 1)][figure] / under[min(pair, len(under) - 1)][figure] for pair in range(pairs))


def line(name: str, *parts: str) -> str:
    """The one line of a bench."""
    return "   ".join([f"{name:<{NAME_WIDTH}}", *(part for part in parts if part)])


def scale_note(setting: Setting, full: int, actual: int, what: str) -> str:
    """What a quick run measured instead of what the bench's name promises."""
    return f"({actual:,} {what} instead of {full:,})" if setting.quick else ""
