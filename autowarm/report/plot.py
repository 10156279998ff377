"""A plot as plain data: what is drawn, said once, whichever library draws it.

`autowarm.report.plotly_figure` and `autowarm.report.matplotlib_figure` draw it. Texts are plain, with line breaks;
escaping is the business of who draws.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Numbers: TypeAlias = tuple[float, ...]
Symbol: TypeAlias = Literal["dot", "cross", "ring", "star"]
Dash: TypeAlias = Literal["solid", "dash", "dot"]


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One axis.

    Attributes:
        title: with its unit.
        log: whether it is logarithmic.
        span: (low, high) of what is shown; None: everything.
        ticks: (place, word) where words are shown in place of numbers; places grow upwards or to the right.
    """

    title: str
    log: bool = False
    span: tuple[float, float] | None = None
    ticks: tuple[tuple[float, str], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Line:
    """A line through points, growing in x.

    Attributes:
        x: the points, and `y`, both finite.
        colour: a name of the palette.
        label: in the legend; empty: not there.
        hover: what it is, shown next to the numbers of a point.
        width: in points.
        dash: how it is drawn.
        opacity: in (0, 1].
        crossed: whether its end is marked by a cross.
    """

    x: Numbers
    y: Numbers
    colour: str
    label: str = ""
    hover: str = ""
    width: float = 1.5
    dash: Dash = "solid"
    opacity: float = 1.0
    crossed: bool = False


@dataclass(frozen=True, kw_only=True)
class Points:
    """Single points.

    Attributes:
        x: the points, and `y`, both finite.
        hovers: what each is.
        colour: a name of the palette, where there are no `values`.
        values: coloured by these from the worst to the best; see `Plot.better`.
        symbol: of each.
        size: across, in points.
        label: in the legend; empty: not there.
        x_low: ends of the intervals along x, and `x_high`; empty: none.
        y_low: ends of the intervals along y, and `y_high`.
    """

    x: Numbers
    y: Numbers
    hovers: tuple[str, ...]
    colour: str = "complete"
    values: Numbers = ()
    symbol: Symbol = "dot"
    size: float = 7.0
    label: str = ""
    x_low: Numbers = ()
    x_high: Numbers = ()
    y_low: Numbers = ()
    y_high: Numbers = ()


@dataclass(frozen=True, kw_only=True)
class Band:
    """What lies between two lines; `x`, `low` and `high` are finite."""

    x: Numbers
    low: Numbers
    high: Numbers
    colour: str
    label: str = ""


@dataclass(frozen=True, kw_only=True)
class Bars:
    """Bars along x, from the end of those before: those of one plot are stacked.

    Attributes:
        lengths: one a bar, 0 for none; at y = 0, 1, ...
        hovers: what each is.
        colour: a name of the palette.
        label: in the legend.
        low: ends of the intervals, and `high`; NaN where a bar has none; empty: none have.
    """

    lengths: Numbers
    hovers: tuple[str, ...]
    colour: str
    label: str = ""
    low: Numbers = ()
    high: Numbers = ()


@dataclass(frozen=True, kw_only=True)
class Square:
    """A cell of a heat map: at x = 0, 1, ... and y = 0, 1, ...

    Attributes:
        x: the column, and `y`, the row.
        place: of its colour in [0, 1]; None: none.
        text: in it, a few short lines.
        hover: what it is.
        predicted: whether nobody tried it, or too few did: such a cell is drawn pale, with a dashed frame.
    """

    x: int
    y: int
    place: float | None
    text: str
    hover: str
    predicted: bool = False


@dataclass(frozen=True, kw_only=True)
class Squares:
    """A heat map."""

    squares: tuple[Square, ...]


Mark: TypeAlias = Line | Points | Band | Bars | Squares


@dataclass(frozen=True, kw_only=True)
class Plot:
    """A plot; marks that come later lie on top.

    Attributes:
        name: in the registry.
        title: what it shows, in a line.
        x: the axis across, and `y`, the one upwards.
        marks: what is drawn.
        note: what to know of it, such as how many runs are not drawn.
        values: what the values of `Points` are, for the colour bar.
        better: whether low ("min") or high ("max") values are the better ones.
        values_span: the (low, high) that the colours stand for; values beyond have the colour of the end.
        height: relative to the usual one.
    """

    name: str
    title: str
    x: Axis
    y: Axis
    marks: tuple[Mark, ...]
    note: str = ""
    values: str = ""
    better: Literal["min", "max"] = "min"
    values_span: tuple[float, float] = (0.0, 1.0)
    height: float = 1.0
