"""One PNG of a results folder: where the images lie on the first two components, and how much the components explain."""

from __future__ import annotations

import os
import warnings
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bootstrap.errors import BootstrapError, UsageError
from bootstrap.results import Origin, Points, Spectrum, read_origin, read_points, read_spectrum
from job.contract import PCA, PCA_ARRAYS, PROJECTIONS, SUMMARY

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MANY_POINTS = 2_000  # are drawn smaller and paler
MOST_LABELS = 12  # that colours and markers keep apart
SHARES = (0.80, 0.90, 0.95, 0.99)  # of the variance, as a fit's report has them
LONGEST_LABEL = 24  # characters in the legend
FEW_COMPONENTS = 30  # are dots on a linear scale

# Okabe & Ito 2008, which colour-blind readers can tell apart, less black and yellow. Six colours and four markers
# repeat together only after twelve labels, and neighbours in the legend differ in both.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9")
MARKERS = ("o", "^", "s", "D")
GREY, DARK = "#BBBBBB", "#444444"


@dataclass(frozen=True, slots=True)
class Group:
    """Points that look the same: their legend entry, their rows in Points, their looks."""

    name: str
    rows: NDArray[np.intp]
    colour: str
    marker: str


def plot_results(results: Path, *, out: Path) -> None:
    """Writes the PNG `out`, whole or not at all. BootstrapError where there are no projections, no model or no matplotlib."""
    if out.is_dir():
        raise UsageError(f"--out {out} is a folder", "name the file to write, such as plot.png")
    points = read_points(results / PROJECTIONS)
    figure = draw(points, read_spectrum(results / PCA / PCA_ARRAYS), read_origin(results / SUMMARY))
    out.parent.mkdir(parents=True, exist_ok=True)
    half = out.with_name(f".{out.name}-{os.getpid()}")
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing")  # a label in a script that the font lacks: boxes will do
            figure.savefig(half, format="png", metadata={"Software": None})  # without it, the same bytes for the same results
        half.replace(out)
    finally:
        half.unlink(missing_ok=True)


def draw(points: Points, spectrum: Spectrum, origin: Origin) -> Figure:
    """The figure: scatter on the left, scree curve on the right."""
    try:
        from matplotlib.figure import Figure  # not pyplot, which keeps figures of its own and may look for a screen
        from matplotlib.layout_engine import ConstrainedLayoutEngine
    except ImportError as error:
        raise BootstrapError(f"matplotlib is missing: {error}", "pip install matplotlib") from error

    layout = ConstrainedLayoutEngine(w_pad=0.15, h_pad=0.1, wspace=0.03)
    figure = Figure(figsize=(14, 6.2), dpi=150, layout=layout, facecolor="white")
    figure.suptitle(_title(points, spectrum, origin), x=0.012, ha="left", fontsize=14, fontweight="bold", color=DARK)
    scatter, scree = figure.subplots(1, 2, width_ratios=[1.15, 1])
    draw_scatter(scatter, points, spectrum, centered=origin.centered)
    draw_scree(scree, spectrum)
    for axes in (scatter, scree):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color="#E8E8E8", linewidth=0.8)
        axes.set_axisbelow(True)
    return figure


def _title(points: Points, spectrum: Spectrum, origin: Origin) -> str:
    images = _counted(points.counts.total(), "image")
    features = f"{origin.backbone} features of {images}" if origin.backbone else f"Features of {images}"
    warning = ", RANDOM WEIGHTS" if origin.random_weights else ""
    return f"{features}{warning}: {spectrum.kept:,} of {_counted(len(spectrum.shares), 'principal component')}"


def draw_scatter(axes: Axes, points: Points, spectrum: Spectrum, *, centered: bool) -> None:
    """The first component against the second, or against the image's number where there is no second."""
    groups = group(points)
    handles = _draw_groups(axes, points, groups)
    note = "" if centered else ", not centred"
    names = [f"PC{place} ({_percent(share)}){note}" for place, share in enumerate(spectrum.shares[:2], 1)]
    if points.places.shape[1] == 1:
        axes.set(xlabel="image, label by label", ylabel=names[0])
    else:
        axes.set(xlabel=names[0], ylabel=names[1])
        axes.set_aspect("equal", adjustable="datalim")  # distances are what a projection is about
    shown, total = len(points.places), points.counts.total()
    images = f"{shown:,} of {total:,} images, a random sample" if shown < total else _counted(total, "image")
    axes.set_title(f"Projections: {images}", loc="left", fontsize=11)
    if labels := points.counts.keys() - {None}:
        _draw_legend(axes, handles, groups, labels=len(labels))


def _draw_groups(axes: Axes, points: Points, groups: Sequence[Group]) -> list[Artist]:
    x, y = points.places[:, 0], points.places[:, -1]
    if points.places.shape[1] == 1:
        x = np.empty(len(y))
        x[np.concatenate([each.rows for each in groups])] = np.arange(1, len(y) + 1)  # a label's images lie side by side
    size, alpha = (26, 0.8) if len(y) <= MANY_POINTS else (9, 0.55)
    return [
        axes.scatter(
            x[each.rows],
            y[each.rows],
            s=size,
            c=each.colour,
            marker=each.marker,
            alpha=alpha,
            linewidths=0.4,
            edgecolors="white",
            zorder=1 if each.colour == GREY else 2,
        )
        for each in groups
    ]


