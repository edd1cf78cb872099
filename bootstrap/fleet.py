"""The workers of a run, by the Spark properties that it is submitted with."""

from __future__ import annotations

import re
from collections.abc import Mapping

from bootstrap.costs import Fleet, Worker
from bootstrap.errors import BootstrapError
from job.releases import Architecture

UNITS = {"m": 2**-10, "g": 1.0, "t": 2.0**10}  # in GB, of sizes as Spark writes them: 512m, 14g, 20G
HINT = "runs by python -m bootstrap submit, and by the command that cdk deploy prints, say it"


def fleet_of(properties: Mapping[str, str], *, architecture: Architecture) -> Fleet:
    """As many executors as the run may have. BootstrapError where the properties do not say all that is billed."""
    try:
        driver, executor = (_worker(properties, kind) for kind in ("driver", "executor"))
        return Fleet(driver, executor, int(properties["spark.dynamicAllocation.maxExecutors"]), architecture)
    except KeyError as missing:
        raise BootstrapError(f"the run's workers are not known: it does not set {missing.args[0]}", HINT) from missing
    except ValueError as error:
        raise BootstrapError(f"the run's workers are not known: {error}", HINT) from error


def _worker(properties: Mapping[str, str], kind: str) -> Worker:
    memory = _gigabytes(properties[f"spark.{kind}.memory"]) + _gigabytes(properties[f"spark.{kind}.memoryOverhead"])
    disk = _gigabytes(properties[f"spark.emr-serverless.{kind}.disk"])
    return Worker(int(properties[f"spark.{kind}.cores"]), round(memory), round(disk))


def _gigabytes(size: str) -> float:
    found = re.fullmatch(r"(\d+)([mgt])b?", size.lower())
    if not found:
        raise ValueError(f"{size!r} is no size")
    return int(found[1]) * UNITS[found[2]]
