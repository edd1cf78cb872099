"""The EMR releases that Verger runs on. Standard library only: stacks and tools read it as well.

From the EMR Release Guide's pages of each release; `supported_until` is the end of standard support given there. All run
on Amazon Linux 2023, hence glibc 2.34 (Amazon Linux 2023 User Guide). Its C++ library is that of GCC 14 since April 2025
(package lists of its container images), hence GLIBCXX 3.4.33 (libstdc++ manual, "ABI Policy"); the Release Guide does
not say from which month a release's system is, and these are from 2026. A release that is not here is a line away, once
the tests have passed on its Spark.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Literal

Architecture = Literal["arm64", "x86_64"]


@dataclass(frozen=True, slots=True)
class Release:
    """An EMR release.

    label            as EMR Serverless names it
    spark            version of Spark in it
    pythons          versions of Python in it, as the names of interpreters end
    java             the default Java
    architectures    processors that EMR Serverless offers it on
    glibc            of its operating system: what a wheel may ask for
    glibcxx          newest symbols of its C++ library: what a wheel may ask for, and does beyond what its name says
    supported_until  the last day of standard support
    """

    label: str
    spark: str
    pythons: tuple[str, ...]
    java: int
    architectures: tuple[Architecture, ...]
    glibc: tuple[int, int]
    glibcxx: tuple[int, int, int]
    supported_until: date

    @property
    def python(self) -> str:
        """The Python that the job runs on: what the locked wheels are resolved for."""
        return PYTHON

    @property
    def interpreter(self) -> str:
        """Where that Python lies in the release; an environment archive links to it."""
        return f"/usr/bin/python{PYTHON}"


PYTHON = "3.11"  # in every release of the table; never the release's default, which its documents contradict each other about

RELEASES = (
    Release("emr-spark-8.1.0", "4.1.1", ("3.11", "3.13"), 17, ("arm64", "x86_64"), (2, 34), (3, 4, 33), date(2029, 9, 7)),
    Release("emr-7.14.0", "3.5.8", ("3.9", "3.11"), 17, ("arm64", "x86_64"), (2, 34), (3, 4, 33), date(2028, 9, 8)),
)

DEFAULT_RELEASE = RELEASES[0]


def release_of(label: str) -> Release:
    """The release with this label; ValueError, with the labels that there are, for another."""
    for release in RELEASES:
        if release.label == label:
            return release
    raise ValueError(f"{label!r} is none of {', '.join(release.label for release in RELEASES)}")
