"""From an image file's bytes to the pixels that the network sees, or to the reason why there are none.

The notebook's preprocessing where the notebook has one: RGB, Pillow's bicubic resize. What it leaves open is decided
here: alpha lies on white, 16-bit samples are scaled (Pillow clips them), animations give their first frame, the
content decides and not the extension.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from io import BytesIO
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageFile, UnidentifiedImageError

from job.decode.options import Decoding

Pixels: TypeAlias = NDArray[np.uint8]
Lap: TypeAlias = Callable[[str], None]  # told the name of a step when it is over

# What Pillow decodes by itself from bytes that prove what they are. Left out: formats that run another program (EPS),
# those whose header is so weak that text passes for a picture (TGA, PCX, DIB), and icons, which decode while opening,
# before their size can be checked (ICO, ICNS).
FORMATS = ("AVIF", "BMP", "DDS", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "QOI", "TIFF", "WEBP")
BACKGROUND = (255, 255, 255)
KEY_SCALE = {"L;2": 85, "L;4": 17}  # raw modes of PNG gray to what Pillow multiplies their samples by
TURNS = {  # by EXIF orientation, as ImageOps.exif_transpose, which also rewrites the EXIF and fails where that is damaged
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
FAST_DECODE_FACTOR = 2  # scaled decoding keeps at least this multiple of the target; at 1 the error is three times larger

# decode() checks sizes itself, before any pixel is decoded, and makes them rows. Pillow's own check would warn at one
# size and raise at another.
Image.MAX_IMAGE_PIXELS = None


# What Pillow raises on bad bytes: what its documentation names, and what parsers written in Python meet besides. All of
# them were seen on mutated files. One image of ten million must not end a run.
DECODER_ERRORS = (
    *(OSError, SyntaxError, ValueError, EOFError, struct.error, MemoryError, RuntimeError, Image.DecompressionBombError),
    *(ArithmeticError, AssertionError, AttributeError, LookupError, TypeError),
)


class Reason(StrEnum):
    """Why an image has no features. A closed set: other tools count by it."""

    EMPTY = "empty"  # no bytes
    TOO_LARGE = "too_large"  # more bytes than --max-bytes
    TOO_MANY_PIXELS = "too_many_pixels"  # more pixels than --max-pixels
    NOT_AN_IMAGE = "not_an_image"  # no format that we read starts like this
    TRUNCATED = "truncated"  # ends too early
    CORRUPT = "corrupt"  # a known format that its decoder refuses
    UNSUPPORTED = "unsupported"  # decoded, but with no agreed meaning as RGB
    UNREADABLE = "unreadable"  # the file could not be read
    NOT_FINITE = "not_finite"  # the network answered with NaN or infinity


@dataclass(frozen=True, slots=True)
class Fault:
    """An image that has no features: a reason to count by, a detail to read."""

    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True)
class Decoded:
    """pixels (side, side, 3) uint8; width, height and format of the file, before any turning or scaling.

    scaled: the JPEG decoder made it smaller, as Decoding.fast allows, and so changed its pixels
    """

    pixels: Pixels
    width: int
    height: int
    format: str
    scaled: bool = False


def untimed(_step: str) -> None:
    """The lap of a caller who does not ask where the time goes."""


def decode(data: bytes, *, side: int, how: Decoding, lap: Lap = untimed) -> Decoded | Fault:
    """The picture in `data` as (side, side, 3) uint8, or the fault in it. Never raises for what the bytes hold.

    Tells `lap` when "decode", all up to RGB in full size, and "resize" are over; after a fault neither, or the first.
    """
    if not data:
        return Fault(Reason.EMPTY, "0 bytes")
    if len(data) > how.max_bytes:
        return too_large(len(data), how)
    try:
        with Image.open(BytesIO(data), formats=FORMATS) as image:
            width, height = image.size
            if width * height > how.max_pixels:
                return Fault(Reason.TOO_MANY_PIXELS, f"{width} x {height} pixels, more than {how.max_pixels}")
            if how.fast:
                image.draft(None, (side * FAST_DECODE_FACTOR, side * FAST_DECODE_FACTOR))
            scaled = image.size != (width, height)
            _scale_colour_key(image)
            image.load()
            turn = TURNS.get(_orientation(image)) if how.apply_orientation else None
            turned = image if turn is None else image.transpose(turn)
            picture = to_rgb(turned)
            lap("decode")  # load() has decoded it, as the resize below would otherwise, and be charged for it
            pixels = np.asarray(picture.resize((side, side), Image.Resampling.BICUBIC))
            lap("resize")
            return Decoded(pixels, width, height, image.format or "", scaled)
    except UnsupportedModeError as error:
        return Fault(Reason.UNSUPPORTED, str(error))
    except DECODER_ERRORS as error:
        return _fault_of(error, data)


class UnsupportedModeError(Exception):
    """A pixel format whose meaning as RGB is anybody's guess."""


