"""cfn-lint, which knows the schema of every resource: errors and warnings fail."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.conftest import lacking
from tests.infra.assembly import BIN


def lint(*templates: Path) -> tuple[int, str]:
    """Exit code and findings, each a line."""
    if not (BIN / "cfn-lint").exists():
        lacking("no cfn-lint in the virtual environment")
    command = [BIN / "cfn-lint", "--format", "parseable", "--template", *templates]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    return done.returncode, done.stdout


@pytest.mark.parametrize("which", ["assembly", "everything", "shipped"])
def test_cfn_lint_finds_nothing(which, request):
    assert lint(*request.getfixturevalue(which).folder.glob("*.template.json")) == (0, "")


def test_cfn_lint_would_have_said_so(assembly, tmp_path):
    """It reads these templates: a property that there is not is found."""
    bad = tmp_path / "bad.json"
    bad.write_text((assembly.folder / "Verger-dev-Job.template.json").read_text().replace('"ReleaseLabel"', '"Release"'))
    code, found = lint(bad)
    assert code
    assert "'Release'" in found
