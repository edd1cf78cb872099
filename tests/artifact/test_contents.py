"""What is in an environment's archive, file by file, for either processor: the one that cannot be run here as well."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path, PurePosixPath

import pytest
from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile
from elftools.elf.gnuversions import GNUVerNeedSection

from bootstrap.environment.wheels import MACHINES
from job.contract import ENVIRONMENT_ARCHIVE, EnvironmentCard
from job.releases import DEFAULT_RELEASE
from tests.artifact.conftest import build
from tests.conftest import REPOSITORY

MOST_UNPACKED, MOST_PACKED = 240_000_000, 80_000_000  # bytes: each executor fetches and unpacks it before it works
SITE_PACKAGES = f"lib/python{DEFAULT_RELEASE.python}/site-packages"

ELF_NAMES = {"arm64": "EM_AARCH64", "x86_64": "EM_X86_64"}
# What every Linux of the release brings: the libraries that PEP 600 lets a wheel rely on, those of them that ours do.
SYSTEM = re.compile(r"(libc|libm|libpthread|libdl|librt|libgcc_s|libstdc\+\+|libz|ld-linux-[a-z0-9-]+)\.so\.\d+")
# Newest versions of symbols there; CXXABI_1.3.15 goes with GLIBCXX_3.4.33 (libstdc++ manual, "ABI Policy and Guidelines").
NEWEST = {"GLIBC": DEFAULT_RELEASE.glibc, "GLIBCXX": DEFAULT_RELEASE.glibcxx, "CXXABI": (1, 3, 15), "GCC": (7, 0, 0)}


@pytest.fixture
def code(members: Mapping[str, bytes]) -> Mapping[str, ELFFile]:
    """Machine code in the archive, by path."""
    return {path: ELFFile(io.BytesIO(data)) for path, data in members.items() if data[:4] == b"\x7fELF"}


def test_the_archive_is_small_enough_to_be_fetched_by_every_executor(environment: Path, members: Mapping[str, bytes]) -> None:
    assert (environment / ENVIRONMENT_ARCHIVE).stat().st_size < MOST_PACKED
    assert sum(map(len, members.values())) < MOST_UNPACKED


def test_the_card_describes_its_archive(environment: Path, card: EnvironmentCard, members: Mapping[str, bytes]) -> None:
    packed = (environment / ENVIRONMENT_ARCHIVE).read_bytes()
    assert (card.sha256, card.packed_bytes) == (sha256(packed).hexdigest(), len(packed))
    assert (card.files, card.unpacked_bytes) == (len(members) + 3, sum(map(len, members.values())))
    assert environment.name == f"{card.release}-{card.architecture}"
    assert (card.release, card.python, card.interpreter) == (DEFAULT_RELEASE.label, DEFAULT_RELEASE.python, DEFAULT_RELEASE.interpreter)
    assert all(card.left_out.values())


def test_packages_are_those_of_the_lock(card: EnvironmentCard, members: Mapping[str, bytes]) -> None:
    locked = (REPOSITORY / "requirements" / "runtime.txt").read_text()
    assert {"ai-edge-litert", "boto3", "numpy", "obstore", "pillow", "pyarrow"} <= card.packages.keys()
    for name, version in card.packages.items():
        assert f"{name}=={version} " in locked
    assert len(card.packages) == sum(path.endswith(".dist-info/METADATA") for path in members)


@pytest.mark.parametrize(
    "unwanted",
    [
        r"/(pyspark|py4j|tensorflow|keras|pandas|pip|setuptools|pytest|uv)[/-]",
        r"/(__pycache__|tests|include)/(?!.*LICENSE)",
        r"\.(pyc|pyi|pyx|pxd|h|a|pth|lock)$",
        r"/(RECORD|INSTALLER|direct_url\.json)$",
        r"^bin/",
    ],
)
def test_nothing_is_in_it_that_executors_do_not_need(members: Mapping[str, bytes], unwanted: str) -> None:
    assert [path for path in members if re.search(unwanted, path)] == []


def test_it_does_not_know_where_it_was_made(members: Mapping[str, bytes]) -> None:
    places = [place.encode() for place in (str(REPOSITORY), sys.prefix, str(Path.home() / ".cache"))]
    assert [path for path, data in members.items() if any(place in data for place in places)] == []


def test_building_it_again_elsewhere_gives_the_same_bytes(environment: Path, card: EnvironmentCard, tmp_path: Path) -> None:
    again = build(
        tmp_path, card.architecture, TZ="Asia/Tokyo", LC_ALL="C", PYTHONHASHSEED="7", UV_COMPILE_BYTECODE="1", UV_LINK_MODE="copy"
    )
    assert (again / ENVIRONMENT_ARCHIVE).read_bytes() == (environment / ENVIRONMENT_ARCHIVE).read_bytes()


def test_all_machine_code_is_for_its_processor(card: EnvironmentCard, code: Mapping[str, ELFFile]) -> None:
    assert len(code) > 50
    assert {path: elf["e_machine"] for path, elf in code.items() if elf["e_machine"] != ELF_NAMES[card.architecture]} == {}


def test_extension_modules_are_for_its_python_and_processor(card: EnvironmentCard, code: Mapping[str, ELFFile]) -> None:
    own = f"cpython-{DEFAULT_RELEASE.python.replace('.', '')}-{MACHINES[card.architecture]}-linux-gnu"
    tags = {match[1] for path in code if (match := re.search(r"\.(cpython-[^.]+|abi\d+)\.so$", path))}
    assert tags == {own, "abi3"}


def versions_needed(elf: ELFFile) -> Iterator[tuple[str, tuple[int, ...]]]:
    """(name, version) of each symbol version that machine code asks of other libraries: GLIBC_2.28 -> ("GLIBC", (2, 28))."""
    for section in elf.iter_sections():
        if isinstance(section, GNUVerNeedSection):
            for _, needed in section.iter_versions():
                for version in needed:
                    name, _, number = version.name.rpartition("_")
                    if re.fullmatch(r"[\d.]+", number):
                        yield name, tuple(map(int, number.split(".")))


def test_no_machine_code_asks_for_a_newer_system_than_the_release_s(code: Mapping[str, ELFFile]) -> None:
    asked = {(name, version, path) for path, elf in code.items() for name, version in versions_needed(elf) if name in NEWEST}
    assert {name for name, _, _ in asked} >= {"GLIBC", "GLIBCXX"}
    assert [question for question in asked if question[1] > NEWEST[question[0]]] == []


def libraries_needed(elf: ELFFile) -> Iterator[str]:
    for section in elf.iter_sections():
        if isinstance(section, DynamicSection):
            yield from (tag.needed for tag in section.iter_tags("DT_NEEDED"))


def test_no_library_is_left_out_that_another_one_loads(code: Mapping[str, ELFFile]) -> None:
    there = {PurePosixPath(path).name for path in code}
    missing = {
        (path, library)
        for path, elf in code.items()
        for library in libraries_needed(elf)
        if library not in there and not SYSTEM.fullmatch(library)
    }
    assert missing == set()
