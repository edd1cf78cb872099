"""Bytes in, features out: decode, embed and forget, one image after the other, inside one task."""

from __future__ import annotations

import atexit
import functools
import shutil
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import islice
from lzma import LZMAError
from pathlib import Path
from time import perf_counter
from zipfile import BadZipFile, ZipFile

import numpy as np

from job.contract import KERAS_MODEL, Engine, ModelCard, Precision, card_of
from job.decode.options import Decoding
from job.decode.pixels import Decoded, Fault, Lap, Reason, decode, too_large
from job.errors import BadModel
from job.features import keras, litert
from job.features.litert import Embed, Features
from job.features.precision import kept_bits
from job.sources.reading import Image
from job.storage import Place, S3Path, fetched, place_of

COPY_HINT = "Spark has tried it on other workers too; run again, and look at that machine's disk where it stays"


@dataclass(frozen=True, slots=True)
class Network:
    """A compiled model and the engine that runs it.

    digests: sha256 of `files`, here
    """

    flatbuffer: Path
    card: ModelCard
    engine: Engine = "litert"
    digests: tuple[str, ...] = ()

    @property
    def batch(self) -> int:
        return litert.BATCH if self.engine == "litert" else keras.BATCH

    @property
    def files(self) -> tuple[Path, ...]:
        """What the engine opens: to be shipped to executors."""
        return (self.flatbuffer,) if self.engine == "litert" else (self.flatbuffer.with_name(KERAS_MODEL),)

    def load(self, folder: Path) -> Embed:
        """The engine over the copies of `files` in `folder`; cached, so once per Python worker. BadModel for a copy that is damaged."""
        for file, digest in zip(self.files, self.digests, strict=True):
            _check_copy(folder / file.name, digest)
        file = folder / self.files[0].name
        if self.engine == "litert":
            return litert.load_litert(file)
        return keras.load_keras(file, preprocess=self.card.preprocess)


def open_network(model: Place, *, engine: Engine) -> Network:
    """The model in `model`, checked against its card: a file, the folder it was compiled into, or a zip of that. BadModel otherwise."""
    hint = "python -m bootstrap compile makes a model"
    try:
        flatbuffer = _brought_here(_flatbuffer_of(model), keras_too=engine == "keras")
        digest = sha256(flatbuffer.read_bytes()).hexdigest()
        card = ModelCard.from_json(card_of(flatbuffer).read_text())
    except OSError as error:
        raise BadModel(f"{_named(str(error.filename), model)}: {error.strerror}", hint) from error
    except ValueError as error:
        raise BadModel(f"{_named(card_of(flatbuffer), model)}: {error}", hint) from error
    if digest != card.sha256:
        raise BadModel(
            f"{_named(flatbuffer, model)} is not the file that its model card describes (sha256 {digest[:12]}, card {card.digest})",
            hint,
        )
    network = Network(flatbuffer, card, engine)
    for file in network.files:
        if not file.is_file():
            raise BadModel(f"{_named(file, model)} is not there, and --engine {engine} needs it", hint)
    return replace(network, digests=tuple(sha256(file.read_bytes()).hexdigest() for file in network.files))


@functools.cache  # once per Python worker; a failure is not kept
def _check_copy(file: Path, digest: str) -> None:
    try:
        found = sha256(file.read_bytes()).hexdigest()
    except OSError as error:
        raise BadModel(f"this worker's copy of the model, {file}, cannot be read: {error.strerror}", COPY_HINT) from error
    if found != digest:
        raise BadModel(f"this worker's copy of the model, {file}, is damaged: sha256 {found[:12]}, sent {digest[:12]}", COPY_HINT)


def _is_zip(model: Place) -> bool:
    return model.name.endswith(".zip")


def _named(file: Path | str, model: Place) -> str:
    """A file of the model as its user knows it: what a zip holds lies where nobody else looks."""
    return f"{model}: {Path(file).name}" if _is_zip(model) and Path(file).name != model.name else str(file)


def _flatbuffer_of(model: Place) -> Place:
    folder = _unpacked(model) if _is_zip(model) else model
    if (isinstance(folder, S3Path) and folder.name.endswith(".tflite")) or not folder.is_dir():  # who may read it need not list
        return folder
    found = sorted(map(str, folder.glob("*.tflite")))
    if len(found) != 1:
        hint = "zip one, and its card, without their folder" if _is_zip(model) else "name the file"
        raise BadModel(f"{model} holds {len(found)} .tflite files", hint)
    return place_of(found[0])


@functools.cache  # checked before Spark starts, and used afterwards
def _brought_here(flatbuffer: Place, *, keras_too: bool) -> Path:
    """The flatbuffer with its card beside it, on this machine until this process ends."""
    if isinstance(flatbuffer, Path):
        return flatbuffer
    folder = _own_folder()
    here = folder / flatbuffer.name
    for name in (here.name, card_of(here).name, *([KERAS_MODEL] if keras_too else [])):
        flatbuffer.with_name(name).download(folder / name)
    return here


