"""Fetches the wheels of a lock for another machine, with uv, into a folder."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from bootstrap.errors import BootstrapError
from job.releases import Architecture, Release

MACHINES: dict[Architecture, str] = {"arm64": "aarch64", "x86_64": "x86_64"}  # as wheels and uv name them

PACKAGE = r"(?P<package>[A-Za-z0-9._-]+==[^\s,`]+)"
# How uv 0.13 says it, what it means for us, and what to do.
FAILURES = (
    (
        rf"Because {PACKAGE} has no usable wheels",  # where there are sources; wheels for other machines it does not speak of then
        "{package} has no wheel for {target}, only sources",
        "executors get wheels only: lock another package or version",
    ),
    (rf"Because {PACKAGE} has no wheels with a matching", "{package} has no wheel for {target}", "lock a version that has one"),
    (rf"Hash mismatch for `{PACKAGE}`", "{package} came with other bytes than were locked", "make lock if the registry is to be believed"),
    (
        rf"Failed to download `{PACKAGE}` cause: Failed to extract archive",  # before it has a digest
        "{package} came as something that cannot be unpacked",
        "is the disk full? Otherwise try again, or ask another registry (UV_DEFAULT_INDEX)",
    ),
    (
        rf"Because there is no version of {PACKAGE}",
        "the registry has no {package}",
        "make lock, or ask another registry (UV_DEFAULT_INDEX)",
    ),
    (
        r"Because (?P<package>\S+) was not found in the cache",
        "no network, and no {package} in uv's cache",
        "build it once with the network",
    ),
    (
        r"Because (?P<package>\S+) was not found in the package registry",
        "the registry has no {package}",
        "ask another registry (UV_DEFAULT_INDEX)",
    ),
    (
        r"(?P<package>Failed to fetch|Request failed|error sending request|dns error)",
        "no package registry can be reached",
        "is there a network? UV_DEFAULT_INDEX names another registry",
    ),
)


def target_of(release: Release, architecture: Architecture) -> str:
    """What a wheel has to fit, in words."""
    return f"Python {release.python} on {MACHINES[architecture]} with glibc {release.glibc[0]}.{release.glibc[1]} ({release.label})"


def fetch_wheels(lock: Path, *, release: Release, architecture: Architecture, into: Path) -> None:
    """Unpacks the wheels that `lock` names into the folder `into`, each checked against its digest.

    BootstrapError where one is missing.
    """
    if not find_spec("uv"):
        raise BootstrapError("this Python has no uv, which fetches wheels for another machine", "make setup installs it")
    major, minor = release.glibc
    words = (
        *(sys.executable, "-m", "uv", "pip", "install", "--python", sys.executable, "--target", str(into)),
        *("--python-version", release.python, "--python-platform", f"{MACHINES[architecture]}-manylinux_{major}_{minor}"),
        *("--only-binary", ":all:", "--no-deps", "--require-hashes", "--requirements", str(lock)),
        *("--quiet", "--no-progress", "--color", "never"),
    )
    done = subprocess.run(words, env={**os.environ, "UV_COMPILE_BYTECODE": "0"}, capture_output=True, text=True, check=False)
    if done.returncode:
        raise explain(done.stderr, target_of(release, architecture))


def explain(complaint: str, target: str) -> BootstrapError:
    """What uv wrote as it failed, as one line and a next step."""
    line = " ".join(complaint.split())
    for pattern, problem, hint in FAILURES:
        if match := re.search(pattern, line):
            return BootstrapError(problem.format(package=match["package"], target=target), hint)
    said = [re.sub(r"^(error|cause): ", "", line.strip()) for line in complaint.splitlines() if re.match(r"\s*(error|cause): ", line)]
    return BootstrapError(f"uv cannot fetch the wheels: {': '.join(said) or complaint.strip() or 'it does not say why'}")
