"""The model of docs/scaling.md against runs: fitted on two of them, it has to foretell the others."""

from __future__ import annotations

from functools import partial

from bootstrap.scaling import busy_s
from tests.bench.data import image_folder, model_file
from tests.bench.harness import Figures, Setting, alternate, fresh, line, middle, require, run_job, scale_note

SIZES, CORES = (1_200, 4_000, 12_000), (1, 2)


def scaling(setting: Setting) -> str:
    """Seconds of `run` after the session, by images and cores. The fewest and the most images on one core give the two constants."""
    sizes = [setting.scaled(size) for size in SIZES]
    model_file(setting)
    for size in sizes:
        image_folder(setting, size)
    sides = {f"{size:,} x {cores}": partial(_run, setting, size, cores) for size in sizes for cores in CORES}
    runs = alternate(sides, repeats=setting.repeats)
    seconds = {side: middle(each, "after") for side, each in runs.items()}
    few, most = (seconds[f"{size:,} x 1"] for size in (sizes[0], sizes[-1]))
    image_s = (most - few) / (sizes[-1] - sizes[0])
    start_s = few - sizes[0] * image_s
    told = {
        side: (seconds[side], busy_s(size, cores, start_s=start_s, image_s=image_s))
        for size in sizes
        for cores in CORES
        if (side := f"{size:,} x {cores}")
    }
    return line(
        "scaling",
        scale_note(setting, SIZES[-1], sizes[-1], "images"),
        f"{start_s:.2f} s and {1e3 * image_s:.2f} ms an image and core",
        ", ".join(f"{side} {measured:.1f} s, foretold {foretold:.1f}" for side, (measured, foretold) in told.items()),
        f"farthest off {max(abs(foretold / measured - 1) for measured, foretold in told.values()):.1%}",
        f"n={setting.repeats}",
    )


def _run(setting: Setting, images: int, cores: int) -> Figures:
    flags = ("--images", image_folder(setting, images), "--model", model_file(setting), "--cores", str(cores))
    done = run_job(setting, "run", *flags, results=fresh(setting.work / "results"))
    require(done.images == images, f"verger has features of {done.images} of {images} images")
    return {"after": sum(seconds for stage, seconds in done.stages.items() if stage != "session"), **done.stages}
