"""Listing keys in order, as S3 does: by ranges, so that many can list one prefix at once. Pure: who asks the store is a parameter.

A deep walk of folders would ask once for each of them; here an answer holds a thousand keys, wherever they lie. Where a range
begins and ends is found by looking at few names (docs/decisions/0011), and need not be a name that is there: ranges next to
each other cover all that lies in them, and nothing twice, whatever was looked at.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice, pairwise

from job.ahead import ahead
from job.sources.readers import Entry

FEW = 10_000  # names that are listed as soon as looks would tell where to cut them: ten pages, one after the other
LOOK = 100  # names in one look: so many that begin alike are worth a range of their own
LOOKS_AT_ONCE = 16
LOOKS_PER_RANGE = 4  # for each one wanted; a level of stems that would take more is not looked at
PAGE = 1000  # keys in an answer of S3 at most
HIDDEN_AT_MOST = 1000  # keys read in vain, before the rest of a hidden folder, or of a folder's names with a dot, is jumped over
LAST = chr(sys.maxunicode)

# (after, at_once) to the entries below a root whose names, relative to it, come after `after`, in order; fetched so many at once
Scan = Callable[[str, int], Iterator[Entry]]


@dataclass(frozen=True, slots=True, order=True)
class Range:
    """The keys below a folder whose names, relative to it, lie in (after, until], by code point; "" for until means all that follow."""

    root: str
    after: str = ""
    until: str = ""

    def name_of(self, entry: Entry) -> str:
        return entry.path[len(self.root) + 1 :]

    def within(self, entries: Iterator[Entry]) -> Iterator[Entry]:
        """Those of `entries`, which are in order, that come before the range's end."""
        for entry in entries:
            if self.until and self.name_of(entry) > self.until:
                return
            yield entry


def follow(scan: Scan, piece: Range) -> Iterator[tuple[str, Entry | None]]:
    """The names of a range in order, and their entries; None of those that are hidden: `.name`, or below a folder `.name` or `_name`."""
    after: str | None = piece.after
    while after is not None:
        start, after = after, None
        hidden = 0
        for entry in piece.within(scan(start, PAGE)):
            name = piece.name_of(entry)
            if not (folder := hidden_in(name)):
                hidden = 0
                yield name, entry
                continue
            yield name, None
            hidden += 1
            if hidden >= HIDDEN_AT_MOST and (behind_them := _hidden_stem(folder) + LAST) > name:
                after = behind_them
                break


def hidden_in(name: str) -> str:
    """The hidden folder that a relative name lies in, with its slash; the whole name where it is hidden itself; else ""."""
    if not (name.startswith((".", "_")) or "/." in name or "/_" in name):
        return ""  # nearly all
    start = 0
    while (stop := name.find("/", start)) >= 0:
        if name.startswith((".", "_"), start):
            return name[: stop + 1]
        start = stop + 1
    return name if name.startswith(".", start) else ""


def _hidden_stem(hidden: str) -> str:
    """What none but hidden names begin with, of what `hidden_in` found: a folder `_name/`, or all that begins with a dot beside a name."""
    start = hidden.rstrip("/").rfind("/") + 1
    return hidden[: start + 1] if hidden.startswith(".", start) else hidden


def split(scan: Scan, piece: Range, *, wanted: int) -> list[Range]:
    """Ranges that follow each other and together are `piece`: `wanted` of them where it has names enough, of like weight where it can.

    Breadth first over what names begin with: of stems that LOOK names or more begin with, those one character longer, until there are
    as many as wanted, or the next level would take too many looks if it grows as the last one did. In names that count or are
    random, stems of one length weigh alike.
    """
    look = partial(_look, scan, piece)
    light: list[str] = []
    heavy, shorter = [""], 1
    while heavy and len(light) + len(heavy) < wanted and len(heavy) ** 2 <= LOOKS_PER_RANGE * wanted * shorter:
        shorter = len(heavy)
        longer = list(ahead(partial(heavy_stems, look), heavy, threads=LOOKS_AT_ONCE))
        light += [stem for stem, below in zip(heavy, longer, strict=True) if not below]
        heavy = [stem for below in longer for stem in below]
    stems = sorted(light + heavy)
    count = min(wanted, len(stems))
    cuts = {behind(stems[len(stems) * place // count - 1]) for place in range(1, count)}
    bounds = [piece.after, *sorted(cut for cut in cuts if cut > piece.after and (not piece.until or cut < piece.until)), piece.until]
    return [Range(piece.root, after, until) for after, until in pairwise(bounds)]


def are_few(scan: Scan, piece: Range) -> bool:
    """A range has a FEW names at most."""
    return next(islice(piece.within(scan(piece.after, PAGE)), FEW, None), None) is None


def _look(scan: Scan, piece: Range, after: str) -> list[str]:
    """The next LOOK names of a range."""
    return [piece.name_of(entry) for entry in islice(piece.within(scan(max(after, piece.after), LOOK)), LOOK)]


def heavy_stems(look: Callable[[str], list[str]], stem: str) -> list[str]:
    """What LOOK names or more begin with, by one character longer than `stem`; found with about one look for each."""
    found: list[str] = []
    after = stem
    while names := [name for name in look(after) if name.startswith(stem)]:
        if len(names) < LOOK:  # all that is left
            break
        last = names[-1][: len(stem) + 1]
        before = [name for name in names if not name.startswith(last)]
        if before:  # seen to the end, and light
            after = before[-1]
            continue
        found.append(last)
        if not (after := behind(last)):
            break
    return found


def behind(stem: str) -> str:
    """A name that comes after all that begin with `stem`, or "" where none does: its last character is the next one."""
    following = ord(stem[-1]) + 1
    if 0xD800 <= following <= 0xDFFF:  # halves of UTF-16's pairs are no characters
        following = 0xE000
    return stem[:-1] + chr(following) if following <= sys.maxunicode else ""
