"""Plots for plotly.js, as the JSON that plotly's graph objects would make, without the second of importing those.

Colours stay names ("@best"), which the page turns into those of the theme it is read in. plotly.js reads a few HTML
tags in every text, so all texts are escaped; and it fills in `%{...}` in templates alone, into which no text of a study
goes.
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterable
from typing import Any

from autowarm.report.plot import Axis, Band, Bars, Line, Mark, Numbers, Plot, Points, Square, Squares

# pixels
HEIGHT = 400
_SYMBOLS = {"dot": "circle", "cross": "x-thin", "ring": "circle-open", "star": "star"}
_NUMBER = ".4g"


def figure(plot: Plot) -> dict[str, Any]:
    """Return {"data": traces, "layout": ..., "height": pixels} of a plot."""
    traces: list[dict[str, Any]] = []
    shapes: list[dict[str, Any]] = []
    notes: list[dict[str, Any]] = []
    for mark in plot.marks:
        traces += _traces(mark, plot)
        if isinstance(mark, Squares):
            shapes += [_frame(square) for square in mark.squares if square.predicted]
            notes += [_words(square) for square in mark.squares]
    bar = bool(plot.values)
    layout: dict[str, Any] = {
        "xaxis": _axis(plot.x),
        "yaxis": _axis(plot.y),
        "margin": {"l": 8, "r": 12, "t": 58 if bar else 12, "b": 8},
        "hovermode": "closest",
        "showlegend": any(trace.get("showlegend") for trace in traces),
        "legend": {"orientation": "h", "x": 0, "y": 0, "yref": "container", "yanchor": "bottom"},
        "shapes": shapes,
        "annotations": notes,
        "barmode": "stack",
        "bargap": 0.35,
    }
    return {"data": traces, "layout": layout, "height": round(HEIGHT * plot.height + 50 * layout["showlegend"])}


def text(words: str) -> str:
    r"""Return text as plotly.js shows it as it is: escaped, line breaks kept.

    >>> text("a <b>\nc")
    'a &lt;b&gt;<br>c'
    """
    return html.escape(words, quote=False).replace("\n", "<br>")


def numbers(values: Iterable[float]) -> list[float | None]:
    """Return numbers short enough for a page and exact enough for a plot; what is not finite is None."""
    return [float(f"{value:.6g}") if math.isfinite(value) else None for value in values]


def _axis(axis: Axis) -> dict[str, Any]:
    told: dict[str, Any] = {"title": {"text": text(axis.title), "standoff": 8}, "automargin": True}
    told["type"] = "log" if axis.log else "linear"
    if axis.log:
        # powers of ten, and 2 and 5 between them where there is room
        told |= {"dtick": "D2", "exponentformat": "power", "minexponent": 3}
    if axis.span is not None:
        low, high = axis.span
        told["range"] = [math.log10(low), math.log10(high)] if axis.log else [low, high]
    if axis.ticks:
        places = [place for place, _ in axis.ticks]
        told |= {"tickvals": places, "ticktext": [text(word) for _, word in axis.ticks]}
        told |= {"range": [min(places) - 0.5, max(places) + 0.5], "showgrid": False, "zeroline": False}
    return told


def _traces(mark: Mark, plot: Plot) -> list[dict[str, Any]]:
    if isinstance(mark, Line):
        return _line(mark, plot)
    if isinstance(mark, Points):
        return [_points(mark, plot)]
    if isinstance(mark, Band):
        return [_band(mark)]
    if isinstance(mark, Bars):
        return [_bars(mark)]
    return [_squares(mark)]


def _line(line: Line, plot: Plot) -> list[dict[str, Any]]:
    trace: dict[str, Any] = {
        "type": "scatter",
        "mode": "lines",
        "x": numbers(line.x),
        "y": numbers(line.y),
        "line": {"color": f"@{line.colour}", "width": line.width, "dash": line.dash},
        "opacity": line.opacity,
        "meta": text(line.hover),
        "hovertemplate": f"%{{meta}}<br>{text(plot.x.title)} %{{x:{_NUMBER}}}: %{{y:{_NUMBER}}}<extra></extra>",
        **_legend(line.label, line.colour),
    }
    if line.crossed:
        last = len(line.x) - 1
        sizes = [0.0] * last + [8.0]
        trace["mode"] = "lines+markers"
        trace["marker"] = {
            "symbol": "x-thin",
            "size": sizes,
            "color": f"@{line.colour}",
            "line": {"color": f"@{line.colour}", "width": [0.0] * last + [2.0]},
        }
    return [trace]


def _points(points: Points, plot: Plot) -> dict[str, Any]:
    marker: dict[str, Any] = {"symbol": _SYMBOLS[points.symbol], "size": points.size, "color": f"@{points.colour}"}
    if points.symbol == "cross":
        marker["line"] = {"color": f"@{points.colour}", "width": 1.8}
    elif points.symbol == "star":
        marker["line"] = {"color": "@paper", "width": 1.2}
    if points.values:
        low, high = plot.values_span
        marker |= {
            "color": numbers(points.values),
            "cmin": low,
            "cmax": high,
            "colorscale": "@scale" if plot.better == "max" else "@scale_reversed",
            "showscale": True,
            "line": {"color": "@paper", "width": 0.5},
            "colorbar": _bar(plot.values),
        }
    trace: dict[str, Any] = {
        "type": "scatter",
        "mode": "markers",
        "x": numbers(points.x),
        "y": numbers(points.y),
        "marker": marker,
        "hovertext": [text(words) for words in points.hovers],
        "hoverinfo": "text",
        **_legend(points.label, points.colour),
    }
    if points.x_high:
        trace["error_x"] = _interval(points.x, points.x_low, points.x_high, points.colour)
    if points.y_high:
        trace["error_y"] = _interval(points.y, points.y_low, points.y_high, points.colour)
    return trace


def _interval(at: Numbers, low: Numbers, high: Numbers, colour: str) -> dict[str, Any]:
    return {
        "type": "data",
        "symmetric": False,
        "array": numbers(h - v for h, v in zip(high, at, strict=True)),
        "arrayminus": numbers(v - end for end, v in zip(low, at, strict=True)),
        "color": f"@{colour}",
        "thickness": 1.6,
    }


def _bar(title: str) -> dict[str, Any]:
    # above the plot: a phone has no room beside it
    return {
        "orientation": "h",
        "x": 0.0,
        "xanchor": "left",
        "y": 1.0,
        "yanchor": "bottom",
        "len": 0.9,
        "thickness": 9,
        "title": {"text": text(title), "side": "top"},
        "outlinewidth": 0,
        "ypad": 2,
        "nticks": 5,
    }


def _band(band: Band) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines",
        "x": numbers([*band.x, *band.x[::-1]]),
        "y": numbers([*band.low, *band.high[::-1]]),
        "fill": "toself",
        "fillcolor": f"@{band.colour}",
        "opacity": 0.18,
        "line": {"width": 0},
        "hoverinfo": "skip",
        **_legend(band.label, band.colour),
    }


def _bars(bars: Bars) -> dict[str, Any]:
    trace: dict[str, Any] = {
        "type": "bar",
        "orientation": "h",
        "x": numbers(bars.lengths),
        "y": list(range(len(bars.lengths))),
        "marker": {"color": f"@{bars.colour}"},
        "hovertext": [text(words) for words in bars.hovers],
        "hoverinfo": "text",
        **_legend(bars.label, bars.colour),
    }
    if bars.high:
        trace["error_x"] = _interval(bars.lengths, bars.low, bars.high, "ink")
    return trace


def _legend(label: str, group: str) -> dict[str, Any]:
    # one entry switches all of its kind on and off
    return {"name": text(label), "legendgroup": group, "showlegend": bool(label)}


def _squares(squares: Squares) -> dict[str, Any]:
    found = squares.squares
    columns, rows = 1 + max(s.x for s in found), 1 + max(s.y for s in found)
    z: list[list[float | None]] = [[None] * columns for _ in range(rows)]
    hovers = [[""] * columns for _ in range(rows)]
    for square in found:
        z[square.y][square.x] = None if square.predicted or square.place is None else round(square.place, 4)
        hovers[square.y][square.x] = text(square.hover)
    return {
        "type": "heatmap",
        "z": z,
        "zmin": 0,
        "zmax": 1,
        "colorscale": [[0, "@square_low"], [1, "@square_high"]],
        "showscale": False,
        "hovertext": hovers,
        "hoverinfo": "text",
        "hoverongaps": True,
        "xgap": 3,
        "ygap": 3,
        "showlegend": False,
    }


def _frame(square: Square) -> dict[str, Any]:
    return {
        "type": "rect",
        "x0": square.x - 0.46,
        "x1": square.x + 0.46,
        "y0": square.y - 0.44,
        "y1": square.y + 0.44,
        "line": {"color": "@muted", "width": 1.5, "dash": "dash"},
    }


def _words(square: Square) -> dict[str, Any]:
    shown = text(square.text)
    return {
        "x": square.x,
        "y": square.y,
        "text": f"<i>{shown}</i>" if square.predicted else shown,
        "showarrow": False,
        "font": {"color": "@muted" if square.predicted else "@square_ink", "size": 12},
    }
