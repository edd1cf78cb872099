"""What the operator's verbs print."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys

import pytest

from bootstrap.console import Column, bar, print_json, print_table, printable
from tests.conftest import REPOSITORY

COLUMNS = (Column("run"), Column("images", right=True), Column("state", styles={"FAILED": "red"}))


def test_a_table_in_a_pipe_has_a_row_a_line_however_long(capsys: pytest.CaptureFixture[str]) -> None:
    long = "x" * 500
    print_table(COLUMNS, [["first", "1,428", "SUCCESS"], [long, "7", "FAILED"]])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines] == [["run", "images", "state"], ["first", "1,428", "SUCCESS"], [long, "7", "FAILED"]]
    assert lines[1].index("1,428") + len("1,428") == lines[2].index(" 7 ") + 2
    assert not any(line != line.rstrip() for line in lines)


def test_markup_and_emoji_in_a_cell_are_letters(capsys: pytest.CaptureFixture[str]) -> None:
    print_table([Column("name")], [["[red]a[/red] :smile: [/]"]])
    assert "[red]a[/red] :smile: [/]" in capsys.readouterr().out


def test_a_terminal_gets_no_line_that_is_too_wide_and_loses_nothing() -> None:
    text = "abcdefghij" * 30
    said = on_a_terminal(f"print_table([Column('name'), Column('state', styles={{'fail': 'red'}})], [[{text!r}, 'fail']])", columns=40)
    assert "\x1b[31mfail" in said
    plain = said.replace("\x1b[31m", "").replace("\x1b[1m", "").replace("\x1b[0m", "")
    assert max(map(len, plain.splitlines())) <= 40
    assert "".join(line.split()[0] for line in plain.splitlines()[1:]) == text


def test_a_bar_is_for_terminals(capsys: pytest.CaptureFixture[str]) -> None:
    with bar("uploading", total=3) as advance:
        advance(3)
    assert capsys.readouterr() == ("", "")
    assert "uploading [x]" in on_a_terminal("with bar('uploading [x]', total=3, unit='files') as advance: advance(2)", columns=80)


def test_a_bar_says_how_long_the_rest_takes() -> None:
    """It has to move for a while: a speed is made of several steps."""
    moving = "import time\nwith bar('uploading', total=100) as advance:\n    for _ in range(10):\n        time.sleep(0.15); advance(5)"
    assert re.search(r"0:00:0\d", on_a_terminal(moving, columns=80))


@pytest.mark.parametrize(
    ("text", "shown"),
    [("pommes/été 🍎.jpg", "pommes/été 🍎.jpg"), ("caf\udce9", "caf\\xe9"), ("a\x1b[2J\nb", "a\\x1b[2J\\nb"), ("\ud800", "\\ud800")],
)
def test_what_a_terminal_would_obey_or_cannot_write_is_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert printable(shown) == shown


def test_json_is_ascii_and_reads_back_as_it_was(capsys: pytest.CaptureFixture[str]) -> None:
    value = {"name": "caf\udce9 été", "bytes": 3, "none": None}
    print_json(value)
    said = capsys.readouterr().out
    assert said.isascii()
    assert json.loads(said) == value


def on_a_terminal(statement: str, *, columns: int) -> str:
    """What a process of its own writes to a terminal."""
    here, there = pty.openpty()
    environment = {"PATH": os.environ["PATH"], "TERM": "xterm", "COLUMNS": str(columns), "PYTHONPATH": str(REPOSITORY), "LANG": "C.UTF-8"}
    program = f"from bootstrap.console import *\n{statement}"
    with open(here, "rb", buffering=0) as terminal:
        subprocess.run([sys.executable, "-c", program], stdout=there, stderr=there, env=environment, check=True, timeout=60)
        os.close(there)
        return _all_of(terminal).replace("\r\n", "\n")


def _all_of(terminal: object) -> str:
    """Linux ends a terminal with an error instead of an empty read."""
    read = b""
    try:
        while more := terminal.read(4096):  # type: ignore[attr-defined]
            read += more
    except OSError:
        pass
    return read.decode()
