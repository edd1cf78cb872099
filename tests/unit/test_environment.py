"""The executors' environment in its pure parts: locks, what fits, what stays behind, and bytes that repeat."""

from __future__ import annotations

import gzip
import io
import json
import os
import tarfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootstrap.cli import main
from bootstrap.environment.archive import Contents, Link, write_archive
from bootstrap.environment.build import LOCK, lay_out
from bootstrap.environment.leftout import RULES, LeftOut, divide
from bootstrap.environment.lock import UNWANTED, Locked, canonical, read_lock
from bootstrap.environment.misfits import ELF_MACHINES, fits, refuse_foreign_code, refuse_misfits, refuse_strangers
from bootstrap.environment.wheels import explain
from bootstrap.errors import BootstrapError
from job.contract import EnvironmentCard
from job.releases import DEFAULT_RELEASE, RELEASES

DIGEST = f"--hash=sha256:{'0' * 64}"


# --- locks ---


def lock(folder: Path, *lines: str) -> Path:
    file = folder / "lock.txt"
    file.write_text("\n".join(lines) + "\n")
    return file


def test_the_repository_s_lock_is_read_whole() -> None:
    locked = {package.name for package in read_lock(LOCK)}
    assert locked == {canonical(line.split("==")[0]) for line in LOCK.read_text().splitlines() if "==" in line.split(";")[0]}
    assert {"ai-edge-litert", "boto3", "numpy", "obstore", "pillow", "pyarrow"} <= locked


def test_a_locked_package_has_name_version_and_whether_a_marker_decides(tmp_path: Path) -> None:
    file = lock(
        tmp_path,
        "# made by make lock",
        f"Some_Name[extra]==1.2.post3 \\\n    {DIGEST} \\\n    {DIGEST}",
        "    # via x",
        f"b==2 ; sys_platform == 'win32' {DIGEST}",
    )
    assert read_lock(file) == (Locked("some-name", "1.2.post3", conditional=False), Locked("b", "2", conditional=True))


@pytest.mark.parametrize(
    "line",
    [
        "-e .",
        "--editable /home/me/verger",
        "/home/me/verger",
        "./verger",
        "../numpy-2.4.tar.gz",
        "numpy-2.4.tar.gz",
        "numpy-2.4-cp311-cp311-linux_x86_64.whl",
        "file:///home/me/verger",
        "https://example.org/numpy-2.4.tar.gz",
        "git+https://example.org/numpy",
        "numpy @ https://example.org/numpy-2.4.tar.gz",
    ],
)
def test_a_source_a_path_or_an_editable_install_is_refused_by_its_line(tmp_path: Path, line: str) -> None:
    with pytest.raises(BootstrapError, match="wheels from a registry") as refused:
        read_lock(lock(tmp_path, f"six==1.17.0 {DIGEST}", line))
    assert line in str(refused.value)


@pytest.mark.parametrize("line", [f"numpy>=2 {DIGEST}", "numpy", "-r other.txt", "--index-url x", f"numpy==2.4 {DIGEST[:-1]}"])
def test_what_is_not_pinned_is_refused_by_its_line(tmp_path: Path, line: str) -> None:
    with pytest.raises(BootstrapError, match="not a package pinned with ==") as refused:
        read_lock(lock(tmp_path, line))
    assert line.split(" ")[0] in str(refused.value)


def test_a_package_without_a_digest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BootstrapError, match=r"numpy==2\.4 is locked without a digest"):
        read_lock(lock(tmp_path, "numpy==2.4"))


def test_a_lock_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "lock.txt").write_bytes(b"\x89PNG\xff")
    with pytest.raises(BootstrapError, match=r"lock\.txt is no lock file: it is no text"):
        read_lock(tmp_path / "lock.txt")


def test_an_empty_lock_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BootstrapError, match="locks no package"):
        read_lock(lock(tmp_path, "# nothing"))


@pytest.mark.parametrize("name", [*UNWANTED, "PySpark", "tensorflow_cpu", "keras-hub"])
def test_what_executors_must_not_get_is_refused_by_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(BootstrapError, match=rf"{canonical(name)}==1 is not for executors"):
        read_lock(lock(tmp_path, f"{name}==1 {DIGEST}"))


def test_a_name_that_only_resembles_an_unwanted_one_is_let_through(tmp_path: Path) -> None:
    assert read_lock(lock(tmp_path, f"uvloop==1 {DIGEST}", f"pipeline==2 {DIGEST}"))


