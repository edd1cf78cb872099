"""What an environment's packages are built for."""

from __future__ import annotations

import pytest

from infra.environments import load_environments
from infra.executors import main


@pytest.mark.parametrize("name", load_environments())
def test_the_flags_are_the_environments_release_and_architecture(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    environment = load_environments()[name]
    assert main(name) == 0
    assert capsys.readouterr().out.split() == ["--release", environment.release.label, "--architecture", environment.architecture]


@pytest.mark.parametrize("name", ["stage", "all", "dev,prod", "../.."])
def test_a_name_that_is_not_one_environments_is_one_line(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(name) == 2
    captured = capsys.readouterr()
    assert captured.err == f"error: environment {name!r} is unknown\nhint: allowed: {', '.join(load_environments())}\n"
    assert not captured.out
