"""Files of a run that are whole, and others."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from bootstrap.artifacts import ENTRY, Packages, read_code, read_model, read_packages
from bootstrap.environment.archive import Link, write_archive
from bootstrap.errors import BootstrapError
from job.contract import FLATBUFFER, MODEL_CARD
from tests.conftest import REPOSITORY

TINY = REPOSITORY / "tests" / "spark" / "tiny"
CODE = {"lib/numpy.cpython-311-aarch64-linux-gnu.so": b"\x7fELF"}


def archive(folder: Path, contents: dict[str, bytes | Link]) -> bytes:
    write_archive(contents, folder / "made.tgz")
    return (folder / "made.tgz").read_bytes()


def zipped(contents: dict[str, bytes]) -> bytes:
    """As the stacks make them: stored, not compressed."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_STORED) as file:
        for name, data in contents.items():
            file.writestr(name, data)
    return made.getvalue()


PACKAGE = zipped({ENTRY: b"print('here I am')\n", "job/cli.py": b"# all the rest\n" * 50})
MODEL = zipped({name: (TINY / name).read_bytes() for name in (FLATBUFFER, MODEL_CARD)})


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    contents = {"bin/python": Link("/usr/bin/python3.11"), "lib/a.py": b"# a\n" * 1000, **CODE}
    return archive(tmp_path_factory.mktemp("packed"), contents)


def test_an_archive_says_what_it_works_on(packed: bytes) -> None:
    assert read_packages(io.BytesIO(packed)) == Packages("/usr/bin/python3.11", frozenset({("3.11", "arm64")}), 3)


def test_an_archive_may_have_no_interpreter_and_code_for_several(tmp_path: Path) -> None:
    names = ("a.cpython-311-x86_64-linux-gnu.so", "b.cpython-313-aarch64-linux-gnu.so", "c.abi3.so", "bin/python3")
    made = archive(tmp_path, dict.fromkeys(names, b""))
    assert read_packages(io.BytesIO(made)) == Packages("", frozenset({("3.11", "x86_64"), ("3.13", "arm64")}), 4)


@given(where=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_no_bit_of_an_archive_changes_unnoticed(packed: bytes, where: float, bit: int) -> None:
    """But those that say when and where it was packed (RFC 1952), and those that fill the last byte up: nobody unpacks these."""
    position = int(where * len(packed))
    damaged = bytearray(packed)
    damaged[position] ^= 1 << bit
    assume(not 3 <= position < 10 and position != len(packed) - 9)
    with pytest.raises(BootstrapError, match="it is damaged") as error:
        read_packages(io.BytesIO(damaged))
    assert error.value.hint


@given(cut=st.floats(0, 1, exclude_max=True))
def test_an_archive_that_ends_too_early_is_damaged_wherever_it_ends(packed: bytes, cut: float) -> None:
    with pytest.raises(BootstrapError, match="it is damaged"):
        read_packages(io.BytesIO(packed[: int(cut * len(packed))]))


def test_a_package_gives_its_entry_script_and_a_model_its_card() -> None:
    assert read_code(io.BytesIO(PACKAGE)) == b"print('here I am')\n"
    assert read_model(io.BytesIO(MODEL)).to_json() == (TINY / MODEL_CARD).read_text()


@pytest.mark.parametrize(("read", "whole"), [(read_code, PACKAGE), (read_model, MODEL)], ids=["package", "model"])
@pytest.mark.parametrize(
    "damage",
    [lambda data: data[: len(data) // 2], lambda _: b"", lambda _: b"<html>", lambda data: data[:60] + bytes([data[60] ^ 1]) + data[61:]],
    ids=["cut", "empty", "a page", "a bit"],
)
def test_a_zip_that_is_not_whole_is_damaged(read, whole: bytes, damage) -> None:
    with pytest.raises(BootstrapError, match="it is damaged"):
        read(io.BytesIO(damage(whole)))


def test_a_zip_without_what_it_is_for_is_damaged() -> None:
    for read in (read_code, read_model):
        with pytest.raises(BootstrapError, match="it is damaged"):
            read(io.BytesIO(zipped({"other": b""})))


def test_a_network_that_its_card_does_not_describe_is_refused() -> None:
    other = zipped({FLATBUFFER: b"another network", MODEL_CARD: (TINY / MODEL_CARD).read_bytes()})
    with pytest.raises(BootstrapError, match=r"model\.tflite is not the file that its model card describes"):
        read_model(io.BytesIO(other))
