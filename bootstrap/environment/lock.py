"""What a lock file asks for, line by line; lines that cannot go to executors are refused before anything is fetched."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from bootstrap.errors import BootstrapError

# A name is refused with all that begins with it: tensorflow with tensorflow-cpu.
UNWANTED = {
    "pyspark": "a release has its own Spark, and a second one would hide it",
    "py4j": "it comes with the release's Spark",
    "tensorflow": "it compiles models; executors run them with LiteRT",
    "keras": "it compiles models; executors run them with LiteRT",
    "pip": "nothing is installed on executors",
    "setuptools": "nothing is built on executors",
    "wheel": "nothing is built on executors",
    "uv": "nothing is installed on executors",
    "pytest": "nothing is tested on executors",
    "mypy": "nothing is tested on executors",
    "ruff": "nothing is tested on executors",
}

LOCKED = re.compile(
    r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^\]]*\])?==(?P<version>[^\s;]+)\s*(?:;(?P<marker>.*?))?(?P<hashes>(?:\s+--hash=sha256:[0-9a-f]{64})*)\s*"
)
SOURCE = re.compile(r"(-e\b|--editable\b|[./~]|[A-Za-z0-9._-]+\s*@|[a-z+]+://|file:|\S+\.(tar\.gz|zip|whl)\b)")
HINT = "requirements/*.in are edited, make lock writes requirements/*.txt"


@dataclass(frozen=True, slots=True)
class Locked:
    """A package of a lock. `conditional`: a marker decides whether it is installed."""

    name: str
    version: str
    conditional: bool


def read_lock(file: Path) -> tuple[Locked, ...]:
    """The packages of a lock file, in its order; BootstrapError names the first line that cannot go to executors."""
    try:
        joined = file.read_text("utf-8").replace("\\\n", " ")
    except UnicodeDecodeError as error:
        raise BootstrapError(f"{file} is no lock file: it is no text", HINT) from error
    lines = (re.sub(r"(^|\s)#.*", "", line).strip() for line in joined.splitlines())
    packages = tuple(_locked(line) for line in lines if line)
    if not packages:
        raise BootstrapError(f"{file} locks no package", HINT)
    return packages


def _locked(line: str) -> Locked:
    match = LOCKED.fullmatch(line)
    if not match:
        shown = line.split(" --hash")[0]
        if SOURCE.match(line):
            raise BootstrapError(f"{shown}: executors get wheels from a registry, not sources, paths or editable installs", HINT)
        raise BootstrapError(f"{shown}: not a package pinned with ==", HINT)
    name, version = canonical(match["name"]), match["version"]
    for unwanted, reason in UNWANTED.items():
        if re.fullmatch(rf"{unwanted}(-.*)?", name):
            raise BootstrapError(
                f"{name}=={version} is not for executors: {reason}", "take it out of requirements/runtime.in, then make lock"
            )
    if not match["hashes"]:
        raise BootstrapError(f"{name}=={version} is locked without a digest", HINT)
    return Locked(name, version, conditional=bool(match["marker"]))


def canonical(name: str) -> str:
    """A package's name as registries compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()
