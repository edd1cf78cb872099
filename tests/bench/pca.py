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
    """Seconds of fitting and projecting. Verger's contain reading Parquet, keeping moments and writing projections twice;
    MLlib's contain neither reading nor writing."""
    count = setting.scaled(IMAGES)
    results = featurized(setting, count)
    sides = {
        "verger": partial(_verger, setting, results, count),
        "ml.PCA": partial(_mllib, setting, results, count, "ml"),
        "RowMatrix": partial(_mllib, setting, results, count, "rowmatrix"),
    }
    runs = alternate(sides, repeats=setting.repeats)
    verger, ml, matrix = runs.values()
    shares = verger[0]["explained"], ml[0]["explained"]
    require(abs(shares[0] - shares[1]) < SAME_SHARE, f"variance explained differs: verger {shares[0]}, MLlib {shares[1]}")
    faster = [min(pair, key=lambda run: run["seconds"]) for pair in zip(ml, matrix, strict=True)]
    return line(
        "pca-12000",
        scale_note(setting, IMAGES, count, "rows"),
        f"verger {middle(verger, 'seconds'):.1f} s (fit {middle(verger, 'fit'):.1f}, project {middle(verger, 'project'):.1f})",
        f"ml.PCA {middle(ml, 'seconds'):.1f} s",
        f"RowMatrix {middle(matrix, 'seconds'):.1f} s",
        f"{ratio(faster, verger, 'seconds'):.1f}x the faster (at least 5x, aim 8x)",
        f"n={setting.repeats}",
    )


def _verger(setting: Setting, results: Path, count: int) -> Figures:
    for name in ("pca", "projections", "projections.csv"):  # a fit would start from the moments that the last one kept
        fresh(results / name)
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
