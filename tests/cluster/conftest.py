"""A cluster of two workers, and the job as it is uploaded: zip, packages, model; the repository is not on any path."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import ZipFile

import pytest

from bootstrap.environment.wheels import MACHINES
from infra.zips import zip_files
from job.contract import ENVIRONMENT_ARCHIVE, card_of
from job.releases import DEFAULT_RELEASE
from job.storage import Place
from job.submission import ENVIRONMENT_ALIAS, PYTHON
from tests.artifact.conftest import build, turn_to_python_here
from tests.conftest import REPOSITORY, lacking
from tests.spark.conftest import MODEL, add_broken, picture, until
from tests.standalone import Cluster, standalone


@dataclass(frozen=True, slots=True)
class Upload:
    """What is uploaded, and a driver's folder, where EMR has unpacked the packages."""

    entry: Path
    package: Path
    archive: Path
    model: Path
    driver: Path

    def submit(self, cluster: Cluster, *arguments: object, model: Place | None = None, confs: Sequence[str] = ()) -> subprocess.Popen[str]:
        """The job on the cluster, with the flags of job.submission: packages and interpreter from the archive, code from the zip."""
        flags = ("--py-files", self.package, "--archives", f"{self.archive}#{ENVIRONMENT_ALIAS}", self.entry)
        words = (*flags, *map(str, arguments), "--model", str(model or self.model))
        python = {"PYSPARK_DRIVER_PYTHON": PYTHON, "PYSPARK_PYTHON": PYTHON}
        return cluster.submit(*words, confs=[f"spark.executorEnv.PYSPARK_PYTHON={PYTHON}", *confs], cwd=self.driver, **python)


@pytest.fixture(scope="session")
def upload(tmp_path_factory: pytest.TempPathFactory) -> Upload:
    home = tmp_path_factory.mktemp("upload")
    package = home / "job.zip"
    with ZipFile(package, "w") as zipped:
        for source in sorted((REPOSITORY / "job").rglob("*.py")):
            zipped.write(source, source.relative_to(REPOSITORY))
    entry = shutil.copy(REPOSITORY / "job" / "__main__.py", home / "entry.py")
    driver = home / "driver"
    (driver / ENVIRONMENT_ALIAS).mkdir(parents=True)
    archive = environment(home, unpacked=driver / ENVIRONMENT_ALIAS)
    model = zip_files([MODEL, card_of(MODEL)], base=MODEL.parent, out=home / "model.zip")
    return Upload(entry, package, archive, model, driver)


def environment(home: Path, *, unpacked: Path) -> Path:
    """The archive of packages for this machine, unpacked as well; packed anew where its Python is in another place here."""
    native = next((name for name, machine in MACHINES.items() if platform.machine() == machine), None)
    if sys.platform != "linux" or native is None:
        lacking(f"no environment is built for {sys.platform} on {platform.machine()}")
    if platform.python_version_tuple()[:2] != tuple(DEFAULT_RELEASE.python.split(".")):
        lacking(f"this is Python {platform.python_version()}, and the environment is for {DEFAULT_RELEASE.python}")
    archive = build(home, str(native)) / ENVIRONMENT_ARCHIVE
    subprocess.run(["tar", "-xzf", str(archive), "-C", str(unpacked)], check=True)
    if not Path(DEFAULT_RELEASE.interpreter).exists():
        turn_to_python_here(unpacked)
        subprocess.run(["tar", "-czf", str(archive), "-C", str(unpacked), "."], check=True)
    return archive


@pytest.fixture
def cluster(machines: Cluster) -> Cluster:
    """Those, idle: an executor outlives its driver for a moment, in which a test would take it for that of its own run."""
    until(lambda: not any(worker.executors() for worker in machines.workers))
    return machines


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    if not shutil.which("java") and not os.environ.get("JAVA_HOME"):
        lacking("no Java here: Spark needs version 17")
    with standalone(tmp_path_factory.mktemp("cluster"), workers=2) as started:
        yield started


@pytest.fixture(scope="session")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures that keep two cores busy for some seconds, in which a test has time to look: few files, many pixels."""
    return photographs(tmp_path_factory.mktemp("many") / "label", count=240)


def photographs(folder: Path, *, count: int) -> Path:
    """Five pictures of many pixels by so many names."""
    folder.mkdir(parents=True)
    for number in range(count):
        file, first = folder / f"{number:04}.png", folder / f"{number % 5:04}.png"
        if file == first:
            picture(number, size=(2000, 1500)).save(file)
            os.truncate(file, max(4_000_000, file.stat().st_size))  # and so shares of few
        else:
            file.hardlink_to(first)
    return folder


@pytest.fixture(scope="session")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 small pictures of two labels, and six broken files among them."""
    root = tmp_path_factory.mktemp("mixed")
    for place, label in enumerate(("apple", "quince")):
        (root / label).mkdir()
        for number in range(12):
            picture(100 * place + number).save(root / label / f"{number:02}.png")
    add_broken(root)
    return root
