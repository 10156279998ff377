"""A picture of a study: the learning-rate curves tried, and the validation curves they led to.

Figures are built without pyplot, which would pick a window system and keep every figure in memory.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from autowarm.analysis.answer import Answer, answer_of
from autowarm.analysis.best import Horizon, best_first, has_value, horizon_order, horizon_words
from autowarm.errors import ScheduleError, SettingsError
from autowarm.files import replace
from autowarm.record import OUTCOMES, TrialRecord
from autowarm.report.palette import colour
from autowarm.words import number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure, SubFigure

# Rows of panels in a picture, and search trials in a panel: more are not told apart.
MAX_HORIZONS = 3
MAX_LINES = 120
# Points of a learning-rate curve: more than a panel has pixels is of no use.
_POINTS = 300
# An lr this far below the lowest peak is off the axis: warmup starts at 0, which a log axis cannot show.
_LOWEST_LR = 1 / 100
_SUFFIXES = (".png", ".svg")

_BEST: dict[str, Any] = {"color": colour("best"), "linewidth": 2.6, "zorder": 5}
_BASELINE: dict[str, Any] = {"color": colour("today"), "linewidth": 1.8, "linestyle": (0, (5, 2)), "zorder": 4}
_LOOKS: dict[str, dict[str, Any]] = {
    "COMPLETE": {"linewidth": 1.2, "alpha": 0.85, "zorder": 3},
    "PRUNED": {"color": colour("pruned"), "linewidth": 0.9, "alpha": 0.7, "zorder": 2},
    "DIVERGED": {"color": colour("diverged"), "linewidth": 1.0, "linestyle": ":", "alpha": 0.9, "zorder": 2},
    "FAILED": {"color": colour("failed"), "linewidth": 1.0, "linestyle": "-.", "alpha": 0.8, "zorder": 2},
}
# where a diverged trial ended
_CROSS: dict[str, Any] = {"marker": "x", "markersize": 5}
# the better, the darker
_COLOURS = {"min": "viridis", "max": "viridis_r"}
# a COMPLETE trial that has nothing to be compared with, and all of them in the legend
_PLAIN = colour("complete")

Answers: TypeAlias = Mapping[Horizon, Answer | None]


@dataclass(frozen=True)
class Panel:
    """What one row of the picture shows.

    Attributes:
        horizon: (total_steps, dataset_size).
        search: the search records drawn, the worst first, so that the better lie on top, and the answer last.
        baseline: the baseline records.
        best: the record of the answer, the last of `search` where it was searched; None where there is no answer.
        hidden: how many search records were left out.
        confirmed: what the answer reached on fresh seeds, in words; empty where it was not trained again.
    """

    horizon: Horizon
    search: tuple[TrialRecord, ...]
    baseline: tuple[TrialRecord, ...]
    best: TrialRecord | None
    hidden: int
    confirmed: str = ""


def draw(records: Sequence[TrialRecord], path: Path, *, answers: Answers | None = None) -> None:
    """Draw the records of a study to a PNG or SVG file: a row for each of the largest horizons.

    Left the learning rate over the steps that were executed, right the monitored metric. COMPLETE trials have
    the colour of their final value; the range of the axis is that of healthy trials.

    Args:
        records: of one study; none draws an empty picture that says so.
        path: ends in .png (1200 pixels wide) or .svg; replaced in one move.
        answers: of the horizons, where they are known already.

    Raises:
        SettingsError: another suffix.
        RecordError: the records of a horizon watch different metrics.
    """
    save(picture(records, answers=answers), path)


def picture(records: Sequence[TrialRecord], *, rows: int = MAX_HORIZONS, answers: Answers | None = None) -> Figure:
    """Return that picture as a figure, of at most so many of the largest horizons."""
    # levels of a ladder, too: they were trained, and are all there is of one that was interrupted
    trained: dict[Horizon, list[TrialRecord]] = {}
    for record in records:
        if record.role != "range_test":
            trained.setdefault(record.horizon, []).append(record)
    largest = sorted(trained, key=horizon_order, reverse=True)[:rows]
    panels = [panel_of(trained[horizon], horizon, answers=answers) for horizon in largest]
    figure = new_figure(width=12.0, height=4.3 * max(len(panels), 1))
    if not panels:
        figure.text(0.5, 0.5, "No trial has run yet", ha="center", va="center", fontsize=14)
    else:
        for panel, row in zip(panels, figure.subfigures(len(panels), 1, squeeze=False)[:, 0], strict=True):
            _draw_panel(panel, row)
    return figure


def new_figure(*, width: float, height: float) -> Figure:
    """Return an empty figure; sizes in inches of 100 pixels."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=100, layout="constrained")


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG or SVG, by the suffix, in one move; the same figure gives the same bytes.

    Raises:
        SettingsError: another suffix.
    """
    suffix = path.suffix.lower()
    if suffix not in _SUFFIXES:
        raise SettingsError(f"a picture ends in {' or '.join(_SUFFIXES)}, got {path.name!r}")
    replace(path, picture_bytes(figure, suffix[1:]))


def picture_bytes(figure: Figure, kind: str, *, dpi: float | None = None) -> bytes:
    """Return a figure as the bytes of a "png" or an "svg"; the same figure gives the same bytes.

    Args:
        figure: to draw.
        kind: "png" or "svg".
        dpi: pixels per inch; default: those of the figure.
    """
    import matplotlib as mpl

    data = io.BytesIO()
    with warnings.catch_warnings(), mpl.rc_context({"svg.hashsalt": "autowarm"}):
        # a name in a script the font lacks is drawn as boxes, which is no reason to stop
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        if kind == "png":
            _draw_png(figure, data, dpi=dpi)
        else:
            figure.savefig(data, format=kind, dpi=dpi or "figure", metadata={"Date": None})
    return data.getvalue()


def _draw_png(figure: Figure, data: IO[bytes], *, dpi: float | None) -> None:
    """Do what `savefig` does, but draw once: it goes through everything twice, first for the layout alone."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    usual = figure.dpi
    figure.set_dpi(dpi or usual)
    try:
        FigureCanvasAgg(figure).print_png(data)  # type: ignore[no-untyped-call] # it has no annotations
    finally:
        figure.set_dpi(usual)


