"""What the real uv, with a folder of packages and no network, makes of a lock: what executors cannot have is refused by name."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from collections.abc import Callable
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import TypeAlias

import pytest

from bootstrap.cli import main
from bootstrap.environment.leftout import divide
from bootstrap.environment.wheels import fetch_wheels
from job.contract import ENVIRONMENT_ARCHIVE, ENVIRONMENT_CARD
from job.releases import DEFAULT_RELEASE, Architecture

Make: TypeAlias = Callable[[Path], Path]  # a package into a folder

CARD = "Metadata-Version: 2.1\nName: pear\nVersion: 1.0\n"
THERE = f"{DEFAULT_RELEASE.glibc[0]}_{DEFAULT_RELEASE.glibc[1]}"
NEWER = f"{DEFAULT_RELEASE.glibc[0]}_{DEFAULT_RELEASE.glibc[1] + 1}"
OTHER_BYTES = f"pear==1.0 --hash=sha256:{'0' * 64}"


def wheel(tag: str, *, inside: str = "") -> Make:
    """pear 1.0 for `tag`. inside: what its card says, where that is another."""

    def make(folder: Path) -> Path:
        file, card = folder / f"pear-1.0-{tag}.whl", "pear-1.0.dist-info"
        members = {
            "pear.py": "",
            f"{card}/METADATA": CARD,
            f"{card}/WHEEL": f"Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: {inside or tag}\n",
            f"{card}/RECORD": f"pear.py,,\n{card}/METADATA,,\n{card}/WHEEL,,\n{card}/RECORD,,\n",
        }
        with zipfile.ZipFile(file, "w") as made:
            for name, text in members.items():
                made.writestr(name, text)
        return file

    return make


def sources(folder: Path) -> Path:
    """pear 1.0 as it would have to be built."""
    file = folder / "pear-1.0.tar.gz"
    members = {"PKG-INFO": CARD, "pyproject.toml": '[project]\nname = "pear"\nversion = "1.0"\n', "pear.py": ""}
    with tarfile.open(file, "w:gz") as made:
        for name, text in members.items():
            member = tarfile.TarInfo(f"pear-1.0/{name}")
            member.size = len(text)
            made.addfile(member, io.BytesIO(text.encode()))
    return file


def a_page(folder: Path) -> Path:
    """What a proxy answers in a wheel's place."""
    file = folder / "pear-1.0-py3-none-any.whl"
    file.write_text("<html>log in first</html>")
    return file


@pytest.fixture
def locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Makes the packages that uv finds, and nothing else, and a lock of them or of other lines."""
    links = tmp_path / "links"
    links.mkdir()
    settings = {"UV_OFFLINE": "1", "UV_NO_CONFIG": "1", "UV_FIND_LINKS": str(links), "UV_CACHE_DIR": str(tmp_path / "cache")}
    for name, value in settings.items():
        monkeypatch.setenv(name, value)

    def lock(*packages: Make, line: str = "") -> Path:
        digests = [sha256(make(links).read_bytes()).hexdigest() for make in packages]
        file = tmp_path / "lock.txt"
        file.write_text((line or " ".join(["pear==1.0", *(f"--hash=sha256:{digest}" for digest in digests)])) + "\n")
        return file

    return lock


@pytest.mark.parametrize(
    ("tag", "architecture"),
    [("py3-none-any", "arm64"), (f"cp311-cp311-manylinux_{THERE}_aarch64", "arm64"), (f"cp39-abi3-manylinux_{THERE}_x86_64", "x86_64")],
)
def test_a_wheel_that_fits_is_unpacked(locked: Callable[..., Path], tag: str, architecture: Architecture, tmp_path: Path) -> None:
    """Here and as another machine's: what is refused below is refused for what it is."""
    fetch_wheels(locked(wheel(tag), sources), release=DEFAULT_RELEASE, architecture=architecture, into=tmp_path / "into")
    assert (tmp_path / "into" / "pear.py").is_file()