@functools.cache  # as above
def _unpacked(packed: Place) -> Path:
    folder = _own_folder()
    try:
        with fetched(packed) as file, ZipFile(file) as archive:
            archive.extractall(folder)
    except (BadZipFile, EOFError, LZMAError, OSError, RuntimeError, ValueError, zlib.error) as error:
        if isinstance(error, OSError) and error.errno:  # it is not there, or there is no room for it; bz2 has one without a number
            raise
        raise BadModel(
            f"{packed} is no zip of a model, or damaged: {error}", "python -m bootstrap doctor looks at the one deployed"
        ) from error
    return folder


def _own_folder() -> Path:
    """A folder that is there until this process ends."""
    folder = Path(tempfile.mkdtemp(prefix="verger-model-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@dataclass(frozen=True, slots=True)
class Embedded:
    """An image and what became of it: its features (d,) float32 with what decoding found, or the fault.

    scaled             the JPEG decoder made it smaller
    fast_decode_error  ||features - plain|| / ||plain||, Euclidean, where plain ones were made to compare with
    rounding_error     the same of features that were rounded, and those before
    """

    image: Image
    width: int = 0
    height: int = 0
    format: str = ""
    features: Features | None = None
    fault: Fault | None = None
    scaled: bool = False
    fast_decode_error: float | None = None
    rounding_error: float | None = None


class Stopwatch:
    """Seconds of this task by step: start, read, decode, resize, infer, compare, arrow, parquet."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = perf_counter()

    def lap(self, step: str) -> None:
        """Counts the time since the last lap as `step`."""
        now = perf_counter()
        self.seconds[step] = self.seconds.get(step, 0.0) + now - self._last
        self._last = now


def embed_images(
    images: Iterable[Image], *, network: Network, folder: Path, how: Decoding, watch: Stopwatch, precision: Precision = "single"
) -> Iterator[Embedded]:
    """What became of each image, in order. A bad image never reaches the network, so its neighbours cannot notice it."""
    embed = network.load(folder)
    watch.lap("start")
    rows = iter(images)
    while batch := list(islice(rows, network.batch)):
        watch.lap("read")
        decoded = [_decode(image, side=network.card.input_size, how=how, lap=watch.lap) for image in batch]
        watch.lap("decode")  # what a fault cost, and closing the last picture
        usable = [outcome.pixels for outcome in decoded if isinstance(outcome, Decoded)]
        features = iter(embed(np.stack(usable)) if len(usable) > 1 else [embed(pixels[None])[0] for pixels in usable])
        watch.lap("infer")
        for image, outcome in zip(batch, decoded, strict=True):
            if isinstance(outcome, Fault):
                yield Embedded(image, fault=outcome)
            else:
                yield _embedded(image, outcome, next(features), precision=precision)


def compare_first_scaled(
    rows: Iterable[Embedded], *, plainly: Callable[[list[Image]], Iterator[Embedded]], watch: Stopwatch
) -> Iterator[Embedded]:
    """The same rows; the first that was decoded scaled also says how far that took its features from those that `plainly` gives."""
    rows = iter(rows)
    for row in rows:
        if row.scaled:
            (plain,) = plainly([row.image])
            watch.lap("compare")
            yield replace(row, fast_decode_error=_distance(row.features, plain.features))
            break
        yield row
    yield from rows


def _distance(features: Features | None, plain: Features | None) -> float | None:
    """The Euclidean distance relative to `plain`; None where there is nothing to compare with."""
    if features is None or plain is None or not plain.any():
        return None
    return float(np.linalg.norm(features - plain) / np.linalg.norm(plain))


def _decode(image: Image, *, side: int, how: Decoding, lap: Lap) -> Decoded | Fault:
    if isinstance(image.data, OSError):
        return Fault(Reason.UNREADABLE, f"{type(image.data).__name__}: {image.data.strerror}")
    return too_large(image.size, how) if image.data is None else decode(image.data, side=side, how=how, lap=lap)


def _embedded(image: Image, decoded: Decoded, features: Features, *, precision: Precision) -> Embedded:
    kept = kept_bits(features, precision)
    finite = np.isfinite(features) & np.isfinite(kept)
    if not finite.all():
        return Embedded(image, fault=Fault(Reason.NOT_FINITE, f"{np.count_nonzero(~finite)} of {features.size} features"))
    error = _distance(kept, features) if precision == "half" else None
    return Embedded(image, decoded.width, decoded.height, decoded.format, kept, scaled=decoded.scaled, rounding_error=error)
