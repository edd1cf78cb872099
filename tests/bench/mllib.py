"""MLlib's two ways to principal components and projections, timed apart from all that surrounds them.

    python -m tests.bench.mllib --features DIR --way ml|rowmatrix --components K

The vectors are in memory, counted, before the clock starts: reading them is a gift, and so is writing, which is left out.
Both get them as a cached DataFrame, so that no row passes through Python. Prints one JSON object: seconds of fit and project.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic

from pyspark.ml.feature import PCA
from pyspark.ml.functions import array_to_vector
from pyspark.mllib.linalg import DenseMatrix
from pyspark.mllib.linalg.distributed import RowMatrix
from pyspark.mllib.util import MLUtils
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.functions import col

DRIVER_MEMORY = "2g"  # more than the default: 12,000 x 1,280 doubles are 123 MB


class Clock:
    """Seconds by step, and whatever else is to be told."""

    def __init__(self) -> None:
        self.told: dict[str, object] = {}

    @contextmanager
    def timed(self, step: str) -> Iterator[None]:
        started = monotonic()
        yield
        self.told[step] = round(monotonic() - started, 3)


def main(argv: list[str] | None = None) -> int:
    """Reads features, runs one way, prints what it took."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.mllib", description="MLlib's PCA, for comparison.")
    parser.add_argument("--features", required=True, metavar="DIR", help="Parquet with a column `features`")
    parser.add_argument("--way", choices=("ml", "rowmatrix"), required=True, help="pyspark.ml.feature.PCA or RowMatrix")
    parser.add_argument("--components", type=int, required=True, metavar="K", help="how many")
    flags = parser.parse_args(argv)
    clock = Clock()
    spark = SparkSession.builder.master("local[*]").config("spark.driver.memory", DRIVER_MEMORY).getOrCreate()
    vectors = spark.read.parquet(flags.features).select(array_to_vector(col("features")).alias("features"))
    vectors = vectors.repartition(spark.sparkContext.defaultParallelism)  # one a core: the fewest partial results to merge
    if flags.way == "ml":
        with_ml(in_memory(vectors, clock), flags.components, clock)
    else:
        with_row_matrix(in_memory(MLUtils.convertVectorColumnsFromML(vectors, "features"), clock), flags.components, clock)
    print(json.dumps(clock.told))
    return 0


def in_memory(vectors: DataFrame, clock: Clock) -> DataFrame:
    """The same rows, cached and counted."""
    vectors = vectors.cache()
    clock.told["rows"] = vectors.count()
    return vectors


def with_ml(vectors: DataFrame, components: int, clock: Clock) -> None:
    """pyspark.ml.feature.PCA; the format "noop" computes every row and keeps none."""
    with clock.timed("fit"):
        model = PCA(k=components, inputCol="features", outputCol="projection").fit(vectors)
    with clock.timed("project"):
        model.transform(vectors).select("projection").write.format("noop").mode("overwrite").save()
    clock.told["explained"] = float(model.explainedVariance.toArray().sum())


def with_row_matrix(vectors: DataFrame, components: int, clock: Clock) -> None:
    """RowMatrix, as in the notebook; its rows are counted inside the JVM, where a collect would send them to Python."""
    with clock.timed("fit"):
        matrix = RowMatrix(vectors)
        found = matrix.computePrincipalComponents(components)
    assert isinstance(found, DenseMatrix)
    with clock.timed("project"):
        projected = matrix.multiply(found)._java_matrix_wrapper._java_model.rows().count()
    assert projected == clock.told["rows"]


if __name__ == "__main__":
    sys.exit(main())
