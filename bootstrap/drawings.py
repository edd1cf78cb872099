"""Eight kinds of pictures that a network can tell apart, drawn with NumPy from a random generator."""

from __future__ import annotations

from collections.abc import Callable
from colorsys import hsv_to_rgb
from dataclasses import dataclass
from io import BytesIO
from math import cos, hypot, pi, sin, sqrt
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

# float32 throughout, for speed; NumPy's type stubs lose the precision on the way
Plane: TypeAlias = NDArray[np.floating]  # (h, w)
Picture: TypeAlias = NDArray[np.floating]  # (h, w), (h, w, 3) or (h, w, 4): gray, RGB or RGBA, 0 to 1
Colour: TypeAlias = tuple[float, float, float]  # red, green, blue, 0 to 1

SHORTEST, LONGEST = 96, 256  # pixels a side

# --- what a picture is drawn on ---


@dataclass(frozen=True, slots=True)
class Canvas:
    """Where to draw, and the dice to draw with.

    x, y    (h, w) float32, zero in the middle, one at the nearer edges; y points down
    pixel   width of a pixel in the same unit
    random  this picture's own
    """

    x: Plane
    y: Plane
    pixel: float
    random: np.random.Generator

    def turned(self, angle: float, *, at: tuple[float, float] = (0.0, 0.0)) -> tuple[Plane, Plane]:
        """Coordinates of a frame turned by `angle` radians about `at`."""
        x, y = self.x - at[0], self.y - at[1]
        return x * cos(angle) + y * sin(angle), y * cos(angle) - x * sin(angle)

    def inside(self, distance: Plane) -> Plane:
        """How much of a pixel, 0 to 1, lies where a signed distance is negative: smooth edges."""
        coverage: Plane = np.clip(0.5 - distance / self.pixel, 0, 1)
        return coverage

    def noise(self, cells: float, *, stretch: float = 1.0) -> Plane:
        """Smooth noise (h, w), 0 to 1, of about `cells` patches over the height and `cells / stretch` over the width."""
        height, width = self.x.shape
        patches = self.random.random((max(2, round(cells)), max(2, round(cells / stretch))), dtype=np.float32)
        return np.asarray(Image.fromarray(patches).resize((width, height), Image.Resampling.BICUBIC))

    def fractal(self, cells: float, *, octaves: int = 4) -> Plane:
        """Noise of several grains (h, w), 0 to 1, each of half the weight and twice the cells of the one before."""
        weights = [0.5**octave for octave in range(octaves)]
        layers = (weight * self.noise(cells / weight) for weight in weights)
        return sum(layers, np.zeros_like(self.x)) / sum(weights)

    def light(self, strength: float) -> Plane:
        """Brightness (h, w) around 1, from one side."""
        along, _ = self.turned(self.between(0, 2 * pi))
        return 1 + strength * along

    def between(self, low: float, high: float) -> float:
        return float(self.random.uniform(low, high))


