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
from threading import Lock, Thread
from types import FrameType
from typing import Any, TypeVar

from py4j.protocol import Py4JError, Py4JNetworkError
from pyspark import SparkConf, SparkContext
from pyspark.errors import PySparkException

from job.config import Session
from job.contract import CLASS_ARCHIVE, JVM_OPTIONS
from job.errors import Interrupted, SparkFailed, SparkGone
from job.interrupt import interrupted

Result = TypeVar("Result")

ATTEMPTS = 4  # of a task, as on a cluster; a local session would try once
ANY = str(2**31 - 1)

# A task that failed twice on an executor is tried on another: one without a disk fails all that it is given, sooner than any
# other is free, and a task's four attempts would all be its. Nothing else is held against an executor: in a run of hours each
# has some failed tasks, where S3 was away for a while.
ELSEWHERE = {
    "enabled": "true",
    "task.maxTaskAttemptsPerExecutor": "2",
    "task.maxTaskAttemptsPerNode": str(ATTEMPTS - 1),  # Spark refuses more
    "stage.maxFailedTasksPerExecutor": ANY,
    "stage.maxFailedExecutorsPerNode": ANY,
    "application.maxFailedTasksPerExecutor": ANY,
    "application.maxFailedExecutorsPerNode": ANY,
}

SOCKET_NAME = len("/v-01234567/.01234567-89ab-cdef-0123-456789abcdef.sock")
LONGEST_SOCKET = 103  # bytes of a socket's path, where macOS has fewer than Linux: unix(4). Its folders for temporary files have 48

STOP_S = 0.3  # what the JVM needs, several times over; one that needs more goes on alone, and ends with this process

# Memory that a task has freed goes back to the system instead of staying with the worker: Arrow's own pool keeps it, and
# so does glibc for blocks below a threshold that grows with them. `make bench` says what workers take (docs/performance.md).
# A worker's requests to S3 need one thread: Tokio would start one for each core of the machine.
WORKER_ENVIRONMENT = {"ARROW_DEFAULT_MEMORY_POOL": "system", "MALLOC_MMAP_THRESHOLD_": str(2 << 20), "TOKIO_WORKER_THREADS": "1"}

# Where S3 is, for workers on other machines: as for the driver. Credentials are each machine's own.
S3_ENVIRONMENT = ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3")

_running: list[SparkContext] = []  # the session that a signal has to stop; at most one
_stopping: list[Thread] = []
_stop_lock = Lock()  # PySpark fails where two threads stop a session at once


@contextmanager
def spark_context(session: Session) -> Iterator[SparkContext]:
    """A Spark context without its SQL engine, stopped afterwards. SparkFailed where Spark does not start, or breaks off."""
    conf = SparkConf().setAppName("verger").set("spark.ui.showConsoleProgress", "false")
    places = {name: os.environ[name] for name in S3_ENVIRONMENT if name in os.environ}
    for name, value in (WORKER_ENVIRONMENT | places).items():
        conf.setExecutorEnv(name, value)
    submitted = "PYSPARK_GATEWAY_PORT" in os.environ  # spark-submit has started a JVM, with a master and settings of its own
    if submitted:
        for name, value in ELSEWHERE.items():
            conf.set(f"spark.excludeOnFailure.{name}", value)
        conf.set("spark.task.maxFailures", str(ATTEMPTS))  # its default, which what is above rests on
    else:
        _configure_local(conf, session)
    with _socket_folder(wanted=not submitted) as sockets, _spark_log(wanted=not submitted and not session.verbose) as log:
        if sockets:
            # Over TCP each task waits for delayed acknowledgements. Spark 4.1 has this switch, 3.5 ignores it.
            conf.set("spark.python.unix.domain.socket.enabled", "true")
            conf.set("spark.python.unix.domain.socket.dir", str(sockets))
        with _stderr_to(log):
            sc = _start(conf, log)
        _break_off_quietly(sc)
        _running.append(sc)
        try:
            yield sc
        except (Py4JNetworkError, ConnectionError) as error:  # a store's are StorageFailed by now
            raise SparkGone from error
        except Py4JError as error:
            raise SparkFailed(str(error).splitlines()[0] if str(error) else "Spark failed, and says nothing of why") from error
        finally:
            with _stop_lock:  # held while a signal stops it: work may only clean up once no task can write any more
                if sc in _running:
                    _running.remove(sc)
                    _stop(sc)


