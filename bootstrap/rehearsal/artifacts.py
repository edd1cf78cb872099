"""What a rehearsal deploys: packages for this machine's processor, and a small network. Built where there is none yet."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from bootstrap.backbones import BACKBONES
from bootstrap.rehearsal.workspace import this_architecture
from job.contract import FLATBUFFER, MODEL_CARD, ModelCard
from job.releases import DEFAULT_RELEASE

WEIGHTS, ALPHA = "random:1", 0.35  # nobody looks at the features; a quarter of the time of the full width
NAME = "rehearsal"  # of the weights, in the card: environments that keep their data refuse a network that was never trained


def build_artifacts(folder: Path) -> str:
    """Makes folder/model and folder/environment; the packages anew each time, as the lock may have changed."""
    from bootstrap.environment.build import LOCK, Order, build_environment

    if not _is_compiled(folder / "model"):
        _compile(folder / "model")
    architecture = this_architecture()
    out = folder / "environment" / f"{DEFAULT_RELEASE.label}-{architecture}"
    card = build_environment(Order(DEFAULT_RELEASE, architecture, LOCK), out=out, say=lambda _step: None)
    return f"{len(card.packages)} packages, {card.packed_bytes / 1e6:.0f} MB"


def _is_compiled(model: Path) -> bool:
    """Whether a network is there that any environment takes."""
    there = all((model / name).is_file() for name in (FLATBUFFER, MODEL_CARD))
    return there and not ModelCard.from_json((model / MODEL_CARD).read_text()).is_random


def _compile(model: Path) -> None:
    from bootstrap.compile import Recipe, compile_model

    card = compile_model(Recipe(BACKBONES["MobileNetV2"], WEIGHTS, ALPHA, None), out=model)
    (model / MODEL_CARD).write_text(replace(card, weights=NAME).to_json())