# --- what fits ---


@pytest.mark.parametrize(
    ("tag", "arm64", "x86_64"),
    [
        ("py3-none-any", True, True),
        ("py2.py3-none-any", True, True),
        ("py2-none-any", False, False),
        ("cp311-cp311-manylinux_2_34_aarch64", True, False),
        ("cp311-cp311-manylinux_2_34_x86_64", False, True),
        ("cp311-cp311-manylinux_2_35_x86_64", False, False),
        ("cp311-cp311-manylinux_3_0_x86_64", False, False),
        ("cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64", False, True),
        ("cp311-cp311-manylinux2014_aarch64", True, False),
        ("cp311-cp311-musllinux_1_2_aarch64", False, False),
        ("cp311-cp311-linux_aarch64", False, False),
        ("cp311-cp311-macosx_11_0_arm64", False, False),
        ("cp311-cp311-win_arm64", False, False),
        ("cp39-abi3-manylinux_2_28_aarch64", True, False),
        ("cp311-abi3-manylinux_2_28_aarch64", True, False),
        ("cp312-abi3-manylinux_2_28_aarch64", False, False),
        ("cp310-cp310-manylinux_2_28_aarch64", False, False),
        ("cp313-cp313t-manylinux_2_28_aarch64", False, False),
        ("pp311-pypy311_pp73-manylinux_2_28_aarch64", False, False),
    ],
)
def test_a_wheel_s_tag_says_where_it_works(tag: str, arm64: bool, x86_64: bool) -> None:
    assert [fits(tag, release=DEFAULT_RELEASE, architecture=name) for name in ("arm64", "x86_64")] == [arm64, x86_64]


def install(folder: Path, name: str, version: str, *, tag: str = "py3-none-any", url: bool = False) -> None:
    """A package as uv leaves it."""
    card = folder / f"{name}-{version}.dist-info"
    card.mkdir(parents=True)
    (card / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n\nProse: of the package\n")
    (card / "WHEEL").write_text(f"Wheel-Version: 1.0\nTag: {tag}\n")
    if url:
        (card / "direct_url.json").write_text(json.dumps({"url": "file:///x", "dir_info": {"editable": True}}))


def refuse(folder: Path) -> None:
    refuse_misfits(folder, release=DEFAULT_RELEASE, architecture="arm64")


def test_wheels_that_fit_are_let_through(tmp_path: Path) -> None:
    install(tmp_path, "six", "1.17.0")
    install(tmp_path, "numpy", "2.4", tag="cp311-cp311-manylinux_2_28_aarch64")
    refuse(tmp_path)


def test_a_wheel_for_another_platform_is_refused_by_name(tmp_path: Path) -> None:
    install(tmp_path, "six", "1.17.0")
    install(tmp_path, "numpy", "2.4", tag="cp311-cp311-manylinux_2_28_x86_64")
    with pytest.raises(BootstrapError, match=r"numpy-2\.4 is a wheel for .*x86_64, not for Python 3\.11 on aarch64 with glibc 2\.34"):
        refuse(tmp_path)


def test_a_package_installed_from_a_path_is_refused_by_name(tmp_path: Path) -> None:
    install(tmp_path, "verger", "0.1.0", url=True)
    with pytest.raises(BootstrapError, match=r"verger-0\.1\.0 was installed from a path"):
        refuse(tmp_path)


def test_a_file_that_adds_to_python_s_path_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "__editable__.verger.pth").write_text("/home/me/verger\n")
    with pytest.raises(BootstrapError, match=r"__editable__\.verger\.pth points out of the archive"):
        refuse(tmp_path)


def machine_code(built_for: str, *symbols: str) -> bytes:
    """The beginning of an ELF file, and its table of strings."""
    head = b"\x7fELF" + bytes(14) + ELF_MACHINES[built_for].to_bytes(2, "little") + bytes(40)
    return head + b"\0".join(symbol.encode() for symbol in ("", "printf", *symbols, ""))


def refuse_code(folder: Path, architecture: str) -> None:
    refuse_foreign_code(folder.iterdir(), release=DEFAULT_RELEASE, architecture=architecture)


