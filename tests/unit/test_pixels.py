"""From bytes to pixels: the notebook's pixels where it has some, the documented ones where it has none, else one fault."""

from __future__ import annotations

import csv
import struct
import warnings
import zlib
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps

from job.decode.options import Decoding
from job.decode.pixels import FORMATS, Decoded, Fault, Reason, decode

SIDE = 224
KEY = (255, 0, 0)  # the colour that stands for "nothing" in pictures here: if it shows, it shows

Array = NDArray[np.generic]


def picture(width: int = 90, height: int = 70, *, seed: int = 0) -> Image.Image:
    """Colours that change smoothly, as in a photograph; the same for the same seed."""
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def encoded(image: Image.Image, format_: str, **options: object) -> bytes:
    file = BytesIO()
    image.save(file, format_, **options)
    return file.getvalue()


def pixels_of(data: bytes, *, side: int = SIDE, how: Decoding = Decoding()) -> Array:  # noqa: B008  frozen
    outcome = decode(data, side=side, how=how)
    assert isinstance(outcome, Decoded), outcome
    assert outcome.pixels.dtype == np.uint8
    assert outcome.pixels.shape == (side, side, 3)
    return outcome.pixels


def fault_of(data: bytes, *, side: int = SIDE, how: Decoding = Decoding()) -> Fault:  # noqa: B008  frozen
    outcome = decode(data, side=side, how=how)
    assert isinstance(outcome, Fault)
    assert outcome.detail
    return outcome


def notebook_pixels(data: bytes) -> Array:
    """What the notebook feeds to the network."""
    return np.asarray(Image.open(BytesIO(data)).convert("RGB").resize((SIDE, SIDE)))


def over_white(image: Image.Image) -> Array:
    """An image with alpha laid over white, by arithmetic and not by Pillow."""
    rgba = np.asarray(image.convert("RGBA")).astype(np.float64)
    alpha = rgba[..., 3:] / 255
    return np.round(rgba[..., :3] * alpha + 255 * (1 - alpha))


def assert_within(pixels: Array, expected: Array, *, levels: int) -> None:
    assert np.abs(pixels.astype(int) - expected.astype(int)).max() <= levels


# --- files written by hand: what Pillow refuses to write ------------------------------------------------------------


def chunk(name: bytes, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload)) + name + payload + struct.pack(">I", zlib.crc32(name + payload))


def png(samples: Array, *, depth: int, colour: int, width: int | None = None, extra: bytes = b"", cut: bool = False) -> bytes:
    """A PNG of rows of packed samples: colour 0 gray, 2 RGB, 3 palette. `cut`: of its pixels only the first bytes."""
    height = len(samples)
    samples = samples.astype(samples.dtype.newbyteorder(">"))
    lines = b"".join(b"\0" + line.tobytes() for line in samples.reshape(height, -1))
    header = struct.pack(">IIBBBBB", width or samples.shape[1], height, depth, colour, 0, 0, 0)
    body = chunk(b"IDAT", zlib.compress(lines[: 10 if cut else None]))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + body + chunk(b"IEND", b"")


