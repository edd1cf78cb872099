"""What a rehearsal deploys: packages for this machine's processor, and a small network, by the commands that an operator would type."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

from bootstrap.rehearsal.workspace import this_architecture
from job.contract import ENVIRONMENT_CARD, FLATBUFFER, MODEL_CARD, EnvironmentCard, ModelCard
from job.releases import DEFAULT_RELEASE

WEIGHTS, ALPHA = "random:1", "0.35"  # nobody looks at the features; a quarter of the time of the full width
NAME = "rehearsal"  # of the weights, in the card: environments that keep their data refuse a network that was never trained


def build_artifacts(folder: Path, *, network: Path, bootstrap: Callable[..., object]) -> str:
    """Makes folder/model and folder/environment, and says what is in that; the packages anew each time, as the lock may have changed.

    network    the model's folder for the next time, with one or without
    bootstrap  what does a verb of ours with arguments
    """
    model, environment, architecture = folder / "model", folder / "environment", this_architecture()
    if not _is_compiled(network):
        bootstrap("compile", "--weights", WEIGHTS, "--alpha", ALPHA, "--out", str(model))
        card = ModelCard.from_json((model / MODEL_CARD).read_text())
        (model / MODEL_CARD).write_text(replace(card, weights=NAME).to_json())
        _copy(model, network)
    else:
        _copy(network, model)
    bootstrap("environment", "--architecture", architecture, "--out", str(environment))
    made = environment / f"{DEFAULT_RELEASE.label}-{architecture}" / ENVIRONMENT_CARD
    packages = EnvironmentCard.from_json(made.read_text())
    return f"{len(packages.packages)} packages, {packages.packed_bytes / 1e6:.0f} MB"


def _is_compiled(model: Path) -> bool:
    """Whether a network is there, whole, that any environment takes."""
    try:
        card = ModelCard.from_json((model / MODEL_CARD).read_text())
        return not card.is_random and sha256((model / FLATBUFFER).read_bytes()).hexdigest() == card.sha256
    except (FileNotFoundError, ValueError):
        return False


def _copy(model: Path, target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for name in (FLATBUFFER, MODEL_CARD):
        shutil.copy2(model / name, target / name)
