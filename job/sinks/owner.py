"""Which process has a lock. Its number alone is soon another's: after a container has started again often the very next run's."""

from __future__ import annotations

import os
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path

PROC, BOOT = Path("/proc"), Path("/proc/sys/kernel/random/boot_id")  # Linux
PS = ("/bin/ps", "-o", "stat=,lstart=", "-p")  # macOS
HIDDEN = "hidden"  # of another user's process, where /proc is mounted with hidepid, and of any where nothing tells


@dataclass(frozen=True, slots=True)
class Owner:
    """A process of a host. began: when, in its system's own terms, without spaces."""

    process: int
    began: str
    host: str

    @classmethod
    def me(cls) -> Owner:
        return cls(os.getpid(), began(os.getpid()) or HIDDEN, socket.gethostname())

    @property
    def is_here(self) -> bool:
        """It is, or was, a process of this host."""
        return self.host == socket.gethostname()

    @property
    def is_running(self) -> bool:
        """It runs, where it is of this host."""
        now = began(self.process)
        return now is not None and (now == self.began or HIDDEN in (now, self.began))

    @property
    def is_dead(self) -> bool:
        """It was a process of this host, and has ended."""
        return self.is_here and not self.is_running


def began(process: int) -> str | None:
    """When a process of this host began, or HIDDEN; None where there is none, or one that has ended and whose parent has not looked."""
    return _by_proc(process) if PROC.joinpath("self").exists() else _by_ps(process)


def _by_proc(process: int) -> str | None:
    """The boot, and ticks of the clock since then."""
    try:
        # proc_pid_stat(5): the name, in parentheses, may hold anything; then the state is field 3 and the start 22
        state, *fields = (PROC / str(process) / "stat").read_text(errors="replace").rpartition(")")[2].split()
        return None if state in "ZX" else f"{BOOT.read_text()[:8]}-{fields[18]}"
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return HIDDEN if _answers(process) else None


def _answers(process: int) -> bool:
    """There is such a process, even if it is another user's."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _by_ps(process: int) -> str | None:
    """Second, day and year."""
    try:
        found = subprocess.run([*PS, str(process)], env={"LC_ALL": "C", "TZ": "UTC"}, stdout=subprocess.PIPE, text=True, check=False)
    except FileNotFoundError:
        return HIDDEN if _answers(process) else None
    state, *words = found.stdout.split() or ["Z"]
    return None if state.startswith("Z") else "-".join(words)
