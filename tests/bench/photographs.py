"""Photographs: pictures of 12 megapixels by plain and by scaled decoding, how fast, and how far apart in features."""

from __future__ import annotations

import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from statistics import median
from time import process_time
from typing import TypeAlias

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from tests.bench.data import model_file, originals
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
    scale_note,
)

PHOTOGRAPHS, FEW_PHOTOGRAPHS = 200, 10
WIDTH, HEIGHT = 4_000, 3_000
TILES = (500, 1_000, 2_000)  # pixels a side of the pictures that a photograph is made of, by turns
# Standard deviation, in gray levels, of noise whose grains are so many pixels wide. Levels as in nature, about the same from
# octave to octave, and falling at the finest, as lenses have it; what is coarser comes from the pictures.
OCTAVES = {2: 3.5, 4: 3.0, 8: 5.0, 16: 6.0, 32: 6.0}
GRAIN = 3.5  # of each pixel
RANGE = (16, 224)  # gray levels of black and white before detail: the shared pictures' white background would clip it
QUALITY = 90
SIZES = (2e6, 5e6)  # bytes of a photograph of 12 megapixels, as phones write them

Features: TypeAlias = NDArray[np.float32]


def photographs(setting: Setting) -> str:
    """Images/s of the featurize stage with and without --fast-decode; the error is ||fast - plain|| / ||plain|| of features."""
    count = FEW_PHOTOGRAPHS if setting.quick else PHOTOGRAPHS
    folder, model = photograph_folder(setting, count), model_file(setting)
    measure = partial(_featurize, setting, folder, model, count)
    runs = alternate({"plain": partial(measure, fast=False), "fast": partial(measure, fast=True)}, repeats=setting.repeats)
    plain, fast = runs["plain"], runs["fast"]
    errors = distances(_features(_results(setting, fast=True)), _features(_results(setting, fast=False)))
    files = sorted(folder.rglob("*.jpg"))
    size = sum(file.stat().st_size for file in files) / count
    entropy = entropy_seconds(files[:FEW_PHOTOGRAPHS])
    return line(
        "photographs",
        scale_note(setting, PHOTOGRAPHS, count, "photographs"),
        f"plain {middle(plain, 'rate'):.1f} images/s",
        f"--fast-decode {middle(fast, 'rate'):.1f} images/s",
        f"{ratio(fast, plain, 'rate'):.1f}x (at least 4x)",
        f"error in features: median {median(errors):.2%}, max {max(errors):.2%}",
        f"{size / 1e6:.1f} MB each",
        f"of a core: plain {middle(plain, 'core'):.0f} ms, fast {middle(fast, 'core'):.0f}, its entropy decoding {entropy * 1e3:.0f}",
        f"n={setting.repeats}",
    )


def _featurize(setting: Setting, folder: Path, model: Path, count: int, *, fast: bool) -> Figures:
    results = fresh(_results(setting, fast=fast))
    flags = ("--images", folder, "--model", model)
    done = run_job(setting, "featurize", *flags, *(["--fast-decode"] if fast else []), results=results)
    require(done.images == count, f"verger has features of {done.images} of {count} photographs")
    core = sum(done.summary["featurize"]["worker_seconds"].values()) / count * 1e3
    return {"rate": count / done.stages["featurize"], "core": core, "whole": done.seconds, **done.summary["featurize"]["worker_seconds"]}


def entropy_seconds(files: list[Path]) -> float:
    """What a scaled decode cannot go below, in seconds of a core: libjpeg at an eighth, which leaves out all but the entropy decoding."""
    seconds = []
    for file in files:
        started = process_time()
        with Image.open(file) as image:
            image.draft(None, (WIDTH // 8, HEIGHT // 8))
            image.load()
        seconds.append(process_time() - started)
    return median(seconds)


def _results(setting: Setting, *, fast: bool) -> Path:
    return setting.work / ("results-fast" if fast else "results-plain")


def _features(results: Path) -> dict[str, Features]:
    """Features (d,) by path."""
    table = pq.read_table(results / "features", columns=["path", "features"])
    return dict(zip(table["path"].to_pylist(), np.asarray(table["features"].to_pylist(), np.float32), strict=True))


def distances(found: dict[str, Features], wanted: dict[str, Features]) -> list[float]:
    """Relative Euclidean distance of each image's features; both sides have the same images."""
    require(found.keys() == wanted.keys(), "plain and fast decoding have features of different images")
    return [float(np.linalg.norm(found[path] - wanted[path]) / np.linalg.norm(wanted[path])) for path in wanted]


def photograph_folder(setting: Setting, count: int) -> Path:
    """A folder of `count` photographs, made once."""
    folder = setting.work / f"photographs-{count}"
    if not folder.is_dir():
        print(f"  making {count} photographs (once)", file=sys.stderr, flush=True)
        half = fresh(folder.with_name(f"_{folder.name}"))
        (half / "photographs").mkdir(parents=True)
        with ProcessPoolExecutor(cores()) as pool:
            sizes = list(pool.map(partial(_write, half / "photographs", originals(setting)), range(count)))
        require(
            SIZES[0] <= median(sizes) <= SIZES[1],
            f"photographs of {median(sizes) / 1e6:.1f} MB, wanted 2 to 5",
        )
        half.rename(folder)
    return folder


def _write(folder: Path, pictures: list[Path], index: int) -> int:
    file = folder / f"{index:04}.jpg"
    photograph(pictures, seed=index).save(file, quality=QUALITY)
    return file.stat().st_size


def photograph(pictures: list[Path], *, seed: int) -> Image.Image:
    """Pictures side by side, enlarged to 12 megapixels in all, with detail and grain; the same for the same seed."""
    random = np.random.default_rng(seed)
    tile = TILES[seed % len(TILES)]
    canvas = Image.new("RGB", (WIDTH, HEIGHT))
    for top in range(0, HEIGHT, tile):
        for left in range(0, WIDTH, tile):
            with Image.open(pictures[random.integers(len(pictures))]) as picture:
                canvas.paste(picture.convert("RGB").resize((tile, tile), Image.Resampling.BICUBIC), (left, top))
    detail = random.standard_normal((HEIGHT, WIDTH), np.float32) * np.float32(GRAIN)
    for grain, level in OCTAVES.items():
        coarse = Image.fromarray(random.standard_normal((HEIGHT // grain, WIDTH // grain), np.float32) * np.float32(level))
        detail += np.asarray(coarse.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC))
    pixels = np.interp(np.arange(256), (0, 255), RANGE).astype(np.float32)[np.asarray(canvas)] + detail[:, :, None]
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
