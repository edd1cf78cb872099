"""The compiled network on LiteRT: uint8 pixels in, features out. Imports no TensorFlow."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from job.decode.pixels import Pixels
from job.errors import BadModel

Features: TypeAlias = NDArray[np.float32]
Embed: TypeAlias = Callable[[Pixels], Features]  # (b, side, side, 3) uint8 -> (b, d) float32

BATCH = 1  # features cannot depend on neighbours, and larger batches are no faster (docs/decisions/0001)


@functools.cache  # once per Python worker; the driver never calls it
def load_litert(flatbuffer: Path) -> Embed:
    """The network in `flatbuffer` on one thread, as a function of a batch of one. BadModel where it cannot be run."""
    from ai_edge_litert.interpreter import Interpreter  # milliseconds; TensorFlow takes seconds

    try:
        interpreter = Interpreter(str(flatbuffer), num_threads=1)  # a worker has one core; told later, XNNPACK ignores it
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise BadModel(f"{flatbuffer} is no flatbuffer that LiteRT can run: {error}", "python -m bootstrap compile makes one") from error
    inputs, outputs = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    if inputs["dtype"] != np.uint8 or inputs["shape"][0] != BATCH or len(outputs["shape"]) != 2:
        raise BadModel(
            f"{flatbuffer} takes {inputs['dtype'].__name__} {inputs['shape'].tolist()} and gives {outputs['shape'].tolist()};"
            " wanted uint8 [1, side, side, 3] and [1, d]",
            "python -m bootstrap compile makes one",
        )

    def embed(pixels: Pixels) -> Features:
        interpreter.set_tensor(inputs["index"], pixels)
        interpreter.invoke()
        features: Features = interpreter.get_tensor(outputs["index"])  # a copy: the next call overwrites the tensor
        return features

    return embed
