"""What the benches work on, made once in the work folder and used again: pictures, the compiled model, features.

Nothing notices that the code which made them has changed: delete the folder then.
"""

from __future__ import annotations

import os
import shutil
import sys
from itertools import cycle, islice
from pathlib import Path

from tests.bench.harness import ROOT, BenchError, Setting, fresh, require, run_job, run_python

WEIGHTS = Path("weights", "mobilenet_v2_1.0_224_no_top.h5")
PICTURES = ("fruits", "fruits_seed_classes")  # 1,200 and 300


def shared_data() -> Path:
    """Pictures and weights beside the project: VERGER_SHARED_DATA, or ../shared/data. BenchError where they are not there."""
    folder = Path(os.environ.get("VERGER_SHARED_DATA") or ROOT.parent / "shared" / "data").resolve()
    missing = [name for name in (*PICTURES, WEIGHTS) if not (folder / name).exists()]
    if missing:
        raise BenchError(f"no shared data: {folder} has no {missing[0]}; set VERGER_SHARED_DATA to the folder of pictures and weights")
    return folder


def weights(setting: Setting) -> Path:
    """MobileNetV2's weights, for both sides."""
    return setting.shared / WEIGHTS


def originals(setting: Setting) -> list[Path]:
    """The shared pictures, one of each label in turn, so that the first N of them are N of all kinds."""
    folders = sorted(folder for name in PICTURES for folder in (setting.shared / name).iterdir() if folder.is_dir())
    ranked = [(rank, file) for folder in folders for rank, file in enumerate(sorted(folder.glob("*.jpg")))]
    return [file for _, file in sorted(ranked, key=lambda each: (each[0], each[1].parent.name))]


def image_folder(setting: Setting, count: int) -> Path:
    """A folder of `count` pictures in folders by label; beyond the 1,500 shared ones they are copies under other names."""
    folder = setting.work / f"images-{count}"
    if not folder.is_dir():
        _tell(f"copying {count:,} pictures")
        half = fresh(folder.with_name(f"_{folder.name}"))
        for place, original in enumerate(islice(cycle(originals(setting)), count)):
            copy = half / original.parent.name / f"{place:06}_{original.name}"
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(original, copy)
        half.rename(folder)
    return folder


def model_file(setting: Setting) -> Path:
    """The compiled network."""
    folder = setting.work / "model"
    if not (folder / "model.tflite").is_file():
        _tell("compiling the model")
        run_python(setting, "-m", "bootstrap", "compile", "--weights", weights(setting), "--out", folder)
    return folder / "model.tflite"


def featurized(setting: Setting, count: int) -> Path:
    """A results folder with the features of `count` pictures and nothing after them."""
    results = setting.work / f"features-{count}"
    if not (results / "features").is_dir():
        _tell(f"featurizing {count:,} pictures")
        flags = ("--images", image_folder(setting, count), "--model", model_file(setting))
        done = run_job(setting, "featurize", *flags, results=fresh(results))
        require(done.images == count, f"{done.images} of {count} pictures have features")
    return results


def _tell(doing: str) -> None:
    print(f"  {doing} (once)", file=sys.stderr, flush=True)
