"""Runs a function over arguments on executors, one task each, and brings back its results or the failure it foresaw."""

from __future__ import annotations

import sys
import zipimport
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Protocol, Self, TypeVar

from py4j.protocol import Py4JJavaError
from pyspark import Accumulator, AccumulatorParam, SparkContext, SparkFiles

from job.errors import JobError, SparkFailed, StorageFailed

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
    _keep_zip_directories()
    if _NoPandas not in sys.meta_path:
        sys.meta_path.insert(0, _NoPandas)
    try:
        return work(argument)
    except JobError as error:
        return error
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        return StorageFailed(f"{error.strerror or error}{where}", "check free space and permissions in the results folder")


def _keep_zip_directories() -> None:
    """Spares every later task of this worker 30 to 100 ms (measured, Spark 4.1).

    PySpark calls importlib.invalidate_caches() before each task, and since Python 3.10 that has every importer of
    pyspark.zip read the whole archive's directory again. These archives do not change while a worker lives.
    """
    setattr(zipimport.zipimporter, "invalidate_caches", _do_nothing)  # noqa: B010  mypy refuses the assignment


class _NoPandas:
    """A finder of modules that has none of pandas.

    Spares a worker 0.7 s of import and 60 MB: where pandas is installed, pyarrow imports it to ask whether a list is one of its.
    """

    @staticmethod
    def find_spec(name: str, *_: object) -> None:
        if name == "pandas":
            raise ModuleNotFoundError("pandas is kept out of Verger's workers", name=name)


def _do_nothing(importer: zipimport.zipimporter) -> None:
    pass


def _cause(trace: str) -> str:
    """The line of a Java stack trace that says what went wrong: the last Python exception in it, else its first line."""
    lines = [line.strip() for line in trace.splitlines() if line.strip()]
    raised = [line for line in lines if not line.startswith(("at ", "File ", "Caused by", "...")) and "Error: " in line.split(" ")[0] + " "]
    return (raised or lines or ["Spark gave no reason"])[-1 if raised else 0][:500]
