"""Failures of the operator's tools that were foreseen."""

from __future__ import annotations


class BootstrapError(Exception):
    """`str()` says what broke; `.hint` says what to try next; the process ends with `.exit_code`."""

    exit_code = 1

    def __init__(self, problem: str, hint: str = "") -> None:
        super().__init__(problem)
        self.hint = hint


class UsageError(BootstrapError):
    exit_code = 2
