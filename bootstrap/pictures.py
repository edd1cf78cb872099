"""Labelled pictures to try things on, drawn here: eight kinds that a network can tell apart, and a few broken files.

Drawn rather than shipped: no licence to mind, no megabytes in the repository. Every picture has a seed of its own, so
a larger set begins with the smaller one.
"""

from __future__ import annotations

import json
import struct
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np

from bootstrap.drawings import KINDS, draw
from bootstrap.errors import BootstrapError, UsageError

MARKER = ".pictures.json"  # says that a folder is ours; the job does not see it
VERSION = 1  # of the drawings: a set of another version is another set
BOMB = 50_000  # pixels a side: far above what any reader accepts, and 2.5 GB for one that does


def make_pictures(out: Path, *, count: int) -> int:
    """Writes `count` pictures of each label to `out/<Label>/<nnn>.jpg|png`, and a few broken files; returns how many files.

    The same bytes every time (for one version of NumPy and Pillow), whole or not at all; does nothing where they are
    there. Leaves are transparent PNGs, clouds grayscale JPEGs, the rest RGB. BootstrapError where `out` holds other
    things.
    """
    if count < 1:
        raise UsageError(f"--count {count}: a label needs at least 1 picture")
    out = out.resolve()
    wanted = _names(count)
    if out.exists() and _holds(out, wanted, count=count):
        return len(wanted)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".pictures-", dir=out.parent) as folder:
        new = Path(folder, "new")  # a level down: the temporary folder itself is for our eyes only
        for name, data in _files(count):
            (new / name).parent.mkdir(parents=True, exist_ok=True)
            (new / name).write_bytes(data)
        (new / MARKER).write_text(json.dumps(_mark(count)) + "\n")
        new.rename(out)
    return len(wanted)


def _holds(out: Path, wanted: list[str], *, count: int) -> bool:
    """`out` is this very set; False where it is empty. BootstrapError where it is anything else."""
    if not out.is_dir():
        raise BootstrapError(f"{out} is there and is not a folder", "give another --out")
    if not any(out.iterdir()):
        return False
    mark = None
    with suppress(OSError, ValueError):
        mark = json.loads((out / MARKER).read_text())
    if not isinstance(mark, dict):
        raise BootstrapError(f"{out} is there and holds other things than these pictures", "give a folder of its own")
    files = (file.relative_to(out) for file in out.rglob("*") if file.is_file())
    visible = sorted(str(file) for file in files if not file.name.startswith("."))
    if mark != _mark(count) or visible != wanted:
        raise BootstrapError(
            f"{out} holds another set of pictures: {len(visible)} files, made with --count {mark.get('count')}; this one has {len(wanted)}",
            "remove that folder, or give another --out",
        )
    return True


def _mark(count: int) -> dict[str, int]:
    return {"version": VERSION, "count": count}


def _names(count: int) -> list[str]:
    """Files of a set relative to its folder, sorted."""
    drawn = [_name(label, number) for label in KINDS for number in range(1, count + 1)]
    return sorted(drawn + [_name(label, count + 1) for label in BROKEN])


def _name(label: str, number: int) -> str:
    return f"{label}/{number:03}.{'png' if KINDS[label].is_png else 'jpg'}"


def _files(count: int) -> Iterator[tuple[str, bytes]]:
    """Names and bytes of a set. A broken file has the number after its label's last picture, so it looks like one more."""
    for place, (label, kind) in enumerate(KINDS.items()):
        for number in range(1, count + 1):
            yield _name(label, number), draw(kind, np.random.default_rng([VERSION, place, number]))
    for label, broken in BROKEN.items():
        yield _name(label, count + 1), broken()


# --- files that cannot be read, each for a reason of its own ---


def _truncated_jpeg() -> bytes:
    data = draw(KINDS["Apple"], np.random.default_rng(VERSION))
    return data[: len(data) * 3 // 5]


def _bomb_png() -> bytes:
    """Less than a hundred bytes, correct so far as they go, that declare BOMB x BOMB pixels and hold one row of them."""
    row = bytes(1 + BOMB // 8)  # the filter's byte, then 8 pixels a byte
    return _png(width=BOMB, height=BOMB, bits=1, stream=zlib.compress(row, 9))


def _corrupt_png() -> bytes:
    """Half a picture, then bytes that are no compressed data. Every checksum of a chunk is right."""
    compressor = zlib.compressobj()
    rows = b"".join(bytes([0, *range(row, row + 120)]) for row in range(60))
    stream = compressor.compress(rows) + compressor.flush(zlib.Z_SYNC_FLUSH)
    # After a flush the next bits open a block, and all ones name the type of block that there is not.
    return _png(width=120, height=120, bits=8, stream=stream + b"\xff" * 200)


def _png(*, width: int, height: int, bits: int, stream: bytes) -> bytes:
    """A gray PNG file of which only `stream` is in doubt."""
    header = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", stream), (b"IEND", b""))
    body = (struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(body)


BROKEN: dict[str, Callable[[], bytes]] = {
    "Apple": _truncated_jpeg,
    "Checks": _bomb_png,
    "Clouds": lambda: b"",
    "Stars": _corrupt_png,
    "Wood": lambda: b"This was going to be a picture of a plank. It is a line of text instead.\n",
}
