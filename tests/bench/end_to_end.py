"""From images to projections: `python -m job run` against the notebook's way, whole processes with the same weights and cores."""

from __future__ import annotations

from functools import partial

from tests.bench.data import image_folder, model_file, weights
from tests.bench.harness import (
    Figures,
    Setting,
    alternate,
    fresh,
    line,
    middle,
    ratio,
    require,
    run_job,
    run_python,
    scale_note,
)
from tests.bench.notebook import COMPONENTS

BEFORE = ("imports", "session")  # the notebook's phases until its session is up


def small(setting: Setting) -> str:
    """1,400 images, both sides measured equally often: the size of the notebook's own printed run."""
    return _compare(setting, "end-to-end-1400", 1_400, wanted="at least 15x, aim 30x")


def large(setting: Setting) -> str:
    """12,000 images; the notebook once, for it takes long.

    In whole and not on a sample: most of what it costs on 1,400 images is importing TensorFlow and building the model in
    3 x 24 tasks, and 12,000 images need no more of those. Once its session was up, 140 images took 107 s and 1,200 took 233 s
    (seen on two busy cores): its rate on a sample, scaled, would overstate its time several times over.
    """
    return _compare(setting, "end-to-end-12000", 12_000, wanted="at least 10x, aim 20x", once=("notebook",))


def _compare(setting: Setting, name: str, full: int, *, wanted: str, once: tuple[str, ...] = ()) -> str:
    count = setting.scaled(full)
    sides = {"verger": partial(_verger, setting, count), "notebook": partial(_notebook, setting, count)}
    model_file(setting), image_folder(setting, count)  # made before anything is timed
    runs = alternate(sides, repeats=setting.repeats, once=once)
    verger, notebook = runs["verger"], runs["notebook"]
    return line(
        name,
        scale_note(setting, full, count, "images"),
        f"verger {middle(verger, 'whole'):.1f} s",
        f"notebook {middle(notebook, 'whole'):.1f} s",
        f"{ratio(notebook, verger, 'whole'):.1f}x ({wanted})",
        f"after session {middle(verger, 'after'):.1f} s, {middle(notebook, 'after'):.1f} s, {ratio(notebook, verger, 'after'):.1f}x",
        f"n={setting.repeats}" + (", notebook once" if once and setting.repeats > 1 else ""),
    )


def _verger(setting: Setting, count: int) -> Figures:
    """ "after" leaves out the start of Spark and nothing else: imports and stopping count, as they do not for the notebook."""
    flags = ("--images", image_folder(setting, count), "--model", model_file(setting), "--components", str(COMPONENTS))
    done = run_job(setting, "run", *flags, results=fresh(setting.work / "results"))
    rows = done.summary["project"]["rows"]
    require(rows == count, f"verger projected {rows} of {count} images")
    return {"whole": done.seconds, "after": done.seconds - done.stages["session"], **done.stages}


def _notebook(setting: Setting, count: int) -> Figures:
    results = fresh(setting.work / "results-notebook")
    flags = ("--images", image_folder(setting, count), "--results", results, "--weights", weights(setting))
    done = run_python(setting, "-m", "tests.bench.notebook", *flags)
    rows = sum(len(file.read_bytes().splitlines()) for file in results.glob("part-*.csv"))
    require(rows == count, f"the notebook projected {rows} of {count} images")
    phases = done.last_line
    after = sum(seconds for phase, seconds in phases.items() if phase not in BEFORE)
    return {"whole": done.seconds, "after": after, **phases}
