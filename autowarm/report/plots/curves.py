"""Plots over the optimizer steps: learning rates, validation losses, and the losses of a range test."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from autowarm.analysis.best import has_value, ranked
from autowarm.planning.range_test import sweep_of
from autowarm.record import OUTCOMES, TrialRecord
from autowarm.report.contents import Contents
from autowarm.report.palette import SERIES
from autowarm.report.picture import healthy_range, lr_curve, panel_of
from autowarm.report.plot import Axis, Band, Line, Mark, Plot
from autowarm.report.plots.thinning import thinned
from autowarm.report.range_picture import loss_range
from autowarm.words import number

# Schedules whose learning rates are drawn next to today's: more are not told apart.
TOP = 10
MAX_CURVES = 60
_POINTS_OF_A_CURVE = 200
# Peaks further apart than that are seen on a logarithmic axis only.
_WIDE = 30.0
_LOWEST_LR = 1 / 100
# what the legend says of an outcome, and how it is drawn
_WIDTHS = {"COMPLETE": 1.3, "PRUNED": 1.0, "DIVERGED": 1.2, "FAILED": 1.0}


def lr_curves(contents: Contents) -> Plot | str:
    """Return the learning rates of the top schedules at the target, and of today's."""
    if not contents.records or contents.target is None:
        return "there are no trials whose learning rates are known step by step"
    here = contents.at(contents.target)
    answer = contents.answer.record if contents.answer is not None else None
    order = [r for r in ranked(here, contents.target) if r is not answer][: TOP - 1]
    today = _first_of_each(r for r in here if r.role == "baseline")
    marks = [_lr_line(r, "complete", "other top schedules" if i == 0 else "") for i, r in enumerate(order)]
    marks += [_lr_line(r, "today", "today" if i == 0 else "") for i, r in enumerate(today)]
    marks += [_lr_line(answer, "best", "the answer")] if answer is not None else []
    lines = [line for line in marks if line is not None]
    if not lines:
        return "no trial at the target horizon has a schedule that took a step"
    peaks = [max(line.y) for line in lines if max(line.y) > 0]
    log = bool(peaks) and max(peaks) / min(peaks) > _WIDE
    span = (min(peaks) * _LOWEST_LR, max(peaks) * 1.5) if log else None
    # warmup starts at 0, which a logarithmic axis cannot show: the line then comes up from below
    lines = [_raised(line, min(peaks) * _LOWEST_LR / 10) if log else _simplified(line) for line in lines]
    return Plot(
        name="lr_curves",
        title="Learning rates of the top schedules and of today's",
        x=Axis(title="optimizer step"),
        y=Axis(title="learning rate", log=log, span=span),
        marks=tuple(lines),
    )


def _first_of_each(records: Iterable[TrialRecord]) -> list[TrialRecord]:
    found: dict[str, TrialRecord] = {}
    for record in records:
        found.setdefault(record.label, record)
    return list(found.values())


def _lr_line(record: TrialRecord, colour: str, label: str) -> Line | None:
    curve = lr_curve(record)
    if curve is None:
        return None
    value = f"\n{record.monitor} {number(record.value, 5)}" if has_value(record) else ""
    return Line(
        x=tuple(curve[0]),
        y=tuple(curve[1]),
        colour=colour,
        label=label,
        hover=f"{record.label}{value}",
        width=3.0 if colour == "best" else 2.0 if colour == "today" else 1.2,
        dash="dash" if colour == "today" else "solid",
        opacity=0.6 if colour == "complete" else 1.0,
    )


def _simplified(line: Line) -> Line:
    """Leave out points that lie on the straight line between their neighbours."""
    x, y = np.array(line.x, dtype=float), np.array(line.y, dtype=float)
    if len(x) < 3:
        return line
    slopes = np.diff(y) / np.diff(x)
    bends = np.abs(np.diff(slopes)) > 1e-6 * (float(np.abs(slopes).max()) or 1.0)
    kept = np.flatnonzero(np.concatenate(([True], bends, [True])))
    return replace(line, x=tuple(x[kept].tolist()), y=tuple(y[kept].tolist()))


