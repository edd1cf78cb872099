"""`make rehearse` on a fresh clone, and again: what somebody waits for who has just got the repository, and then whenever they ask.

Cold is a clone of the last commit, in an empty folder, that finds no cache: pip, uv, npm, Maven, Keras, jsii and whatever else keeps one
under XDG_CACHE_HOME get empty ones of the clone's own. So it installs .venv and node_modules from the registries, archives Spark's
classes, compiles the network and builds the executors' packages. Warm is the same command in the same clone.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from bootstrap.rehearsal.steps import STEPS
from tests.bench.harness import ROOT, BenchError, Setting, fresh, line, require, run

COLD_S, WARM_S = 360, 120
IMAGES = 300  # at least, and some of them broken


def rehearse(setting: Setting) -> str:
    """Once each, as the first cannot be had again without another clone."""
    folder = fresh(setting.work / "rehearse")
    clone = _clone(folder / "verger")
    caches = _no_caches(folder / "caches")
    cold, agreed = _rehearse(setting, clone, caches)
    warm, _ = _rehearse(setting, clone, caches)
    fresh(folder)
    return line(
        "rehearse",
        f"cold {cold:.0f} s, {_judged(cold, COLD_S)}",
        f"warm {warm:.0f} s, {_judged(warm, WARM_S)}",
        agreed,
    )


def _clone(target: Path) -> Path:
    """The last commit; what is not committed is not rehearsed."""
    done = subprocess.run(["git", "clone", "--quiet", str(ROOT), str(target)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchError(f"this is no repository that can be cloned: {done.stderr.strip()}")
    return target


def _no_caches(folder: Path) -> dict[str, str]:
    """The environment of somebody who has never installed anything."""
    names = {"XDG_CACHE_HOME": "xdg", "PIP_CACHE_DIR": "pip", "UV_CACHE_DIR": "uv", "npm_config_cache": "npm", "KERAS_HOME": "keras"}
    return {name: str(folder / kind) for name, kind in names.items()} | {"MAVEN_OPTS": f"-Dmaven.repo.local={folder / 'maven'}"}


def _rehearse(setting: Setting, clone: Path, caches: dict[str, str]) -> tuple[float, str]:
    """Seconds of `make rehearse`, and what its comparison with a local run says."""
    done = run(setting, ["make", "-C", str(clone), "rehearse", "ENV=dev"], caches)
    found = re.search(r"(\d+) images bit for bit, (\d+) faults", done.stdout)
    require(found is not None and len(re.findall(r"(?m)^ +[\d.]+ s  ", done.stdout)) == len(STEPS) + 1, "not all of it was rehearsed")
    assert found
    images, faults = int(found[1]), int(found[2])
    require(images + faults >= IMAGES and faults > 0, f"{images} images and {faults} broken ones are too few")
    return done.seconds, f"{images + faults} images, {faults} of them broken"


def _judged(seconds: float, limit: float) -> str:
    return f"{'within' if seconds <= limit else 'ABOVE'} {limit / 60:.0f} min"