def declaring(width: int, height: int) -> bytes:
    """A PNG of under a hundred bytes that declares width x height pixels and holds next to none."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(10))) + chunk(b"IEND", b"")


def icon_of(image: bytes) -> bytes:
    """An ICO file whose directory says 16 x 16, around a PNG that may say something else."""
    return struct.pack("<HHHBBBBHHII", 0, 1, 1, 16, 16, 0, 0, 1, 32, len(image), 22) + image


# --- the notebook's pixels ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("format_", "options"), [("JPEG", {}), ("JPEG", {"progressive": True, "quality": 40}), ("PNG", {})])
@pytest.mark.parametrize("size", [(90, 70), (100, 100), (224, 224), (640, 481), (1, 300)])
def test_rgb_files_give_the_pixels_of_the_notebook(format_: str, options: dict[str, object], size: tuple[int, int]) -> None:
    data = encoded(picture(*size), format_, **options)
    np.testing.assert_array_equal(pixels_of(data), notebook_pixels(data))


@pytest.mark.parametrize("format_", ["BMP", "TIFF", "PPM", "QOI", "PNG"])
def test_every_format_that_loses_nothing_gives_the_same_pixels(format_: str) -> None:
    np.testing.assert_array_equal(pixels_of(encoded(picture(), format_)), np.asarray(picture().resize((SIDE, SIDE))))


@pytest.mark.parametrize("format_", FORMATS)
def test_every_format_is_told_by_its_content(format_: str) -> None:
    options: dict[str, object] = {}
    outcome = decode(encoded(picture(48, 32), format_, **options), side=32, how=Decoding())
    assert isinstance(outcome, Decoded)
    assert (outcome.width, outcome.height, outcome.format) == (48, 32, format_)


@pytest.mark.parametrize("format_", ["JPEG", "PNG"])
def test_gray_is_three_equal_channels(format_: str) -> None:
    data = encoded(picture().convert("L"), format_)
    pixels = pixels_of(data)
    np.testing.assert_array_equal(pixels, notebook_pixels(data))
    assert (pixels == pixels[..., :1]).all()


def test_a_cmyk_jpeg_is_converted_as_pillow_converts_it() -> None:
    data = encoded(picture().convert("CMYK"), "JPEG")
    np.testing.assert_array_equal(pixels_of(data), notebook_pixels(data))


@pytest.mark.parametrize("mode", ["1", "P"])
def test_bitmaps_and_palettes_become_rgb_before_they_are_resized(mode: str) -> None:
    # Pillow resizes both by nearest neighbour only; the notebook's order of steps would keep their jagged edges.
    data = encoded(picture().convert("L").convert("1") if mode == "1" else picture().quantize(8), "PNG")
    image = Image.open(BytesIO(data))
    assert image.mode == mode
    np.testing.assert_array_equal(pixels_of(data), np.asarray(image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BICUBIC)))


def test_decoding_twice_gives_the_same_pixels() -> None:
    data = encoded(picture(), "JPEG")
    np.testing.assert_array_equal(pixels_of(data), pixels_of(data))


def test_pixels_do_not_depend_on_what_was_decoded_before() -> None:
    data = encoded(picture(), "JPEG")
    before = pixels_of(data)
    decode(data[:300], side=SIDE, how=Decoding())
    np.testing.assert_array_equal(pixels_of(data), before)


# --- transparency ---------------------------------------------------------------------------------------------------


def with_alpha(mode: str) -> Image.Image:
    """A picture whose alpha runs from nothing at the left to everything at the right."""
    image = picture(64, 64).convert("RGB" if mode == "RGBA" else "L")
    image.putalpha(Image.fromarray(np.tile(np.linspace(0, 255, 64).astype(np.uint8), (64, 1))))
    assert image.mode == mode
    return image


@pytest.mark.parametrize(("mode", "format_"), [("RGBA", "PNG"), ("LA", "PNG"), ("RGBA", "TIFF"), ("RGBA", "QOI")])
def test_alpha_lies_over_white(mode: str, format_: str) -> None:
    image = with_alpha(mode)
    assert_within(pixels_of(encoded(image, format_), side=64), over_white(image), levels=1)  # Pillow rounds its product once more


@pytest.mark.parametrize("format_", ["PNG", "WEBP", "TIFF"])
def test_the_colour_under_nothing_never_shows(format_: str) -> None:
    options = {"lossless": True, "exact": True} if format_ == "WEBP" else {}
    for hidden in (KEY, (0, 0, 0), (1, 254, 77)):
        image = Image.new("RGBA", (40, 40), (*hidden, 0))
        assert (pixels_of(encoded(image, format_, **options)) == 255).all()


def test_hidden_colour_does_not_bleed_into_its_neighbours() -> None:
    halves = [Image.new("RGBA", (40, 40), (*hidden, 0)) for hidden in (KEY, (0, 0, 255))]
    for half in halves:
        half.paste((10, 20, 30, 255), (0, 0, 20, 40))
    one, other = (pixels_of(encoded(half, "PNG")) for half in halves)
    np.testing.assert_array_equal(one, other)


def keyed_palette(format_: str) -> bytes:
    image = Image.new("P", (32, 32), 0)
    image.putpalette([*KEY, 0, 0, 255])
    image.paste(1, (16, 0, 32, 32))
    return encoded(image, format_, transparency=0)


@pytest.mark.parametrize("format_", ["PNG", "GIF"])
def test_a_transparent_palette_entry_is_white(format_: str) -> None:
    pixels = pixels_of(keyed_palette(format_), side=32)
    assert (pixels[:, :16] == 255).all()
    assert (pixels[:, 16:] == (0, 0, 255)).all()


def test_a_half_transparent_palette_entry_is_half_white() -> None:
    image = Image.new("P", (32, 32), 0)
    image.putpalette([200, 100, 0])
    pixels = pixels_of(encoded(image, "PNG", transparency=bytes([128])), side=32)
    assert_within(pixels, np.broadcast_to([227, 177, 127], pixels.shape), levels=1)  # 128 of 255 of the colour, the rest white


def gray_with_key(depth: int, key: int, other: int) -> bytes:
    """A gray PNG of 32 x 32: the colour that tRNS declares transparent at the left, another at the right."""
    if depth == 16:
        lines = np.repeat(np.array([[key, other]], np.uint16), 16, axis=1)
    else:
        levels = np.repeat([key, other], 16)
        bits = (levels[:, None] >> np.arange(depth)[::-1]) & 1
        lines = np.packbits(bits.ravel())[None]
    return png(np.repeat(lines, 32, axis=0), depth=depth, colour=0, width=32, extra=chunk(b"tRNS", struct.pack(">H", key)))


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_the_gray_that_a_png_declares_transparent_is_white(depth: int) -> None:
    key, other = (1, 0) if depth == 1 else (0x5050 >> (16 - depth), 0)
    pixels = pixels_of(gray_with_key(depth, key, other), side=32)
    assert (pixels[:, :16] == 255).all()
    assert (pixels[:, 16:] == 0).all()


@pytest.mark.parametrize("depth", [8, 16])
def test_the_colour_that_a_png_declares_transparent_is_white(depth: int) -> None:
    key = np.array([0x12, 0x56, 0x9A], np.uint8) if depth == 8 else np.array([0x1234, 0x5678, 0x9ABC], np.uint16)
    line = np.stack([key] * 16 + [key * 0] * 16)
    extra = chunk(b"tRNS", struct.pack(">HHH", *key.tolist()))
    pixels = pixels_of(png(np.stack([line] * 32), depth=depth, colour=2, extra=extra), side=32)
    assert (pixels[:, :16] == 255).all()
    assert (pixels[:, 16:] == 0).all()


# --- animations -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("format_", "options"), [("GIF", {}), ("WEBP", {"lossless": True}), ("PNG", {}), ("TIFF", {})])
def test_of_an_animation_the_first_frame_counts(format_: str, options: dict[str, object]) -> None:
    first, second = Image.new("RGB", (32, 32), (0, 0, 255)), Image.new("RGB", (32, 32), KEY)
    data = encoded(first, format_, save_all=True, append_images=[second], **options)
    assert Image.open(BytesIO(data)).n_frames == 2  # type: ignore[attr-defined]
    assert (pixels_of(data) == (0, 0, 255)).all()


def test_of_two_pictures_in_a_jpeg_the_first_counts() -> None:
    data = encoded(picture(), "MPO", save_all=True, append_images=[picture(seed=1)])
    np.testing.assert_array_equal(pixels_of(data), notebook_pixels(data))


# --- more than 8 bits -----------------------------------------------------------------------------------------------

RAMP = np.arange(65_536, dtype=np.uint16).reshape(256, 256)  # every level of 16 bits once


@pytest.mark.parametrize(
    ("samples", "format_", "mode"),
    [
        (RAMP, "PNG", "I;16"),
        (RAMP, "TIFF", "I;16"),
        (RAMP.astype(">u2"), "TIFF", "I;16B"),
        (RAMP.astype(np.int32), "TIFF", "I"),
    ],
)
def test_16_bits_are_scaled_and_not_clipped(samples: Array, format_: str, mode: str) -> None:
    data = encoded(Image.fromarray(samples), format_)
    assert Image.open(BytesIO(data)).mode == mode
    pixels = pixels_of(data, side=256)  # its own size, so that no level is mixed with another
    assert_within(pixels, np.repeat(RAMP[..., None] / 257, 3, axis=2).round(), levels=1)  # one level: where halves round to
    assert pixels.min() == 0
    assert pixels.max() == 255


def test_a_16_bit_ramp_has_every_8_bit_level_about_as_often() -> None:
    pixels = pixels_of(encoded(Image.fromarray(RAMP), "PNG"), side=256)
    counts = np.bincount(pixels[..., 0].ravel(), minlength=256)
    assert counts[1:-1].min() >= 256  # 257 each but for black and white, which get half of that at an end of the ramp


def test_16_bit_rgb_is_scaled_as_well() -> None:
    samples = np.repeat(RAMP[..., None], 3, axis=2)
    pixels = pixels_of(png(samples, depth=16, colour=2), side=256)
    assert_within(pixels, np.repeat(RAMP[..., None] / 257, 3, axis=2).round(), levels=1)


@pytest.mark.parametrize("samples", [[[0, 65_536]], [[-1, 5]], [[2**31 - 1, -(2**31)]]])
def test_32_bit_samples_outside_16_bits_are_unsupported_and_their_range_named(samples: list[list[int]]) -> None:
    data = encoded(Image.fromarray(np.array(samples, np.int32)), "TIFF")
    fault = fault_of(data)
    assert fault.reason is Reason.UNSUPPORTED
    assert {str(min(samples[0])), str(max(samples[0]))} <= set(fault.detail.split())


def test_float_samples_are_unsupported() -> None:
    assert fault_of(encoded(Image.fromarray(np.zeros((8, 8), np.float32)), "TIFF")).reason is Reason.UNSUPPORTED


# --- EXIF orientation -----------------------------------------------------------------------------------------------


def oriented(orientation: int, format_: str = "JPEG") -> bytes:
    exif = Image.Exif()
    exif[274] = orientation
    return encoded(picture(90, 60), format_, exif=exif)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_ignored_by_default(orientation: int) -> None:
    data = oriented(orientation)
    np.testing.assert_array_equal(pixels_of(data), notebook_pixels(data))


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_where_it_is_asked_for(orientation: int, format_: str) -> None:
    data = oriented(orientation, format_)
    turned = ImageOps.exif_transpose(Image.open(BytesIO(data)))
    expected = np.asarray(turned.convert("RGB").resize((SIDE, SIDE)))
    np.testing.assert_array_equal(pixels_of(data, how=Decoding(apply_orientation=True)), expected)


@pytest.mark.parametrize("apply", [False, True])
def test_width_and_height_are_those_of_the_file_whichever_way_it_is_turned(apply: bool) -> None:
    outcome = decode(oriented(6), side=SIDE, how=Decoding(apply_orientation=apply))
    assert isinstance(outcome, Decoded)
    assert (outcome.width, outcome.height) == (90, 60)


@pytest.mark.parametrize("orientation", [0, 9, 65_535])
def test_an_orientation_that_means_nothing_turns_nothing(orientation: int) -> None:
    data = oriented(orientation)
    np.testing.assert_array_equal(pixels_of(data, how=Decoding(apply_orientation=True)), notebook_pixels(data))


def test_applying_orientation_survives_another_exif_tag_of_a_wrong_type() -> None:
    exif = Image.Exif()
    exif[274], exif[282] = 6, 72.0  # orientation, and a resolution
    data = encoded(picture(90, 60), "JPEG", exif=exif)
    resolution = struct.pack(">HHI", 282, 5, 1)
    assert resolution in data
    broken = data.replace(resolution, struct.pack(">HHI", 282, 2, 1))  # text where a ratio should be
    np.testing.assert_array_equal(
        pixels_of(broken, how=Decoding(apply_orientation=True)),
        pixels_of(data, how=Decoding(apply_orientation=True)),
    )


# --- laps -----------------------------------------------------------------------------------------------------------


def laps(data: bytes) -> list[str]:
    """The steps that decoding tells the end of."""
    told: list[str] = []
    decode(data, side=SIDE, how=Decoding(), lap=told.append)
    return told


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "GIF", "TIFF"])
def test_decoding_and_resizing_are_told_apart(format_: str) -> None:
    assert laps(encoded(picture(), format_)) == ["decode", "resize"]


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "GIF"])
def test_the_last_byte_is_decoded_before_decoding_is_said_to_be_over(format_: str) -> None:
    data = encoded(picture(), format_)
    assert laps(data[: len(data) * 3 // 4]) == []  # Pillow decodes when pixels are asked for: lazily, this would fail in the resize


# --- fast decoding --------------------------------------------------------------------------------------------------

FAST = Decoding(fast=True)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_fast_decoding_of_a_photograph_gives_close_pixels(mode: str) -> None:
    data = encoded(picture(2000, 1500).convert(mode), "JPEG", quality=90)
    # Scaled decoding to twice the target, then resizing, averages the same blocks in another order: a level or two on
    # what is smooth. Three leaves room for another libjpeg.
    assert_within(pixels_of(data, how=FAST), pixels_of(data), levels=3)


def test_fast_decoding_does_decode_less() -> None:
    data = encoded(picture(2000, 1500), "JPEG", quality=90)
    assert (pixels_of(data, how=FAST) != pixels_of(data)).any()


def test_fast_decoding_records_the_size_of_the_file() -> None:
    outcome = decode(encoded(picture(2000, 1500), "JPEG"), side=SIDE, how=FAST)
    assert isinstance(outcome, Decoded)
    assert (outcome.width, outcome.height) == (2000, 1500)


@pytest.mark.parametrize(("format_", "size"), [("PNG", (1200, 1000)), ("JPEG", (2 * SIDE + 1, 2000))])
def test_fast_decoding_leaves_other_formats_and_small_jpegs_alone(format_: str, size: tuple[int, int]) -> None:
    data = encoded(picture(*size), format_)
    np.testing.assert_array_equal(pixels_of(data, how=FAST), pixels_of(data))


@pytest.mark.parametrize(
    ("format_", "size", "how", "scaled"),
    [
        ("JPEG", (2000, 1500), FAST, True),
        ("JPEG", (2000, 1500), Decoding(), False),
        ("JPEG", (2 * SIDE + 1, 2000), FAST, False),
        ("PNG", (1200, 1000), FAST, False),
    ],
)
def test_a_picture_says_whether_its_decoder_scaled_it(format_: str, size: tuple[int, int], how: Decoding, scaled: bool) -> None:
    outcome = decode(encoded(picture(*size), format_), side=SIDE, how=how)
    assert isinstance(outcome, Decoded)
    assert outcome.scaled is scaled


@pytest.mark.parametrize("orientation", range(1, 9))
def test_fast_decoding_turns_a_photograph_as_the_exact_one_does(orientation: int) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    data = encoded(picture(600, 400), "JPEG", exif=exif)
    exact, fast = (pixels_of(data, side=64, how=Decoding(apply_orientation=True, fast=fast)) for fast in (False, True))
    assert_within(fast, exact, levels=6)  # no more than noise here: turned the wrong way it would be off by a hundred


# --- faults ---------------------------------------------------------------------------------------------------------


def test_no_bytes_are_empty() -> None:
    assert fault_of(b"").reason is Reason.EMPTY


@pytest.mark.parametrize(
    "data", [b"# Notes\n\nNot a picture.\n", b"\0" * 64, b"P", b"B", b"\xff", b"%PDF-1.7\n", b"<svg xmlns='http://www.w3.org/2000/svg'/>"]
)
def test_what_no_format_starts_like_is_not_an_image(data: bytes) -> None:
    assert fault_of(data).reason is Reason.NOT_AN_IMAGE


def test_postscript_is_not_an_image_since_another_program_would_run_it() -> None:
    assert fault_of(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n").reason is Reason.NOT_AN_IMAGE


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "BMP", "TIFF", "GIF", "QOI"])
def test_a_file_that_ends_early_is_truncated(format_: str) -> None:
    data = encoded(picture(), format_)
    assert fault_of(data[: len(data) // 2]).reason in (Reason.TRUNCATED, Reason.CORRUPT)
    if format_ in ("JPEG", "PNG"):
        assert fault_of(data[: len(data) // 2]).reason is Reason.TRUNCATED


def test_a_jpeg_without_its_end_marker_is_truncated() -> None:
    assert fault_of(encoded(picture(), "JPEG")[:-2]).reason is Reason.TRUNCATED


def test_a_broken_stream_is_corrupt() -> None:
    data = bytearray(encoded(picture(), "PNG"))
    start = data.index(b"IDAT") + 12
    data[start : start + 200] = bytes(200)
    assert fault_of(bytes(data)).reason is Reason.CORRUPT


@pytest.mark.parametrize("start", [b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"GIF89a", b"BM", b"II*\0"])
def test_a_header_and_nothing_after_it_is_corrupt(start: bytes) -> None:
    assert fault_of(start).reason is Reason.CORRUPT


@pytest.mark.parametrize(("size", "accepted"), [(0, True), (-1, False)])
def test_bytes_are_counted_up_to_the_limit_and_the_limit_is_allowed(size: int, accepted: bool) -> None:
    data = encoded(picture(), "PNG")
    outcome = decode(data, side=SIDE, how=Decoding(max_bytes=len(data) + size))
    assert isinstance(outcome, Decoded) if accepted else outcome.reason is Reason.TOO_LARGE  # type: ignore[union-attr]


def test_a_file_too_large_says_both_sizes() -> None:
    assert fault_of(bytes(5000), how=Decoding(max_bytes=4000)).detail == "5000 bytes, more than 4000"


@pytest.mark.parametrize(("pixels", "accepted"), [(90 * 70, True), (90 * 70 - 1, False)])
@pytest.mark.parametrize("format_", FORMATS)
def test_pixels_are_counted_up_to_the_limit_and_the_limit_is_allowed(format_: str, pixels: int, accepted: bool) -> None:
    options = {"sizes": [(90, 70)]} if format_ == "ICO" else {}
    outcome = decode(encoded(picture(), format_, **options), side=SIDE, how=Decoding(max_pixels=pixels))
    assert isinstance(outcome, Decoded) if accepted else outcome.reason is Reason.TOO_MANY_PIXELS  # type: ignore[union-attr]


def test_too_many_pixels_say_width_height_and_limit() -> None:
    detail = fault_of(encoded(picture(), "PNG"), how=Decoding(max_pixels=1000)).detail
    assert {"90", "70", "1000"} <= set(detail.replace(",", "").split())


def gif_declaring(width: int, height: int, *, frame: tuple[int, int]) -> bytes:
    palette = b"\0\0\0\xff\xff\xff"
    return (
        b"GIF89a" + struct.pack("<HH", width, height) + b"\x80\0\0" + palette + b"," + struct.pack("<HHHH", 0, 0, *frame) + b"\0\2\2D\1\0;"
    )


BOMBS = {
    "PNG": declaring(60_000, 60_000),
    "PNG beyond any memory": declaring(2**31 - 1, 2**31 - 1),
    "GIF canvas": gif_declaring(60_000, 60_000, frame=(1, 1)),
    "GIF frame": gif_declaring(1, 1, frame=(60_000, 60_000)),
    "BMP": b"BM" + struct.pack("<IHHI", 60, 0, 0, 54) + struct.pack("<IiiHHIIiiII", 40, 60_000, 60_000, 1, 24, 0, 0, 0, 0, 0, 0) + bytes(6),
    "PPM": b"P6 60000 60000 255\n\0\0\0",
    "QOI": b"qoif" + struct.pack(">IIBB", 60_000, 60_000, 3, 0) + bytes(20),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_small_file_that_declares_a_huge_picture_is_not_decoded(bomb: str) -> None:
    # It holds next to no pixels: had decoding been tried, the fault would say truncated.
    assert fault_of(BOMBS[bomb]).reason is Reason.TOO_MANY_PIXELS


def test_icons_are_no_images_as_they_decode_before_their_size_is_known() -> None:
    assert fault_of(icon_of(declaring(2000, 2000))).reason is Reason.NOT_AN_IMAGE


def test_a_picture_between_the_limits_of_pillow_does_not_warn() -> None:
    # Pillow's own check would warn above 89 million pixels; warnings are errors here.
    assert fault_of(declaring(10_000, 9_000), how=Decoding(max_pixels=10**8)).reason is Reason.TRUNCATED


# --- whatever the bytes hold ----------------------------------------------------------------------------------------


def specimens() -> dict[str, bytes]:
    """Small files of every format and of the variants with code paths of their own."""
    image = picture(20, 15)
    exif = Image.Exif()
    exif[274], exif[282], exif[270] = 6, 72.0, "words"
    rotated = [image.rotate(90)]
    files = {format_: encoded(image, format_) for format_ in FORMATS}
    files |= {f"{format_} EXIF": encoded(image, format_, exif=exif) for format_ in ("JPEG", "PNG", "WEBP", "AVIF")}
    files |= {f"{format_} animated": encoded(image, format_, save_all=True, append_images=rotated) for format_ in ("GIF", "WEBP", "PNG")}
    files |= {f"TIFF {name}": encoded(image, "TIFF", compression=name) for name in ("tiff_lzw", "jpeg", "tiff_adobe_deflate", "packbits")}
    files |= {f"PNG {mode}": encoded(image.convert(mode), "PNG") for mode in ("1", "L", "LA", "RGBA")}
    files |= {f"TIFF {mode}": encoded(image.convert(mode), "TIFF") for mode in ("CMYK", "I", "F", "LAB")}
    files |= {f"JPEG {mode}": encoded(image.convert(mode), "JPEG") for mode in ("L", "CMYK")}
    files["PNG palette"] = encoded(image.quantize(8), "PNG", transparency=0)
    files["PNG 16 bit"] = encoded(Image.fromarray(RAMP[:15, :20]), "PNG")
    files["ICO bitmap"] = encoded(image.convert("RGBA"), "ICO", bitmap_format="bmp")
    files["MPO"] = encoded(image, "MPO", save_all=True, append_images=rotated)
    files["BMP palette"] = encoded(image.quantize(8), "BMP")
    return files


@pytest.fixture(scope="module")
def samples() -> dict[str, bytes]:
    return specimens()


@pytest.fixture
def no_warnings() -> Iterator[None]:
    """Pillow warns of what it reads past (a cut EXIF block, say): on a worker that is a line in a log, and no error."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def assert_one_outcome(data: bytes, how: Decoding, what: str) -> Decoded | Fault:
    try:
        outcome = decode(data, side=16, how=how)
    except Exception as error:  # noqa: BLE001  whatever it is, the bytes that did it are wanted
        pytest.fail(f"{what}: decode raised {error!r} for {data[:2000].hex()}")
    if isinstance(outcome, Fault):
        assert isinstance(outcome.reason, Reason)
        assert outcome.detail
        assert "\n" not in outcome.detail
    else:
        assert outcome.pixels.shape == (16, 16, 3)
        assert outcome.pixels.dtype == np.uint8
    return outcome