def _canvas(random: np.random.Generator) -> Canvas:
    """A canvas of SHORTEST to LONGEST pixels a side, square to 4:3, lying or standing."""
    long = int(random.integers(SHORTEST * 4 // 3, LONGEST, endpoint=True))
    sides = [long, int(random.integers(long * 3 // 4, long, endpoint=True))]
    height, width = (sides[place] for place in random.permutation(2))
    y, x = np.indices((height, width), dtype=np.float32)
    half = min(height, width) / 2
    return Canvas((x + 0.5 - width / 2) / half, (y + 0.5 - height / 2) / half, 1 / half, random)


def _colour(hue: float, saturation: float, value: float) -> Colour:
    """RGB of a hue in turns of the colour circle, saturation and value 0 to 1."""
    return hsv_to_rgb(hue % 1.0, min(max(saturation, 0.0), 1.0), min(max(value, 0.0), 1.0))


def _mix(under: Picture | Colour, over: Picture | Colour, weight: Plane) -> Picture:
    """`over` laid on `under` (h, w, 3) with the opacity `weight` (h, w)."""
    base = np.asarray(under, np.float32)
    return base + (np.asarray(over, np.float32) - base) * weight[..., None]


# --- the kinds of pictures ---


def _apple(canvas: Canvas) -> Picture:
    skin = _mix(
        _colour(canvas.between(0.96, 1.02), 0.9, 0.75),
        _colour(canvas.between(0.12, 0.24), 0.75, 0.85),
        np.clip(canvas.noise(3) * 2.2 - canvas.between(0.5, 1.1), 0, 1),
    )
    return _fruit(canvas, skin, dent=0.24, shine=0.55)


def _orange(canvas: Canvas) -> Picture:
    rind = np.asarray(_colour(canvas.between(0.055, 0.1), 0.95, 0.95), np.float32) * (0.92 + 0.12 * canvas.noise(64))[..., None]
    return _fruit(canvas, rind, dent=0.0, shine=0.25)


def _fruit(canvas: Canvas, skin: Picture, *, dent: float, shine: float) -> Picture:
    """A lit ball of `skin` (h, w, 3) with its shadow on a light table; with a `dent` also a stem."""
    radius = canvas.between(0.55, 0.8)
    middle = canvas.between(-0.15, 0.15), canvas.between(-0.08, 0.12)
    x, y = canvas.turned(canvas.between(-0.4, 0.4), at=middle)
    x, y = x / radius, y / radius
    away = np.hypot(x, y) + dent * np.exp(-((x / 0.35) ** 2) - ((y + 1.0) / 0.5) ** 2)  # one at the outline
    height = np.sqrt(np.clip(1 - away**2, 0, 1))
    side, above = canvas.between(-0.55, 0.55), canvas.between(-0.65, -0.35)
    facing = np.clip((x * side + y * above + height * 0.75) / sqrt(side**2 + above**2 + 0.75**2), 0, 1)
    picture = _table(canvas, at=(middle[0] - side * 0.5 * radius, middle[1] + 0.82 * radius), radius=radius)
    lit = skin * (0.35 + 0.75 * facing)[..., None]
    picture = _mix(picture, _mix(lit, (1.0, 1.0, 1.0), shine * facing**24), canvas.inside((away - 1) * radius))
    if dent:
        bend = x - 0.12 * side - 0.25 * (y + 0.9) ** 2
        stem = np.maximum(np.abs(bend) - 0.045, np.abs(y + 0.97) - 0.24) * radius
        picture = _mix(picture, (0.32, 0.2, 0.1), canvas.inside(stem))
    return picture


def _table(canvas: Canvas, *, at: tuple[float, float], radius: float) -> Picture:
    """A light ground (h, w, 3) with a soft shadow."""
    ground = _colour(canvas.between(0, 1), canvas.between(0.0, 0.12), canvas.between(0.88, 0.98))
    shadow = np.exp(-(((canvas.x - at[0]) / radius) ** 2) * 1.6 - (((canvas.y - at[1]) / radius) ** 2) * 9)
    return np.asarray(ground, np.float32) * (canvas.light(0.05) * (1 - 0.5 * shadow))[..., None]


def _leaf(canvas: Canvas) -> Picture:
    """RGBA: nothing but the leaf."""
    length = canvas.between(0.75, 0.95)
    along, across = canvas.turned(canvas.between(0, 2 * pi), at=(canvas.between(-0.1, 0.1), canvas.between(-0.1, 0.1)))
    along, across = along / length, across / length
    across = across - canvas.between(-0.18, 0.18) * (1 - along**2)  # bent; both ends stay where they are
    width = canvas.between(0.3, 0.55) * np.clip(1 - along**2, 0, 1) ** 0.75 * (1 - 0.35 * along)
    veins = np.abs((along - 0.75 * np.abs(across)) * canvas.between(3.5, 5.5) % 1 - 0.5) * 0.2
    rib = np.minimum(np.abs(across) - 0.012, veins - 0.008 + 0.04 * np.abs(across)) * length
    hue = canvas.between(0.2, 0.38) if canvas.random.random() < 0.7 else canvas.between(0.03, 0.13)
    blade = np.asarray(_colour(hue, 0.75, canvas.between(0.45, 0.75)), np.float32) * (0.75 + 0.5 * canvas.noise(6))[..., None]
    blade = blade * np.where(across > 0, 1.0, 0.85).astype(np.float32)[..., None]
    colours = _mix(blade, _colour(hue - 0.03, 0.4, 0.85), canvas.inside(rib))
    stalk = np.maximum(np.abs(across) - 0.02, np.abs(along + 1) - 0.12)
    outline = np.minimum(np.maximum(np.abs(across) - width, np.abs(along) - 1), stalk) * length
    return np.dstack([colours, canvas.inside(outline)])


def _stars(canvas: Canvas) -> Picture:
    hue = canvas.between(0.55, 0.85)
    sky = _mix(_colour(hue, 0.8, 0.15), _colour(hue + 0.08, 0.6, 0.5), np.clip(canvas.light(0.45) - 0.5, 0, 1))
    for size in (canvas.between(0.35, 0.75), *(canvas.between(0.12, 0.3) for _ in range(canvas.random.integers(2, 6)))):
        x, y = canvas.turned(canvas.between(0, 2 * pi), at=(canvas.between(-0.9, 0.9), canvas.between(-0.9, 0.9)))
        distance = _star_distance(x / size, y / size, points=int(canvas.random.integers(4, 7)), waist=canvas.between(0.38, 0.5))
        sky = _mix(sky, _colour(canvas.between(0.08, 0.17), canvas.between(0.2, 0.9), 1.0), canvas.inside(distance * size))
    return sky


def _star_distance(x: Plane, y: Plane, *, points: int, waist: float) -> Plane:
    """Distance to the sides of a star with outer radius 1 and inner radius `waist`, negative inside."""
    step = pi / points
    angle = np.abs((np.arctan2(y, x) + step) % (2 * step) - step)  # all points folded onto half of one
    radius = np.hypot(x, y)
    ahead, aside = waist * cos(step) - 1, waist * sin(step)
    distance = (radius * np.cos(angle) - 1) * aside - radius * np.sin(angle) * ahead
    return distance / hypot(ahead, aside)


def _checks(canvas: Canvas) -> Picture:
    x, y = canvas.turned(canvas.between(0, pi / 2))
    squares = canvas.between(3.5, 9)
    across, down = (np.arcsin(np.sin(place * squares)) / squares for place in (x, y))  # signed distances to the nearest lines
    edge = np.sign(across * down) * np.minimum(np.abs(across), np.abs(down))
    hue = canvas.between(0, 1)
    dark = _colour(hue, canvas.between(0.5, 0.95), canvas.between(0.25, 0.7))
    light = _colour(hue + canvas.between(0.3, 0.7), canvas.between(0.05, 0.4), 0.95)
    return _mix(dark, light, canvas.inside(edge)) * canvas.light(0.15)[..., None]


def _bricks(canvas: Canvas) -> Picture:
    x, y = canvas.turned(canvas.between(-0.15, 0.15))
    tall = canvas.between(0.2, 0.36)
    row, up = np.divmod(y / tall + 64, 1)  # 64: brick numbers are positive, they index a table below
    column, along = np.divmod(x / tall / 2.4 + 64 + row % 2 / 2, 1)
    joint = np.minimum(np.minimum(along, 1 - along) * 2.4, np.minimum(up, 1 - up)) * tall
    shade = canvas.random.uniform(0.7, 1.15, (128, 128)).astype(np.float32)[row.astype(int), column.astype(int)]
    clay = _colour(canvas.between(-0.01, 0.06), canvas.between(0.5, 0.75), canvas.between(0.55, 0.8))
    mortar = _colour(0.1, 0.08, canvas.between(0.65, 0.85))
    wall = _mix(mortar, np.asarray(clay, np.float32) * shade[..., None], canvas.inside(0.025 - joint))
    return wall * ((0.75 + 0.5 * canvas.fractal(10)) * canvas.light(0.15))[..., None]


def _wood(canvas: Canvas) -> Picture:
    along, across = canvas.turned(canvas.between(-0.25, 0.25), at=(canvas.between(-2, 2), canvas.between(-0.8, 0.8)))
    rings = np.hypot(along * canvas.between(0.12, 0.3), across) + canvas.between(0.15, 0.35) * canvas.noise(3)
    year = rings * canvas.between(5, 9) % 1
    late = year**3 * np.clip((1 - year) * 8, 0, 1)  # darkens slowly, ends at once
    hue = canvas.between(0.05, 0.1)
    early = _colour(hue, canvas.between(0.4, 0.65), canvas.between(0.65, 0.9))
    plank = _mix(early, _colour(hue - 0.015, 0.75, 0.4), 0.9 * late)
    return plank * ((0.86 + 0.28 * canvas.noise(90, stretch=12)) * canvas.light(0.1))[..., None]


def _clouds(canvas: Canvas) -> Picture:
    """Gray."""
    cover: Plane = np.clip((canvas.fractal(canvas.between(2, 4), octaves=5) - canvas.between(0.35, 0.5)) * 4, 0, 1)
    sky = canvas.between(0.3, 0.5) * (1 + 0.3 * canvas.y)
    return sky + (canvas.between(0.85, 1.0) - 0.2 * canvas.noise(4) - sky) * cover


@dataclass(frozen=True, slots=True)
class Kind:
    """How the pictures of a label are drawn and stored."""

    draw: Callable[[Canvas], Picture]
    is_png: bool = False


KINDS = {
    "Apple": Kind(_apple),
    "Bricks": Kind(_bricks),
    "Checks": Kind(_checks, is_png=True),
    "Clouds": Kind(_clouds),
    "Leaf": Kind(_leaf, is_png=True),
    "Orange": Kind(_orange),
    "Stars": Kind(_stars, is_png=True),
    "Wood": Kind(_wood),
}


def draw(kind: Kind, random: np.random.Generator) -> bytes:
    """One picture as the bytes of a file."""
    pixels = np.clip(kind.draw(_canvas(random)) * 255 + 0.5, 0, 255).astype(np.uint8)
    sink = BytesIO()
    if kind.is_png:
        Image.fromarray(pixels).save(sink, "PNG", compress_level=1)  # higher levels are several times slower
    else:
        Image.fromarray(pixels).save(sink, "JPEG", quality=int(random.integers(75, 95, endpoint=True)))
    return sink.getvalue()
