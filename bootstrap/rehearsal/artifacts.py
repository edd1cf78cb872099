"""What a rehearsal deploys: packages for this machine's processor, and a small network. Built where there is none yet."""

from __future__ import annotations

from pathlib import Path

from bootstrap.backbones import BACKBONES
from bootstrap.rehearsal.workspace import this_architecture
from job.contract import FLATBUFFER, MODEL_CARD
from job.releases import DEFAULT_RELEASE

WEIGHTS, ALPHA = "random:1", 0.35  # nobody looks at the features; a quarter of the time of the full width


def build_artifacts(folder: Path) -> str:
    """Makes folder/model and folder/environment; the packages anew each time, as the lock may have changed."""
    from bootstrap.environment.build import LOCK, Order, build_environment

    model = folder / "model"
    if not ((model / FLATBUFFER).is_file() and (model / MODEL_CARD).is_file()):
        from bootstrap.compile import Recipe, compile_model

        compile_model(Recipe(BACKBONES["MobileNetV2"], WEIGHTS, ALPHA, None), out=model)
    architecture = this_architecture()
    out = folder / "environment" / f"{DEFAULT_RELEASE.label}-{architecture}"
    card = build_environment(Order(DEFAULT_RELEASE, architecture, LOCK), out=out, say=lambda _step: None)
    return f"{len(card.packages)} packages, {card.packed_bytes / 1e6:.0f} MB"
