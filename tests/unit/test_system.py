"""What the operating system refuses, anywhere in a verb, is one line with the place, and one with what to do next; pipes nobody reads."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bootstrap import pictures
from bootstrap.cli import main
from bootstrap.errors import SYSTEM, refused_by_system


def said(capsys: pytest.CaptureFixture[str]) -> tuple[str, str]:
    error, hint = capsys.readouterr().err.splitlines()
    return error.removeprefix("error: "), hint.removeprefix("hint: ")


def test_a_folder_that_is_a_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    assert main(["pictures", "--out", str(tmp_path / "file" / "pictures")]) == 1
    problem, hint = said(capsys)
    assert str(tmp_path / "file") in problem
    assert hint in (SYSTEM[errno.ENOTDIR], SYSTEM[errno.EEXIST])


@pytest.mark.parametrize("number", [*SYSTEM, errno.EIO])
def test_any_refusal_of_the_system_has_a_hint(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(out: Path, **_: object) -> None:
        raise OSError(number, os.strerror(number), str(out))

    monkeypatch.setattr(pictures, "make_pictures", refuse)
    assert main(["pictures", "--out", str(tmp_path / "disk")]) == 1
    problem, hint = said(capsys)
    assert problem == f"{os.strerror(number)}: {tmp_path / 'disk'}"
    assert hint


@pytest.mark.parametrize(
    ("error", "problem"),
    [
        (OSError(errno.ENOSPC, "No space", "a\nb", None, "c"), "No space: a b: c"),
        (ConnectionResetError(), "ConnectionResetError"),
        (OSError("just words"), "just words"),
    ],
)
def test_a_refusal_without_a_place_or_with_two_is_one_line_too(error: OSError, problem: str) -> None:
    assert str(refused_by_system(error)) == problem
    assert refused_by_system(error).hint


PRINTING = "import sys; from job.cli import main; sys.exit(main(['fit', '--results', 'out'], run=print))"


@pytest.mark.parametrize("command", [["-m", "bootstrap", "estimate", "--images", "10"], ["-c", PRINTING]], ids=["bootstrap", "job"])
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("both", [False, True])
def test_a_process_whose_output_nobody_reads_ends_as_by_sigpipe_and_complains_of_nothing(
    command: list[str], unbuffered: str, both: bool
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, *command],
        stdout=writer,
        stderr=writer if both else subprocess.PIPE,
        env=os.environ | {"PYTHONUNBUFFERED": unbuffered},
        check=False,
    )
    os.close(writer)
    assert (done.returncode, done.stderr or b"") == (141, b"")
