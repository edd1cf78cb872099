"""Two syntheses, as unlike as two machines: the same bytes of everything that is deployed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.infra.assembly import BIN, FLAGS, REPO

pytestmark = pytest.mark.usefixtures("node")
DEPLOYED = ("*.template.json", "*.assets.json", "asset.*")


def synthesised(root: Path, out: Path, *, umask: int, **surroundings: str) -> dict[str, bytes]:
    """Names and bytes of what `python -m infra`, started in `root`, leaves for the CLI to deploy."""
    wanted = {**FLAGS, "environment": "all", "repository": REPO, "placeholders": "true", "build": str(out / "build")}
    environment = {
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "HOME": os.environ["HOME"],
        "CDK_CONTEXT_JSON": json.dumps(wanted),
        "CDK_OUTDIR": str(out / "cdk.out"),
        **surroundings,
    }
    subprocess.run([sys.executable, "-m", "infra"], cwd=root, env=environment, umask=umask, check=True, capture_output=True)
    return {file.name: file.read_bytes() for pattern in DEPLOYED for file in (out / "cdk.out").glob(pattern)}


def test_another_place_time_zone_umask_hash_seed_and_language_make_the_same_files(tmp_path):
    copy = tmp_path / "elsewhere"
    for folder in ("infra", "job"):
        shutil.copytree(REPOSITORY / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__"), copy_function=shutil.copyfile)
    here = synthesised(REPOSITORY, tmp_path / "here", umask=0o022, TZ="Asia/Kathmandu", PYTHONHASHSEED="1", LANG="C")
    there = synthesised(copy, tmp_path / "there", umask=0o077, TZ="America/St_Johns", PYTHONHASHSEED="2", LANG="C.UTF-8")
    assert here.keys() == there.keys()
    assert len(here) > 12
    assert not [name for name in here if here[name] != there[name]]
