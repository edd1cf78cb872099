"""The rehearsal as its command runs it, and what it finds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bootstrap.errors import BootstrapError
from bootstrap.rehearsal import workspace
from bootstrap.rehearsal.account import Rehearsal
from bootstrap.rehearsal.compare import compare_results
from bootstrap.rehearsal.steps import STEPS, destroy
from tests.cloud.account import Account
from tests.conftest import REPOSITORY


def test_the_whole_life_is_rehearsed_with_images_of_which_some_are_broken(tools: None, tmp_path: Path) -> None:  # noqa: ARG001
    environment = os.environ | {"TMPDIR": str(tmp_path), "AWS_PROFILE": "prod", "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE"}
    done = subprocess.run(
        [sys.executable, "-m", "bootstrap", "rehearse", "--json"],
        cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    steps = {step["name"]: step for step in json.loads(done.stdout)}  # nothing of what CDK and Spark print is among it
    assert list(steps) == list(STEPS)
    assert all(step["seconds"] > 0 and step["said"] for step in steps.values())
    assert "320 images bit for bit, 5 faults" in steps["compare with a local run"]["said"]
    assert [each.name for each in tmp_path.iterdir() if each.name.startswith("verger-rehearsal")] == []


def test_prod_is_not_destroyed_before_it_may_be_and_leaves_its_data(account: Account) -> None:
    """The steps that differ from those of dev, whose whole life is above."""
    account.deploy("prod")
    rehearsal = Rehearsal("prod", account.workspace, account.workspace.parent, account.aws)
    bucket = rehearsal.deployment().bucket
    account.aws.client("s3").put_object(Bucket=bucket, Key="images/1.jpg", Body=b"one")
    assert destroy(rehearsal) == "refused, then stacks are gone; 1 objects stay"
    assert account.aws.client("s3").get_object(Bucket=bucket, Key="images/1.jpg")["Body"].read() == b"one"


def test_an_environment_that_is_not_there_is_one_line_before_anything_is_built() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bootstrap", "rehearse", "--environment", "staging"],
        cwd=REPOSITORY, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == ("error: --environment staging: no such environment\nhint: infra/environments.toml has dev, prod\n")


def test_a_rehearsal_makes_none_of_ci_s_stacks_where_cdk_json_names_a_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As docs/ci.md has it set: the steps would take the boundary for a stack too many, and could not destroy it."""
    here = tmp_path / "here"
    for name in ("infra", "job"):
        (here / name).mkdir(parents=True)
    (here / "infra" / "environments.toml").touch()
    (here / "cdk.json").write_text('{"app": "python -m infra", "context": {"environment": "dev", "repository": "example/verger"}}')
    monkeypatch.setattr(workspace, "REPOSITORY", here)
    copied = workspace.copy_repository(tmp_path / "copy", artifacts=tmp_path) / "cdk.json"
    assert json.loads(copied.read_text()) == {"app": "python -m infra", "context": {"environment": "dev", "repository": ""}}


@pytest.fixture
def results(tmp_path: Path) -> tuple[Path, Path]:
    """Two results folders that say the same."""
    for name in ("ours", "theirs"):
        _write(tmp_path / name)
    return tmp_path / "ours", tmp_path / "theirs"


def test_results_that_say_the_same_agree(results: tuple[Path, Path]) -> None:
    agreed = compare_results(results[0], "root", results[1], "root")
    assert (agreed.images, agreed.faults, agreed.projection_error) == (2, 1, 0)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"feature": 1.0000001}, "features in features differs"),
        ({"label": "B"}, "label in features differs"),
        ({"size": 8}, "size in features differs"),
        ({"images": ("a", "c")}, "2 images are in one run only"),
        ({"reason": "too_large"}, "reason in faults differs"),
        ({"projection": 2.01}, "projections differ"),
        ({"eigenvalue": 3.01}, "eigenvalues of the principal components differ"),
    ],
)
def test_results_that_differ_are_told_apart(results: tuple[Path, Path], change: dict[str, object], reason: str) -> None:
    _write(results[1], **change)
    with pytest.raises(BootstrapError, match=reason):
        compare_results(results[0], "root", results[1], "root")


def _write(
    folder: Path,
    *,
    images: tuple[str, ...] = ("a", "b"),
    feature: float = 1.0,
    label: str = "A",
    reason: str = "corrupt",
    projection: float = 2.0,
    size: int = 7,
    eigenvalue: float = 3.0,
) -> None:
    known = {"label": label, "size": size}
    rows = [{"path": f"root/{name}", **known, "width": 1, "height": 1, "format": "PNG", "model": "m"} for name in images]
    tables = {
        "features": [row | {"features": np.array([feature], np.float32)} for row in rows],
        "projections": [{"path": row["path"], "label": label, "projection": [projection]} for row in rows],
        "faults": [{"path": "root/bad", **known, "reason": reason}],
    }
    (folder / "pca").mkdir(parents=True, exist_ok=True)
    np.savez(folder / "pca" / "model.npz", eigenvalues=[eigenvalue])
    for name, made in tables.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(made), folder / name / "part-0.parquet")
