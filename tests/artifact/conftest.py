"""Environments built once for all tests, from the registry or uv's cache; one of them unpacked around a Python that is here."""

from __future__ import annotations

import io
import os
import platform
import subprocess
import sys
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from bootstrap.environment.wheels import MACHINES
from infra.zips import zip_files
from job.contract import ENVIRONMENT_ARCHIVE, ENVIRONMENT_CARD, EnvironmentCard
from job.releases import DEFAULT_RELEASE
from tests.conftest import REPOSITORY, lacking

NO_REGISTRY = ("error: no package registry can be reached", "error: no network")


def build(out: Path, architecture: str, **environment: str) -> Path:
    """`python -m bootstrap environment`, from elsewhere; the folder of archive and card."""
    words = ("environment", "--release", DEFAULT_RELEASE.label, "--architecture", architecture, "--out", str(out))
    done = subprocess.run(
        [sys.executable, "-m", "bootstrap", *words],
        cwd=out,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.stderr.startswith(NO_REGISTRY):
        lacking(f"environments are built from a package registry: {done.stderr.splitlines()[0]}")
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip()).parent


@pytest.fixture(scope="session")
def environments(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """Folder of archive and card, by architecture."""
    out = tmp_path_factory.mktemp("environments")
    return {architecture: build(out, architecture) for architecture in DEFAULT_RELEASE.architectures}


@pytest.fixture(scope="session", params=DEFAULT_RELEASE.architectures)
def environment(request: pytest.FixtureRequest, environments: Mapping[str, Path]) -> Path:
    return environments[request.param]


@pytest.fixture(scope="session")
def card(environment: Path) -> EnvironmentCard:
    return EnvironmentCard.from_json((environment / ENVIRONMENT_CARD).read_text())


@pytest.fixture(scope="session")
def members(environment: Path) -> Mapping[str, bytes]:
    """What the archive's files hold, by path; links are left out."""
    with tarfile.open(fileobj=io.BytesIO((environment / ENVIRONMENT_ARCHIVE).read_bytes())) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar if member.isfile()}


@pytest.fixture(scope="session")
def native() -> str:
    """The architecture of this machine, if it is one that Verger builds for and can run here."""
    for architecture, machine in MACHINES.items():
        if sys.platform == "linux" and platform.machine() == machine:
            return architecture
    return lacking(f"no environment is built for {sys.platform} on {platform.machine()}")


def turn_to_python_here(unpacked: Path) -> None:
    """Turns the links and `home` of an environment to a Python that is here: the release's own may not be."""
    interpreter = Path(sys._base_executable).resolve()
    for link in (unpacked / "bin").iterdir():
        assert str(link.readlink()) == DEFAULT_RELEASE.interpreter
        link.unlink()
        link.symlink_to(interpreter)
    settings = unpacked / "pyvenv.cfg"
    settings.write_text(settings.read_text().replace(str(Path(DEFAULT_RELEASE.interpreter).parent), str(interpreter.parent)))


@pytest.fixture(scope="session")
def unpacked(environments: Mapping[str, Path], native: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This machine's environment, around a Python that is here."""
    if sys.version_info[:2] != tuple(map(int, DEFAULT_RELEASE.python.split("."))):
        lacking(f"this is Python {platform.python_version()}, and the environment is for {DEFAULT_RELEASE.python}")
    folder = tmp_path_factory.mktemp("unpacked")
    subprocess.run(["tar", "-xzf", str(environments[native] / ENVIRONMENT_ARCHIVE), "-C", str(folder)], check=True)  # as Spark does
    turn_to_python_here(folder)
    return folder


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The job as a zip, as it is uploaded."""
    sources = sorted((REPOSITORY / "job").rglob("*.py"))
    return zip_files(sources, base=REPOSITORY, out=tmp_path_factory.mktemp("package") / "job.zip")


@pytest.fixture(scope="session")
def spark_alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with PySpark and nothing else: the release brings it on Python's path, and not the environment."""
    import py4j
    import pyspark

    folder = tmp_path_factory.mktemp("spark")
    for module in (pyspark, py4j):
        (folder / module.__name__).symlink_to(Path(module.__file__).parent)
    return folder


@pytest.fixture
def run(unpacked: Path, package: Path, spark_alone: Path, tmp_path: Path) -> Callable[..., str]:
    """Runs the environment's Python in an empty folder, with the job's zip and PySpark on its path; returns what it printed."""

    def python(*words: str) -> str:
        kept = {name: os.environ[name] for name in ("PATH", "JAVA_HOME", "HOME", "OPENBLAS_CORETYPE") if name in os.environ}
        interpreter = str(unpacked / "bin" / "python")
        path = os.pathsep.join(map(str, (package, spark_alone)))
        done = subprocess.run(
            [interpreter, *words],
            cwd=tmp_path,
            env={**kept, "PYTHONPATH": path, "PYTHONNOUSERSITE": "1", "PYSPARK_PYTHON": interpreter},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    return python
