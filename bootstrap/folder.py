"""What of a folder on this machine becomes objects: the files that a run would read, under names that S3 can have."""

from __future__ import annotations

import os
import stat
from collections import defaultdict
from dataclasses import dataclass, field

HIDDEN = "hidden"
LINKED = "links to folders"
SPECIAL = "neither file nor folder"
EMPTY = "empty folders"


@dataclass(frozen=True, slots=True)
class File:
    """A file. path: as `open` takes it; name: below the folder, with slashes; size: bytes, when it was listed."""

    path: str
    name: str
    size: int


@dataclass(frozen=True, slots=True)
class Failure:
    """A file or folder that S3 does not get, and why; its name may hold surrogate escapes (PEP 383). by_s3: it was S3 that refused."""

    name: str
    reason: str
    by_s3: bool = False


@dataclass(frozen=True, slots=True)
class Listing:
    """What is in a folder, and all below it.

    files     in the order of their names, folder by folder
    passed    names that are left alone, by reason
    failures  what somebody may have wanted, and does not get
    """

    files: list[File] = field(default_factory=list)
    passed: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    failures: list[Failure] = field(default_factory=list)


def list_folder(root: str) -> Listing:
    """The files in `root`, by the rules that a run lists images by: docs/images.md. Links to files count as files."""
    listing = Listing()

    def unreadable(error: OSError) -> None:
        listing.failures.append(Failure(_name(root, str(error.filename)), error.strerror or str(error)))

    for place, folders, names in os.walk(root, onerror=unreadable):
        if not folders and not names:
            listing.passed[EMPTY].append(_name(root, place))
        folders[:] = [each for each in sorted(folders) if _is_walked(listing, root, os.path.join(place, each))]
        for each in sorted(names):
            _add(listing, root, os.path.join(place, each))
    return listing


def _is_walked(listing: Listing, root: str, path: str) -> bool:
    reason = HIDDEN if os.path.basename(path).startswith((".", "_")) else LINKED if os.path.islink(path) else ""
    if reason:
        listing.passed[reason].append(_name(root, path))
    return not reason


def _add(listing: Listing, root: str, path: str) -> None:
    name = _name(root, path)
    if os.path.basename(path).startswith("."):
        listing.passed[HIDDEN].append(name)
        return
    try:
        status = os.stat(path)
        name.encode()
    except OSError as error:
        listing.failures.append(Failure(name, f"a link to nothing: {error.strerror}" if os.path.islink(path) else str(error.strerror)))
    except UnicodeEncodeError:
        listing.failures.append(Failure(name, "its name is not UTF-8, and keys in S3 are; rename it"))
    else:
        if stat.S_ISREG(status.st_mode):
            listing.files.append(File(path, name, status.st_size))
        else:
            listing.passed[SPECIAL].append(name)


def _name(root: str, path: str) -> str:
    return os.path.relpath(path, root).replace(os.sep, "/")
