"""A command on a leash ends when it is let go, and until then takes signals as it would without."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from select import select

import pytest

from bootstrap.rehearsal.leash import leashed

PATIENCE_S = 60
SLEEPS = "print('ready', flush=True); time.sleep(600)"  # until it is ended: longer than any test
HEEDS = "signal.signal(signal.SIGTERM, lambda *_: (time.sleep(0.3), os._exit(7)))"  # takes its time, as it may


@contextmanager
def ready(script: str, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A Python command, once it has come to the end of a script."""
    command = [sys.executable, "-c", f"import os, signal, subprocess, time; {script}; {SLEEPS}"]
    with leashed(command, cwd=folder, env=os.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        yield process


@pytest.mark.parametrize(("script", "code"), [(HEEDS, 7), ("pass", 128 + signal.SIGTERM)])
def test_a_command_that_is_asked_to_end_has_the_time_for_it_and_its_own_exit_code(script: str, code: int, tmp_path: Path) -> None:
    with ready(script, tmp_path) as process:
        os.killpg(process.pid, signal.SIGTERM)
        assert process.wait(PATIENCE_S) == code


def test_a_command_that_is_killed_alone_is_seen_as_a_shell_would(tmp_path: Path) -> None:
    with ready("open('pid', 'w').write(str(os.getpid()))", tmp_path) as process:
        os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)
        assert process.wait(PATIENCE_S) == 128 + signal.SIGKILL


def test_a_command_reads_nothing(tmp_path: Path) -> None:
    with ready("assert not os.read(0, 1)", tmp_path):
        pass


def test_a_command_that_is_let_go_ends_with_what_it_has_started_while_one_that_was_started_later_goes_on(tmp_path: Path) -> None:
    with ExitStack() as later:
        with ready("subprocess.Popen(['sleep', '600'])", tmp_path) as first:
            second = later.enter_context(ready("pass", tmp_path))
            assert first.stderr
            written = later.enter_context(open(os.dup(first.stderr.fileno())))
        assert select([written], [], [], PATIENCE_S)[0], "something still has the first one's stderr"
        assert not written.read()
        assert second.poll() is None
