"""What a check finds: that something is well, that it may not be, or that a run would fail."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from bootstrap.aws import Denied
from bootstrap.errors import BootstrapError

State = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Finding:
    """state, what was found, and, unless all is well, what to do."""

    state: State
    found: str
    remedy: str = ""


def ask(look: Callable[[], Finding], *, unanswered: State = "fail") -> Finding:
    """What `look` finds. Where it raises: a warning for a question that one may not ask, else `unanswered`."""
    try:
        return look()
    except Denied as error:
        return Finding("warn", f"not known: {error}", "a permission of yours, for this check alone: a run does without it")
    except BootstrapError as error:
        found = str(error) if unanswered == "fail" else f"not known: {error}"
        return Finding(unanswered, found, error.hint)