SMALL = Decoding(max_pixels=300_000)  # a mutated header may declare what takes seconds to fill
SMALL_AND_TURNED = Decoding(max_pixels=300_000, apply_orientation=True, fast=True)


@pytest.mark.usefixtures("no_warnings")
def test_every_beginning_of_a_file_has_one_outcome(samples: dict[str, bytes]) -> None:
    for name, data in samples.items():
        for stop in np.unique(np.linspace(0, len(data), 24).astype(int)):
            assert_one_outcome(data[:stop], SMALL, f"{name}[:{stop}]")


def mutated(data: bytes, rng: np.random.Generator) -> bytes:
    """A copy with a few bytes changed, a stretch cut out or put in twice; the header is hit as often as the rest."""
    result = bytearray(data)
    match rng.integers(4):
        case 0:
            for place in rng.integers(len(result), size=rng.integers(1, 8)):
                result[place] = rng.integers(256)
        case 1:
            result[rng.integers(min(len(result), 64))] = rng.choice([0, 1, 127, 128, 255])
        case 2:
            start, stop = sorted(rng.integers(len(result), size=2))
            del result[start:stop]
        case 3:
            start, stop = sorted(rng.integers(len(result), size=2))
            result[start:start] = result[start:stop]
    return bytes(result)


@pytest.mark.usefixtures("no_warnings")
def test_no_mutation_of_a_file_raises(samples: dict[str, bytes]) -> None:
    rng = np.random.default_rng(20261124)
    names = sorted(samples)
    for number in range(4000):
        name = names[number % len(names)]
        assert_one_outcome(mutated(samples[name], rng), (SMALL, SMALL_AND_TURNED)[number % 2], f"{name}, mutation {number}")