@pytest.mark.parametrize("built_for", ELF_MACHINES)
def test_machine_code_for_another_processor_is_refused_whatever_its_wheel_says(tmp_path: Path, built_for: str) -> None:
    (tmp_path / "text.py").write_text("ELF\n")
    (tmp_path / "short.so").write_bytes(b"\x7fEL")
    (tmp_path / "fast.so").write_bytes(machine_code(built_for))
    for architecture in ELF_MACHINES:
        if architecture == built_for:
            refuse_code(tmp_path, architecture)
        else:
            with pytest.raises(BootstrapError, match=r"fast\.so is machine code for another processor"):
                refuse_code(tmp_path, architecture)


@pytest.mark.parametrize(
    ("symbols", "refused"),
    [
        (["GLIBC_2.17", "GLIBC_2.34", "GLIBCXX_3.4", "GLIBCXX_3.4.33"], None),
        (["GLIBC_2.4", "GLIBC_2.35"], "GLIBC_2.35"),
        (["GLIBCXX_3.4.9", "GLIBCXX_3.4.34", "GLIBCXX_3.4.5"], "GLIBCXX_3.4.34"),
        (["GLIBC_PRIVATE", "NOT_GLIBC_9.9", "GLIBC_9.9_NEITHER"], None),
    ],
)
def test_machine_code_for_a_newer_system_is_refused_with_what_it_asks_for(tmp_path: Path, symbols: list[str], refused: str | None) -> None:
    (tmp_path / "fast.so").write_bytes(machine_code("arm64", *symbols))
    if refused is None:
        refuse_code(tmp_path, "arm64")
    else:
        with pytest.raises(BootstrapError, match=rf"fast\.so needs {refused}, and {DEFAULT_RELEASE.label} has"):
            refuse_code(tmp_path, "arm64")


LOCKED = (Locked("six", "1.17.0", conditional=False), Locked("colorama", "0.4.6", conditional=True))


@pytest.mark.parametrize(
    ("there", "complaint"),
    [
        ([("six", "1.17.0")], None),
        ([("six", "1.17.0"), ("colorama", "0.4.6")], None),
        ([], r"six==1\.17\.0 was locked and not installed"),
        ([("six", "1.16.0")], r"six==1\.16\.0 was installed and not locked"),
        ([("six", "1.17.0"), ("evil", "1")], "evil==1 was installed and not locked"),
    ],
)
def test_what_is_installed_is_what_was_locked(tmp_path: Path, there: Sequence[tuple[str, str]], complaint: str | None) -> None:
    for name, version in there:
        install(tmp_path, name, version)
    if complaint is None:
        refuse_strangers(tmp_path, LOCKED)
    else:
        with pytest.raises(BootstrapError, match=complaint):
            refuse_strangers(tmp_path, LOCKED)


# --- what stays behind ---

TESTS = LeftOut("tests", ("*/tests/*", "*.pyi"))
DATA = LeftOut("data", ("data/*/*",), but=("data/s3/*",))
SIZES = {"a/tests/x.py": 3, "a/b.pyi": 4, "a/b.py": 5, "data/ec2/1.json": 7, "data/s3/1.json": 11, "data/list.json": 13}


def test_what_a_rule_names_stays_behind_and_its_exceptions_come_along() -> None:
    division = divide(SIZES, "arm64", [TESTS, DATA])
    assert division.kept == ("a/b.py", "data/list.json", "data/s3/1.json")
    assert division.left_out == {"tests": 7, "data": 7}


@given(sizes=st.dictionaries(st.sampled_from([*SIZES, "c.py", "d/tests/e.py", "data/sts/2.json"]), st.integers(0, 9)))
def test_every_byte_is_kept_or_accounted_for(sizes: dict[str, int]) -> None:
    anything = LeftOut("none of these", ("*nowhere*",))
    sizes = SIZES | sizes | {"nowhere": 1}
    division = divide(sizes, "arm64", [TESTS, DATA, anything])
    assert sum(sizes[path] for path in division.kept) + sum(division.left_out.values()) == sum(sizes.values())


@pytest.mark.parametrize("pattern", ["*.pyx", "data/s3/*"])
def test_a_pattern_that_leaves_nothing_out_is_an_error(pattern: str) -> None:
    rotten = LeftOut("of old", ("*.pyi", pattern), but=("data/s3/*",))
    with pytest.raises(BootstrapError, match=r"nothing in these wheels matches .* \(of old\)") as error:
        divide(SIZES, "arm64", [rotten])
    assert f'"{pattern}"' in str(error.value)