def plain_text(text: str) -> str:
    """Return text that matplotlib draws as it is: a pair of dollars would be a formula."""
    return text.replace("$", r"\$")


def panel_of(
    records: Sequence[TrialRecord], horizon: Horizon, *, most: int = MAX_LINES, answers: Answers | None = None
) -> Panel:
    """Choose what a horizon's row shows: all its search trials, or an even share of `most` with the best.

    Args:
        records: of the study, or those of the horizon.
        horizon: (total_steps, dataset_size).
        most: how many search trials to show.
        answers: of the horizons, where they are known already.
    """
    here = [r for r in records if r.horizon == horizon]
    search = [r for r in here if r.role == "search"]
    answer = answers[horizon] if answers is not None and horizon in answers else answer_of(here, horizon)
    best = answer.record if answer is not None else None
    # those with a value last, the better the later, and the answer at the very end
    ended = [r for r in reversed(best_first(r for r in search if has_value(r))) if r is not best]
    search = [*(r for r in search if not has_value(r)), *ended, *(r for r in search if r is best)]
    if len(search) > most:
        kept = [search[i] for i in np.linspace(0, len(search) - 1, most).round().astype(int)]
    else:
        kept = search
    baseline = tuple(r for r in here if r.role == "baseline")
    chosen = answer.chosen if answer is not None else None
    seeds = "fresh seeds" if answer is None or answer.fresh else "all its seeds"
    confirmed = f", {number(chosen.mean, 5)} on {seeds}" if chosen is not None and chosen.mean is not None else ""
    return Panel(horizon, tuple(kept), baseline, best, len(search) - len(kept), confirmed)


def lr_curve(record: TrialRecord) -> tuple[list[int], list[float]] | None:
    """Return (steps, lrs) that a record executed, thinned; None without a schedule or a step."""
    if record.schedule is None:
        return None
    # a COMPLETE record that somebody else's table made may not count its steps
    end = record.total_steps if record.outcome == "COMPLETE" else min(record.steps, record.total_steps)
    try:
        lrs = record.schedule.lrs(total_steps=record.total_steps)
        peak = record.schedule.peak_step_of(record.total_steps)
    except ScheduleError:
        return None
    steps = np.linspace(0, record.total_steps - 1, min(_POINTS, record.total_steps)).round().astype(int)
    steps = np.unique(np.append(steps, peak))
    steps = steps[steps < end]
    return (steps.tolist(), lrs[steps].tolist()) if len(steps) else None


def healthy_range(panel: Panel) -> tuple[float, float] | None:
    """Return the (low, high) of the metric that is worth showing, or None where nothing finite was measured.

    It holds the better four fifths of what COMPLETE trials measured and the final values of the best and of
    today's: a diverging curve leaves the axis.
    """
    runs = [*panel.search, *panel.baseline]
    complete = [r for r in runs if r.outcome == "COMPLETE"]
    values = np.array([v for r in (complete or runs) for _, v in r.rungs], dtype=float)
    finals = [r.value for r in (*panel.baseline, *panel.search[-5:]) if has_value(r) and r.value is not None]
    values = values[np.isfinite(values)]
    if values.size == 0:
        if not finals:
            return None
        values = np.array(finals)
    worst = 80 if runs[0].mode == "min" else 20
    bound = float(np.percentile(values, worst))
    extreme = float(values.min() if runs[0].mode == "min" else values.max())
    low, high = min(bound, extreme, *finals), max(bound, extreme, *finals)
    margin = 0.05 * (high - low) or 0.05 * abs(high) or 0.05
    return low - margin, high + margin


