"""Plots as PNG and SVG, by matplotlib."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from autowarm.report.palette import colour, scale
from autowarm.report.picture import new_figure, plain_text, save
from autowarm.report.plot import Axis, Band, Bars, Line, Plot, Points, Square, Squares

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

_DASHES: dict[str, Any] = {"solid": "-", "dash": (0, (5, 2)), "dot": (0, (1, 1.5))}
_SYMBOLS = {"dot": "o", "cross": "x", "ring": "o", "star": "*"}


def draw_plot(plot: Plot, path: Path) -> None:
    """Draw a plot to a PNG (900 pixels wide) or SVG file, by its suffix; replaced in one move.

    Raises:
        SettingsError: another suffix.
    """
    save(figure(plot), path)


def figure(plot: Plot) -> Figure:
    """Return a plot as a figure of matplotlib, on light paper."""
    made = new_figure(width=9.0, height=1.3 + 4.2 * plot.height)
    axes = made.subplots()
    coloured = None
    starts: np.ndarray | float = 0.0
    for z, mark in enumerate(plot.marks, start=3):
        if isinstance(mark, Line):
            _line(axes, mark, z)
        elif isinstance(mark, Points):
            coloured = _points(axes, mark, plot, z) or coloured
        elif isinstance(mark, Band):
            label = plain_text(mark.label) or None
            shade = colour(mark.colour)
            axes.fill_between(mark.x, mark.low, mark.high, color=shade, alpha=0.18, linewidth=0, label=label, zorder=z)
        elif isinstance(mark, Bars):
            starts = _bars(axes, mark, starts, z)
        else:
            _squares(axes, mark)
    _finish(axes, plot.x, "x")
    _finish(axes, plot.y, "y")
    if not any(isinstance(mark, Squares) for mark in plot.marks):
        axes.grid(alpha=0.25)
    axes.set_title(plain_text(plot.title), loc="left", fontsize=11)
    if coloured is not None:
        made.colorbar(coloured, ax=axes, pad=0.02).set_label(plain_text(plot.values))
    handles, _ = axes.get_legend_handles_labels()
    if handles or plot.note:
        made.legend(
            handles=handles, loc="outside lower center", ncols=4, fontsize=9, frameon=False, title=plain_text(plot.note)
        )
    return made


def _line(axes: Axes, line: Line, z: int) -> None:
    mark: dict[str, Any] = {"marker": "x", "markevery": [-1], "markersize": 5} if line.crossed else {}
    axes.plot(
        line.x,
        line.y,
        color=colour(line.colour),
        linewidth=line.width,
        linestyle=_DASHES[line.dash],
        alpha=line.opacity,
        label=plain_text(line.label) or None,
        zorder=z,
        **mark,
    )


def _points(axes: Axes, points: Points, plot: Plot, z: int) -> Any:
    """Draw points; return what a colour bar shows, where their colours are values."""
    shade = colour(points.colour)
    for along, low_ends, high_ends in (("x", points.x_low, points.x_high), ("y", points.y_low, points.y_high)):
        if high_ends:
            at = np.array(points.x if along == "x" else points.y)
            ends = np.maximum([at - np.array(low_ends), np.array(high_ends) - at], 0.0)
            told: dict[str, Any] = {f"{along}err": ends}
            axes.errorbar(points.x, points.y, fmt="none", ecolor=shade, elinewidth=1.5, capsize=3, zorder=z, **told)
    look: dict[str, Any] = {"marker": _SYMBOLS[points.symbol], "s": points.size**2 * 0.6, "zorder": z}
    if points.symbol == "ring":
        look |= {"facecolors": "none", "edgecolors": shade}
    elif points.values:
        low, high = plot.values_span
        look |= {"c": points.values, "cmap": _colours(plot), "vmin": low, "vmax": high}
    else:
        look["color"] = shade
    drawn = axes.scatter(points.x, points.y, label=plain_text(points.label) or None, **look)
    return drawn if points.values else None


def _colours(plot: Plot) -> Colormap:
    from matplotlib.colors import LinearSegmentedColormap

    order = [shade for _, shade in scale()]
    return LinearSegmentedColormap.from_list("values", order if plot.better == "max" else order[::-1])


def _bars(axes: Axes, bars: Bars, starts: np.ndarray | float, z: int) -> np.ndarray:
    lengths = np.array(bars.lengths)
    label = plain_text(bars.label) or None
    places = np.arange(len(lengths))
    axes.barh(places, lengths, left=starts, height=0.62, color=colour(bars.colour), label=label, zorder=z)
    if bars.high:
        shown = np.isfinite(bars.high)
        ends = np.maximum([lengths - np.array(bars.low), np.array(bars.high) - lengths], 0.0)[:, shown]
        axes.errorbar(
            (starts + lengths)[shown],
            places[shown],
            xerr=ends,
            fmt="none",
            ecolor=colour("ink"),
            elinewidth=1.2,
            capsize=3,
            zorder=z + 1,
        )
    return starts + lengths


def _squares(axes: Axes, squares: Squares) -> None:
    from matplotlib.colors import LinearSegmentedColormap

    shades = LinearSegmentedColormap.from_list("squares", [colour("square_low"), colour("square_high")])
    for square in squares.squares:
        _square(axes, square, shades)


def _square(axes: Axes, square: Square, shades: Colormap) -> None:
    from matplotlib.patches import Rectangle

    look: dict[str, Any] = {"facecolor": shades(square.place or 0.0), "edgecolor": "none"}
    if square.predicted:
        look = {"facecolor": "none", "edgecolor": colour("muted"), "linestyle": (0, (4, 3)), "linewidth": 1.2}
    axes.add_patch(Rectangle((square.x - 0.48, square.y - 0.46), 0.96, 0.92, **look))
    axes.text(
        square.x,
        square.y,
        plain_text(square.text),
        ha="center",
        va="center",
        fontsize=9,
        style="italic" if square.predicted else "normal",
        color=colour("muted" if square.predicted else "square_ink"),
    )


def _finish(axes: Axes, axis: Axis, along: str) -> None:
    across = along == "x"
    (axes.set_xlabel if across else axes.set_ylabel)(plain_text(axis.title))
    if axis.log:
        (axes.set_xscale if across else axes.set_yscale)("log")
    limits = axes.set_xlim if across else axes.set_ylim
    if axis.span is not None:
        limits(*axis.span)
    if axis.ticks:
        places = [place for place, _ in axis.ticks]
        ticks = axes.set_xticks if across else axes.set_yticks
        ticks(places, [plain_text(word) for _, word in axis.ticks])
        limits(min(places) - 0.5, max(places) + 0.5)
