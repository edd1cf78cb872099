"""The notebook that Verger replaces, as a script: the same steps and the same calls, in the same order.

    python -m tests.bench.notebook --images DIR --results DIR --weights FILE.h5

Seconds by phase go to stderr as they pass, and as one JSON object to the last line of stdout. What differs from the notebook:
- folders are listed here and not on S3;
- the master is given: EMR's notebook has one already;
- weights come from a file without the top instead of a download with it. The notebook cuts the network at `layers[-2]`, the
  global average pool: that is the last layer of `include_top=False, pooling="avg"`, and the same 1,280 numbers;
- `pandas_udf` takes its kind from the type hints: Spark 4 has deprecated PandasUDFType.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic

COMPONENTS = 4  # the notebook's n_comp; its loop over the rows names all four


class Phases:
    """Seconds by phase, told on stderr as they pass."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def timed(self, phase: str) -> Iterator[None]:
        started = monotonic()
        yield
        self.seconds[phase] = round(monotonic() - started, 3)
        print(f"notebook: {phase} {self.seconds[phase]:.1f} s", file=sys.stderr, flush=True)


def main(argv: list[str] | None = None) -> int:
    """Runs the notebook's cells on local folders; results are a CSV without header, as the notebook's."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.notebook", description="The notebook's way, for comparison.")
    parser.add_argument("--images", type=Path, required=True, metavar="DIR", help="folder of folders of .jpg files")
    parser.add_argument("--results", type=Path, required=True, metavar="DIR", help="folder of the CSV")
    parser.add_argument("--weights", required=True, metavar="FILE", help="MobileNetV2's weights, no top, Keras .h5")
    flags = parser.parse_args(argv)
    phases = Phases()
    cells(
        phases,
        folders=sorted(str(path) for path in flags.images.iterdir()),
        results=str(flags.results),
        weights=flags.weights,
    )
    print(json.dumps(phases.seconds))
    return 0


def cells(phases: Phases, *, folders: list[str], results: str, weights: str) -> None:
    """One block per cell. The functions stay inside, as closures: Spark ships them by value, as it does a notebook's."""
    with phases.timed("imports"):
        import numpy as np
        import pandas as pd
        from PIL import Image
        from pyspark.mllib.linalg import Vectors
        from pyspark.mllib.linalg.distributed import RowMatrix
        from pyspark.sql import SparkSession
        from pyspark.sql.functions import col, element_at, split
        from pyspark.sql.pandas.functions import PandasUDFType, pandas_udf
        from pyspark.sql.types import FloatType, StructField, StructType
        from tensorflow.keras import Model
        from tensorflow.keras.applications.mobilenet_v2 import MobileNetV2, preprocess_input
        from tensorflow.keras.preprocessing.image import img_to_array

    with phases.timed("session"):
        spark = SparkSession.builder.master("local[*]").appName("P8").config("spark.sql.parquet.writeLegacyFormat", "true").getOrCreate()

    with phases.timed("listing"):
        images = spark.read.format("binaryFile").option("pathGlobFilter", "*.jpg").option("recursiveFileLookup", "true").load(folders)
        images = images.withColumn("label", element_at(split(images["path"], "/"), -2))

    with phases.timed("weights"):
        model = MobileNetV2(weights=weights, include_top=False, pooling="avg", input_shape=(224, 224, 3))
        new_model = Model(inputs=model.input, outputs=model.layers[-1].output)
        broadcast_weights = spark.sparkContext.broadcast(new_model.get_weights())

    def model_fn():  # type: ignore[no-untyped-def]
        """MobileNetV2 without its top and with the broadcast weights."""
        model = MobileNetV2(weights=weights, include_top=False, pooling="avg", input_shape=(224, 224, 3))
        for layer in model.layers:
            layer.trainable = False
        new_model = Model(inputs=model.input, outputs=model.layers[-1].output)
        new_model.set_weights(broadcast_weights.value)
        return new_model

    def preprocess(content):  # type: ignore[no-untyped-def]
        """Raw bytes of an image as the network wants them."""
        img = Image.open(io.BytesIO(content)).resize([224, 224])
        return preprocess_input(img_to_array(img))

    def featurize_series(model, content_series):  # type: ignore[no-untyped-def]
        """A series of images' bytes as a series of features."""
        preds = model.predict(np.stack(content_series.map(preprocess)))
        return pd.Series([p.flatten() for p in preds])

    @pandas_udf("array<float>", PandasUDFType.SCALAR_ITER)
    def featurize_udf(content_series_iter):  # type: ignore[no-untyped-def]
        model = model_fn()  # type: ignore[no-untyped-call]
        for content_series in content_series_iter:
            yield featurize_series(model, content_series)  # type: ignore[no-untyped-call]

    with phases.timed("features_df.show"):
        features_df = images.repartition(24).select(col("path"), col("label"), featurize_udf("content").alias("features"))
        features_df.show(5)

    with phases.timed("computePrincipalComponents"):
        rdd_vectorized = features_df.select(col("features")).rdd.map(lambda row: Vectors.dense(row))
        matrix = RowMatrix(rdd_vectorized)
        pc = matrix.computePrincipalComponents(COMPONENTS)

    with phases.timed("multiply and collect"):
        collected = matrix.multiply(pc).rows.collect()

    with phases.timed("createDataFrame and show"):
        schema = StructType([StructField(str(i), FloatType(), True) for i in range(1, COMPONENTS + 1)])
        data = [(float(row[0]), float(row[1]), float(row[2]), float(row[3])) for row in collected]  # type: ignore[index]
        df = spark.createDataFrame(data, schema)
        df.show(5)

    with phases.timed("write.csv"):
        df.write.csv(results, header=False, mode="overwrite")


if __name__ == "__main__":
    sys.exit(main())
