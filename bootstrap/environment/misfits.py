"""Refuses, by name, what was installed and cannot work on the release.

uv chooses what fits, but listens to settings of shells and users; this looks at the result.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from email.parser import HeaderParser
from itertools import product
from pathlib import Path

from bootstrap.environment.lock import Locked, canonical
from bootstrap.environment.wheels import MACHINES, target_of
from bootstrap.errors import BootstrapError
from job.releases import Architecture, Release

# Wheels for an old Linux, under their names from before glibc's version was in the tag (PEP 600).
OLD_PLATFORMS = {"manylinux1": (2, 5), "manylinux2010": (2, 12), "manylinux2014": (2, 17)}
ELF = b"\x7fELF"
MACHINE_AT = 18  # bytes: e_machine, a half word (ELF specification)
ELF_MACHINES: dict[Architecture, int] = {"arm64": 183, "x86_64": 62}


def packages_of(metadata: Iterable[Path]) -> dict[str, str]:
    """Names and versions of packages, sorted, from their METADATA files."""
    cards = (HeaderParser().parsestr(file.read_text(), headersonly=True) for file in metadata)
    return dict(sorted((canonical(card["Name"]), card["Version"]) for card in cards))


def refuse_strangers(site_packages: Path, locked: Sequence[Locked]) -> None:
    """BootstrapError where a package was not locked, or one that was is missing."""
    there = set(packages_of(site_packages.glob("*.dist-info/METADATA")).items())
    wanted = {(package.name, package.version) for package in locked}
    always = {(package.name, package.version) for package in locked if not package.conditional}
    for problem, packages in (("was installed and not locked", there - wanted), ("was locked and not installed", always - there)):
        if packages:
            raise BootstrapError(f"{'=='.join(min(packages))} {problem}", "do settings of uv, UV_… or a uv.toml, change what is installed?")


def refuse_misfits(site_packages: Path, *, release: Release, architecture: Architecture) -> None:
    """BootstrapError where a package was not installed from a wheel that fits, or from none at all (a path, an editable install)."""
    for file in sorted(site_packages.glob("*.pth")):
        raise BootstrapError(f"{file.name} points out of the archive: an editable install?", "lock a released version")
    for folder in sorted(site_packages.glob("*.dist-info")):
        name = folder.name.removesuffix(".dist-info")
        if (folder / "direct_url.json").exists():
            raise BootstrapError(f"{name} was installed from a path or an address, not from a registry's wheel", "lock a released version")
        tags = HeaderParser().parsestr((folder / "WHEEL").read_text()).get_all("Tag", [])
        if not any(fits(tag, release=release, architecture=architecture) for tag in tags):
            raise BootstrapError(
                f"{name} is a wheel for {', '.join(tags)}, not for {target_of(release, architecture)}", "lock a version that has one"
            )


def fits(tag: str, *, release: Release, architecture: Architecture) -> bool:
    """A wheel with this tag (PEP 425: pythons-abis-platforms, alternatives joined by dots) works on the release."""
    minor = int(release.python.split(".")[1])
    runs = {("py3", "none"), (f"py3{minor}", "none"), (f"cp3{minor}", "none"), (f"cp3{minor}", f"cp3{minor}")}
    runs |= {(f"cp3{older}", "abi3") for older in range(2, minor + 1)}
    pythons, abis, platforms = (part.split(".") for part in tag.split("-"))
    machine = MACHINES[architecture]
    return not runs.isdisjoint(product(pythons, abis)) and any(_has(platform, release.glibc, machine) for platform in platforms)


def _has(platform: str, glibc: tuple[int, int], machine: str) -> bool:
    """A Linux of this processor with this glibc has what a platform tag asks for."""
    if platform == "any":
        return True
    match = re.fullmatch(rf"(?:manylinux_(\d+)_(\d+)|(manylinux\d+))_{machine}", platform)
    if not match:
        return False
    needed = OLD_PLATFORMS.get(match[3]) if match[3] else (int(match[1]), int(match[2]))
    return needed is not None and needed <= glibc


def refuse_foreign_code(files: Iterable[Path], *, release: Release, architecture: Architecture) -> None:
    """BootstrapError where machine code is for another processor or a newer system, whatever its wheel's tag says.

    There are wheels whose tag promises an older system than they need: those of LiteRT for arm64.
    """
    for file in files:
        code = file.read_bytes()
        if not code.startswith(ELF):
            continue
        if int.from_bytes(code[MACHINE_AT : MACHINE_AT + 2], "little") != ELF_MACHINES[architecture]:
            raise BootstrapError(
                f"{file.name} is machine code for another processor than {architecture}", "lock a version whose wheel fits"
            )
        for library, newest in (("GLIBC", release.glibc), ("GLIBCXX", release.glibcxx)):
            asked = _newest_asked(code, library)
            if asked > newest:
                raise BootstrapError(
                    f"{file.name} needs {library}_{_dotted(asked)}, and {release.label} has no newer than {_dotted(newest)}",
                    "lock a version that was built on an older system",
                )


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


def _newest_asked(code: bytes, library: str) -> tuple[int, ...]:
    """The newest version of a library's symbols that is named in machine code; () for none.

    The names lie in its table of strings, between zeros. To find them there takes no reader of ELF; the tests have one.
    """
    names = re.findall(rb"(?<=\0)" + library.encode() + rb"_([0-9.]+)(?=\0)", code)
    return max((tuple(map(int, name.split(b"."))) for name in names), default=())