def _configure_local(conf: SparkConf, session: Session) -> None:
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)  # workers need our packages, not those of "python3"
    os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    conf.setExecutorEnv("PYTHONPATH", str(Path(__file__).resolve().parent.parent))
    conf.setMaster(f"local[{session.cores or '*'},{ATTEMPTS}]")
    conf.set("spark.ui.enabled", "false")
    archive = Path(sys.prefix, CLASS_ARCHIVE)  # python -m bootstrap warm makes it
    conf.set("spark.driver.extraJavaOptions", f"{JVM_OPTIONS} -XX:SharedArchiveFile={archive}" if archive.is_file() else JVM_OPTIONS)


def _start(conf: SparkConf, log: Path | None) -> SparkContext:
    while _stopping:
        _stopping.pop().join()
    try:
        return SparkContext.getOrCreate(conf)
    except (Py4JError, PySparkException, OSError) as error:
        said = log.read_text(errors="replace").strip().splitlines() if log else []
        reason = next(
            (line for line in said if "Error" in line or "Exception" in line), (str(error).splitlines() or ["no reason given"])[0]
        )
        raise SparkFailed(f"Spark did not start: {reason}", "it needs Java 17, on the PATH or in JAVA_HOME") from error


def _break_off_quietly(sc: SparkContext) -> None:
    """No traceback where the JVM hangs up amid what it says of accumulators: at a signal, or as it dies, which its next caller reports."""
    server = sc._accumulatorServer
    tell = server.handle_error

    def handle_error(request: Any, address: Any) -> None:
        if not isinstance(sys.exc_info()[1], (EOFError, OSError)):
            tell(request, address)

    # socketserver's hook for this; PySpark makes the server itself, so there is no class of ours to override it in
    server.handle_error = handle_error  # type: ignore[assignment, method-assign]


def _stop(sc: SparkContext) -> None:
    """Stops Spark, and does not wait for the second that PySpark then spends on its server of accumulators."""
    thread = Thread(target=_end, args=(sc,), daemon=True)
    _stopping.append(thread)
    thread.start()
    thread.join(STOP_S)


def _end(sc: SparkContext) -> None:
    with suppress(Py4JError, ConnectionError):  # its JVM is gone
        sc.stop()


@contextmanager
def _socket_folder(*, wanted: bool) -> Iterator[Path | None]:
    """A folder for the sockets between the JVM and Python, of which PySpark leaves one behind; None where their names would be too long."""
    if not wanted or len(os.fsencode(tempfile.gettempdir())) + SOCKET_NAME > LONGEST_SOCKET:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="v-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@contextmanager
def _spark_log(*, wanted: bool) -> Iterator[Path | None]:
    """A file for what Spark logs, kept and named in the hint where Spark fails, else removed."""
    if not wanted:
        yield None
        return
    handle, name = tempfile.mkstemp(prefix="verger-spark-", suffix=".log")
    os.close(handle)
    log = Path(name)
    try:
        yield log
    except SparkFailed as error:
        if interrupted.is_set() or error.hint.startswith("it needs Java"):
            raise
        kept = log.rename(log.with_suffix(".kept.log"))
        raise SparkFailed(str(error), f"the whole story is in {kept}") from error
    finally:
        log.unlink(missing_ok=True)


@contextmanager
def _stderr_to(log: Path | None) -> Iterator[None]:
    """Has what starts inside write its stderr to `log`: the JVM and the workers that it starts, for their life.

    A newcomer's first run should not open with eight lines of warnings about host names and native libraries.
    """
    if log is None:
        yield
        return
    sys.stderr.flush()
    ours = os.dup(2)
    handle = os.open(log, os.O_WRONLY | os.O_APPEND)
    os.dup2(handle, 2)
    try:
        yield
    finally:
        os.dup2(ours, 2)
        os.close(ours)
        os.close(handle)


def interruptible(work: Callable[[], Result]) -> Result:
    """work(); Interrupted at SIGINT or SIGTERM, once Spark has been stopped and work has cleaned up after itself.

    Work runs on a thread of its own. On the main thread a signal could land amid a conversation with the JVM, whose
    remaining words the next call would take for its answer.
    """
    interrupted.clear()
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(work)
        before = {number: signal.signal(number, _interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            return future.result()
        except Interrupted:
            while not wait([future], timeout=0.05).done:
                with _stop_lock:
                    if _running:  # not yet while Spark starts, and no longer once it stops
                        _end(_running.pop())
            raise
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _interrupt(number: int, _frame: FrameType | None) -> None:
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)  # once is enough: stopping takes a second
    interrupted.set()
    raise Interrupted(number)
