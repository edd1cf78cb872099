"""The job as a process: exit codes, interrupts, sudden death, and life without the repository."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import psutil
import pytest

from job.contract import SUMMARY
from job.sinks.layout import UNFINISHED
from tests.conftest import REPOSITORY
from tests.spark.conftest import MODEL, ended, picture, process, read

pytestmark = pytest.mark.usefixtures("java")
PATIENCE_S = 120


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return tmp_path / "results"


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures that keep two cores busy for some seconds: few files, many pixels."""
    root = tmp_path_factory.mktemp("many") / "label"
    root.mkdir()
    picture(1, size=(3000, 2000)).save(root / "0000.png")
    for number in range(1, 400):
        (root / f"{number:04}.png").hardlink_to(root / "0000.png")
    return root


def wait_for(folder: Path, pattern: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not any(folder.glob(pattern)):
        assert time.monotonic() < deadline, f"no {pattern} in {folder}"
        time.sleep(0.02)


def descendants(running: subprocess.Popen[str]) -> list[psutil.Process]:
    return psutil.Process(running.pid).children(recursive=True)


def worker(running: subprocess.Popen[str]) -> psutil.Process:
    """One of its Python workers: a child of PySpark's daemon."""
    alive = [each for each in descendants(running) if each.status() != psutil.STATUS_ZOMBIE]
    daemons = {each.pid for each in alive if "pyspark.daemon" in " ".join(each.cmdline())}
    return next(each for each in alive if each.ppid() in daemons)


def gone(processes: list[psutil.Process]) -> bool:
    _, alive = psutil.wait_procs(processes, timeout=PATIENCE_S)
    return not alive


def test_a_run_prints_its_results_on_stdout_and_its_progress_on_stderr(pictures, results):
    with ended(process("run", "--images", pictures, "--results", results, "--model", MODEL)) as running:
        out, err = running.communicate(timeout=PATIENCE_S)
    assert running.returncode == 0, err
    assert "60 listed" in out
    assert "60 / 60 images" in err
    assert "WARN" not in err


@pytest.mark.parametrize("depth", [0, 3])
def test_a_run_leaves_nothing_in_the_folder_for_temporary_files_however_long_its_name_is(pictures, results, depth):
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary, *["x" * 40] * depth)
        folder.mkdir(parents=True, exist_ok=True)
        java = f"-Djava.io.tmpdir={folder}"
        words = ("featurize", "--images", pictures, "--results", results, "--model", MODEL)
        with ended(process(*words, TMPDIR=str(folder), JDK_JAVA_OPTIONS=java)) as running:
            _, err = running.communicate(timeout=PATIENCE_S)
        assert running.returncode == 0, err
        assert not list(folder.iterdir())