def test_a_pattern_that_another_hides_is_an_error() -> None:
    with pytest.raises(BootstrapError, match="types again"):
        divide(SIZES, "arm64", [TESTS, LeftOut("types again", ("a/*.pyi",))])


def test_a_rule_of_one_architecture_is_for_it_alone() -> None:
    only = LeftOut("plug-ins", ("a/b.py",), only="x86_64")
    assert "a/b.py" in divide(SIZES, "arm64", [only]).kept
    assert "a/b.py" not in divide(SIZES, "x86_64", [only]).kept


def test_every_rule_has_a_reason_of_its_own() -> None:
    reasons = [rule.reason for rule in RULES]
    assert all(reasons)
    assert len(set(reasons)) == len(reasons)


@pytest.mark.parametrize(
    "path",
    [
        "pyarrow/_dataset.cpython-311-x86_64-linux-gnu.so",
        "pyarrow/libarrow_python.so.2600",
        "numpy-2.4.6.dist-info/METADATA",
        "numpy-2.4.6.dist-info/licenses/LICENSE.txt",
        "botocore/data/endpoints.json",
        "botocore/data/sts/2011-06-15/service-2.json.gz",
        "botocore/cacert.pem",
    ],
)
def test_what_the_job_may_load_is_in_no_rule(path: str) -> None:
    assert [rule.reason for rule in RULES if rule.pattern_of(path)] == []


# --- bytes that repeat ---

names = st.text(st.sampled_from("abc/."), min_size=1, max_size=12).filter(lambda name: all(part.strip(".") for part in name.split("/")))
trees = st.dictionaries(names, st.binary(max_size=40) | st.builds(Link, st.just("/usr/bin/python3.11")), max_size=6)


@given(contents=trees, seed=st.randoms())
def test_an_archive_depends_on_what_is_in_it_and_not_on_the_order(
    tmp_path_factory: pytest.TempPathFactory, contents: Contents, seed
) -> None:
    folder = tmp_path_factory.mktemp("archive")
    shuffled = list(contents.items())
    seed.shuffle(shuffled)
    write_archive(contents, folder / "a.tar.gz")
    write_archive(dict(shuffled), folder / "b.tar.gz")
    assert (folder / "a.tar.gz").read_bytes() == (folder / "b.tar.gz").read_bytes()


def test_an_archive_does_not_depend_on_times_modes_or_its_own_name(tmp_path: Path) -> None:
    file = tmp_path / "file.py"
    file.write_text("print()\n")
    write_archive({"file.py": file}, tmp_path / "a.tar.gz")
    file.chmod(0o700)
    os.utime(file, (1, 1))
    write_archive({"file.py": file}, tmp_path / "another name.tar.gz")
    assert (tmp_path / "a.tar.gz").read_bytes() == (tmp_path / "another name.tar.gz").read_bytes()


@given(contents=trees)
def test_an_archive_is_unpacked_to_what_was_packed(tmp_path_factory: pytest.TempPathFactory, contents: Contents) -> None:
    out = tmp_path_factory.mktemp("archive") / "a.tar.gz"
    write_archive(contents, out)
    with tarfile.open(out) as tar:
        members = {member.name: Link(member.linkname) if member.issym() else tar.extractfile(member).read() for member in tar}
    assert members == contents


def test_members_have_no_owner_one_time_and_plain_modes(tmp_path: Path) -> None:
    write_archive({"b": b"1", "a": Link("b")}, tmp_path / "a.tar.gz")
    with tarfile.open(tmp_path / "a.tar.gz") as tar:
        members = tar.getmembers()
    assert [member.name for member in members] == ["a", "b"]
    assert {(member.uid, member.gid, member.uname, member.gname) for member in members} == {(0, 0, "", "")}
    assert len({member.mtime for member in members}) == 1
    assert [oct(member.mode) for member in members] == ["0o777", "0o644"]


def test_gzip_s_header_has_neither_a_name_nor_a_time(tmp_path: Path) -> None:
    write_archive({"a": b"1"}, tmp_path / "a.tar.gz")
    head = (tmp_path / "a.tar.gz").read_bytes()[:10]
    assert head[:3] == b"\x1f\x8b\x08"
    assert head[3] == 0, "flags: no name, no comment"
    assert head[4:8] == bytes(4), "time"
    tarfile.open(fileobj=io.BytesIO(gzip.decompress((tmp_path / "a.tar.gz").read_bytes()))).close()


# --- the layout ---


