"""Failures of the operator's tools that were foreseen."""

from __future__ import annotations

import errno
from collections.abc import Sequence

SYSTEM = {  # what to do about what the operating system refuses
    errno.ENOSPC: "free some space there, or name a place on another disk",
    errno.EDQUOT: "free some space there, or name a place on another disk",
    errno.EACCES: "name a place that you may read and write, or ask whose it is",
    errno.EPERM: "name a place that you may read and write, or ask whose it is",
    errno.EROFS: "name a place that can be written",
    errno.ENOENT: "check the name; a path is relative to where you are",
    errno.ENOTDIR: "part of that path is a file: name a folder",
    errno.EEXIST: "it is there already: name another place",
    errno.EISDIR: "that is a folder: name a file",
    errno.ENAMETOOLONG: "name a shorter place",
    errno.EMFILE: "more files are open than this shell allows: ulimit -n",
    errno.ENOMEM: "this machine has too little memory left",
}


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


def refused_by_system(error: OSError) -> BootstrapError:
    """What the operating system says on one line, with the place, if it is about one."""
    places = [str(each) for each in (error.filename, error.filename2) if each is not None]
    said = ": ".join([error.strerror or str(error) or type(error).__name__, *places])
    return BootstrapError(" ".join(said.split()), SYSTEM.get(error.errno or 0, "try again; where it stays, this machine is in its way"))
