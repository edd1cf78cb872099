"""Has local runs start sooner: an archive of the classes that Spark loads, which the JVM maps instead of parsing them.

The JVM checks the archive against its own version and the jars, and does without where they differ.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from bootstrap.errors import BootstrapError
from job.contract import CLASS_ARCHIVE, JVM_OPTIONS

PATIENCE_S = 120


def share_classes() -> Path:
    """Writes the archive into this Python environment, from the classes of a small job; returns its path. Safe to repeat."""
    from pyspark import SparkConf, SparkContext
    from pyspark.errors import PySparkException

    target = Path(sys.prefix, CLASS_ARCHIVE)
    half = target.with_name(f".{target.name}-{os.getpid()}")
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    conf = SparkConf().setMaster("local[2]").set("spark.ui.enabled", "false")
    conf.set("spark.driver.extraJavaOptions", f"{JVM_OPTIONS} -XX:ArchiveClassesAtExit={half} -Xlog:cds=off -Xlog:cds+dynamic=off")
    try:
        sc = SparkContext(conf=conf)
    except (PySparkException, OSError) as error:
        raise BootstrapError(
            f"Spark did not start: {str(error).splitlines()[0]}", "it needs Java 17, on the PATH or in JAVA_HOME"
        ) from error
    try:
        _small_job(sc)
        gateway: Any = SparkContext._gateway
    finally:
        sc.stop()
    gateway.proc.stdin.close()  # which tells the JVM to exit, and so to write
    try:
        gateway.proc.wait(PATIENCE_S)
    except subprocess.TimeoutExpired as error:
        gateway.proc.kill()
        raise BootstrapError(f"the JVM did not write {half.name} within {PATIENCE_S} s") from error
    if not half.is_file():
        raise BootstrapError("the JVM wrote no class archive", "Java 13 and later can; runs work without it")
    half.replace(target)
    return target


def _small_job(sc: Any) -> None:
    """What a run asks of Spark: tasks, an accumulator, a broadcast, a file."""
    counter, factor = sc.accumulator(0), sc.broadcast(2)
    sc.addFile(__file__)

    def work(number: int) -> int:
        counter.add(1)
        return number * int(factor.value)

    sc.parallelize(range(4), 4).map(work).collect()
