"""Makes the network of the Spark tests: 32 x 32 pixels to the means of a 4 x 4 grid of blocks, a channel each, over 255.

Its features have an oracle in NumPy (see grid_means in conftest.py), it has 2 KB, and it runs where TensorFlow is not
installed. `python -m tests.spark.tiny.make` renews it.
"""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import tensorflow as tf

from job.contract import FLATBUFFER, MODEL_CARD, ModelCard

SIDE, BLOCK = 32, 8


@tf.function(input_signature=[tf.TensorSpec((1, SIDE, SIDE, 3), tf.uint8)])
def grid_means(pixels):
    means = tf.nn.avg_pool2d(tf.cast(pixels, tf.float32) / 255.0, BLOCK, BLOCK, "VALID")
    return tf.reshape(means, (1, -1))


def main() -> None:
    flatbuffer = tf.lite.TFLiteConverter.from_concrete_functions([grid_means.get_concrete_function()]).convert()
    folder = Path(__file__).parent
    card = ModelCard(
        backbone="GridMeans",
        alpha=None,
        preprocess="none",
        weights="none",
        weights_sha256="",
        input_size=SIDE,
        feature_length=3 * (SIDE // BLOCK) ** 2,
        sha256=sha256(flatbuffer).hexdigest(),
        parity_error=0.0,
        parity_images=0,
        versions={},
    )
    (folder / FLATBUFFER).write_bytes(flatbuffer)
    (folder / MODEL_CARD).write_text(card.to_json())


if __name__ == "__main__":
    main()
