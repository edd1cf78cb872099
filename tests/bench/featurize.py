"""`featurize` against plain processes, and where a run's time goes."""

from __future__ import annotations

from functools import partial

from tests.bench.data import image_folder, model_file
from tests.bench.harness import (
    Figures,
    Setting,
    alternate,
    cores,
    fresh,
    line,
    middle,
    ratio,
    require,
    run_job,
    run_python,
    scale_note,
)

IMAGES = 12_000


def rate(setting: Setting) -> str:
    """Images/s once Spark's session is up, against those of processes without Spark once they are ready; and whole processes.

    The job's rate is that of its featurize stage, which writes Parquet besides. Its Python workers are started by the listing
    before it, so the rate of listing and featurize together is told too.
    """
    count = setting.scaled(IMAGES)
    sides = {"verger": partial(_verger, setting, count), "plain": partial(_plain, setting, count)}
    model_file(setting), image_folder(setting, count)
    runs = alternate(sides, repeats=setting.repeats)
    verger, plain = runs["verger"], runs["plain"]
    return line(
        "featurize-12000",
        scale_note(setting, IMAGES, count, "images"),
        f"verger {middle(verger, 'rate'):.1f} images/s",
        f"plain {middle(plain, 'rate'):.1f} images/s",
        f"{ratio(verger, plain, 'rate'):.1%} (at least 92 %, aim 97 %)",
        f"with listing {ratio(verger, plain, 'rate with listing'):.1%}",
        f"whole process {middle(verger, 'whole'):.1f} s, {middle(plain, 'whole'):.1f} s, {ratio(plain, verger, 'whole'):.1%}",
        f"n={setting.repeats}",
    )


def _verger(setting: Setting, count: int) -> Figures:
    flags = ("--images", image_folder(setting, count), "--model", model_file(setting))
    done = run_job(setting, "featurize", *flags, results=fresh(setting.work / "results"))
    require(done.images == count, f"verger has features of {done.images} of {count} images")
    seconds = done.stages["featurize"]
    return {
        "rate": count / seconds,
        "rate with listing": count / (seconds + done.stages["listing"]),
        "whole": done.seconds,
    }


def _plain(setting: Setting, count: int) -> Figures:
    flags = ("--images", image_folder(setting, count), "--model", model_file(setting), "--processes", str(cores()))
    done = run_python(setting, "-m", "tests.bench.plain", *flags)
    figures = done.last_line
    require(figures["images"] == count, f"plain processes have features of {figures['images']} of {count} images")
    rate = count / figures["seconds"]
    return {"rate": rate, "rate with listing": rate, "ready": figures["ready"], "whole": done.seconds}


def where_time_goes(setting: Setting) -> str:
    """Shares of a whole `python -m job run`.

    What workers count (start, read, decode, resize, infer, arrow, parquet) is summed over them and divided by the cores; "idle" is
    the rest of the featurize stage: Spark's scheduling, and cores that wait for the last task. "other" is what lies outside
    the stages: Python's start, imports, publishing, stopping.
    """
    count = setting.scaled(IMAGES)
    model_file(setting), image_folder(setting, count)
    runs = alternate({"verger": partial(_shares, setting, count)}, repeats=setting.repeats)["verger"]
    return line(
        "where-time-goes",
        scale_note(setting, IMAGES, count, "images"),
        f"of {middle(runs, 'whole'):.1f} s:",
        ", ".join(f"{step} {middle(runs, step):.1%}" for step in runs[0] if step != "whole"),
        f"n={setting.repeats}",
    )


def _shares(setting: Setting, count: int) -> Figures:
    flags = ("--images", image_folder(setting, count), "--model", model_file(setting))
    done = run_job(setting, "run", *flags, results=fresh(setting.work / "results"))
    require(done.images == count, f"verger has features of {done.images} of {count} images")
    stages = done.stages
    steps = {step: seconds / cores() for step, seconds in done.summary["featurize"]["worker_seconds"].items()}
    idle = stages["featurize"] - sum(steps.values())
    other = done.seconds - sum(stages.values())
    parts = {
        "session": stages.pop("session"),
        "listing": stages.pop("listing"),
        **steps,
        "idle": idle,
        **{stage: seconds for stage, seconds in stages.items() if stage != "featurize"},
        "other": other,
    }
    return {"whole": done.seconds, **{part: seconds / done.seconds for part, seconds in parts.items()}}
