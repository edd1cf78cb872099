"""The model of docs/scaling.md against runs: fitted on two of them, it has to foretell the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial

from bootstrap.scaling import GET_S, KEY_S, busy_s
from tests.bench.data import image_folder, model_file
from tests.bench.harness import Figures, Runs, Setting, alternate, cores, fresh, line, middle, require, run_job, scale_note
from tests.bench.latency import IMAGES_OF_BUCKET, cpu_s, of_store
from tests.bench.s3_server import store

SIZES, CORES = (1_200, 4_000, 12_000), (1, 2)


def scaling(setting: Setting) -> str:
    """Seconds of `run` after the session, by images and cores. The fewest and the most images on one core give the two constants."""
    sizes = _sizes(setting)
    sides = {_side(size, slots): partial(_from_disk, setting, size, slots) for size in sizes for slots in CORES}
    runs = alternate(sides, repeats=setting.repeats)
    start_s, image_s = _fitted(runs, sizes)
    constants = f"{start_s:.2f} s and {1e3 * image_s:.2f} ms an image and core"
    return _line("scaling", setting, runs, constants, start_s=start_s, image_s=image_s)


def over_s3(setting: Setting) -> str:
    """The same over S3, all six foretold: by the two runs from a disk, and what the model has for a request and for a key.

    The store answers at once. Where the job has all cores, the store takes of them: its processor time, from the operating system,
    is given back as in `latency`, seconds - processor seconds / cores. Where it leaves some, the store has those.
    """
    sizes = _sizes(setting)
    from_disk = {f"{_side(size, 1)} from a disk": partial(_from_disk, setting, size, 1) for size in (sizes[0], sizes[-1])}
    with ExitStack() as stack:
        peers = {size: stack.enter_context(store(0, ["--folder", str(image_folder(setting, size))])) for size in sizes}
        sides = {_side(size, slots): partial(_from_store, setting, size, slots, peers[size]) for size in sizes for slots in CORES}
        runs = alternate(from_disk | sides, repeats=setting.repeats)
    start_s, image_s = _fitted({side.removesuffix(" from a disk"): runs[side] for side in from_disk}, sizes)
    of_one = f"{1e3 * (_fitted(runs, sizes)[1] - image_s):.3f} ms an image and core more than from a disk"
    constants = f"{of_one}, foretold {1e3 * (GET_S + KEY_S):.3f}"
    store_ms = f"the store's {1e3 * middle(runs[_side(sizes[-1], CORES[-1])], 'store') / sizes[-1]:.3f} ms CPU a GET allowed for"
    return _line("scaling-s3", setting, runs, f"{constants}, {store_ms}", start_s=start_s, image_s=image_s + GET_S + KEY_S)


def _sizes(setting: Setting) -> list[int]:
    """Numbers of images; their folders and the model are made before anything is timed."""
    sizes = [setting.scaled(size) for size in SIZES]
    model_file(setting)
    for size in sizes:
        image_folder(setting, size)
    return sizes


def _side(size: int, slots: int) -> str:
    return f"{size:,} x {slots}"


def _fitted(runs: Mapping[str, Runs], sizes: Sequence[int]) -> tuple[float, float]:
    """Seconds for no image and for each, by the fewest and the most images on one core."""
    few, most = (middle(runs[_side(size, 1)], "after") for size in (sizes[0], sizes[-1]))
    image_s = (most - few) / (sizes[-1] - sizes[0])
    return few - sizes[0] * image_s, image_s


def _line(name: str, setting: Setting, runs: Mapping[str, Runs], constants: str, *, start_s: float, image_s: float) -> str:
    sizes = [setting.scaled(size) for size in SIZES]
    told = {
        side: (middle(runs[side], "after"), busy_s(size, slots, start_s=start_s, image_s=image_s))
        for size in sizes
        for slots in CORES
        if (side := _side(size, slots))
    }
    return line(
        name,
        scale_note(setting, SIZES[-1], sizes[-1], "images"),
        constants,
        ", ".join(f"{side} {measured:.1f} s, foretold {foretold:.1f}" for side, (measured, foretold) in told.items()),
        f"farthest off {max(abs(foretold / measured - 1) for measured, foretold in told.values()):.1%}",
        f"n={setting.repeats}",
    )


def _from_disk(setting: Setting, count: int, slots: int) -> Figures:
    return _run(setting, count, slots, images=str(image_folder(setting, count)))


def _from_store(setting: Setting, count: int, slots: int, peer: tuple[str, int]) -> Figures:
    url, pid = peer
    before = cpu_s(pid)
    found = _run(setting, count, slots, images=IMAGES_OF_BUCKET, **of_store(url))
    spent = cpu_s(pid) - before
    allowed = spent / cores() if slots >= cores() else 0.0
    return found | {"after": found["after"] - allowed, "store": spent}


def _run(setting: Setting, count: int, slots: int, *, images: str, **surroundings: str) -> Figures:
    flags = ("--images", images, "--model", model_file(setting), "--cores", str(slots))
    done = run_job(setting, "run", *flags, results=fresh(setting.work / "results"), **surroundings)
    require(done.images == count, f"verger has features of {done.images} of {count} images")
    return {"after": sum(seconds for stage, seconds in done.stages.items() if stage != "session"), **done.stages}
