"""What a run costs that goes on from an earlier one: with nothing to do, and with a few new images on top of many."""

from __future__ import annotations

import json
import shutil
from functools import partial
from pathlib import Path

from tests.bench.data import image_folder, model_file
from tests.bench.harness import Figures, Setting, alternate, fresh, line, middle, ratio, require, run_python, scale_note

IMAGES, NEW = 12_000, 1_000


def nothing_to_do(setting: Setting) -> str:
    """`run` again with the same images, in a session of its own: what listing and comparing cost, and starting Python workers."""
    count = setting.scaled(IMAGES)
    results, images = setting.work / "results-rerun", image_folder(setting, count)
    sides = {
        "again": partial(_job, setting, "run", images, results=results, images=count),
        "first": lambda: _job(setting, "run", images, results=fresh(results), images=count),
    }
    sides["first"]()
    runs = alternate(sides, repeats=setting.repeats)
    return line(
        "rerun-12000",
        scale_note(setting, IMAGES, count, "images"),
        f"first {middle(runs['first'], 'seconds'):.1f} s",
        f"again {middle(runs['again'], 'seconds'):.2f} s",
        f"{ratio(runs['again'], runs['first'], 'seconds'):.1%} (at most 5 %, aim 2 %)",
        f"n={setting.repeats}",
    )


def new_on_top(setting: Setting) -> str:
    """`featurize` of new images in a folder beside many that are done, against that folder alone."""
    many, few = setting.scaled(IMAGES), setting.scaled(NEW)
    folders = image_folder(setting, many), image_folder(setting, few)
    done, results = setting.work / "results-done", setting.work / "results-rerun"
    _job(setting, "featurize", folders[0], results=fresh(done), images=many)
    sides = {
        "on top": lambda: _job(setting, "featurize", *folders, results=_copy(done, results), images=many + few),
        "alone": lambda: _job(setting, "featurize", folders[1], results=fresh(results), images=few),
    }
    runs = alternate(sides, repeats=setting.repeats)
    return line(
        "new-on-12000",
        scale_note(setting, IMAGES, many, "images"),
        f"on top {middle(runs['on top'], 'seconds'):.2f} s",
        f"alone {middle(runs['alone'], 'seconds'):.2f} s",
        f"{ratio(runs['on top'], runs['alone'], 'seconds'):.2f}x (at most 1.3x)",
        f"n={setting.repeats}",
    )


def _copy(folder: Path, target: Path) -> Path:
    return Path(shutil.copytree(folder, fresh(target)))


def _job(setting: Setting, verb: str, *folders: Path, results: Path, images: int) -> Figures:
    """Seconds from a session that is up to published results."""
    roots = [word for folder in folders for word in ("--images", str(folder))]
    flags = (*roots, "--results", str(results), "--model", str(model_file(setting)), "--quiet")
    figures = run_python(setting, "-m", "tests.bench.after_session", verb, *flags).last_line
    found = json.loads((results / "summary.json").read_text())["featurize"]["images"]
    require(found == images, f"{found} of {images} images in the results")
    return figures