def test_a_foreseen_failure_is_one_line_and_a_hint(results):
    with ended(process("fit", "--results", results)) as running:
        out, err = running.communicate(timeout=PATIENCE_S)
    assert running.returncode == 1
    assert out == ""
    assert [line.split(":")[0] for line in err.splitlines()] == ["error", "hint"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("moment", [".verger", ".verger/listing-*", f"{UNFINISHED}/*/features/part-*"])
def test_an_interrupt_stops_spark_and_leaves_nothing_to_be_seen(many, results, number, code, moment):
    with ended(process("run", "--images", many, "--results", results, "--model", MODEL)) as running:
        wait_for(results, moment)
        family = descendants(running)
        running.send_signal(number)
        _, err = running.communicate(timeout=PATIENCE_S)
    assert running.returncode == code, err
    assert "Traceback" not in err
    assert "interrupted" in err
    assert gone(family)
    if moment.startswith(UNFINISHED):  # what was done is kept, out of sight
        assert [entry.name for entry in results.iterdir()] == [UNFINISHED]
    else:
        assert not results.exists()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_amid_new_images_leaves_earlier_results_as_they_were(many, pictures, results, tmp_path, number, code):
    images = shutil.copytree(pictures, tmp_path / "images")
    words = ("run", "--images", images, "--results", results, "--model", MODEL)
    with ended(process(*words)) as running:
        _, err = running.communicate(timeout=PATIENCE_S)
    assert running.returncode == 0, err
    before = contents(results)
    long = shutil.copy(many / "0000.png", images / "apple" / "new-0.png")
    os.truncate(long, 4_000_000)  # so that shares are small
    for other in range(1, 160):  # some seconds of work after the first share, in which a test has time to look
        (images / "apple" / f"new-{other}.png").hardlink_to(long)
    with ended(process(*words)) as running:
        wait_for(results, f"{UNFINISHED}/*/features/part-*")
        running.send_signal(number)
        _, err = running.communicate(timeout=PATIENCE_S)
    assert running.returncode == code, err
    assert {path: data for path, data in contents(results).items() if path.parts[0] != UNFINISHED} == before
    assert read(results / "features").num_rows == read(results / "projections").num_rows == 60
    done = sum(read(folder).num_rows for folder in (results / UNFINISHED).glob("*/features"))
    assert 0 < done < 160
    with ended(process(*words)) as running:
        _, err = running.communicate(timeout=PATIENCE_S)
    assert running.returncode == 0, err
    assert len(set(read(results / "features")["path"].to_pylist())) == read(results / "features").num_rows == 220
    assert json.loads((results / SUMMARY).read_text())["featurize"]["stayed"] == 60 + done
    assert not (results / UNFINISHED).exists()


def contents(folder: Path) -> dict[Path, bytes]:
    return {file.relative_to(folder): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_a_second_run_into_the_same_results_is_refused(many, pictures, results):
    with ended(process("run", "--images", many, "--results", results, "--model", MODEL)) as first:
        wait_for(results, f"{UNFINISHED}/*/features/part-*")
        with ended(process("run", "--images", pictures, "--results", results, "--model", MODEL, "--overwrite")) as second:
            _, err = second.communicate(timeout=PATIENCE_S)
        assert second.returncode == 1
        assert f"another run is writing to {results}: process {first.pid} on" in err
        assert first.poll() is None


def test_a_killed_run_shows_nothing_and_the_next_one_cleans_up(many, pictures, results):
    with ended(process("run", "--images", many, "--results", results, "--model", MODEL)) as running:
        wait_for(results, f"{UNFINISHED}/*/features/part-*")
        family = descendants(running)
        running.kill()
        running.communicate()
    assert gone(family)
    assert [entry.name for entry in results.iterdir() if not entry.name.startswith(".")] == []
    other = ("run", "--images", pictures, "--results", results, "--model", MODEL)
    with ended(process(*other)) as running:
        _, err = running.communicate(timeout=PATIENCE_S)
    assert running.returncode == 1, "hours of work are not dropped unasked"
    assert f"already holds {UNFINISHED} (rows of a run that did not end)" in err
    with ended(process(*other, "--overwrite")) as running:
        _, err = running.communicate(timeout=PATIENCE_S)
    assert running.returncode == 0, err
    assert not list(results.glob(".verger*"))
    assert read(results / "features").num_rows == 60


def test_a_worker_that_dies_is_replaced_and_its_images_are_read_again(many, results):
    with ended(process("featurize", "--images", many, "--results", results, "--model", MODEL)) as running:
        wait_for(results, f"{UNFINISHED}/*/features/part-*")
        worker(running).kill()
        _, err = running.communicate(timeout=PATIENCE_S)
    assert running.returncode == 0, err
    assert not list((results / "features").glob("_part-*")), "what the dead worker had half written"
    assert len(set(read(results / "features")["path"].to_pylist())) == read(results / "features").num_rows == 400


@pytest.mark.parametrize(("number", "code", "said"), [(0, 1, "Spark's JVM has ended, or was killed"), (signal.SIGTERM, 143, "interrupted")])
def test_a_jvm_that_is_killed_is_told_in_a_line_and_what_was_done_stays(many, results, number, code, said):
    """By the system, for want of memory; or as the run is, by who ends a group of processes."""
    with ended(process("featurize", "--images", many, "--results", results, "--model", MODEL)) as running:
        wait_for(results, f"{UNFINISHED}/*/features/part-*")
        family = descendants(running)
        (jvm,) = [each for each in family if each.name() == "java"]
        jvm.kill()
        running.send_signal(number)
        _, err = running.communicate(timeout=PATIENCE_S)
    assert running.returncode == code, err
    assert "Traceback" not in err
    assert [line for line in err.splitlines() if line.startswith("error: ")] == [err[err.index(f"error: {said}") :].splitlines()[0]]
    assert gone(family)
    assert [entry.name for entry in results.iterdir()] == [UNFINISHED]


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The job alone, zipped as it is uploaded."""
    file = tmp_path_factory.mktemp("artifact") / "job.zip"
    with zipfile.ZipFile(file, "w") as archive:
        for source in sorted((REPOSITORY / "job").rglob("*.py")):
            archive.write(source, source.relative_to(REPOSITORY))
    return file


def test_the_zipped_job_runs_with_no_repository_on_the_path(package, pictures, results, tmp_path):
    environment = {"PYTHONPATH": str(package)}
    with ended(process("run", "--images", pictures, "--results", results, "--model", MODEL, cwd=tmp_path, **environment)) as running:
        _, err = running.communicate(timeout=PATIENCE_S)
    assert running.returncode == 0, err
    assert (results / SUMMARY).is_file()


def test_spark_submit_runs_the_entry_script_with_the_zipped_job(package, pictures, results, tmp_path):
    entry = shutil.copy(REPOSITORY / "job" / "__main__.py", tmp_path / "entry.py")
    submit = Path(sys.executable).with_name("spark-submit")
    words = [submit, "--master", "local[2]", "--py-files", package, entry, "run", "--images", pictures, "--results", results]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"PYSPARK_PYTHON": sys.executable, "SPARK_LOCAL_IP": "127.0.0.1"}
    done = subprocess.run(
        [*map(str, words), "--model", str(MODEL)], env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "60 listed" in done.stdout
    assert json.loads((results / SUMMARY).read_text())["featurize"]["spark"] == {"master": "local[2]", "slots": 2}
    assert read(results / "features").num_rows == 60