def test_a_machine_reads_the_card_and_where_the_archive_is(
    locked: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("bootstrap.environment.build.divide", partial(divide, rules=()))  # of which each must match something
    argv = ["environment", "--lock", str(locked(wheel("py3-none-any"))), "--out", str(tmp_path / "out")]
    assert main([*argv, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    archive = Path(said.pop("archive"))
    assert said == json.loads((archive.parent / ENVIRONMENT_CARD).read_text())
    assert (said["packages"], said["sha256"]) == ({"pear": "1.0"}, sha256(archive.read_bytes()).hexdigest())
    assert main(argv) == 0
    assert capsys.readouterr().out == f"{archive}\n"


ARM, X86 = (f"Python 3.11 on {machine} with glibc 2.34 (emr-spark-8.1.0)" for machine in ("aarch64", "x86_64"))
WINDOWS = wheel("cp311-cp311-win_amd64")
REFUSED = {
    "sources alone": ([sources], "arm64", f"pear==1.0 has no wheel for {ARM}, only sources"),
    "sources, and a wheel for Windows": ([WINDOWS, sources], "arm64", f"pear==1.0 has no wheel for {ARM}, only sources"),
    "a wheel for Windows": ([WINDOWS], "arm64", f"pear==1.0 has no wheel for {ARM}"),
    "a wheel for another processor": ([wheel("cp311-cp311-manylinux_2_17_aarch64")], "x86_64", f"pear==1.0 has no wheel for {X86}"),
    "a wheel for a newer glibc": ([wheel(f"cp311-cp311-manylinux_{NEWER}_aarch64")], "arm64", f"pear==1.0 has no wheel for {ARM}"),
    "a wheel for another Python": ([wheel("cp312-cp312-manylinux_2_17_aarch64")], "arm64", f"pear==1.0 has no wheel for {ARM}"),
    "a wheel for another libc": ([wheel("cp311-cp311-musllinux_1_2_aarch64")], "arm64", f"pear==1.0 has no wheel for {ARM}"),
    "a wheel whose name promises too much": (
        [wheel("cp311-cp311-manylinux_2_17_aarch64", inside="cp311-cp311-win_amd64")],
        "arm64",
        f"pear-1.0 is a wheel for cp311-cp311-win_amd64, not for {ARM}",
    ),
    "no wheel, whatever its name": ([a_page], "arm64", "pear==1.0 came as something that cannot be unpacked"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_a_package_that_executors_cannot_have_is_refused_by_name(
    locked: Callable[..., Path], case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    packages, architecture, complaint = REFUSED[case]
    refuse(locked(*packages), architecture, complaint, tmp_path / "out", capsys)


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("-e ./pear", "-e ./pear: executors get wheels from a registry, not sources, paths or editable installs"),
        (OTHER_BYTES, "pear==1.0 came with other bytes than were locked"),
        (OTHER_BYTES.replace("1.0", "2.0"), "the registry has no pear==2.0"),
        (OTHER_BYTES.replace("pear", "plum"), "no network, and no plum in uv's cache"),
    ],
)
def test_a_line_that_asks_for_something_else_is_refused_by_name(
    locked: Callable[..., Path], line: str, complaint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    refuse(locked(wheel("py3-none-any"), line=line), "arm64", complaint, tmp_path / "out", capsys)


def refuse(lock: Path, architecture: Architecture, complaint: str, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 1, that line and a next step; the archive that was there is, and nothing beside it."""
    before = out / f"{DEFAULT_RELEASE.label}-{architecture}" / ENVIRONMENT_ARCHIVE
    before.parent.mkdir(parents=True)
    before.write_bytes(b"of yesterday")
    assert main(["environment", "--architecture", architecture, "--lock", str(lock), "--out", str(out)]) == 1
    said = capsys.readouterr()
    problem, hint = said.err.splitlines()
    assert (said.out, problem) == ("", f"error: {complaint}")
    assert hint.startswith("hint: ")
    assert [file for file in out.rglob("*") if file.is_file()] == [before]
    assert list(before.parent.iterdir()) == [before]
    assert before.read_bytes() == b"of yesterday"
