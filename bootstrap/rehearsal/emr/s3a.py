"""Hadoop's S3A, which EMR's Spark has and PySpark comes without: jars that Maven brings, each as requirements/s3a/jars.txt says.

`python -m bootstrap.rehearsal.emr.s3a` locks what Maven brings now; `make lock` does.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from bootstrap.errors import BootstrapError, UsageError

REPOSITORY = Path(__file__).resolve().parents[3]
POM, LOCK = (REPOSITORY / "requirements" / "s3a" / name for name in ("pom.xml", "jars.txt"))
QUIETLY = ("--batch-mode", "--quiet", "-Dstyle.color=never", "--strict-checksums")
ERROR = "[ERROR] "  # before the lines that say why; a code of colours may come first even so
FOLDER = REPOSITORY / "build" / "s3a"


def s3a_jars(folder: Path = FOLDER, *, lock: Path = LOCK) -> list[Path]:
    """The jars, in `folder`, which Maven fills where they are not there yet; read each time, as they are a few megabytes.

    UsageError where there is no Maven; BootstrapError where it fails, or brings another jar than the lock has.
    """
    wanted = {name: digest for digest, name in (line.split() for line in lock.read_text().splitlines())}
    if digests(folder) != wanted:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".s3a-", dir=folder.parent) as brought:
            _refuse_others(bring(Path(brought)), wanted)
            shutil.rmtree(folder, ignore_errors=True)
            Path(brought).rename(folder)
    return [folder / name for name in wanted]


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of each jar in a folder, by name; of none where there is no folder."""
    return {jar.name: hashlib.sha256(jar.read_bytes()).hexdigest() for jar in sorted(folder.glob("*.jar"))}


def bring(folder: Path) -> dict[str, str]:
    """Has Maven put them into `folder`, from its cache or from wherever its settings say. Digests by name."""
    if not (maven := shutil.which("mvn")):
        raise UsageError(
            "no mvn here", "a rehearsal needs Maven 3.6 or later, for Hadoop's S3A: apt-get install maven, or brew install maven"
        )
    command = [maven, *QUIETLY, "--file", str(POM), "dependency:copy-dependencies", f"-DoutputDirectory={folder}"]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    if done.returncode:
        last = (done.stderr.splitlines() or [f"it ended with {done.returncode}"])[-1]
        said = next((line.partition(ERROR)[2] for line in done.stdout.splitlines() if ERROR in line), last)
        raise BootstrapError(
            f"Maven does not bring Hadoop's S3A: {said}",
            f"its settings name the registry; mvn --file {POM.relative_to(REPOSITORY)} dependency:copy-dependencies says more",
        )
    return digests(folder)


def _refuse_others(found: dict[str, str], wanted: dict[str, str]) -> None:
    if others := sorted(name for name, _ in found.items() ^ wanted.items()):
        raise BootstrapError(
            f"Maven brings another {others[0]} than {LOCK.relative_to(REPOSITORY)} has: {found.get(others[0], 'none')}",
            "do not use it unless you know why; after a change of pom.xml, make lock",
        )


def main() -> int:
    """Locks them."""
    try:
        with tempfile.TemporaryDirectory(prefix="verger-s3a-") as folder:
            found = bring(Path(folder))
    except BootstrapError as error:
        print(f"error: {error}\nhint: {error.hint}", file=sys.stderr)
        return error.exit_code
    LOCK.write_text("".join(f"{digest}  {name}\n" for name, digest in found.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
