"""`make synth` as people run it: the CDK's command line, all stacks, and neither a network nor credentials."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from infra.environments import load_environments
from tests.conftest import REPOSITORY, lacking
from tests.infra.assembly import BIN

CDK = REPOSITORY / "node_modules" / ".bin" / "cdk"
STACKS = 3 * len(load_environments()) + 2  # an environment's, and CI's


@pytest.fixture
def offline(node: None, tmp_path: Path) -> dict[str, str]:  # noqa: ARG001  asked for its skip
    """An environment without credentials, in which Node gets no connection; each attempt is a line of `CONNECTIONS`."""
    return {
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "HOME": os.environ["HOME"],  # jsii's cache; credentials in there would be of no use
        "NODE_OPTIONS": f"--require {REPOSITORY / 'tests' / 'infra' / 'offline.cjs'}",
        "CONNECTIONS": str(tmp_path / "connections"),
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }


def test_make_synth_opens_no_connection(offline: dict[str, str], tmp_path: Path) -> None:
    if not CDK.exists():
        lacking("no CDK CLI: make setup-cdk")
    (flags,) = re.findall(r"^synth:.*\n\t.*\$\(CDK\) synth (.*)$", (REPOSITORY / "Makefile").read_text(), re.MULTILINE)
    command = [str(CDK), "synth", *flags.split(), "--output", str(tmp_path / "out")]
    done = subprocess.run(command, cwd=REPOSITORY, env=offline, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "out").glob("*.template.json"))) == STACKS
    assert not Path(offline["CONNECTIONS"]).exists()


def test_a_connection_would_have_been_seen(offline: dict[str, str]) -> None:
    subprocess.run([str(BIN / "node"), "-e", "fetch('http://127.0.0.1:8080').catch(() => {})"], env=offline, check=True)
    assert '"port":"8080"' in Path(offline["CONNECTIONS"]).read_text()
