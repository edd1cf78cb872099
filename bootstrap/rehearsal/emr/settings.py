"""What a run is run with: Spark properties by the documented precedence, the driver's variables, and the sizes of workers.

Source: "Spark jobs" and "Default configuration for EMR Serverless", EMR Serverless User Guide.
"""

from __future__ import annotations

import argparse
import re
import shlex
from dataclasses import dataclass
from typing import Any

from bootstrap.rehearsal.emr.applications import Application, spark_defaults
from bootstrap.rehearsal.emr.refusal import Refused

# "Spark job properties", User Guide
DEFAULTS = {
    "spark.driver.cores": "4",
    "spark.driver.memory": "14g",
    "spark.executor.cores": "4",
    "spark.executor.memory": "14g",
    "spark.executor.instances": "3",
    "spark.dynamicAllocation.enabled": "true",
    "spark.dynamicAllocation.initialExecutors": "3",
    "spark.emr-serverless.driver.disk": "20G",
    "spark.emr-serverless.executor.disk": "20G",
    "spark.emr-serverless.memoryOverheadFactor": "0.1",
}
FREE_DISK_GB = 20  # of a worker
MINIMUM_OVERHEAD_GB = 0.384
MERGED_SINCE = "emr-spark-8.1"  # before it, a run's classification takes the place of the application's

DRIVER_ENV = "spark.emr-serverless.driverEnv."


@dataclass(frozen=True, slots=True)
class Worker:
    vcpus: int
    memory_gb: float
    disk_gb: int

    @property
    def billed_disk_gb(self) -> int:
        return max(0, self.disk_gb - FREE_DISK_GB)


@dataclass(frozen=True, slots=True)
class RunSettings:
    """properties: of Spark, all that were said; submit: further options of spark-submit, such as --class; workers: driver first."""

    properties: dict[str, str]
    workers: tuple[Worker, ...]

    @property
    def driver_environment(self) -> dict[str, str]:
        return {name.removeprefix(DRIVER_ENV): value for name, value in self.properties.items() if name.startswith(DRIVER_ENV)}


def run_settings(application: Application, request: dict[str, Any]) -> RunSettings:
    """The settings of a run. Refused where its sparkSubmitParameters cannot be read, or its workers exceed the application's capacity."""
    overrides = spark_defaults(request.get("configurationOverrides", {}).get("applicationConfiguration", []))
    inherited = application.defaults()
    if overrides and not application.settings["releaseLabel"].startswith(MERGED_SINCE):
        inherited = {}
    properties = inherited | overrides | submitted(request["jobDriver"]["sparkSubmit"].get("sparkSubmitParameters", ""))
    workers = _workers(DEFAULTS | properties)
    _refuse_beyond_capacity(application, workers)
    return RunSettings(properties, workers)


def submitted(parameters: str) -> dict[str, str]:
    """The --conf properties, and other flags of spark-submit as the properties that they set."""
    parser = argparse.ArgumentParser(exit_on_error=False, add_help=False, allow_abbrev=False)
    parser.add_argument("--conf", action="append", default=[])
    parser.add_argument("--py-files", dest="spark.submit.pyFiles")
    parser.add_argument("--archives", dest="spark.archives")
    try:
        flags, unknown = parser.parse_known_args(shlex.split(parameters))
        confs = dict(each.split("=", 1) for each in flags.conf)
    except (argparse.ArgumentError, ValueError) as error:
        raise Refused("ValidationException", f"sparkSubmitParameters: {error}") from error
    if unknown:
        raise Refused("ValidationException", f"sparkSubmitParameters: the stand-in does not know {unknown[0]}")
    return {name: value for name, value in vars(flags).items() if name != "conf" and value} | confs


def _workers(properties: dict[str, str]) -> tuple[Worker, ...]:
    dynamic = properties["spark.dynamicAllocation.enabled"] == "true"
    executors = properties["spark.dynamicAllocation.initialExecutors" if dynamic else "spark.executor.instances"]
    return (_worker("driver", properties), *[_worker("executor", properties)] * int(executors))


def _worker(kind: str, properties: dict[str, str]) -> Worker:
    heap = gigabytes(properties[f"spark.{kind}.memory"])
    overhead = properties.get(f"spark.{kind}.memoryOverhead")
    extra = (
        gigabytes(overhead) if overhead else max(MINIMUM_OVERHEAD_GB, heap * float(properties["spark.emr-serverless.memoryOverheadFactor"]))
    )
    return Worker(int(properties[f"spark.{kind}.cores"]), heap + extra, int(gigabytes(properties[f"spark.emr-serverless.{kind}.disk"])))


def gigabytes(size: str) -> float:
    """Of a size as Spark writes it, such as 14g, 512m or 20G; a plain number counts MiB."""
    found = re.fullmatch(r"(\d+)\s*([kmgt]?)b?", size.strip().lower())
    if not found:
        raise Refused("ValidationException", f"{size!r} is no size")
    return int(found[1]) * {"k": 2**-20, "m": 2**-10, "": 2**-10, "g": 1.0, "t": 2**10}[found[2]]


def _refuse_beyond_capacity(application: Application, workers: tuple[Worker, ...]) -> None:
    """A driver and one executor have to fit; further executors would wait for others' end."""
    capacity = application.settings.get("maximumCapacity")
    least = workers[:2]
    if capacity and sum(each.vcpus for each in least) > _number(capacity["cpu"]):
        raise Refused("ValidationException", f"a driver and an executor exceed the application's maximum of {capacity['cpu']}")
    if capacity and sum(each.memory_gb for each in least) > _number(capacity["memory"]):
        raise Refused("ValidationException", f"a driver and an executor exceed the application's maximum of {capacity['memory']}")


def _number(amount: str) -> float:
    return float(re.sub(r"[^\d.]", "", amount))
