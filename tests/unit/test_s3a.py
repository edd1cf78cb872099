"""Hadoop's S3A for rehearsals: the jars that are locked and no others, for the Spark that is here, with one message where that fails."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from xml.etree import ElementTree

import pytest

from bootstrap.errors import BootstrapError, UsageError
from bootstrap.rehearsal.emr.s3a import LOCK, POM, s3a_jars
from bootstrap.rehearsal.emr.staging import interpreter

JARS = {"a-1.jar": b"one", "b-2.jar": b"two"}


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    file = tmp_path / "jars.txt"
    file.write_text("".join(f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in JARS.items()))
    return file


@pytest.fixture
def maven(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Maven that takes its jars from this folder, and notes that it was called."""
    repository = tmp_path / "repository"
    repository.mkdir()
    for name, content in JARS.items():
        (repository / name).write_bytes(content)
    script = tmp_path / "bin" / "mvn"
    script.parent.mkdir()
    script.write_text(
        f"#!{sys.executable}\nimport shutil, sys\nout = next(each.partition('=')[2] for each in sys.argv if each.startswith('-DoutputD'))\n"
        f"shutil.copytree({str(repository)!r}, out, dirs_exist_ok=True)\nopen({str(tmp_path / 'calls')!r}, 'a').write('called\\n')\n"
    )
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(script.parent))
    return repository


def test_maven_brings_the_jars_once_and_again_where_one_is_gone_or_changed(maven: Path, lock: Path, tmp_path: Path) -> None:  # noqa: ARG001  put on the PATH
    folder = tmp_path / "s3a"
    for calls, spoil in enumerate((Path.touch, Path.unlink, lambda jar: jar.write_bytes(b"changed"))):
        for _ in range(2):
            jars = s3a_jars(folder, lock=lock)
            assert {jar.name: jar.read_bytes() for jar in jars} == JARS
            assert (tmp_path / "calls").read_text().count("called") == max(1, calls)
        spoil(jars[0])
    s3a_jars(folder, lock=lock)
    assert (tmp_path / "calls").read_text().count("called") == 3


@pytest.mark.parametrize("change", [{"a-1.jar": b"another"}, {"c-3.jar": b"more"}], ids=["another", "one more"])
def test_a_jar_that_the_lock_does_not_have_is_not_used(maven: Path, lock: Path, tmp_path: Path, change: dict[str, bytes]) -> None:
    for name, content in change.items():
        (maven / name).write_bytes(content)
    with pytest.raises(BootstrapError, match=f"Maven brings another {next(iter(change))}") as refused:
        s3a_jars(tmp_path / "s3a", lock=lock)
    assert "make lock" in refused.value.hint
    assert not (tmp_path / "s3a").exists()


def test_without_maven_it_is_said_how_to_get_it(lock: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="no mvn here") as missing:
        s3a_jars(tmp_path / "s3a", lock=lock)
    assert "install maven" in missing.value.hint


def test_where_maven_fails_its_own_reason_is_given(maven: Path, lock: Path, tmp_path: Path) -> None:
    script = Path(os.environ["PATH"]) / "mvn"
    script.write_text(f"#!{sys.executable}\nprint('\\x1b[0m[ERROR] no registry answers')\nprint('[ERROR] more')\nraise SystemExit(1)\n")
    with pytest.raises(BootstrapError, match=r"S3A: no registry answers$"):
        s3a_jars(tmp_path / "s3a", lock=lock)
    assert maven.is_dir()


def installed_jars() -> set[str]:
    found = find_spec("pyspark")
    assert found
    assert found.submodule_search_locations
    return {jar.name for jar in Path(found.submodule_search_locations[0], "jars").iterdir()}


def locked() -> list[str]:
    return [line.split()[1] for line in LOCK.read_text().splitlines()]


def artifact(jar: str) -> str:
    """A jar's name without its version."""
    return re.sub(r"-\d[\w.]*\.jar$", "", jar)


def test_s3a_is_of_the_hadoop_that_spark_comes_with_and_brings_nothing_that_spark_has() -> None:
    [hadoop] = [jar for jar in installed_jars() if artifact(jar) == "hadoop-client-api"]
    assert hadoop.replace("client-api", "aws") in locked()
    assert not {artifact(jar) for jar in locked()} & {artifact(jar) for jar in installed_jars()}


def test_the_lock_and_the_pom_name_no_registry_and_each_jar_has_a_digest() -> None:
    assert all(re.fullmatch(r"[0-9a-f]{64}  [\w.-]+\.jar", line) for line in LOCK.read_text().splitlines())
    names = {element.tag.rpartition("}")[2].lower() for element in ElementTree.parse(POM).iter()}
    assert "dependency" in names
    assert not {name for name in names if "repositor" in name or name == "url"}


@pytest.mark.parametrize("target", [sys.executable, "/nowhere/python3.11"], ids=["its own", "not on this machine"])
def test_the_interpreter_that_an_archive_links_to_starts_wherever_this_machine_has_it(tmp_path: Path, target: str) -> None:
    link = tmp_path / "unpacked" / "environment" / "bin" / "python"
    link.parent.mkdir(parents=True)
    link.symlink_to(target)
    command = interpreter("./environment/bin/python", folder=tmp_path)
    for _ in range(2):
        said = subprocess.check_output([command, "-c", "import sys; print(sys.argv[1:])", "a b"], cwd=tmp_path / "unpacked", text=True)
        assert said == "['a b']\n"
    assert (str(link.readlink()) == target) == Path(target).exists()


def test_an_interpreter_that_is_in_no_archive_is_started_as_it_is(tmp_path: Path) -> None:
    assert interpreter("/usr/bin/python3", folder=tmp_path) == "/usr/bin/python3"
    assert not list(tmp_path.iterdir())
