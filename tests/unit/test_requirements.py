"""The lock files: what executors get, and nothing that names a place."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

LOCKS = sorted((REPOSITORY / "requirements").glob("*.txt"))


def packages(lock: Path) -> set[str]:
    return set(re.findall(r"^([a-z0-9][a-z0-9._-]*)==", lock.read_text(), re.MULTILINE))


def test_there_are_lock_files() -> None:
    assert {lock.stem for lock in LOCKS} == {"uv", "runtime", "infra", "go", "dev", "spark35"}


def test_executors_get_what_the_job_imports_and_never_tensorflow() -> None:
    runtime = packages(REPOSITORY / "requirements" / "runtime.txt")
    assert {"numpy", "pillow", "pyarrow", "ai-edge-litert"} <= runtime
    assert not {name for name in runtime if name.startswith(("tensorflow", "keras", "pyspark", "pandas"))}


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_a_lock_names_no_address_and_has_a_digest_for_each_package(lock: Path) -> None:
    text = lock.read_text()
    assert "://" not in text
    assert len(re.findall(r"^\S+==", text, re.MULTILINE)) == len(re.findall(r"^\S+==.*\\\n    --hash=sha256:", text, re.MULTILINE))


def test_both_sparks_run_on_the_same_versions() -> None:
    """Features must not depend on which Spark carries them."""

    def pinned(name: str) -> set[str]:
        lines = (REPOSITORY / "requirements" / name).read_text().splitlines()
        return {line for line in lines if line.startswith(("numpy==", "pillow==", "pyarrow==", "ai-edge-litert=="))}

    assert pinned("dev.txt") == pinned("spark35.txt") == pinned("runtime.txt")
