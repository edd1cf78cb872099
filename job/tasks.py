"""Runs a function over arguments on executors, one task each, and brings back its results or the failure it foresaw."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Protocol, Self, TypeVar

from py4j.protocol import Py4JJavaError
from pyspark import Accumulator, AccumulatorParam, SparkContext, SparkFiles

from job.errors import JobError, SparkFailed, StorageFailed
from job.worker import spare_worker

Argument = TypeVar("Argument")
Result = TypeVar("Result")


def run_tasks(sc: SparkContext, work: Callable[[Argument], Result], arguments: Iterable[Argument]) -> list[Result]:
    """[work(argument) for argument in arguments], on executors. Raises the first foreseen failure; SparkFailed for any other."""
    tasks = list(arguments)
    if not tasks:
        return []
    try:
        outcomes = sc.parallelize(tasks, len(tasks)).map(partial(_attempt, work)).collect()
    except Py4JJavaError as error:
        raise SparkFailed(_cause(str(error.java_exception)), "run again with --verbose for the whole trace") from error
    results = []
    for outcome in outcomes:
        if isinstance(outcome, JobError):
            raise outcome
        results.append(outcome)
    return results


class Addable(Protocol):
    def __add__(self, other: Self, /) -> Self: ...


Sum = TypeVar("Sum", bound=Addable)


class _Adding(AccumulatorParam[Sum]):
    def zero(self, value: Sum) -> Sum:
        return value

    def addInPlace(self, value1: Sum, value2: Sum) -> Sum:
        return value1 + value2


def sum_of(sc: SparkContext, zero: Sum) -> Accumulator[Sum]:
    """What tasks add up and the driver can look at meanwhile; a task counts when it ends, and once, however often it is tried."""
    return sc.accumulator(zero, _Adding())


def ship_files(sc: SparkContext, files: Iterable[Path]) -> Callable[[], Path]:
    """Sends files to every executor; the answer, called in a task, is the folder that has them there."""
    for file in files:
        sc.addFile(str(file))
    return _shipped


def _shipped() -> Path:
    return Path(SparkFiles.getRootDirectory())


def _attempt(work: Callable[[Argument], Result], argument: Argument) -> Result | JobError:
    """work(argument), or the failure as a value. Raised in a task, it would be tried again and arrive as text of Java's."""
    spare_worker()
    try:
        return work(argument)
    except JobError as error:
        return error
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        return StorageFailed(f"{error.strerror or error}{where}", "check free space and permissions in the results folder")


def _cause(trace: str) -> str:
    """The line of a Java stack trace that says what went wrong: the last Python exception in it, else its first line."""
    lines = [line.strip() for line in trace.splitlines() if line.strip()]
    raised = [line for line in lines if not line.startswith(("at ", "File ", "Caused by", "...")) and "Error: " in line.split(" ")[0] + " "]
    return (raised or lines or ["Spark gave no reason"])[-1 if raised else 0][:500]
