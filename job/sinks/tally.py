"""What tasks have done, in numbers that add up."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, fields


@dataclass(frozen=True, slots=True)
class Tally:
    """What a task, or a run, did: rows written by kind, faults by reason, bytes read, seconds of workers by step.

    fast_decode_errors: of features, one from each task that measured them; rounding_errors: the largest in each task
    """

    features: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    size: int = 0
    seconds: Counter[str] = field(default_factory=Counter)
    fast_decode_errors: tuple[float, ...] = ()
    rounding_errors: tuple[float, ...] = ()

    def __add__(self, other: Tally) -> Tally:
        return Tally(*(getattr(self, each.name) + getattr(other, each.name) for each in fields(self)))

    @property
    def images(self) -> int:
        return self.features + self.faults.total()