@pytest.mark.parametrize("release", RELEASES, ids=lambda release: release.label)
def test_an_environment_s_interpreters_are_links_to_the_release_s_own(tmp_path: Path, release) -> None:
    contents = lay_out(tmp_path, ("numpy/__init__.py",), release)
    links = {name: content.target for name, content in contents.items() if isinstance(content, Link)}
    assert links == dict.fromkeys(("bin/python", "bin/python3", "bin/python3.11"), "/usr/bin/python3.11")
    assert contents["pyvenv.cfg"] == b"home = /usr/bin\ninclude-system-site-packages = false\n"
    assert contents["lib/python3.11/site-packages/numpy/__init__.py"] == tmp_path / "numpy/__init__.py"
    assert len(contents) == 5


# --- the card ---

CARD = EnvironmentCard("emr-spark-8.1.0", "arm64", "3.11", "/usr/bin/python3.11", {"numpy": "2.4.6"}, 5, 100, 50, "ab" * 32, {"tests": 7})


def test_a_card_is_read_back_as_it_was_written() -> None:
    assert EnvironmentCard.from_json(CARD.to_json()) == CARD
    with pytest.raises(ValueError, match="architecture"):
        EnvironmentCard.from_json(json.dumps({name: value for name, value in asdict(CARD).items() if name != "architecture"}))


# --- what goes wrong ---

COMPLAINTS = [
    ("Because pywin32==308 has no wheels with a matching platform tag (e.g., `x`) and you", "pywin32==308 has no wheel for THERE"),
    ("Because numpy==2.5 has no wheels with a matching Python ABI\n  tag (e.g., `cp311`)", "numpy==2.5 has no wheel for THERE"),
    ("Because docopt==0.6.2 has no usable wheels and you require", "docopt==0.6.2 has no wheel for THERE, only sources"),
    ("Failed to download\n  cause: Hash mismatch for `six==1.17.0`\n\n Expected:", "six==1.17.0 came with other bytes than were locked"),
    ("Because there is no version of six==99.0 and you require", "the registry has no six==99.0"),
    ("Because six was not found in the package registry and you", "the registry has no six"),
    ("Because six was not found in the cache and you", "no network, and no six in uv's cache"),
    ("Request failed after 3 retries\n  cause: Failed to fetch: http://localhost:9/six/", "no package registry can be reached"),
    ("the disk is full\n  cause: alas\nhint: delete", "uv cannot fetch the wheels: the disk is full: alas"),
]


@pytest.mark.parametrize(("complaint", "meaning"), COMPLAINTS)
def test_what_uv_complains_of_becomes_one_line_with_the_package(complaint: str, meaning: str) -> None:
    error = explain(f"error: {complaint}", "THERE")
    assert str(error) == meaning
    assert error.hint or "uv cannot" in meaning


def test_a_silent_failure_of_uv_is_a_failure() -> None:
    assert str(explain("", "THERE")) == "uv cannot fetch the wheels: it does not say why"


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--release", "emr-6.6.0"], "--release 'emr-6.6.0' is none of emr-spark-8.1.0, emr-7.14.0"),
        (["--architecture", "riscv"], "--architecture 'riscv' is none of arm64, x86_64"),
        (["--lock", "nowhere.txt"], "--lock nowhere.txt: no such file"),
    ],
)
def test_a_release_an_architecture_or_a_lock_that_there_is_not_is_a_wrong_command_line(capsys, words: list[str], complaint: str) -> None:
    assert main(["environment", *words]) == 2
    problem, hint = capsys.readouterr().err.splitlines()
    assert problem == f"error: {complaint}"
    assert hint.startswith("hint: ")


def test_a_refused_lock_is_one_line_and_a_hint_and_leaves_nothing(tmp_path: Path, capsys) -> None:
    file = lock(tmp_path, "-e .")
    assert main(["environment", "--lock", str(file), "--out", str(tmp_path / "out")]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert [line.split(":")[0] for line in captured.err.splitlines()] == ["error", "hint"]
    assert not (tmp_path / "out").exists()


def test_a_python_without_uv_says_what_installs_it(tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bootstrap.environment.wheels.find_spec", lambda _name: None)
    assert main(["environment", "--lock", str(lock(tmp_path, f"six==1.17.0 {DIGEST}")), "--out", str(tmp_path / "out")]) == 1
    assert "no uv" in capsys.readouterr().err
