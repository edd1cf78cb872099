"""Failures of the operator's tools that were foreseen."""

from __future__ import annotations

from collections.abc import Sequence


class BootstrapError(Exception):
    """`str()` says what broke; `.hint` says what to try next; the process ends with `.exit_code`.

    lines: what else there is to see, such as the end of a log
    """

    exit_code = 1

    def __init__(self, problem: str, hint: str = "", *, lines: Sequence[str] = ()) -> None:
        super().__init__(problem)
        self.hint, self.lines = hint, tuple(lines)


class UsageError(BootstrapError):
    exit_code = 2
