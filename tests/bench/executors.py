"""Two executors against one: how the featurize stage scales over processes that share nothing but the driver."""

from __future__ import annotations

import json
import os
import shutil
import sys
from functools import partial

from tests.bench.data import image_folder, model_file
from tests.bench.harness import (
    ROOT,
    BenchError,
    Figures,
    Setting,
    alternate,
    cores,
    fresh,
    line,
    middle,
    ratio,
    require,
    run,
    run_python,
    scale_note,
)
from tests.standalone import DAEMONS, standalone

IMAGES = 6_000


def executors(setting: Setting) -> str:
    """Images/s of the featurize stage on a standalone cluster of one and of two workers, each of one core and held to it.

    The driver is held to nothing: with one executor it has a core of its own, with two it has not. What two plain processes
    make of one says how much the second core is worth here.
    """
    if cores() < 2 or not hasattr(os, "sched_setaffinity"):
        raise BenchError(f"{cores()} cores here that processes can be held to; two executors need two")
    count = setting.scaled(IMAGES)
    image_folder(setting, count), model_file(setting)
    sides = {
        **{f"{number} executors": partial(_on_cluster, setting, count, number) for number in (1, 2)},
        **{f"{number} plain": partial(_plain, setting, count, number) for number in (1, 2)},
    }
    one, two, plain_one, plain_two = alternate(sides, repeats=setting.repeats).values()
    return line(
        "executors",
        scale_note(setting, IMAGES, count, "images"),
        f"one {middle(one, 'rate'):.1f} images/s",
        f"two {middle(two, 'rate'):.1f} images/s",
        f"{ratio(two, one, 'rate'):.2f}x (at least 1.85x)",
        f"plain processes {ratio(plain_two, plain_one, 'rate'):.2f}x",
        f"n={setting.repeats}",
    )


def _on_cluster(setting: Setting, count: int, number: int) -> Figures:
    results = fresh(setting.work / "results")
    flags = ("--images", image_folder(setting, count), "--results", results, "--model", model_file(setting), "--quiet")
    held = sorted(os.sched_getaffinity(0))[:number]
    path = {"PYTHONPATH": str(ROOT), "PYSPARK_PYTHON": sys.executable}
    with standalone(fresh(setting.work / "cluster"), workers=number, cores=held) as cluster:
        command = cluster.command(ROOT / "job" / "__main__.py", "featurize", *flags, confs=[f"spark.executorEnv.PYTHONPATH={ROOT}"])
        run(setting, command, DAEMONS | path)
    shutil.rmtree(setting.work / "cluster")
    account = json.loads((results / "summary.json").read_text())["featurize"]
    require(account["features"] == count, f"verger has features of {account['features']} of {count} images")
    return {"rate": count / account["seconds"]["featurize"], "listing": account["seconds"]["listing"]}


def _plain(setting: Setting, count: int, number: int) -> Figures:
    flags = ("--images", image_folder(setting, count), "--model", model_file(setting), "--processes", str(number))
    figures = run_python(setting, "-m", "tests.bench.plain", *flags).last_line
    return {"rate": count / figures["seconds"]}
