"""How images become pixels, as values. Standard library only: the command line builds them before anything is loaded."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Decoding:
    """How images become pixels.

    max_bytes          larger files are faults, unread
    max_pixels         width x height above which an image is a fault, undecoded
    apply_orientation  turn the picture as its EXIF says; the notebook does not
    fast               let the JPEG decoder scale down, to no less than twice the target
    """

    max_bytes: int = 256 * 2**20
    max_pixels: int = 89_478_485  # where Pillow begins to warn: 256 MB as RGB, and several times that on the way there
    apply_orientation: bool = False
    fast: bool = False
