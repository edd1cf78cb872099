"""Decode, embed and forget, with a network of three lines instead of a real one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from io import BytesIO
from pathlib import Path
from time import perf_counter
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as Pillow

from job.decode.options import Decoding
from job.decode.pixels import Reason
from job.features.stage import Embedded, Stopwatch, compare_first_scaled, embed_images
from job.sources.reading import Image

SIDE = 4


@dataclass
class Network:
    """Means of each channel; notes the size of every batch."""

    batch: int
    poison: float = 0.0  # a picture whose first sample is this has no finite features
    batches: list[int] = field(default_factory=list)
    card: SimpleNamespace = field(default_factory=lambda: SimpleNamespace(input_size=SIDE))

    def load(self, _folder: Path) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
        def embed(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
            self.batches.append(len(pixels))
            means = pixels.mean(axis=(1, 2), dtype=np.float32)
            means[pixels[:, 0, 0, 0] == self.poison] = np.nan
            return means

        return embed


def png(level: int) -> bytes:
    sink = BytesIO()
    Pillow.new("RGB", (SIDE, SIDE), (level, level, level)).save(sink, "PNG")
    return sink.getvalue()


def image(name: str, data: bytes | OSError | None) -> Image:
    return Image(name, "label", len(data) if isinstance(data, bytes) else 10**12, None, None, data)


def embedded(images: list[Image], network: Network) -> list[Embedded]:
    rows = embed_images(images, network=network, folder=Path(), how=Decoding(), watch=Stopwatch())  # type: ignore[arg-type]
    return list(rows)


@pytest.mark.parametrize("batch", [1, 4])
def test_a_last_batch_of_one_is_a_batch(batch: int) -> None:
    rows = embedded([image(str(level), png(level)) for level in range(10, 15)], Network(batch))
    assert [row.features.tolist() for row in rows if row.features is not None] == [[level] * 3 for level in range(10, 15)]
    assert [row.image.path for row in rows] == ["10", "11", "12", "13", "14"]


@pytest.mark.parametrize("batch", [1, 4])
def test_a_fault_stands_in_its_place_and_never_reaches_the_network(batch: int) -> None:
    network = Network(batch)
    broken = [image("a", b""), image("b", OSError(13, "Permission denied")), image("c", None), image("d", b"text")]
    rows = embedded([image("1", png(1)), *broken, image("2", png(2))], network)
    assert [row.image.path for row in rows] == ["1", "a", "b", "c", "d", "2"]
    assert [row.fault.reason for row in rows if row.fault] == [Reason.EMPTY, Reason.UNREADABLE, Reason.TOO_LARGE, Reason.NOT_AN_IMAGE]
    assert sum(network.batches) == 2
    assert all((row.features is None) == (row.fault is not None) for row in rows)


@pytest.mark.parametrize("batch", [1, 4])
def test_features_that_are_not_finite_are_a_fault_and_no_row(batch: int) -> None:
    rows = embedded([image("1", png(1)), image("7", png(7)), image("2", png(2))], Network(batch, poison=7.0))
    assert [row.fault.reason.value if row.fault else None for row in rows] == [None, "not_finite", None]
    assert rows[1].features is None


@pytest.mark.parametrize("batch", [1, 4])
def test_every_second_is_some_step_s(batch: int) -> None:
    began = perf_counter()
    watch = Stopwatch()
    images = [image("1", png(1)), image("a", b""), image("2", png(2))]
    list(embed_images(images, network=Network(batch), folder=Path(), how=Decoding(), watch=watch))  # type: ignore[arg-type]
    assert list(watch.seconds) == ["start", "read", "decode", "resize", "infer"]
    assert all(seconds > 0 for seconds in watch.seconds.values())
    assert sum(watch.seconds.values()) <= perf_counter() - began


def test_a_batch_of_faults_alone_asks_the_network_nothing() -> None:
    network = Network(4)
    embedded([image("a", b""), image("b", b"")], network)
    assert sum(network.batches) == 0


# --- the error of fast decoding -------------------------------------------------------------------------------------


def jpeg(seed: int, side: int = 16 * SIDE) -> bytes:
    """Noise: what scaled decoding makes of it differs."""
    sink = BytesIO()
    Pillow.fromarray(np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)).save(sink, "JPEG", quality=95)
    return sink.getvalue()


def compared(images: list[Image], network: Network, *, fast: bool = True) -> list[Embedded]:
    embed = partial(embed_images, network=network, folder=Path())  # type: ignore[arg-type]
    plainly = partial(embed, how=Decoding(), watch=Stopwatch())
    rows = embed(images, how=Decoding(fast=fast), watch=Stopwatch())
    return list(compare_first_scaled(rows, plainly=plainly, watch=Stopwatch()))


@pytest.mark.parametrize("batch", [1, 4])
def test_the_first_picture_that_was_scaled_and_no_other_is_compared_with_plain_decoding(batch: int) -> None:
    images = [image("a", png(1)), image("b", b""), image("c", jpeg(1, SIDE)), image("d", jpeg(2)), image("e", jpeg(3))]
    network = Network(batch)
    rows = compared(images, network)
    assert [row.fast_decode_error is not None for row in rows] == [False, False, False, True, False]
    assert sum(network.batches) == 4 + 1
    with Pillow.open(BytesIO(jpeg(2))) as opened:
        plain = np.asarray(opened.resize((SIDE, SIDE), Pillow.Resampling.BICUBIC)).mean(axis=(0, 1))
    assert rows[3].features is not None
    # float32 against float64 means of 16 bytes
    assert rows[3].fast_decode_error == pytest.approx(np.linalg.norm(rows[3].features - plain) / np.linalg.norm(plain), rel=1e-3)
    assert rows[3].fast_decode_error > 0


def test_comparing_leaves_features_as_fast_decoding_made_them() -> None:
    images = [image(str(seed), jpeg(seed)) for seed in range(3)]
    watch = Stopwatch()
    alone = embed_images(images, network=Network(1), folder=Path(), how=Decoding(fast=True), watch=watch)  # type: ignore[arg-type]
    pairs = zip(compared(images, Network(1)), alone, strict=True)
    assert all(np.array_equal(row.features, other.features) for row, other in pairs)  # type: ignore[arg-type]


def test_plain_decoding_has_nothing_to_compare() -> None:
    network = Network(1)
    assert [row.fast_decode_error for row in compared([image("a", jpeg(1)), image("b", jpeg(2))], network, fast=False)] == [None, None]
    assert sum(network.batches) == 2


def test_features_that_are_not_finite_are_not_compared() -> None:
    network = Network(1)
    images = [image("a", jpeg(1))]
    (row,) = compared(images, network)
    assert row.fast_decode_error is not None
    with Pillow.open(BytesIO(jpeg(1))) as opened:
        network.poison = float(np.asarray(opened.resize((SIDE, SIDE), Pillow.Resampling.BICUBIC))[0, 0, 0])
    (row,) = compared(images, network)
    assert row.fast_decode_error is None


def test_no_error_is_relative_to_features_that_are_all_zero() -> None:
    sink = BytesIO()
    Pillow.new("RGB", (16 * SIDE, 16 * SIDE)).save(sink, "JPEG")
    (row,) = compared([image("black", sink.getvalue())], Network(1, poison=-1.0))
    assert row.scaled
    assert row.fast_decode_error is None
