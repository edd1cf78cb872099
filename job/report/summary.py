"""What a results folder holds, in one JSON document: `summary.json`, described in docs/summary.md."""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from dataclasses import asdict, fields
from datetime import UTC, datetime
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any

from job import contract
from job.config import FeaturizeConfig, FitConfig, ProjectConfig
from job.features.stage import Network
from job.pca.dataset import FeatureSet
from job.pca.model import PcaModel
from job.pca.moments import Moments
from job.sinks.resume import Resumed
from job.sinks.tally import Tally
from job.sources.readers import printable
from job.storage import Place, S3Path

PACKAGES = ("numpy", "pillow", "pyarrow", "pyspark", "ai-edge-litert", "boto3", "obstore", "tensorflow", "tensorflow-cpu")

RATIOS = 20  # of components in the summary; model.npz has them all

# Of a worker, in order: features.stage.Stopwatch has them in the order in which a first image met them, and that may be a fault
STEPS = ("start", "read", "decode", "resize", "infer", "compare", "arrow", "parquet")

Summary = dict[str, Any]


def versions() -> dict[str, str]:
    """Versions of Python and of the installed packages that decide about results."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def summarise(root: Place) -> Summary:
    """The accounts that the stages left under `root`, put together; a stage that has not run is null."""
    return {
        "version": contract.SUMMARY_VERSION,
        "featurize": read_card(root / contract.FEATURES / contract.FEATURIZE_CARD),
        "fit": read_card(root / contract.PCA / contract.PCA_CARD),
        "project": read_card(root / contract.PROJECTIONS / contract.PROJECT_CARD),
    }


def settings_of(config: FeaturizeConfig, network: Network) -> str:
    """Stands for all that decides what becomes of an image, beside the image: rows of the same settings need not be made again."""
    said = [network.card.sha256, config.engine, asdict(config.how), config.source.labels_from]
    said += [config.precision] if config.precision != "single" else []  # as results that are older than the choice have it
    return sha256(json.dumps(said).encode()).hexdigest()[: contract.DIGEST_LENGTH]


def featurize_account(
    tally: Tally, *, resumed: Resumed, network: Network, config: FeaturizeConfig, seconds: dict[str, float], spark: dict[str, Any]
) -> Summary:
    """What `featurize` says of itself, in features/_featurize.json and so in the summary.

    tally: all rows, and the work of this run
    """
    return {
        "images": tally.images,
        "features": tally.features,
        "faults": tally.faults.total(),
        "faults_by_reason": dict(tally.faults.most_common()),
        "size_bytes": tally.size,
        "stayed": resumed.stayed.images,
        "removed": resumed.removed,
        "seconds": dict(seconds),
        "images_per_second": round((tally.images - resumed.stayed.images) / max(seconds["featurize"], 1e-9), 1),
        "worker_seconds": {step: round(tally.seconds[step], 3) for step in STEPS if step in tally.seconds},
        "fast_decode_error": _spread(tally.fast_decode_errors) if config.how.fast else None,
        "rounding_error": _spread(tally.rounding_errors) if config.precision == "half" else None,
        "model": network.card,
        "random_weights": network.card.is_random,
        "settings": settings_of(config, network),
        "config": config,
        "spark": spark,
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": versions(),
    }


def _spread(errors: Sequence[float]) -> Summary:
    """How many there are, the middle one and the largest, which are null of none."""
    return {"count": len(errors), "median": median(errors) if errors else None, "max": max(errors, default=None)}


def fit_account(
    model: PcaModel, *, config: FitConfig, made_from: Sequence[str], source: str, moments: Sequence[Moments], seconds: float
) -> Summary:
    """What `fit` says of itself beside what save_model says of the model, in pca/model.json and so in the summary.

    made_from: fingerprints of the features, and of those of config.others
    moments: those of the results' own features, then of each of config.others
    """
    merged = zip(config.others, moments[1:], strict=True)
    return {
        "labels": sorted(config.only_labels) if config.only_labels else None,
        "moments_from": source,
        "merged": [{"folder": printable(str(folder)), "rows": each.count} for folder, each in merged],
        "explained": float(model.explained_ratio.sum()),
        "explained_ratio": model.explained_ratio[:RATIOS].tolist(),
        "seconds": seconds,
        "config": plain(config),
        "made_from": list(made_from),
        "versions": versions(),
    }


def project_account(features: FeatureSet, *, centered: bool, config: ProjectConfig, made_from: Sequence[str], seconds: float) -> Summary:
    """What `project` says of itself, in projections/_project.json and so in the summary."""
    return {
        "rows": features.count,
        "centered": centered,
        "features": None if config.features is None else printable(str(config.features)),
        "seconds": seconds,
        "config": plain(config),
        "made_from": list(made_from),
        "versions": versions(),
    }


def plain(value: Any) -> Any:
    """A value as it is read back from a card."""
    return json.loads(to_json(value))


def to_json(value: Any) -> str:
    """Text of a card or summary."""
    return json.dumps(value, indent=2, default=_plain) + "\n"


def _plain(value: Any) -> Any:
    if isinstance(value, Path | S3Path):
        return printable(str(value))
    if isinstance(value, frozenset):
        return sorted(value)
    return {field.name: getattr(value, field.name) for field in fields(value)}  # not asdict: it would take S3Paths apart


def read_card(file: Place) -> Summary | None:
    """A stage's account; None where it has not run, or left one that cannot be read."""
    try:
        account: Summary = json.loads(file.read_text())
        return account
    except (OSError, ValueError):
        return None