def _draw_legend(axes: Axes, handles: Sequence[Artist], groups: Sequence[Group], *, labels: int) -> None:
    title = f"{MOST_LABELS} most frequent\nof {labels:,} labels" if labels > MOST_LABELS else "label"
    legend = axes.legend(
        handles,
        [_readable(each.name) for each in groups],
        title=title,
        loc="upper left",
        bbox_to_anchor=(1.0, 1.0),
        frameon=False,
        fontsize=9.5,
        alignment="left",
        handletextpad=0.3,
    )
    for handle in filter(None, legend.legend_handles):
        handle.set(alpha=1.0, sizes=[48])


def group(points: Points) -> list[Group]:
    """Every row once: labels by name, the most frequent MOST_LABELS of them; then, if there are any, the others and the unlabelled."""
    rows: defaultdict[str | None, list[int]] = defaultdict(list)
    for row, label in enumerate(points.labels):
        rows[label].append(row)
    frequent = sorted((label for label in points.counts if label is not None), key=lambda label: (-points.counts[label], label))
    coloured, others = sorted(frequent[:MOST_LABELS]), frequent[MOST_LABELS:]
    groups = [
        Group(label, _indices(rows[label]), COLOURS[place % len(COLOURS)], MARKERS[place % len(MARKERS)])
        for place, label in enumerate(coloured)
    ]
    if others:
        groups.append(Group(_counted(len(others), "other label"), _indices(*(rows[label] for label in others)), GREY, "o"))
    if None in points.counts:
        colour, marker = (DARK, "P") if coloured else (COLOURS[0], "o")
        groups.append(Group("no label", _indices(rows[None]), colour, marker))
    return groups


def _indices(*rows: list[int]) -> NDArray[np.intp]:
    return np.array([row for each in rows for row in each], dtype=np.intp)


def draw_scree(axes: Axes, spectrum: Spectrum) -> None:
    """Each component's share of the variance and their running sum, with marks where that passes each of SHARES."""
    last = max(spectrum.kept, spectrum.needed(0.999))
    numbers, cumulated = np.arange(1, last + 1), 100 * spectrum.cumulated[:last]
    dot = "o" if last <= FEW_COMPONENTS else ""
    axes.plot(numbers, cumulated, color=COLOURS[0], linewidth=2.2, label="components so far", marker=dot, markersize=4)
    axes.plot(
        numbers,
        100 * spectrum.shares[:last],
        color=COLOURS[1],
        linewidth=1.6,
        label="each component",
        marker=dot,
        markersize=4,
    )
    axes.fill_between(numbers, 100 * spectrum.shares[:last], color=COLOURS[1], alpha=0.2, linewidth=0)
    kept = f"{spectrum.kept:,} kept: {_percent(spectrum.cumulated[spectrum.kept - 1])}"
    axes.axvline(spectrum.kept, color=COLOURS[3], linewidth=1.4, linestyle=(0, (5, 3)), label=kept)
    _mark_shares(axes, spectrum, last)
    axes.set(xlabel="component", ylabel="share of variance (%)", ylim=(0, 103))
    axes.set_title("Explained variance, and how many components it takes", loc="left", fontsize=11)
    axes.legend(frameon=False, fontsize=9.5)
    _number_components(axes, last)


def _mark_shares(axes: Axes, spectrum: Spectrum, last: int) -> None:
    """A dot where the running sum passes each of SHARES; in the margin, where nothing is in their way, the numbers."""
    for share in SHARES:
        needed = spectrum.needed(share)
        axes.plot(
            needed,
            100 * spectrum.cumulated[needed - 1],
            "o",
            color=COLOURS[0],
            markeredgecolor="white",
            markersize=8,
            zorder=3,
        )
        axes.hlines(100 * share, needed, last, color=GREY, linewidth=1, linestyle=(0, (1, 2)))
        axes.text(
            1.01,
            100 * share,
            f"{needed:,} for {100 * share:.0f} %",
            transform=axes.get_yaxis_transform(),
            va="center",
            fontsize=9,
        )


def _number_components(axes: Axes, last: int) -> None:
    """Whole numbers along x; many of them on a logarithmic scale, for the first ones matter most."""
    from matplotlib.ticker import MaxNLocator, StrMethodFormatter

    if last > FEW_COMPONENTS:
        axes.set_xscale("log")
        axes.set_xlim(1, last)
    else:
        axes.set_xlim(0.5, last + 0.5)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))


def _readable(label: str) -> str:
    """A label as a legend can show it: one line, not too long, with no "$" that would begin a formula."""
    line = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in label)
    return (line if len(line) <= LONGEST_LABEL else line[: LONGEST_LABEL - 1] + "…").replace("$", r"\$")


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'s' * (count != 1)}"
