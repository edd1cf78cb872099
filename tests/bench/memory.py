"""Peak memory of a run on many images against one on few: neither driver nor workers should notice."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from functools import partial

import psutil

from tests.bench.data import image_folder, model_file
from tests.bench.harness import Figures, Setting, alternate, fresh, line, middle, ratio, require, run_job, scale_note

FEW, MANY = 1_200, 12_000
ROLES = {"driver": "driver", "jvm": "JVM", "worker": "largest worker"}


def memory(setting: Setting) -> str:
    """Peak resident memory by role, sampled while a run lasts: the driver's Python, its JVM, the largest Python worker.

    Resident memory counts pages that processes share (libraries, the mapped model) in each of them.
    """
    few, many = setting.scaled(FEW), setting.scaled(MANY)
    model_file(setting)
    for count in (few, many):
        image_folder(setting, count)
    runs = alternate(
        {f"{few:,}": partial(_peaks, setting, few), f"{many:,}": partial(_peaks, setting, many)},
        repeats=setting.repeats,
    )
    small, large = runs.values()
    return line(
        "memory",
        scale_note(setting, MANY, many, "images"),
        f"{few:,} -> {many:,} images:",
        *(
            f"{told} {middle(small, role):.0f} -> {middle(large, role):.0f} MB {ratio(large, small, role) - 1:+.1%}"
            for role, told in ROLES.items()
        ),
        "(less than +10 %)",
        f"n={setting.repeats}",
    )


def _peaks(setting: Setting, count: int) -> Figures:
    peaks: Counter[str] = Counter()
    flags = ("--images", image_folder(setting, count), "--model", model_file(setting))
    done = run_job(setting, "run", *flags, results=fresh(setting.work / "results"), watch=partial(_look, peaks))
    require(done.images == count, f"verger has features of {done.images} of {count} images")
    require(all(peaks[role] for role in ROLES), f"seen of the run's processes only {', '.join(peaks)}")
    return {role: peaks[role] / 2**20 for role in ROLES}


def _look(peaks: Counter[str], pid: int) -> None:
    """Raises the peaks, in bytes, to what the process and its descendants hold now. A process may end meanwhile."""
    with suppress(psutil.Error):
        driver = psutil.Process(pid)
        _raise(peaks, "driver", driver)
        for child in driver.children(recursive=True):
            with suppress(psutil.Error):
                role = {"java": "jvm", "python": "worker"}.get(child.name().rstrip("0123456789."))
                if role:
                    _raise(peaks, role, child)


def _raise(peaks: Counter[str], role: str, process: psutil.Process) -> None:
    peaks[role] = max(peaks[role], process.memory_info().rss)
