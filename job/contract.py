"""Names that cross borders: what other tools, stacks and commands rely on. Standard library only.

A name here is a promise: changing one changes results that people have on disk.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Literal, Self

# Top folders of the bucket.
IMAGES = "images"
RESULTS = "results"
ARTIFACTS = "artifacts"
LOGS = "logs"

# What a run leaves under --results. Names that begin with "_" or "." are hidden from Parquet readers.
FEATURES = "features"
FAULTS = "faults"
PCA = "pca"
PROJECTIONS = "projections"
PROJECTIONS_CSV = "projections.csv"
SUMMARY = "summary.json"

# Hidden there while a run lasts: what is not whole yet, and how far it is.
STAGING = ".verger"
PROGRESS = "progress.json"

# Each stage's own account of itself, written beside its data and committed with it.
FEATURIZE_CARD = "_featurize.json"
PROJECT_CARD = "_project.json"
SUCCESS = "_SUCCESS"  # by which Hadoop's writers say that a dataset is whole
PCA_ARRAYS = "model.npz"
PCA_CARD = "model.json"
MOMENTS = "moments"

SUMMARY_VERSION = 1

# A local session's JVM. C1 alone and one collector thread halve its processor time, which Python workers need: it only
# moves counts. The archive of its classes lies in the Python environment; it is good for these options only.
JVM_OPTIONS = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
CLASS_ARCHIVE = "verger-spark.jsa"

# A compiled model is a folder of three files.
FLATBUFFER = "model.tflite"
MODEL_CARD = "model.json"
KERAS_MODEL = "model.keras"

# A built environment is a folder <release>-<architecture> of two files.
# Not .tar.gz: an asset's key keeps the last extension only, and Spark unpacks no .gz
ENVIRONMENT_ARCHIVE = "environment.tgz"
ENVIRONMENT_CARD = "environment.json"
ENVIRONMENT_PYTHON = "bin/python"  # in the archive

Engine = Literal["litert", "keras"]
Precision = Literal["single", "half"]

DIGEST_LENGTH = 12  # hex digits of a sha256 that name a model in the `model` column


@dataclass(frozen=True, slots=True)
class Card:
    """What is known of a built file, as a JSON file beside it."""

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The card in `text`; ValueError where it is not one. A later version's card may say more."""
        values = json.loads(text)
        wanted = {field.name for field in fields(cls)}
        if not isinstance(values, dict) or wanted - values.keys():
            raise ValueError(f"{cls.__name__} has the fields {', '.join(sorted(wanted))}")
        return cls(**{name: values[name] for name in wanted})


@dataclass(frozen=True, slots=True)
class ModelCard(Card):
    """What a compiled model is and where it came from; the JSON file beside the flatbuffer.

    backbone        Keras application's name
    alpha           width multiplier, where the backbone has one
    preprocess      module of `keras.applications` whose preprocess_input the graph contains
    weights         "imagenet", "random:SEED" or the weights file's name
    weights_sha256  of the weights file, "" where there was none
    input_size      pixels a side
    feature_length  floats an image
    sha256          of the flatbuffer
    parity_error    max |LiteRT - Keras| / max |Keras| over the pictures compared at compile time
    parity_images   how many pictures that were
    versions        of the packages that compiled it
    """

    backbone: str
    alpha: float | None
    preprocess: str
    weights: str
    weights_sha256: str
    input_size: int
    feature_length: int
    sha256: str
    parity_error: float
    parity_images: int
    versions: dict[str, str]

    @property
    def digest(self) -> str:
        """The short name of this model in results."""
        return self.sha256[:DIGEST_LENGTH]

    @property
    def is_random(self) -> bool:
        """The weights were never trained: features are for demos and tests."""
        return self.weights.startswith("random:")


@dataclass(frozen=True, slots=True)
class EnvironmentCard(Card):
    """What an executors' environment is; the JSON file beside its archive.

    release         label of the EMR release that it is for
    architecture    "arm64" or "x86_64"
    python          version of the release's interpreter
    interpreter     path of that interpreter, which the archive links to
    packages        those in it, and their versions
    files           how many files it unpacks to, links included
    unpacked_bytes  of those files
    packed_bytes    of the archive
    sha256          of the archive
    left_out        bytes left out of the wheels, by reason
    """

    release: str
    architecture: str
    python: str
    interpreter: str
    packages: dict[str, str]
    files: int
    unpacked_bytes: int
    packed_bytes: int
    sha256: str
    left_out: dict[str, int]


def card_of(flatbuffer: Path) -> Path:
    """Where the model card of a flatbuffer lies."""
    return flatbuffer.with_name(MODEL_CARD if flatbuffer.name == FLATBUFFER else flatbuffer.stem + ".json")
