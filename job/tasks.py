"""Runs a function over arguments on executors, one task each, and brings back its results or the failure it foresaw."""

from __future__ import annotations

import json
import re
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from math import inf
from pathlib import Path
from time import monotonic
from typing import Protocol, Self, TypeVar

from py4j.protocol import Py4JJavaError
from pyspark import Accumulator, AccumulatorParam, SparkContext, SparkFiles

from job import errors
from job.errors import JobError, SparkFailed, SparkGone, StorageFailed
from job.interrupt import interrupted
from job.worker import spare_worker

TASK_S = 300.0  # after which a task that can stop hands back what is left of its work, for others to do (docs/scaling.md)

Argument = TypeVar("Argument")
Result = TypeVar("Result")


def run_tasks(
    sc: SparkContext, work: Callable[[Argument], Result], arguments: Iterable[Argument], *, here_until: float = 0.0
) -> list[Result]:
    """[work(argument) for argument in arguments], on executors.

    A task that fails is tried again, as a disk or a network may recover; one that keeps failing stops the others and
    raises here what it foresaw, or SparkFailed; SparkGone where not all results have come.

    here_until  by `monotonic`, until when the driver does them by itself: little work needs no executor
    """
    tasks = list(arguments)
    done = _begin(work, tasks, until=here_until)
    left = tasks[len(done) :]
    if not left:
        return done
    try:
        found = sc.parallelize(left, len(left)).map(partial(_attempt, work)).collect()
    except Py4JJavaError as error:
        trace = str(error.java_exception)
        raise _foreseen(trace) or SparkFailed(_cause(trace), "run again with --verbose for the whole trace") from error
    if len(found) < len(left):  # a JVM that dies while it hands over results: PySpark takes that for their end
        raise SparkGone
    return done + found


class Late(Exception):
    """A task on the driver that executors are to do instead."""


_here_until = inf  # in the driver while it does tasks by itself


def not_too_long() -> None:
    """To be called now and then by a task that may be long, and whose beginning may be done twice. Late where executors are to do it."""
    if monotonic() >= _here_until or interrupted.is_set():
        raise Late


def _begin(work: Callable[[Argument], Result], tasks: Iterable[Argument], *, until: float) -> list[Result]:
    """The results of the first tasks: until it is late, or one fails, which executors are then to try, and to tell why."""
    global _here_until
    done: list[Result] = []
    _here_until = until
    try:
        with suppress(Late, JobError, OSError, EOFError, ValueError, NotImplementedError):  # of what a store and its files may hold
            for task in tasks:
                not_too_long()
                done.append(work(task))
    finally:
        _here_until = inf
    return done


class Addable(Protocol):
    def __add__(self, other: Self, /) -> Self: ...


Sum = TypeVar("Sum", bound=Addable)


class _Adding(AccumulatorParam[Sum]):
    def __init__(self, zero: Sum) -> None:
        self._zero = zero

    def zero(self, value: Sum) -> Sum:  # noqa: ARG002  what the driver has by now, where a task begins with nothing
        return self._zero

    def addInPlace(self, value1: Sum, value2: Sum) -> Sum:
        return value1 + value2


def sum_of(sc: SparkContext, zero: Sum) -> Accumulator[Sum]:
    """What tasks add up and the driver can look at meanwhile; a task counts when it ends, and once, however often it is tried."""
    return sc.accumulator(zero, _Adding(zero))


def ship_files(sc: SparkContext, files: Iterable[Path]) -> Callable[[], Path]:
    """Sends files to every executor; the answer, called in a task, is the folder that has them there."""
    for file in files:
        sc.addFile(file.resolve().as_uri())  # a URI: in a bare path Spark takes "#" for the start of a fragment
    return _shipped


def _shipped() -> Path:
    return Path(SparkFiles.getRootDirectory())


class TaskFailed(Exception):
    """A foreseen failure on its way through Java, which hands on nothing but text: its kind, problem and hint, encoded."""


def _attempt(work: Callable[[Argument], Result], argument: Argument) -> Result:
    spare_worker()
    try:
        return work(argument)
    except JobError as error:
        raise TaskFailed(_encode(error)) from error
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        hint = "check free space and permissions of --results, and on a cluster that every executor mounts it"
        raise TaskFailed(_encode(StorageFailed(f"{error.strerror or error}{where}", hint))) from error


def _encode(error: JobError) -> str:
    return b64encode(json.dumps([type(error).__name__, str(error), error.hint]).encode()).decode()


def _foreseen(trace: str) -> JobError | None:
    """The failure that a task encoded into this trace, if one did."""
    found = re.search(r"TaskFailed: ([A-Za-z0-9+/=]+)", trace)
    if not found:
        return None
    kind, problem, hint = json.loads(b64decode(found[1]))
    failure: JobError = getattr(errors, kind)(problem, hint)
    return failure


def _cause(trace: str) -> str:
    """The line of a Java stack trace that says what went wrong: the last Python exception in it, else its first line."""
    lines = [line.strip() for line in trace.splitlines() if line.strip()]
    raised = [line for line in lines if not line.startswith(("at ", "File ", "Caused by", "...")) and "Error: " in line.split(" ")[0] + " "]
    return (raised or lines or ["Spark gave no reason"])[-1 if raised else 0][:500]