# What longer runs of the above have found: each made Pillow raise something other than its documented errors.


def test_a_palette_png_without_a_palette_is_a_fault() -> None:
    assert_one_outcome(png(np.zeros((4, 4), np.uint8), depth=8, colour=3), SMALL, "no PLTE")  # AssertionError


@pytest.mark.usefixtures("no_warnings")
@pytest.mark.parametrize("kind", [2, 5, 7, 12])  # text, ratio, bytes, double
def test_a_tiff_whose_offsets_are_no_integers_is_a_fault(kind: int) -> None:
    data = encoded(picture(16, 16), "TIFF")
    offsets = struct.pack("<HH", 273, 4)
    assert data.count(offsets) == 1
    assert_one_outcome(data.replace(offsets, struct.pack("<HH", 273, kind)), SMALL, "TIFF")  # TypeError


def test_a_tiff_whose_offset_is_beyond_any_file_is_a_fault() -> None:
    data = encoded(picture(16, 16), "TIFF")
    place = data.index(struct.pack("<HHI", 273, 4, 1))
    beyond = data[:place] + struct.pack("<HHII", 273, 16, 1, len(data)) + data[place + 12 :] + b"\xff" * 8
    assert_one_outcome(beyond, SMALL, "TIFF")  # OverflowError


# --- the shared difficult files -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def difficult(shared_data: Path) -> list[dict[str, str]]:
    with (shared_data / "hard_images" / "manifest.csv").open(newline="", encoding="utf-8") as file:
        return [row | {"path": str(shared_data / "hard_images" / row["file"])} for row in csv.DictReader(file)]


@pytest.mark.usefixtures("no_warnings")
@pytest.mark.parametrize("how", [Decoding(), Decoding(apply_orientation=True), Decoding(fast=True)], ids=["plain", "turned", "fast"])
def test_difficult_files_decode_where_the_manifest_says_so(difficult: list[dict[str, str]], how: Decoding) -> None:
    outcomes = {row["file"]: decode(Path(row["path"]).read_bytes(), side=SIDE, how=how) for row in difficult}
    decoded = {name: isinstance(outcome, Decoded) for name, outcome in outcomes.items()}
    assert decoded == {row["file"]: row["pillow_decodable"] == "yes" for row in difficult}


@pytest.mark.usefixtures("no_warnings")
def test_difficult_files_have_the_format_and_size_of_the_manifest(difficult: list[dict[str, str]]) -> None:
    for row in difficult:
        outcome = decode(Path(row["path"]).read_bytes(), side=32, how=Decoding())
        if isinstance(outcome, Decoded):
            format_ = {"MPO": "JPEG"}.get(outcome.format, outcome.format)  # a JPEG with a second picture
            assert (row["file"], format_, f"{outcome.width}x{outcome.height}") == (row["file"], row["format"], row["size"])
