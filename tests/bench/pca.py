"""`fit` and `project` against MLlib, on the same features."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from tests.bench.data import featurized
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

IMAGES = 12_000
COMPONENTS = 4
SAME_SHARE = 1e-6  # of variance; both sides compute it in float64 from the same float32 features


def pca(setting: Setting) -> str:
    """Seconds of fitting and projecting, on both sides in a session that is up: what `run` does after featurizing, against
    MLlib on vectors in memory. Verger's contain reading Parquet, keeping moments and writing projections twice; MLlib's
    contain neither reading nor writing. As two commands, each of which starts workers, Verger is told beside it."""
    count = setting.scaled(IMAGES)
    results = featurized(setting, count)
    sides = {
        "verger": partial(_verger, setting, results, count),
        "commands": partial(_commands, setting, results, count),
        "ml.PCA": partial(_mllib, setting, results, count, "ml"),
        "RowMatrix": partial(_mllib, setting, results, count, "rowmatrix"),
    }
    runs = alternate(sides, repeats=setting.repeats)
    verger, commands, ml, matrix = runs.values()
    shares = verger[0]["explained"], ml[0]["explained"]
    require(abs(shares[0] - shares[1]) < SAME_SHARE, f"variance explained differs: verger {shares[0]}, MLlib {shares[1]}")
    faster = [min(pair, key=lambda run: run["seconds"]) for pair in zip(ml, matrix, strict=True)]
    return line(
        "pca-12000",
        scale_note(setting, IMAGES, count, "rows"),
        f"verger {middle(verger, 'seconds'):.1f} s (fit {middle(verger, 'fit'):.1f}, project {middle(verger, 'project'):.1f})",
        f"as two commands {middle(commands, 'seconds'):.1f} s",
        f"ml.PCA {middle(ml, 'seconds'):.1f} s",
        f"RowMatrix {middle(matrix, 'seconds'):.1f} s",
        f"{ratio(faster, verger, 'seconds'):.1f}x the faster (at least 5x, aim 8x)",
        f"n={setting.repeats}",
    )


def _clear(results: Path) -> None:
    """A fit would start from the moments that the last one kept."""
    for name in ("pca", "projections", "projections.csv"):
        fresh(results / name)


def _verger(setting: Setting, results: Path, count: int) -> Figures:
    _clear(results)
    done = run_python(setting, "-m", "tests.bench.warm_pca", "--results", results, "--components", str(COMPONENTS))
    figures = done.last_line
    require(bool(figures.pop("from_features")), "fit reused moments instead of reading features")
    require(figures["rows"] == count, f"{figures['rows']} rows projected, not {count}")
    return {"seconds": figures["fit"] + figures["project"], **figures, "whole": done.seconds}


def _commands(setting: Setting, results: Path, count: int) -> Figures:
    _clear(results)
    fit = run_job(setting, "fit", "--components", str(COMPONENTS), results=results)
    project = run_job(setting, "project", results=results)
    fitted, projected = fit.summary["fit"], project.summary["project"]
    require(fitted["moments_from"] == "features", "fit reused moments instead of reading features")
    require(
        fitted["rows"] == projected["rows"] == count,
        f"{fitted['rows']} rows fitted, {projected['rows']} projected, not {count}",
    )
    return {
        "seconds": fitted["seconds"] + projected["seconds"],
        "fit": fitted["seconds"],
        "project": projected["seconds"],
        "explained": fitted["explained"],
        "whole": fit.seconds + project.seconds,
    }


def _mllib(setting: Setting, results: Path, count: int, way: str) -> Figures:
    flags = ("--features", results / "features", "--way", way, "--components", str(COMPONENTS))
    done = run_python(setting, "-m", "tests.bench.mllib", *flags)
    figures = done.last_line
    require(figures["rows"] == count, f"MLlib read {figures['rows']} of {count} rows")
    return {"seconds": figures["fit"] + figures["project"], **figures, "whole": done.seconds}
