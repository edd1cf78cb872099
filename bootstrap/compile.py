"""Compiles a Keras backbone and its preprocessing into one LiteRT flatbuffer, with a model card that says how well it agrees.

The graph is frozen before it is converted: otherwise the weights stay outside as resources, in a file of 189 KB that
runs seven times slower.
"""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from hashlib import sha256
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bootstrap.backbones import Backbone
from bootstrap.errors import BootstrapError, UsageError
from job.contract import FLATBUFFER, KERAS_MODEL, MODEL_CARD, ModelCard

if TYPE_CHECKING:
    import keras

Pixels: TypeAlias = NDArray[np.uint8]
Features: TypeAlias = NDArray[np.float32]

TOLERANCE = 1e-4  # of parity; float32 kernels that add up in another order differ by some 1e-6
GENERATED = 16  # pictures compared
REAL = 48  # pictures compared at most out of --parity-images
KEPT_WEIGHTS = 0.8  # of the weights' bytes must be in the flatbuffer; folding batch normalisation drops a few per cent


@dataclass(frozen=True, slots=True)
class Recipe:
    """What to compile. weights: a file, "imagenet" or "random:SEED"."""

    backbone: Backbone
    weights: str
    alpha: float = 1.0
    parity_images: Path | None = None


def compile_model(recipe: Recipe, *, out: Path) -> ModelCard:
    """Writes flatbuffer, model card and Keras model into the folder `out`, whole or not at all; safe to repeat.

    BootstrapError where weights do not fit or cannot be had, or where the flatbuffer lost them or disagrees with Keras.
    """
    _refuse_foreign(out)
    try:
        with _quiet_native_code():
            import tensorflow  # noqa: F401  here, so that what its libraries print on loading is not the first thing one sees
    except ImportError as missing:
        raise BootstrapError(f"compiling needs TensorFlow: {missing}", "make setup installs it") from missing
    with redirect_stdout(sys.stderr):  # Keras' progress bar of a download; stdout is for the answer
        network = build(recipe)
    pictures = _pictures(recipe)
    with _quiet_native_code():
        flatbuffer = convert(network, recipe.backbone)
        _refuse_lost_weights(flatbuffer, network)
        error = parity_error(flatbuffer, network, recipe.backbone, pictures)
    if not error <= TOLERANCE:
        raise BootstrapError(
            f"the flatbuffer's features differ from Keras' by {error:.1e} of the largest, more than {TOLERANCE:.0e}",
            "another TensorFlow version may convert this backbone better",
        )
    card = ModelCard(
        backbone=recipe.backbone.name,
        alpha=recipe.alpha if recipe.backbone.has_alpha else None,
        preprocess=recipe.backbone.module,
        weights=Path(recipe.weights).name,
        weights_sha256=sha256(Path(recipe.weights).read_bytes()).hexdigest() if _is_file(recipe.weights) else "",
        input_size=recipe.backbone.input_size,
        feature_length=int(network.output_shape[-1]),
        sha256=sha256(flatbuffer).hexdigest(),
        parity_error=error,
        parity_images=len(pictures),
        versions=_versions(),
    )
    _write(out, flatbuffer=flatbuffer, card=card, network=network)
    return card


