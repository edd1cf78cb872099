"""The archive that executors unpack: the locked wheels as a virtual environment around the release's own interpreter."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from bootstrap.environment.archive import Content, Contents, Link, size_of, write_archive
from bootstrap.environment.leftout import Division, divide
from bootstrap.environment.lock import read_lock
from bootstrap.environment.misfits import packages_of, refuse_foreign_code, refuse_misfits, refuse_strangers
from bootstrap.environment.wheels import fetch_wheels
from job.contract import ENVIRONMENT_ARCHIVE, ENVIRONMENT_CARD, ENVIRONMENT_PYTHON, EnvironmentCard
from job.releases import Architecture, Release

LOCK = Path(__file__).resolve().parents[2] / "requirements" / "runtime.txt"


@dataclass(frozen=True, slots=True)
class Order:
    """What to build: the packages of a lock file, for one release on one architecture."""

    release: Release
    architecture: Architecture
    lock: Path = LOCK


def build_environment(order: Order, *, out: Path, say: Callable[[str], None]) -> EnvironmentCard:
    """Writes archive and card into the folder `out`; the same bytes whenever and wherever it is done.

    `say` hears what is being done. BootstrapError, with the files in `out` as they were, where the packages cannot work on the release.
    """
    locked = read_lock(order.lock)
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".environment-", dir=out) as folder:
        site_packages, archive, card_file = Path(folder, "site-packages"), Path(folder, ENVIRONMENT_ARCHIVE), Path(folder, ENVIRONMENT_CARD)
        say(f"fetching the wheels of {order.lock.name}")
        fetch_wheels(order.lock, release=order.release, architecture=order.architecture, into=site_packages)
        refuse_strangers(site_packages, locked)
        refuse_misfits(site_packages, release=order.release, architecture=order.architecture)
        division = divide(_sizes(site_packages), order.architecture)
        code = (site_packages / path for path in division.kept)
        refuse_foreign_code(code, release=order.release, architecture=order.architecture)
        contents = lay_out(site_packages, division.kept, order.release)
        say(f"packing {len(contents):,} files")
        write_archive(contents, archive)
        card = _describe(order, contents, division, archive)
        card_file.write_text(card.to_json())
        for file in (archive, card_file):  # an archive without its card is noticed: the digest differs
            file.replace(out / file.name)
    return card


def _sizes(site_packages: Path) -> dict[str, int]:
    files = (file for file in site_packages.rglob("*") if file.is_file())
    return {file.relative_to(site_packages).as_posix(): file.stat().st_size for file in files}


def lay_out(site_packages: Path, kept: tuple[str, ...], release: Release) -> Contents:
    """The archive's contents: what `python -m venv` would make with the release's interpreter, and the files that are kept."""
    link = Link(release.interpreter)
    home = Path(release.interpreter).parent.as_posix()
    settings = f"home = {home}\ninclude-system-site-packages = false\n"
    contents: dict[str, Content] = {
        ENVIRONMENT_PYTHON: link,
        "bin/python3": link,
        f"bin/python{release.python}": link,
        "pyvenv.cfg": settings.encode(),
    }
    for path in kept:
        contents[f"lib/python{release.python}/site-packages/{path}"] = site_packages / path
    return contents


def _describe(order: Order, contents: Contents, division: Division, archive: Path) -> EnvironmentCard:
    packed = archive.read_bytes()
    metadata = (file for name, file in contents.items() if isinstance(file, Path) and name.endswith(".dist-info/METADATA"))
    return EnvironmentCard(
        release=order.release.label,
        architecture=order.architecture,
        python=order.release.python,
        interpreter=order.release.interpreter,
        packages=packages_of(metadata),
        files=len(contents),
        unpacked_bytes=sum(map(size_of, contents.values())),
        packed_bytes=len(packed),
        sha256=sha256(packed).hexdigest(),
        left_out=division.left_out,
    )