def _raised(line: Line, floor: float) -> Line:
    return replace(line, y=tuple(max(value, floor) for value in line.y))


def loss_curves(contents: Contents) -> Plot | str:
    """Return the validation curves of the trials at the target, coloured by how they ended."""
    if not contents.records or contents.target is None:
        return "there are no trials whose validation was followed"
    panel = panel_of(contents.at(contents.target), contents.target, most=MAX_CURVES - 2, answers=contents.answers)
    marks: list[Mark] = []
    for outcome in OUTCOMES:
        of_outcome = [r for r in panel.search if r.outcome == outcome and r is not panel.best]
        lines = [line for r in of_outcome if (line := _loss_line(r, outcome.lower()))]
        # one of them stands for all in the legend
        lines[:1] = [replace(lines[0], label=f"{len(lines)} {outcome}")] if lines else []
        marks += lines
    today = _first_of_each(panel.baseline)[:1]
    marks += [line for r in today if (line := _loss_line(r, "today", "today"))]
    if panel.best is not None and (line := _loss_line(panel.best, "best", "the answer")):
        marks.append(line)
    if not marks:
        return "no trial at the target horizon was validated"
    one = panel.search[0] if panel.search else panel.baseline[0]
    total = len(panel.search) + panel.hidden
    note = f"{len(panel.search)} of {total:,} trials are drawn, from the best to the worst."
    return Plot(
        name="loss_curves",
        title=f"{one.monitor} on the way, by outcome",
        x=Axis(title="optimizer step"),
        y=Axis(title=f"{one.monitor} ({'less' if one.mode == 'min' else 'more'} is better)", span=healthy_range(panel)),
        marks=tuple(marks),
        note=note if panel.hidden else "",
    )


def _loss_line(record: TrialRecord, colour: str, label: str = "") -> Line | None:
    points = [(step, value) for step, value in record.rungs if math.isfinite(value)]
    if not points:
        return None
    kept = [points[i] for i in thinned(len(points), _POINTS_OF_A_CURVE)]
    steps, values = zip(*kept, strict=True)
    ended = f"{record.outcome} after {record.steps:,} steps" if record.outcome != "COMPLETE" else "COMPLETE"
    return Line(
        x=steps,
        y=values,
        colour=colour,
        label=label,
        hover=f"trial {record.trial}: {record.label}\n{ended}",
        width=3.0 if colour == "best" else 2.2 if colour == "today" else _WIDTHS[record.outcome],
        dash="dash" if colour == "today" else "dot" if colour == "diverged" else "solid",
        opacity=1.0 if colour in ("best", "today") else 0.65,
        crossed=colour == "diverged",
    )


def range_test(contents: Contents) -> Plot | str:
    """Return the training loss of the range test over the learning rate, with the range that it found."""
    found = contents.range_found
    tests = [r for r in contents.records if r.role == "range_test" and r.schedule is not None and r.train_curve]
    if found is None or not tests:
        return "no range test was run"
    sweeps = [sweep_of(record) for record in tests]
    span = loss_range(sweeps)
    marks: list[Mark] = []
    if span is not None:
        ends = (found.low, found.high)
        marks.append(Band(x=ends, low=(span[0],) * 2, high=(span[1],) * 2, colour="range", label="range searched"))
    colours = SERIES
    for i, (record, sweep) in enumerate(zip(tests[:MAX_CURVES], sweeps, strict=False)):
        points = [(lr, loss) for lr, loss in zip(sweep.lrs, sweep.losses, strict=True) if math.isfinite(loss)]
        if not points:
            continue
        lrs, losses = zip(*(points[i] for i in thinned(len(points), _POINTS_OF_A_CURVE)), strict=True)
        label = f"seed {record.seed}"
        marks.append(Line(x=lrs, y=losses, colour=colours[i % len(colours)], label=label, hover=label))
    return Plot(
        name="range_test",
        title="Training loss of the range test over the learning rate",
        x=Axis(title="learning rate", log=True),
        y=Axis(title="training loss", span=span),
        marks=tuple(marks),
    )