def _draw_panel(panel: Panel, row: SubFigure) -> None:
    import matplotlib as mpl
    from matplotlib.cm import ScalarMappable

    left, right = row.subplots(1, 2)
    runs = [*panel.search, *panel.baseline]
    norm = _colour_range(panel)
    colours = mpl.colormaps[_COLOURS[runs[0].mode]]
    for record in runs:
        style = _style(record, panel.best)
        if "color" not in style:
            style["color"] = colours(norm(record.value or 0.0)) if norm and has_value(record) else _PLAIN
        _draw_record(record, style, left, right)
    _finish_lr_axis(panel, left)
    _finish_metric_axis(panel, right)
    if norm:
        bar = row.colorbar(ScalarMappable(norm, colours), ax=right, pad=0.02)
        bar.set_label(plain_text(f"final {runs[0].monitor}"))
    _title(panel, row)
    _legend(panel, row)


def _style(record: TrialRecord, best: TrialRecord | None) -> dict[str, Any]:
    if record is best:
        return dict(_BEST)
    return dict(_BASELINE if record.role == "baseline" else _LOOKS[record.outcome])


def _draw_record(record: TrialRecord, style: dict[str, Any], left: Axes, right: Axes) -> None:
    mark: dict[str, Any] = {"markevery": [-1], **_CROSS} if record.outcome == "DIVERGED" else {}
    curve = lr_curve(record)
    if curve:
        # far below the axis instead of 0: the line then comes up from the bottom edge
        _add_line(left, curve[0], np.maximum(curve[1], 1e-300), {**style, **mark})
    points = [(step, value) for step, value in record.rungs if np.isfinite(value)]
    if points:
        steps, values = zip(*points, strict=True)
        _add_line(right, steps, values, {**style, **mark})


def _add_line(axes: Axes, x: ArrayLike, y: ArrayLike, style: Mapping[str, Any]) -> None:
    """Do what `axes.plot` does, but for the range of the axes, which is set in the end: a third of the time."""
    from matplotlib.lines import Line2D

    axes.add_artist(Line2D(x, y, **style))


def _colour_range(panel: Panel) -> Normalize | None:
    """Map final values to colours, the worst fifth to one: a bad trial must not flatten the rest."""
    from matplotlib.colors import Normalize

    finals = [r.value for r in panel.search if has_value(r) and r.value is not None]
    if len(finals) < 2:
        return None
    worst = float(np.percentile(finals, 80 if panel.search[0].mode == "min" else 20))
    low, high = (min(finals), worst) if panel.search[0].mode == "min" else (worst, max(finals))
    return Normalize(low, high, clip=True) if low < high else None


def _finish_lr_axis(panel: Panel, axes: Axes) -> None:
    from matplotlib.ticker import NullFormatter

    peaks = [r.schedule.initial_lr for r in (*panel.search, *panel.baseline) if r.schedule is not None]
    axes.set_yscale("log")
    if peaks:
        axes.set_ylim(min(peaks) * _LOWEST_LR, max(peaks) * 1.5)
        # over so many decades minor ticks have no labels anyway, which takes matplotlib long to find out
        axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_xlim(0, panel.horizon[0])
    axes.set_xlabel("optimizer step")
    axes.set_ylabel("learning rate (log)")
    axes.grid(alpha=0.25)


def _finish_metric_axis(panel: Panel, axes: Axes) -> None:
    runs = [*panel.search, *panel.baseline]
    span = healthy_range(panel)
    if span:
        axes.set_ylim(*span)
    else:
        axes.text(
            0.5,
            0.5,
            "nothing was validated",
            ha="center",
            va="center",
            transform=axes.transAxes,
            color="#666666",
        )
    axes.set_xlim(0, panel.horizon[0])
    axes.set_xlabel("optimizer step")
    if runs:
        axes.set_ylabel(plain_text(f"{runs[0].monitor} ({'less' if runs[0].mode == 'min' else 'more'} is better)"))
    axes.grid(alpha=0.25)


def _title(panel: Panel, row: SubFigure) -> None:
    said = horizon_words(panel.horizon)
    if panel.best is not None and panel.best.schedule is not None:
        said += f"\nbest: {panel.best.schedule}: {panel.best.monitor} {number(panel.best.value, 5)}{panel.confirmed}"
    row.suptitle(plain_text(said), fontsize=10, x=0.01, ha="left")


def _legend(panel: Panel, row: SubFigure) -> None:
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], **_BEST, label="best")] if panel.best is not None else []
    if panel.baseline:
        handles.append(Line2D([], [], **_BASELINE, label="today"))
    for outcome in OUTCOMES:
        count = sum(r.outcome == outcome for r in panel.search)
        if count:
            style: dict[str, Any] = {"color": _PLAIN, **_LOOKS[outcome]}
            mark = _CROSS if outcome == "DIVERGED" else {}
            handles.append(Line2D([], [], **style, **mark, label=f"{count} {outcome}"))
    note = f"{panel.hidden} more are not drawn" if panel.hidden else None
    row.legend(handles=handles, loc="outside lower center", ncols=6, fontsize=9, frameon=False, title=note)
