"""Which process has a lock. Its number alone is soon another's: after a container has started again often the very next run's."""

from __future__ import annotations

import fcntl
import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

MACHINE, SPACE = Path("/etc/machine-id"), Path("/proc/self/ns/pid")  # Linux
PROC, BOOT = Path("/proc"), Path("/proc/sys/kernel/random/boot_id")  # Linux
PS = ("/bin/ps", "-o", "stat=,lstart=", "-p")  # macOS
HIDDEN = "hidden"  # of another user's process, where /proc is mounted with hidepid, and of any where nothing tells


@dataclass(frozen=True, slots=True)
class Owner:
    """A process of a host.

    began  when, in its system's own terms, without spaces
    space  where its number is one: of containers that share a host's name each has its own processes; "" where that is not told
    """

    process: int
    began: str
    host: str
    space: str = ""

    @classmethod
    def me(cls) -> Owner:
        return cls(os.getpid(), began(os.getpid()) or HIDDEN, socket.gethostname(), space())

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


@contextmanager
def signed(file: Path) -> Iterator[None]:
    """Writes this process into a new file, and holds that until the block ends, or the process, however it does: flock(2)."""
    me = Owner.me()
    with file.open("w") as sign:
        with suppress(OSError):  # a file system that has no such locks
            fcntl.flock(sign, fcntl.LOCK_EX)
        sign.write(f"{me.process} {me.began} {me.host}\n")  # only now: who reads it finds it held
        sign.flush()
        yield


def is_held(file: Path) -> bool:
    """The process that has signed it goes on, also where it is of another container, or another machine of the same name."""
    try:
        with file.open("rb") as sign:
            fcntl.flock(sign, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def space() -> str:
    """The machine, hashed as machine-id(5) asks, and the namespace of its processes. Of an image without an id, the machine's boot."""
    found = ""
    with suppress(OSError):
        found = os.readlink(SPACE)
    return f"{blake2b(_read(MACHINE) or _read(BOOT), digest_size=4, key=b'verger').hexdigest()}-{found}"


def _read(file: Path) -> bytes:
    with suppress(OSError):
        return file.read_bytes()
    return b""


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
