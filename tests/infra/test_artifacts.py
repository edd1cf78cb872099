"""The files of a run: the same bytes for the same content, another key for any other."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
import zipfile
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path

import pytest

from infra.zips import zip_files
from job.contract import EnvironmentCard, ModelCard
from job.submission import Deployment
from tests.conftest import REPOSITORY
from tests.infra.assembly import DEV_AND_PROD, synthesise

pytestmark = pytest.mark.usefixtures("node")
RELEASE = "emr-spark-8.1.0-arm64"


@pytest.fixture
def artifacts():
    """The module; its import starts Node."""
    from infra import artifacts

    return artifacts


@pytest.fixture
def root(tmp_path, monkeypatch, artifacts):
    """A copy of the job that a test may change."""
    copy = tmp_path / "repository"
    shutil.copytree(REPOSITORY / "job", copy / "job", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(artifacts, "ROOT", copy)
    return copy


def built_model(build: Path, content: bytes = b"network", *, weights: str = "imagenet") -> None:
    """A model folder whose card describes its flatbuffer."""
    folder = build / "model"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.tflite").write_bytes(content)
    card = ModelCard("MobileNetV2", 1.0, "mobilenet_v2", weights, "", 224, 1280, sha256(content).hexdigest(), 0.0, 1, {})
    (folder / "model.json").write_text(card.to_json())


def built_environment(build: Path, content: bytes = b"packages") -> None:
    """An archive of packages whose card describes it."""
    folder = build / "environment" / RELEASE
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "environment.tgz").write_bytes(content)
    card = EnvironmentCard("emr-spark-8.1.0", "arm64", "3.11", "/usr/bin/python3.11", {}, 1, 1, 1, sha256(content).hexdigest(), {})
    (folder / "environment.json").write_text(card.to_json())


def uris(folder: Path, **context: str) -> dict[str, str]:
    """Where a deployment's files are."""
    made = synthesise(folder, environment="dev", **context)
    found = asdict(Deployment.from_json(made.account.one("Verger-dev-Job", "AWS::SSM::Parameter").properties["Value"]))
    return {name: found[name] for name in ("entry_point", "job_package", "model", "environment_archive")}


@pytest.mark.parametrize(
    ("file", "changed"), [("contract.py", {"job_package"}), ("__main__.py", {"job_package", "entry_point"})], ids=["a module", "the entry"]
)
def test_a_changed_byte_changes_the_keys_of_what_holds_it(root, tmp_path, file, changed):
    before = uris(tmp_path / "before")
    with (root / "job" / file).open("a") as opened:
        opened.write("#")
    after = uris(tmp_path / "after")
    assert {name for name in before if before[name] != after[name]} == changed


def test_what_is_built_goes_up_under_keys_that_follow_its_content(tmp_path):
    build = tmp_path / "build"
    for make in (built_model, built_environment):
        make(build)
    ready = {"build": str(build), "placeholders": "false"}
    first = uris(tmp_path / "first", **ready)
    assert uris(tmp_path / "again", **ready) == first
    built_model(build, b"another network")
    second = uris(tmp_path / "second", **ready)
    assert {name for name in first if first[name] != second[name]} == {"model"}
    built_environment(build, b"other packages")
    third = uris(tmp_path / "third", **ready)
    assert {name for name in second if second[name] != third[name]} == {"environment_archive"}


def test_a_template_of_real_files_deploys_without_a_question(tmp_path):
    for make in (built_model, built_environment):
        make(tmp_path / "build")
    made = synthesise(tmp_path, environment="dev", placeholders="false")
    assert set(made.account.templates["Verger-dev-Job"]["Parameters"]) == {"BootstrapVersion"}


def test_the_models_zip_unpacks_to_what_a_run_reads(tmp_path):
    built_model(tmp_path / "build")
    made = synthesise(tmp_path, environment="dev")
    key = made.assets("Verger-dev-Job")["Artifacts/Model"]
    with zipfile.ZipFile(made.folder / f"asset.{Path(key).name}") as archive:
        assert archive.namelist() == ["model.tflite", "model.json"]
        assert archive.read("model.tflite") == b"network"


def test_a_zip_has_the_same_bytes_whatever_the_files_dates_modes_and_owners_umask(tmp_path):
    zips = []
    for turn, (umask, mode, age) in enumerate([(0o022, 0o644, 0), (0o077, 0o755, 10**6), (0o002, 0o600, 10**9)]):
        base, before = tmp_path / str(turn), os.umask(umask)
        try:
            (base / "job").mkdir(parents=True)
            files = [base / "job" / name for name in ("a.py", "b.py")]
            for file in files:
                file.write_text(file.name)
                file.chmod(mode)
                os.utime(file, (time.time() - age, time.time() - age))
            zips.append(zip_files(files, base=base, out=base / "out.zip").read_bytes())
        finally:
            os.umask(before)
    assert len(set(zips)) == 1


def test_the_order_in_which_a_file_system_lists_does_not_matter(root, artifacts, tmp_path, monkeypatch):
    first = artifacts.build(_dev(), folder=tmp_path / "first", placeholders=True).job_package.read_bytes()
    forward = Path.rglob
    monkeypatch.setattr(Path, "rglob", lambda self, pattern: reversed(list(forward(self, pattern))))
    assert artifacts.build(_dev(), folder=tmp_path / "second", placeholders=True).job_package.read_bytes() == first
    assert root.is_dir()


def test_the_package_keeps_its_prefix_and_holds_the_code_alone(artifacts, tmp_path):
    package = artifacts.build(_dev(), folder=tmp_path, placeholders=True).job_package
    with zipfile.ZipFile(package) as archive:
        names = archive.namelist()
    assert names == sorted(str(file.relative_to(REPOSITORY)) for file in (REPOSITORY / "job").rglob("*.py"))
    assert {"job/__init__.py", "job/__main__.py", "job/pca/moments.py"} <= set(names)


def test_the_zip_runs_with_no_repository_on_the_path(artifacts, tmp_path):
    package = artifacts.build(_dev(), folder=tmp_path / "build", placeholders=True).job_package
    empty = tmp_path / "empty"
    empty.mkdir()
    clean = {"PATH": os.environ["PATH"], "PYTHONPATH": str(package)}
    for command in (["-m", "job"], ["-P", str(REPOSITORY / "job" / "__main__.py")]):
        done = subprocess.run([sys.executable, *command, "--help"], cwd=empty, env=clean, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        assert "featurize" in done.stdout
    where = [sys.executable, "-P", "-c", "import job.pca.moments as found; print(found.__file__)"]
    found = subprocess.run(where, cwd=empty, env=clean, capture_output=True, text=True, check=True).stdout
    assert found.startswith(str(package))


def _dev():
    from infra.environments import load_environments

    return load_environments(DEV_AND_PROD)["dev"]
