"""The Spark session: a local one where nobody provides one, and how it ends."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from job.config import Session
from job.errors import Interrupted, SparkFailed

if TYPE_CHECKING:
    from pyspark import SparkConf, SparkContext

# C1 alone and one collector thread halve the JVM's processor time, which Python workers need; the JVM only moves counts.
JVM_OPTIONS = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
ATTEMPTS = 4  # of a task, as on a cluster; a local session would try once


@contextmanager
def spark_context(session: Session) -> Iterator[SparkContext]:
    """A Spark context without its SQL engine, stopped afterwards. Interrupted at SIGINT or SIGTERM."""
    from pyspark import SparkConf

    conf = SparkConf().setAppName("verger").set("spark.ui.showConsoleProgress", "false")
    conf.setExecutorEnv("PYTHONPATH", str(Path(__file__).resolve().parent.parent))
    local = not conf.contains("spark.master")
    if local:
        _configure_local(conf, session)
    handlers = _handle_signals()
    try:
        with _spark_log(hidden=local and not session.verbose) as log:
            sc = _start(conf, log)
        _handle_signals()  # again: starting, PySpark takes SIGINT for itself
        try:
            yield sc
        except SparkFailed as error:
            raise SparkFailed(str(error), f"the whole story is in {log}") if log else error from error
        else:
            if log:
                log.unlink(missing_ok=True)
        finally:
            sc.stop()
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _configure_local(conf: SparkConf, session: Session) -> None:
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)  # workers need our packages, not those of "python3"
    os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    conf.setMaster(f"local[{session.cores or '*'},{ATTEMPTS}]")
    conf.set("spark.ui.enabled", "false")
    conf.set("spark.driver.extraJavaOptions", JVM_OPTIONS)


def _start(conf: SparkConf, log: Path | None) -> SparkContext:
    from py4j.protocol import Py4JError
    from pyspark import SparkContext
    from pyspark.errors import PySparkException

    try:
        return SparkContext.getOrCreate(conf)
    except (Py4JError, PySparkException, OSError) as error:
        said = log.read_text(errors="replace").strip().splitlines() if log else []
        reason = next((line for line in said if "Error" in line or "Exception" in line), str(error).splitlines()[0])
        raise SparkFailed(f"Spark did not start: {reason}", "it needs Java 17, on the PATH or in JAVA_HOME") from error


@contextmanager
def _spark_log(*, hidden: bool) -> Iterator[Path | None]:
    """Has what starts inside write its stderr to a file instead: the JVM and the workers that it starts, for their life.

    A newcomer's first run should not open with eight lines of warnings about host names and native libraries.
    """
    if not hidden:
        yield None
        return
    sys.stderr.flush()
    handle, name = tempfile.mkstemp(prefix="verger-spark-", suffix=".log")
    ours = os.dup(2)
    os.dup2(handle, 2)
    try:
        yield Path(name)
    finally:
        os.dup2(ours, 2)
        os.close(ours)
        os.close(handle)


def _handle_signals() -> dict[int, signal._HANDLER]:
    """Turns the first SIGINT or SIGTERM into Interrupted and ignores later ones while Spark stops; returns the old handlers."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, signal.SIG_IGN)
        raise Interrupted(number)

    return {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
