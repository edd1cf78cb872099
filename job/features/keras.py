"""The reference engine: the same network as Keras runs it, with Keras' own preprocessing. For parity, not for speed."""

from __future__ import annotations

import functools
import os
from importlib import import_module
from pathlib import Path

import numpy as np

from job.decode.pixels import Pixels
from job.errors import BadModel
from job.features.litert import Embed, Features

BATCH = 32


@functools.cache
def load_keras(model: Path, *, preprocess: str) -> Embed:
    """The Keras model in `model`, behind `keras.applications.<preprocess>.preprocess_input`. BadModel where it cannot be run."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # before the import, or not at all
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")  # a worker has one core
    try:
        import keras
    except ImportError as error:
        raise BadModel(f"--engine keras needs TensorFlow: {error}", "pip install tensorflow, or use --engine litert") from error
    if not model.is_file():
        raise BadModel(f"--engine keras needs {model}, which is not there", "python -m bootstrap compile writes it")
    network = keras.models.load_model(model, compile=False)
    preprocess_input = import_module(f"keras.applications.{preprocess}").preprocess_input

    def embed(pixels: Pixels) -> Features:
        features: Features = np.asarray(network(preprocess_input(pixels.astype(np.float32)), training=False))
        return features

    return embed
