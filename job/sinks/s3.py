"""A results folder in S3, where nothing can be renamed: how a result appears there all the same whole or not at all.

Tasks write under a hidden prefix of their run. Publishing has the store copy that to its names, many objects at once, and last of
all the stage's card: a dataset whose card is there is whole, one without is not there for any reader of ours. A journal says
what was being copied, so that the next run can take away what a killed one left.
"""

from __future__ import annotations

import json
from collections.abc import Container, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from uuid import uuid4

from job import contract
from job.errors import StorageFailed
from job.sinks.layout import OWNER, ROWS, STAGING, UNFINISHED, downstream, is_there
from job.sinks.lock import Lock
from job.storage import S3Path, copy, remove

JOURNAL = "publishing"

# By which object a reader knows that a dataset is whole: copied last, removed first.
CARDS = {
    contract.FEATURES: f"{contract.FEATURES}/{contract.FEATURIZE_CARD}",
    contract.FAULTS: f"{contract.FEATURES}/{contract.FEATURIZE_CARD}",
    contract.PCA: f"{contract.PCA}/{contract.PCA_CARD}",
    contract.PROJECTIONS: f"{contract.PROJECTIONS}/{contract.PROJECT_CARD}",
    contract.PROJECTIONS_CSV: f"{contract.PROJECTIONS}/{contract.PROJECT_CARD}",
    contract.SUMMARY: contract.SUMMARY,
}


@dataclass(slots=True)
class S3Results:
    """A results folder in S3."""

    root: S3Path
    _lock: Lock | None = field(default=None, init=False)

    @property
    def hidden(self) -> S3Path:
        return self.root / STAGING

    def existing(self, names: Iterable[str]) -> list[str]:
        """Those of `names` that are there; what a killed run left half copied is not."""
        half = self._half_copied()
        return [name for name in names if name not in half and is_there(self.root / name)]

    def _half_copied(self) -> set[str]:
        """Names that a run was copying and that have no card."""
        try:
            names = json.loads((self.hidden / JOURNAL).read_text())
        except FileNotFoundError:
            return set()
        return {name for name in names if not (self.root / CARDS[name]).is_file()}

    @contextmanager
    def staging(self) -> Iterator[S3Path]:
        """A prefix to write under, empty afterwards, however it ends.

        There is one at a time: ResultsExist while another run has the lock. What a run that was killed left is taken away first.
        """
        self._lock = lock = Lock(self.hidden / OWNER)
        staging = self.hidden / f"run-{uuid4().hex[:8]}"
        with lock.kept():
            self._clean()
            try:
                yield staging
            finally:
                with suppress(StorageFailed):  # what stays is hidden, and the next run's to take away
                    if lock.is_ours():
                        self._clean()
                        if not any((self.root / UNFINISHED).rglob("part-*.parquet")):
                            self.forget_unfinished()
                    else:
                        remove(staging.etags())

    def _clean(self) -> None:
        """Takes away what is half copied, and then all that is hidden but the lock.

        Half copied features and faults stay, and the journal that says what they are: the next run takes their rows up.
        """
        half = self._half_copied()
        self._remove(half.difference(ROWS))
        kept = {self.hidden / OWNER, *([self.hidden / JOURNAL] if half.intersection(ROWS) else [])}
        remove(file for file in self.hidden.etags() if file not in kept)

    def _confirm(self) -> None:
        if self._lock:
            self._lock.confirm()

    def publish(self, staging: S3Path, names: Sequence[str], *, stay: Iterable[S3Path] = (), spare: Sequence[str] = ()) -> None:
        """Makes the staged `names` visible, and first takes away their old versions and all that was made from those, but `spare`.

        stay: files of earlier versions, or of runs that did not end, that are to be among the new ones
        StorageFailed where the lock got lost
        """
        stale = [name for name in downstream(names[0]) if name not in spare]
        self._confirm()
        (self.hidden / JOURNAL).write_text(json.dumps(stale))
        pairs = [(file, self.root / file.parent.name / file.name) for file in stay]
        self._remove(stale, but={file for file, target in pairs if file == target})
        pairs = [(file, target) for file, target in pairs if file != target]
        files = [file for name in names for file in (staging / name).etags()]
        pairs += [(file, self.root / file.key.removeprefix(staging.prefix)) for file in files]
        cards = {self.root / CARDS[name] for name in names}
        copy(pair for pair in pairs if pair[1] not in cards)
        self._confirm()
        copy(pair for pair in pairs if pair[1] in cards)
        (self.hidden / JOURNAL).unlink()
        if contract.FEATURES in names:
            self.forget_unfinished()

    def forget_unfinished(self) -> None:
        """Takes away what runs left that did not end, unless another run has the lock by now, to which it belongs."""
        if not self._lock or self._lock.is_ours():
            remove((self.root / UNFINISHED).etags())

    def _remove(self, names: Iterable[str], *, but: Container[S3Path] = ()) -> None:
        """Takes datasets away, their cards first; files in `but` stay."""
        stale = list(names)
        remove(self.root / CARDS[name] for name in reversed(stale))
        remove(file for name in reversed(stale) for file in (self.root / name).etags() if file not in but)

    def write_text(self, name: str, text: str, *, staging: S3Path) -> None:  # noqa: ARG002  a PUT is atomic
        """Replaces one small file, whole or not at all."""
        (self.root / name).write_text(text)
