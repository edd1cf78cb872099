"""Features without Spark: processes that read, decode and infer, one a core. The bound that `featurize` is compared with.

    python -m tests.bench.plain --images DIR --model FILE.tflite --processes N

The same decoder and the same engine as the job's; nothing is written, features stay in each worker's memory. Processes take
the next few images when they are done with the last ones, so that none idles. Prints one JSON object:
images, seconds from when all workers are ready until the last is done, and seconds until they were ready.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
from collections.abc import Iterator
from multiprocessing.sharedctypes import Synchronized
from multiprocessing.synchronize import Barrier
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from job.features.litert import Features

CHUNK = 16  # images taken at once: some 50 ms of work


def main(argv: list[str] | None = None) -> int:
    """Featurizes every .jpg file under a folder and prints how long that took."""
    started = monotonic()
    parser = argparse.ArgumentParser(prog="python -m tests.bench.plain", description="Features by plain processes, for comparison.")
    parser.add_argument("--images", type=Path, required=True, metavar="DIR", help="folder of .jpg files, at any depth")
    parser.add_argument("--model", type=Path, required=True, metavar="FILE", help="compiled network")
    parser.add_argument("--processes", type=int, required=True, metavar="N", help="how many")
    flags = parser.parse_args(argv)
    files = sorted(flags.images.rglob("*.jpg"))
    ready, done = multiprocessing.Barrier(flags.processes + 1), multiprocessing.Barrier(flags.processes + 1)
    taken, embedded = multiprocessing.Value("q", 0), multiprocessing.Value("q", 0)
    arguments = (files, flags.model, taken, embedded, ready, done)
    workers = [multiprocessing.Process(target=work, args=arguments) for _ in range(flags.processes)]
    for worker in workers:
        worker.start()
    ready.wait()
    began = monotonic()
    done.wait()
    ended = monotonic()
    for worker in workers:
        worker.join()
    print(json.dumps({"images": embedded.value, "seconds": ended - began, "ready": began - started}))
    return 0


def work(files: list[Path], model: Path, taken: Synchronized[int], embedded: Synchronized[int], ready: Barrier, done: Barrier) -> None:
    """One worker: takes images until none is left, and adds to `embedded` how many have features."""
    try:
        features = list(embed_files(files, model, taken, ready))
        with embedded.get_lock():
            embedded.value += len(features)
        done.wait()
    except BaseException:  # nobody should wait for this worker any more
        ready.abort()
        done.abort()
        raise


def embed_files(files: list[Path], model: Path, taken: Synchronized[int], ready: Barrier) -> Iterator[Features]:
    """Features of the images that this worker takes, once all workers are ready."""
    from job.contract import ModelCard, card_of
    from job.decode.pixels import Decoded, Decoding, decode
    from job.features.litert import load_litert

    side, how = ModelCard.from_json(card_of(model).read_text()).input_size, Decoding()
    embed = load_litert(model)
    ready.wait()
    while chunk := take(files, taken):
        for file in chunk:
            with open(file, "rb", buffering=0) as opened:
                outcome = decode(opened.read(), side=side, how=how)
            if isinstance(outcome, Decoded):
                yield embed(outcome.pixels[None])


def take(files: list[Path], taken: Synchronized[int]) -> list[Path]:
    """The next few files that no worker has."""
    with taken.get_lock():
        start = taken.value
        taken.value += CHUNK
    return files[start : start + CHUNK]


if __name__ == "__main__":
    sys.exit(main())
