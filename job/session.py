"""The Spark session: a local one where nobody provides one, and how it ends."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread
from types import FrameType
from typing import TYPE_CHECKING, TypeVar

from job.config import Session
from job.contract import CLASS_ARCHIVE, JVM_OPTIONS
from job.errors import Interrupted, SparkFailed

if TYPE_CHECKING:
    from pyspark import SparkConf, SparkContext

Result = TypeVar("Result")

ATTEMPTS = 4  # of a task, as on a cluster; a local session would try once


STOP_S = 0.3  # what the JVM needs, several times over; one that needs more goes on alone, and ends with this process
_stopping: list[Thread] = []
_running: list[SparkContext] = []  # the session that a signal has to stop; at most one


@contextmanager
def spark_context(session: Session) -> Iterator[SparkContext]:
    """A Spark context without its SQL engine, stopped afterwards."""
    from pyspark import SparkConf

    conf = SparkConf().setAppName("verger").set("spark.ui.showConsoleProgress", "false")
    conf.setExecutorEnv("PYTHONPATH", str(Path(__file__).resolve().parent.parent))
    local = not conf.contains("spark.master")
    if local:
        _configure_local(conf, session)
    with _spark_log(hidden=local and not session.verbose) as log:
        sc = _start(conf, log)
    _running.append(sc)
    try:
        yield sc
    except SparkFailed as error:
        if log and sc in _running:  # otherwise it was told to stop, and no one will want to read why
            raise SparkFailed(str(error), f"the whole story is in {log.rename(log.with_suffix('.kept.log'))}") from error
        raise
    finally:
        with suppress(IndexError):  # a signal has taken it already: stopping twice at once fails
            _stop(_running.pop())
        if log:
            log.unlink(missing_ok=True)


def _stop(sc: SparkContext) -> None:
    """Stops Spark, and does not wait for the second that PySpark then spends on its server of accumulators."""
    thread = Thread(target=sc.stop, daemon=True)
    _stopping.append(thread)
    thread.start()
    thread.join(STOP_S)


def interruptible(work: Callable[[], Result]) -> Result:
    """work(); Interrupted at SIGINT or SIGTERM, once Spark has been stopped and work has cleaned up after itself.

    Work runs on a thread of its own. On the main thread a signal could land amid a conversation with the JVM, whose
    remaining words the next call would take for its answer.
    """
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(work)
        before = {number: signal.signal(number, _interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            return future.result()
        except Interrupted:
            while not wait([future], timeout=0.05).done:
                with suppress(IndexError):  # none while Spark starts, nor once it stops
                    _running.pop().stop()
            raise
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _interrupt(number: int, _frame: FrameType | None) -> None:
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)  # once is enough: stopping takes a second
    raise Interrupted(number)


def _configure_local(conf: SparkConf, session: Session) -> None:
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)  # workers need our packages, not those of "python3"
    os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    conf.setMaster(f"local[{session.cores or '*'},{ATTEMPTS}]")
    conf.set("spark.ui.enabled", "false")
    archive = Path(sys.prefix, CLASS_ARCHIVE)  # python -m bootstrap warm makes it
    conf.set("spark.driver.extraJavaOptions", f"{JVM_OPTIONS} -XX:SharedArchiveFile={archive}" if archive.is_file() else JVM_OPTIONS)
    # Over TCP each task waits 40 ms for delayed acknowledgements (measured). Spark 4.1 has this switch, 3.5 ignores it.
    conf.set("spark.python.unix.domain.socket.enabled", "true")


def _start(conf: SparkConf, log: Path | None) -> SparkContext:
    from py4j.protocol import Py4JError
    from pyspark import SparkContext
    from pyspark.errors import PySparkException

    while _stopping:
        _stopping.pop().join()
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
