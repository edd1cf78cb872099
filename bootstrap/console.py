"""How the operator's verbs say what they found: a table for a person, JSON for a machine, a bar while it takes long.

Results are on stdout, bars on stderr. rich reads markup in what it prints, and breaks lines at 80 columns where there is no terminal:
neither is wanted for names of files and for what AWS says, so cells are texts here, and only a terminal has a width.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

UNBROKEN = 10_000  # columns, for pipes and files

Advance = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table.

    heading   what its cells are
    right     cells are numbers, aligned to the right
    styles    rich's style for a cell, by its text: {"fail": "red"}
    """

    heading: str
    right: bool = False
    styles: Mapping[str, str] = field(default_factory=dict)


def print_table(columns: Sequence[Column], rows: Iterable[Sequence[str]]) -> None:
    """Prints a row a line, as wide as it is; on a terminal long cells are folded, and styles are colours unless NO_COLOR is set."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        table.add_column(Text(column.heading), justify="right" if column.right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(cell), column.styles.get(cell, "")) for column, cell in zip(columns, row, strict=True)))
    console = Console(width=None if sys.stdout.isatty() else UNBROKEN)
    with console.capture() as drawn:
        console.print(table)
    print("\n".join(line.rstrip() for line in drawn.get().splitlines()), flush=True)


def print_json(value: Any) -> None:
    """Prints plain values, indented; what is not ASCII is escaped, so that any terminal and any name will do."""
    print(json.dumps(value, indent=2), flush=True)


@contextmanager
def bar(doing: str, *, total: int, unit: str = "bytes") -> Iterator[Advance]:
    """Draws how much of `total` is done and how long the rest takes, on a terminal and until the block ends; nothing elsewhere.

    Yields what is called with each amount that is done, from any thread.
    """
    amount: ProgressColumn = DownloadColumn() if unit == "bytes" else MofNCompleteColumn()
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), amount, TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as drawn:
        task = drawn.add_task(doing, total=total)
        yield lambda done: drawn.advance(task, done)


def printable(text: str) -> str:
    """The text on one line, and nothing in it that a terminal obeys or cannot write: such bytes and letters are escaped, as \\xff."""
    return "".join(letter if letter.isprintable() else _escaped(letter) for letter in text)


def _escaped(letter: str) -> str:
    """A byte of a name that is not UTF-8 comes as a lone surrogate (PEP 383)."""
    return f"\\x{ord(letter) - 0xDC00:02x}" if "\udc80" <= letter <= "\udcff" else letter.encode("unicode_escape").decode()