def to_rgb(image: Image.Image) -> Image.Image:
    """The image as RGB: alpha over white, 16 bits scaled to 8. UnsupportedModeError where no rule applies.

    Converting comes before resizing: Pillow resizes palettes and bitmaps by nearest neighbour only.
    """
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode == "I" or image.mode.startswith("I;16"):
        return _from_16_bit(image).convert("RGB")
    if image.mode == "F":
        raise UnsupportedModeError("32-bit float samples have no agreed range; convert the file to 8 or 16 bits")
    if image.has_transparency_data:
        canvas = Image.new("RGBA", image.size, (*BACKGROUND, 255))
        return Image.alpha_composite(canvas, image.convert("RGBA")).convert("RGB")
    return image.convert("RGB")


def _from_16_bit(image: Image.Image) -> Image.Image:
    """8-bit gray from 16-bit gray, by rounding x / 257: 65535 becomes 255 and every level keeps its share."""
    samples = np.asarray(image)
    if samples.size and not 0 <= samples.min() <= samples.max() <= 65_535:
        raise UnsupportedModeError(f"32-bit samples from {samples.min()} to {samples.max()} have no agreed range")
    gray = ((samples.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if isinstance(key := image.info.get("transparency"), int):
        gray[samples == key] = BACKGROUND[0]
    return Image.fromarray(gray)


def _scale_colour_key(image: Image.Image) -> None:
    """Puts a PNG's transparent colour into the 8 bits that its samples are decoded to; Pillow leaves it in the file's depth."""
    key = image.info.get("transparency")
    raw = image.tile[0].args if isinstance(image, ImageFile.ImageFile) and image.tile else None
    if image.format != "PNG" or key is None:
        return
    if isinstance(key, int) and raw in KEY_SCALE:
        image.info["transparency"] = key * KEY_SCALE[raw]
    elif isinstance(key, tuple) and raw == "RGB;16B":
        image.info["transparency"] = tuple(sample >> 8 for sample in key)


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 where there is none or where the EXIF is damaged: the picture itself may be whole."""
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except DECODER_ERRORS:
        return 1


def too_large(size: int, how: Decoding) -> Fault:
    """The fault of a file of `size` bytes."""
    return Fault(Reason.TOO_LARGE, f"{size} bytes, more than {how.max_bytes}")


def _fault_of(error: Exception, data: bytes) -> Fault:
    detail = f"{type(error).__name__}: {error}".splitlines()[0][:500]
    if isinstance(error, UnidentifiedImageError):
        if not _starts_like_an_image(data):
            return Fault(Reason.NOT_AN_IMAGE, f"starts with {data[:8]!r}")
        return Fault(Reason.CORRUPT, "the header names a format whose decoder refuses the rest")
    if isinstance(error, EOFError) or "truncated" in detail.lower():
        return Fault(Reason.TRUNCATED, detail)
    return Fault(Reason.CORRUPT, detail)


def _starts_like_an_image(data: bytes) -> bool:
    """Some plugin of FORMATS accepts the first bytes."""
    accepts = (Image.OPEN[name][1] for name in FORMATS if name in Image.OPEN)
    return any(accept is not None and accept(data[:16]) is True for accept in accepts)