def build(recipe: Recipe) -> keras.Model:
    """The backbone up to its global average pool: float (1, side, side, 3), preprocessed, to (1, d)."""
    import keras

    keras.utils.clear_session()  # names of layers go into the flatbuffer, and must not count up from run to run
    backbone, weights = recipe.backbone, recipe.weights
    construct: Callable[..., keras.Model] = getattr(keras.applications, backbone.name)
    options: dict[str, Any] = {"input_shape": (backbone.input_size, backbone.input_size, 3)}
    if backbone.has_alpha:
        options["alpha"] = recipe.alpha
    if weights.startswith("random:"):
        keras.utils.set_random_seed(_seed(weights))
    elif weights == "imagenet":
        _fetch_imagenet(construct, options)
    elif not _is_file(weights):
        raise UsageError(f"--weights {weights}: no such file", 'give a Keras .h5 file, "imagenet" or "random:SEED"')
    try:
        if _is_file(weights) and _has_top(Path(weights)):
            return _below_classifier(construct(weights=weights, include_top=True, **options))
        return construct(weights=None if weights.startswith("random:") else weights, include_top=False, pooling="avg", **options)
    except (ValueError, OSError, KeyError) as error:
        width = f" at --alpha {recipe.alpha:g}" if backbone.has_alpha else ""
        raise BootstrapError(
            f"{weights} does not fit {backbone.name}{width}: {_line(error)}",
            "which backbone, and which --alpha, are these weights of?",
        ) from error


def _fetch_imagenet(construct: Callable[..., keras.Model], options: dict[str, Any]) -> None:
    """Has Keras' weights in its cache. Keras downloads them where they are not, with a progress bar."""
    try:
        construct(weights="imagenet", include_top=False, pooling="avg", **options)
    except ValueError:
        raise
    except Exception as error:  # Keras raises a bare Exception where a download fails
        raise BootstrapError(
            f"Keras has no such weights in its cache, and could not download them: {_line(error)}",
            "give --weights FILE.h5, or --weights random:0 to try things out",
        ) from error


def _below_classifier(whole: keras.Model) -> keras.Model:
    """The network up to its last average pool, which the notebook finds at layers[-2] of MobileNetV2; flat in every backbone."""
    import keras

    pool = [layer for layer in whole.layers if isinstance(layer, keras.layers.GlobalAveragePooling2D)][-1]
    return keras.Model(whole.input, keras.layers.Flatten()(pool.output))


def convert(network: keras.Model, backbone: Backbone) -> bytes:
    """The flatbuffer of network(preprocess(pixels)), for uint8 (1, side, side, 3): a fixed shape, so nothing is resized at load."""
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    preprocess = _preprocess(backbone)
    shape = (1, backbone.input_size, backbone.input_size, 3)

    @tf.function(input_signature=[tf.TensorSpec(shape, tf.uint8)])  # type: ignore[untyped-decorator]  # TensorFlow has no types
    def graph(pixels: Any) -> Any:
        return network(preprocess(tf.cast(pixels, tf.float32)), training=False)

    frozen = convert_variables_to_constants_v2(graph.get_concrete_function())
    flatbuffer: bytes = tf.lite.TFLiteConverter.from_concrete_functions([frozen]).convert()
    return flatbuffer


def parity_error(flatbuffer: bytes, network: keras.Model, backbone: Backbone, pictures: Pixels) -> float:
    """max |LiteRT - Keras| / max |Keras| over `pictures` (n, side, side, 3) uint8; infinite where Keras gives only zeros."""
    preprocess = _preprocess(backbone)
    expected = np.concatenate([np.asarray(network(preprocess(picture[None].astype(np.float32)), training=False)) for picture in pictures])
    largest = float(np.abs(expected).max())
    return float(np.abs(_run_litert(flatbuffer, pictures) - expected).max()) / largest if largest else float("inf")


def _run_litert(flatbuffer: bytes, pictures: Pixels) -> Features:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=flatbuffer, num_threads=1)
    interpreter.allocate_tensors()
    source, target = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
    rows = []
    for picture in pictures:
        interpreter.set_tensor(source, picture[None])
        interpreter.invoke()
        rows.append(interpreter.get_tensor(target)[0])
    return np.stack(rows)


