"""TensorFlow, or a clear reason why not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bootstrap.backbones import BACKBONES
from bootstrap.compile import Recipe, compile_model
from tests.conftest import lacking


@pytest.fixture(scope="session", autouse=True)
def tensorflow():
    import importlib.util

    if importlib.util.find_spec("tensorflow") is None:
        lacking("no TensorFlow here: make setup installs it")


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A compiled MobileNetV2 of random weights, the narrowest there is: the folder."""
    out = tmp_path_factory.mktemp("model") / "small"
    compile_model(Recipe(BACKBONES["MobileNetV2"], "random:7", alpha=0.35), out=out)
    return out


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory, shared_data: Path) -> Callable[[float], Path]:
    """compiled(alpha) -> folder of the model with the real weights of that width."""
    made: dict[float, Path] = {}

    def compile_alpha(alpha: float) -> Path:
        if alpha not in made:
            weights = shared_data / "weights" / f"mobilenet_v2_{alpha}_224_no_top.h5"
            made[alpha] = tmp_path_factory.mktemp("model") / str(alpha)
            compile_model(Recipe(BACKBONES["MobileNetV2"], str(weights), alpha=alpha), out=made[alpha])
        return made[alpha]

    return compile_alpha
