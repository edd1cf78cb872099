"""What may be wrong with AWS for a while, or for good, when a test asks for it: S3 that is busy, a token that has expired."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from math import inf
from time import monotonic
from typing import Literal

PATH = "/verger-rehearsal/drill"  # where the door takes one, as JSON
SERVICE = "emr-serverless-rehearsed"  # in the user agent of what the service itself asks for: a run's files and logs

Code = Literal["SlowDown", "InternalError", "ExpiredToken"]
STATUS: dict[str, int] = {"SlowDown": 503, "InternalError": 500, "ExpiredToken": 400}


@dataclass(frozen=True, slots=True)
class Drill:
    """Which requests are refused, and how.

    code   AWS' word for it
    of     whose: those of runs to S3, or those of whoever deploys and submits, to any service
    after  so many pass before the first that is refused
    every  from then on, of so many one is refused
    times  so many are refused and no more, None where there is no end
    seconds  for so long from the first one on, None where there is no end
    """

    code: Code
    of: Literal["runs", "operators"] = "runs"
    after: int = 0
    every: int = 1
    times: int | None = None
    seconds: float | None = None


class Drills:
    """The drill that is on, if there is one; `refused` counts its refusals."""

    def __init__(self) -> None:
        self.refused = 0
        self._drill: Drill | None = None
        self._seen, self._ends = 0, inf
        self._lock = threading.Lock()

    def begin(self, drill: Drill | None) -> None:
        """Takes the place of the one before."""
        with self._lock:
            self._drill, self._seen, self.refused, self._ends = drill, 0, 0, inf

    def refusal(self, *, of_run: bool, service: str, user_agent: str) -> Code | None:
        """What a request is answered with, None where it is let through."""
        with self._lock:
            drill = self._drill
            if not drill or SERVICE in user_agent or (drill.of == "runs") != of_run or (of_run and service != "s3"):
                return None
            self._seen += 1
            place = self._seen - drill.after
            if place <= 0 or place % drill.every or self.refused == drill.times or monotonic() > self._ends:
                return None
            if not self.refused and drill.seconds is not None:
                self._ends = monotonic() + drill.seconds
            self.refused += 1
            return drill.code