def _pictures(recipe: Recipe) -> Pixels:
    """Pictures to compare on: generated ones of every brightness and grain, and real ones where a folder is given."""
    side = recipe.backbone.input_size
    random = np.random.default_rng(0)
    pictures = []
    for index in range(GENERATED):
        cells = 2 ** (1 + index % 7)  # from four patches to noise
        patches = Image.fromarray(random.integers(0, 256, (cells, cells, 3), dtype=np.uint8))
        pictures.append(np.asarray(patches.resize((side, side), Image.Resampling.BICUBIC)))
    if recipe.parity_images:
        pictures += _real_pictures(recipe.parity_images, side)
    return np.stack(pictures)


def _real_pictures(folder: Path, side: int) -> list[Pixels]:
    """Up to REAL pictures from anywhere under `folder`, evenly chosen; files that Pillow cannot read are passed over."""
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    pictures: list[Pixels] = []
    for file in files[:: max(1, len(files) // REAL)]:
        try:
            with Image.open(file) as image:
                pictures.append(np.asarray(image.convert("RGB").resize((side, side), Image.Resampling.BICUBIC)))
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):  # a folder of images is not all images
            continue
    if not pictures:
        raise UsageError(f"--parity-images {folder}: no pictures there", "give a folder of images, or leave the flag out")
    return pictures[:REAL]


def _refuse_lost_weights(flatbuffer: bytes, network: keras.Model) -> None:
    size = 4 * network.count_params()
    if len(flatbuffer) < KEPT_WEIGHTS * size:
        raise BootstrapError(
            f"the flatbuffer has {len(flatbuffer):,} bytes, the network's weights {size:,}: they were left outside",
            "the graph was not frozen; this is a bug, or a change in TensorFlow",
        )


def _refuse_foreign(out: Path) -> None:
    """BootstrapError where `out` is something that is not ours to replace, UsageError where it means a file."""
    if out.suffix == ".tflite":
        raise UsageError(f"--out {out} names a file", f"give a folder; the flatbuffer will be {FLATBUFFER} in it")
    ours = {FLATBUFFER, MODEL_CARD, KERAS_MODEL}
    if out.exists() and (not out.is_dir() or {file.name for file in out.iterdir() if not file.name.startswith(".")} - ours):
        raise BootstrapError(f"--out {out} is there and holds other things than a compiled model", "give a folder of its own")


def _write(out: Path, *, flatbuffer: bytes, card: ModelCard, network: keras.Model) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".compile-", dir=out.parent) as folder:
        new, old = Path(folder, "new"), Path(folder, "old")
        new.mkdir()
        (new / FLATBUFFER).write_bytes(flatbuffer)
        (new / MODEL_CARD).write_text(card.to_json())
        network.save(new / KERAS_MODEL)
        if out.exists():
            shutil.move(out, old)
        new.rename(out)


@contextmanager
def _quiet_native_code() -> Iterator[None]:
    """Sends this process's stderr nowhere: TensorFlow and LiteRT log from C++, past every switch of theirs. Exceptions pass."""
    sys.stderr.flush()
    ours, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(ours, 2)
        os.close(ours)
        os.close(nowhere)


def _preprocess(backbone: Backbone) -> Callable[[Any], Any]:
    preprocess: Callable[[Any], Any] = import_module(f"keras.applications.{backbone.module}").preprocess_input
    return preprocess


def _has_top(weights: Path) -> bool:
    """The .h5 file holds the classifier as well, as the file that the notebook downloads does."""
    import h5py

    with h5py.File(weights) as file:
        names = (name.decode() if isinstance(name, bytes) else str(name) for name in file.attrs.get("layer_names", ()))
        return any(name.startswith(("predictions", "Logits")) for name in names)


def _seed(weights: str) -> int:
    text = weights.removeprefix("random:")
    if not text.isdigit() or int(text) >= 2**32:
        raise UsageError(f"--weights {weights}: {text!r} is no seed", "a seed is a whole number, as in random:0")
    return int(text)


def _is_file(weights: str) -> bool:
    return Path(weights).is_file()


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in ("tensorflow", "tensorflow-cpu", "keras", "ai-edge-litert", "numpy", "pillow"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
