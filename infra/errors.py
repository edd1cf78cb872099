"""Failures of the CDK app that were foreseen."""

from __future__ import annotations


class InfraError(Exception):
    """`str()` says what broke, on one line; `.hint` says what to do next; the process ends with `.exit_code`."""

    exit_code = 1

    def __init__(self, problem: str, hint: str = "") -> None:
        super().__init__(problem)
        self.hint = hint


class BadEnvironment(InfraError):
    """The command line or environments.toml asks for something that cannot be."""

    exit_code = 2
