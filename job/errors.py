"""Failures that were foreseen.

    JobError                exit code 1, `str()` says what broke and `.hint` what to try next
    ├── UsageError          exit code 2: the command cannot mean anything
    ├── NoImages            nothing to read under --images
    ├── BadManifest         a list of images that cannot be read as one
    ├── BadModel            the flatbuffer, its card or its engine cannot be used
    ├── BadFeatures         a features dataset that cannot be read, or holds what is not a number
    ├── NotEnoughRows       PCA asked of too few rows, or of rows that do not vary
    ├── ResultsExist        something would be replaced without --overwrite
    ├── RowsLost            images listed differ from rows written
    ├── TooManyFaults       above the agreed share
    └── StorageFailed       listing, reading or writing failed as a whole
        └── SparkFailed     Spark gave up
            └── SparkGone   its JVM is not there any more

An image that cannot be used is no error: it is a row of `faults/`.
"""

from __future__ import annotations


class JobError(Exception):
    """A failure we foresaw. `str()` says what broke, with numbers; `.hint` says what to try next."""

    exit_code = 1

    def __init__(self, problem: str, hint: str = "") -> None:
        super().__init__(problem, hint)  # both in args, so that it survives pickling back from an executor
        self.hint = hint

    def __str__(self) -> str:
        return str(self.args[0])


class UsageError(JobError):
    exit_code = 2


class NoImages(JobError):
    pass


class BadManifest(JobError):
    pass


class BadModel(JobError):
    pass


class BadFeatures(JobError):
    pass


class NotEnoughRows(JobError):
    pass


class ResultsExist(JobError):
    pass


class RowsLost(JobError):
    pass


class TooManyFaults(JobError):
    pass


class StorageFailed(JobError):
    pass


class SparkFailed(StorageFailed):
    pass


class SparkGone(SparkFailed):
    def __init__(
        self,
        problem: str = "Spark's JVM has ended, or was killed: often for want of memory",
        hint: str = "the same command goes on from what was done",
    ) -> None:
        super().__init__(problem, hint)


class Interrupted(BaseException):
    """SIGINT or SIGTERM arrived. Not an Exception, so that nothing on the way out swallows it."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal_number)
        self.exit_code = 128 + signal_number
