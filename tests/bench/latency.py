"""`featurize` over S3: against itself without latency, against the same objects as files, one request at a time, by other clients."""

from __future__ import annotations

from functools import partial

import psutil

from tests.bench.data import image_folder, model_file
from tests.bench.harness import (
    Figures,
    Runs,
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
from tests.bench.s3_readers import AS_DAEMON, READER
from tests.bench.s3_server import store

IMAGES, SOME, FEW, LATENCY_MS = 12_000, 4_000, 1_200, 30
IMAGES_OF_BUCKET = "s3://bench"


def latency(setting: Setting) -> str:
    """Images/s of the featurize stage. "workers wait": the share of their time in which they had nothing to decode.

    The store shares the cores with the job: against local files its processor time, taken from the operating system, is given
    back: seconds - processor seconds / cores. Against the job without latency it is on both sides.
    """
    count, few = setting.scaled(IMAGES), setting.scaled(FEW)
    folder, small = image_folder(setting, count), image_folder(setting, few)
    model_file(setting)  # made before anything is timed
    late = store(LATENCY_MS, ["--folder", str(folder)])
    soon = store(0, ["--folder", str(folder)])
    slow = store(LATENCY_MS, ["--folder", str(small)])
    with late as far, soon as near, slow as serial:
        sides = {
            f"{LATENCY_MS} ms": partial(_from_store, setting, count, far),
            "0 ms": partial(_from_store, setting, count, near),
            "files": partial(_featurize, setting, count, images=str(folder)),
            "serial": partial(_from_store, setting, few, serial, **AS_DAEMON, **{READER: "serial"}),
        }
        runs = alternate(sides, repeats=setting.repeats, once=["serial"])
    return _line(setting, count, runs)


def clients(setting: Setting) -> str:
    """Images/s of the featurize stage by the clients that could read images, asked alike: as many at once, in threads."""
    count = setting.scaled(SOME)
    folder = image_folder(setting, count)
    model_file(setting)
    with store(LATENCY_MS, ["--folder", str(folder)]) as peer:
        others = {name: partial(_from_store, setting, count, peer, **AS_DAEMON, **{READER: name}) for name in ("pyarrow", "boto3")}
        runs = alternate({"obstore": partial(_from_store, setting, count, peer), **others}, repeats=setting.repeats)
    rates = (
        f"{name} {middle(each, 'rate'):.1f} images/s {ratio(each, runs['obstore'], 'rate'):.1%}, workers wait {middle(each, 'read'):.1%}"
        for name, each in runs.items()
    )
    return line("s3-clients", scale_note(setting, SOME, count, "images"), f"after {LATENCY_MS} ms:", *rates, f"n={setting.repeats}")


def _line(setting: Setting, count: int, runs: dict[str, Runs]) -> str:
    late, soon, files, serial = runs.values()
    return line(
        "s3-latency",
        scale_note(setting, IMAGES, count, "images"),
        f"{LATENCY_MS} ms {middle(late, 'rate'):.1f} images/s, workers wait {middle(late, 'read'):.1%}",
        f"0 ms {middle(soon, 'rate'):.1f} images/s {ratio(late, soon, 'rate'):.1%} (at least 95 %)",
        f"files {middle(files, 'rate'):.1f} images/s {ratio(late, files, 'rate'):.1%},"
        f" the store's {middle(late, 'store ms'):.3f} ms CPU a GET allowed for {ratio(late, files, 'allowed'):.1%} (at least 90 %)",
        f"one request at a time {middle(serial, 'rate'):.1f} images/s, {ratio(late, serial, 'rate'):.1f}x",
        f"n={setting.repeats}",
    )


def _from_store(setting: Setting, count: int, peer: tuple[str, int], **surroundings: str) -> Figures:
    url, pid = peer
    before = cpu_s(pid)
    found = _featurize(setting, count, images=IMAGES_OF_BUCKET, **of_store(url), **surroundings)
    spent = cpu_s(pid) - before
    return found | {"allowed": count / (count / found["rate"] - spent / cores()), "store ms": 1e3 * spent / count}


def _featurize(setting: Setting, count: int, *, images: str, **surroundings: str) -> Figures:
    results = fresh(setting.work / "results")
    done = run_job(setting, "featurize", "--images", images, "--model", model_file(setting), results=results, **surroundings)
    require(done.images == count, f"verger has features of {done.images} of {count} images")
    rate, steps = count / done.stages["featurize"], done.summary["featurize"]["worker_seconds"]
    return {"rate": rate, "allowed": rate, "listing": done.stages["listing"], "read": steps["read"] / sum(steps.values())}


def of_store(url: str) -> dict[str, str]:
    """The environment of a job that reads from a store."""
    who = {"AWS_ACCESS_KEY_ID": "bench", "AWS_SECRET_ACCESS_KEY": "bench", "AWS_EC2_METADATA_DISABLED": "true"}
    return {"AWS_ENDPOINT_URL_S3": url, "AWS_ENDPOINT_URL": url, "AWS_REGION": "us-east-1", **who}


def cpu_s(pid: int) -> float:
    """Processor seconds of a process so far."""
    used = psutil.Process(pid).cpu_times()
    return float(used.user + used.system)
