"""A Spark cluster on this machine: a master and workers as processes of their own, on free ports, stopped by their ids."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pyspark

from job.contract import JVM_OPTIONS

SPARK_CLASS, SPARK_SUBMIT = (str(Path(sys.executable).with_name(name)) for name in ("spark-class", "spark-submit"))
DAEMONS = {
    "SPARK_DAEMON_MEMORY": "256m",
    "SPARK_DAEMON_JAVA_OPTS": JVM_OPTIONS,
    "SPARK_MASTER_OPTS": "-Dspark.master.rest.enabled=false",  # which would take port 6066
    "SPARK_LOCAL_IP": "127.0.0.1",
    "SPARK_HOME": str(Path(pyspark.__file__).parent),
}
PATIENCE_S = 60
HOSTS = "127.0.0.1", "localhost"  # by turns: Spark takes them for two, and speculates on another host only
WORKER_MEMORY, EXECUTOR_MEMORY = "1g", "512m"


class NotStarted(Exception):
    """A master or worker that says nothing, or that ends at once; with the end of its log."""


@dataclass(slots=True)
class Worker:
    """A worker of one core. home: its folder, with its applications' folders and its local disk."""

    home: Path
    process: subprocess.Popen[bytes]

    def executors(self) -> list[psutil.Process]:
        """The JVMs that it runs for applications."""
        return [each for each in _children(self.process.pid) if "CoarseGrainedExecutorBackend" in _command(each)]

    def python_workers(self) -> list[psutil.Process]:
        """The processes that run tasks' Python for those."""
        return [each for daemon in self.python_daemons() for each in _children(daemon.pid)]

    def python_daemons(self) -> list[psutil.Process]:
        """Their parents, which are children of the JVM, as what unpacks archives is for a while."""
        return [each for executor in self.executors() for each in executor.children() if "pyspark.daemon" in _command(each)]

    def lose_disk(self) -> None:
        """Removes all that applications have on it: code, model, archives, shuffle and broadcast files."""
        for folder in ("work", "local"):
            shutil.rmtree(self.home / folder)


@dataclass(slots=True)
class Cluster:
    """url: spark://127.0.0.1:PORT, as --master takes it."""

    url: str
    home: Path
    master: subprocess.Popen[bytes]
    workers: list[Worker] = field(default_factory=list)

    def command(self, *words: str | Path, confs: Sequence[str] = ()) -> list[str]:
        """`spark-submit --master URL … WORDS`, in client mode; DAEMONS belong into its environment."""
        flags = [flag for conf in (*self.confs, *confs) for flag in ("--conf", conf)]
        return [SPARK_SUBMIT, "--master", self.url, *flags, *map(str, words)]

    def submit(self, *words: str | Path, confs: Sequence[str] = (), cwd: Path, **environment: str) -> subprocess.Popen[str]:
        """Starts that from the folder `cwd`, where no module of the repository is on Python's path."""
        surroundings = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        return subprocess.Popen(
            self.command(*words, confs=confs),
            cwd=cwd,
            env=surroundings | DAEMONS | environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def kill(self) -> None:
        """Ends master, workers and all that those started, as a machine does that loses its power."""
        kill_families([self.master.pid, *(worker.process.pid for worker in self.workers)])

    @property
    def confs(self) -> list[str]:
        return [
            "spark.driver.memory=512m",
            f"spark.driver.extraJavaOptions={JVM_OPTIONS}",
            f"spark.executor.memory={EXECUTOR_MEMORY}",
            f"spark.executor.extraJavaOptions={JVM_OPTIONS}",
            f"spark.cores.max={len(self.workers)}",
            "spark.executor.cores=1",
            "spark.ui.enabled=false",
            # A job of seconds would begin on the first executor and end before the second is there
            "spark.scheduler.minRegisteredResourcesRatio=1.0",
            "spark.scheduler.maxRegisteredResourcesWaitingTime=60s",
        ]


@contextmanager
def standalone(home: Path, *, workers: int, cores: Sequence[int] = ()) -> Iterator[Cluster]:
    """A cluster of workers of one core and WORKER_MEMORY each; worker n runs on core `cores[n]` where those are given."""
    home.mkdir(parents=True, exist_ok=True)
    started: list[subprocess.Popen[bytes]] = []
    try:
        master = _start("master.Master", ["--host", "127.0.0.1", "--port", "0", "--webui-port", "0"], home / "master.log")
        started.append(master)
        cluster = Cluster(_said(master, home / "master.log", r"Starting Spark master at (spark://\S+)"), home, master)
        for number in range(workers):
            worker = _start_worker(home / f"worker-{number}", cluster.url, host=HOSTS[number % len(HOSTS)])
            started.append(worker.process)
            cluster.workers.append(worker)
            if cores:
                os.sched_setaffinity(worker.process.pid, {cores[number]})  # and so whatever it starts from now on
        for worker in cluster.workers:
            _said(worker.process, worker.home / "worker.log", "Successfully registered with master")
        yield cluster
    finally:
        for process in reversed(started):
            _end(process)


def _start_worker(home: Path, url: str, *, host: str) -> Worker:
    (home / "local").mkdir(parents=True)
    words = ["--cores", "1", "--memory", WORKER_MEMORY, "--host", host, "--port", "0", "--webui-port", "0"]
    words += ["--work-dir", str(home / "work"), url]
    return Worker(home, _start("worker.Worker", words, home / "worker.log", SPARK_LOCAL_DIRS=str(home / "local")))


def _start(name: str, words: Sequence[str], log: Path, **environment: str) -> subprocess.Popen[bytes]:
    with log.open("wb") as sink:
        return subprocess.Popen(
            [SPARK_CLASS, f"org.apache.spark.deploy.{name}", *words],
            env={**os.environ, **DAEMONS, **environment},
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
        )


def _said(process: subprocess.Popen[bytes], log: Path, pattern: str) -> str:
    """What the pattern finds in a process' log, as soon as it is there: its first group, if it has one."""
    deadline = time.monotonic() + PATIENCE_S
    while not (found := re.search(pattern, log.read_text(errors="replace"))):
        if process.poll() is not None or time.monotonic() > deadline:
            raise NotStarted(f"{log}: {log.read_text(errors='replace')[-1500:]}")
        time.sleep(0.05)
    return found[found.re.groups]


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends a process and all that it started."""
    family = _children(process.pid)
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(10)
    _, alive = psutil.wait_procs(family, timeout=5)
    for each in alive:
        with suppress(psutil.NoSuchProcess):
            each.kill()
    if process.poll() is None:
        process.kill()
        process.wait()


def kill_families(pids: Iterable[int]) -> None:
    """Kills processes and all that they started, none of them before all are known."""
    family = [each for pid in pids for each in (psutil.Process(pid), *_children(pid))]
    for each in family:
        with suppress(psutil.NoSuchProcess):
            each.kill()


def _children(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""
