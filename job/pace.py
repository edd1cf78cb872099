"""How far a run is, as it says itself: one line, and a small file for who follows it from elsewhere. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass

from job.contract import Card


@dataclass(frozen=True, slots=True)
class Pace(Card):
    """Where the featurizing of a run is. Finished tasks are counted, nothing is guessed.

    images   of the results, once all of it is done
    done     rows of features and of faults
    faults   among those done
    before   how many of those done were so by earlier runs
    seconds  that the others have taken so far
    """

    images: int
    done: int
    faults: int
    before: int
    seconds: float

    @property
    def rate(self) -> float:
        """Images/s."""
        return (self.done - self.before) / self.seconds if self.seconds > 0 else 0.0

    @property
    def left_s(self) -> float | None:
        """Seconds that the rest takes at this rate; None while there is no rate."""
        return (self.images - self.done) / self.rate if self.rate else None

    def __str__(self) -> str:
        """One line: images done of all, images/s, faults, time left."""
        parts = [
            f"{self.done:,} / {self.images:,} images",
            f"{100 * self.done // self.images}%" if self.images else "",  # rounded down: all is 100 %, and nothing less is
            f"{self.rate:,.0f} images/s" if self.done > self.before else "starting" if self.done < self.images else "",
            f"{self.faults:,} fault{'s' * (self.faults != 1)}" if self.faults else "",
            f"{clock(self.left_s)} left" if self.left_s and self.done < self.images else "",
        ]
        return "  ".join(part for part in parts if part)


def clock(seconds: float) -> str:
    """Seconds as 42 s, 3:05 or 2:03:09."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    hours, rest = divmod(whole, 3600)
    minutes, left = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{left:02}" if hours else f"{minutes}:{left:02}"
