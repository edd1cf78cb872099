"""What --precision half saves and costs: bytes of features, their error, and how far projections move."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import cast, get_args

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from job.contract import Precision
from tests.bench.data import image_folder, model_file
from tests.bench.harness import Figures, Setting, alternate, fresh, line, middle, ratio, require, run_job, scale_note

IMAGES, COMPONENTS = 1_500, 10  # all that there are: copies in one file would compress better than images do


def precision(setting: Setting) -> str:
    """Bytes an image of features/ by --precision; errors are ||half - single|| / ||single|| of an image, Euclidean."""
    count = setting.scaled(IMAGES)
    sides = {each: partial(_run, setting, each, count) for each in get_args(Precision)}
    runs = alternate(sides, repeats=setting.repeats)
    single, half = runs["single"], runs["half"]
    return line(
        "precision",
        scale_note(setting, IMAGES, count, "images"),
        f"single {middle(single, 'bytes'):,.0f} bytes of features an image",
        f"half {middle(half, 'bytes'):,.0f}",
        f"{ratio(half, single, 'bytes'):.1%} (at most 65 %)",
        f"error in features: {_error(setting, 'features', 'features')}",
        f"in projections onto {COMPONENTS} components: {_error(setting, 'projections', 'projection')}",
        f"of a core: single {middle(single, 'core'):.2f} ms an image, half {middle(half, 'core'):.2f}, {ratio(half, single, 'core'):.3f}x",
        f"n={setting.repeats}",
    )


def _results(setting: Setting, side: str) -> Path:
    return setting.work / f"results-{side}"


def _run(setting: Setting, side: str, count: int) -> Figures:
    results = fresh(_results(setting, side))
    flags = ("--images", image_folder(setting, count), "--model", model_file(setting), "--components", str(COMPONENTS), "--cores", "1")
    done = run_job(setting, "run", *flags, "--precision", side, results=results)
    require(done.images == count, f"verger has features of {done.images} of {count} images")
    size = sum(file.stat().st_size for file in (results / "features").glob("*.parquet"))
    return {"bytes": size / count, "core": sum(done.summary["featurize"]["worker_seconds"].values()) / count * 1e3}


def _error(setting: Setting, dataset: str, column: str) -> str:
    """How far half precision takes an image's numbers: in the middle, and at most."""
    single, half = (_numbers(_results(setting, side) / dataset, column) for side in get_args(Precision))
    errors = np.linalg.norm(half - single, axis=1) / np.linalg.norm(single, axis=1)
    return f"median {np.median(errors):.3%}, max {errors.max():.3%}"


def _numbers(dataset: Path, column: str) -> NDArray[np.float64]:
    """A list column (n, k), in order of path."""
    table = pq.read_table(dataset, columns=["path", column]).sort_by("path")
    flat = table[column].combine_chunks().flatten().to_numpy()
    return cast("NDArray[np.float64]", flat.reshape(table.num_rows, -1).astype(np.float64))
