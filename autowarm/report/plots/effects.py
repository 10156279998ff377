"""Plots of what the analyses found: decays, importance, and how the best learning rate scales."""

from __future__ import annotations

import math

import numpy as np

from autowarm.analysis.estimate import Estimate
from autowarm.analysis.recommend import lr_band
from autowarm.analysis.scaling import HorizonBest
from autowarm.report.contents import Contents
from autowarm.report.plot import Axis, Band, Bars, Line, Mark, Plot, Points
from autowarm.report.sections.matters import told_pairs
from autowarm.report.words import interval, lr_interval, share_interval

# A fit is shown beyond the runs, up to this factor of their lengths.
_BEYOND = 8.0
_POINTS = 60


def decays(contents: Contents) -> Plot | str:
    """Return the metric that each decay reached at its own best learning rate, the best on top."""
    choice = contents.decays
    if choice is None or not choice.decays:
        return "there are too few runs of different decays to compare"
    order = choice.decays[::-1]
    rows = list(enumerate(order))
    marks = []
    for wanted, colour, label in ((True, "complete", "the best, and ties with it"), (False, "pruned", "others")):
        of = [(y, d) for y, d in rows if (d.tied or d is choice.decays[0]) == wanted and math.isfinite(d.value.value)]
        if of:
            marks.append(
                Points(
                    x=tuple(d.value.value for _, d in of),
                    y=tuple(float(y) for y, _ in of),
                    x_low=tuple(_end(d.value, d.value.low) for _, d in of),
                    x_high=tuple(_end(d.value, d.value.high) for _, d in of),
                    hovers=tuple(
                        f"{d.decay}: {interval(d.value, 5)}\nbest lr {lr_interval(d.lr)}\n{d.runs:,} runs"
                        for _, d in of
                    ),
                    colour=colour,
                    size=10,
                    label=label,
                )
            )
    if not marks:
        return "no decay has a value"
    less = "less" if contents.runs.mode == "min" else "more"
    return Plot(
        name="decays",
        title=f"Each decay at its own best learning rate, {choice.total_steps:,.0f} steps",
        x=Axis(title=f"{contents.runs.metric} ({less} is better), 90 % interval"),
        y=Axis(title="", ticks=tuple((float(y), d.decay) for y, d in rows)),
        marks=tuple(marks),
        height=0.4 + 0.09 * len(order),
    )


def _end(estimate: Estimate, end: float) -> float:
    return end if math.isfinite(end) else estimate.value


def importance(contents: Contents) -> Plot | str:
    """Return the share of the variance that each choice accounts for, alone and in pairs."""
    found = contents.importance
    if found is None or not found.names:
        return "there are too few runs to tell what matters"
    order = sorted(zip(found.names, found.main, strict=True), key=lambda pair: -pair[1].value)
    told = [(name, share, "alone") for name, share in order]
    told += [(f"{a} with {b}", share, "together") for a, b, share in told_pairs(found)]
    told.reverse()
    marks = tuple(
        Bars(
            lengths=tuple(100 * share.value if kind == of else 0.0 for _, share, kind in told),
            # no interval on the bars of the other kind
            low=tuple(100 * share.low if kind == of else math.nan for _, share, kind in told),
            high=tuple(100 * share.high if kind == of else math.nan for _, share, kind in told),
            hovers=tuple(f"{name}: {share_interval(share)}" for name, share, _ in told),
            colour=colour,
            label=label,
        )
        for of, colour, label in (("alone", "first", "on its own"), ("together", "fourth", "by how two go together"))
        if any(kind == of for *_, kind in told)
    )
    return Plot(
        name="importance",
        title=f"What the variance of {contents.runs.metric} comes from",
        # on a phone there is room for no more
        x=Axis(title="share of the variance, %", span=(0.0, 100.0)),
        y=Axis(title="", ticks=tuple((float(y), name) for y, (name, *_) in enumerate(told))),
        marks=marks,
        note="Thin lines are 90 % intervals.",
        height=0.4 + 0.075 * len(told),
    )


def scaling(contents: Contents) -> Plot | str:
    """Return the best learning rate over total_steps: from the runs of each length, and the fit with its band."""
    found = contents.scaling
    if found is None or not found.horizons:
        return "there are too few runs to tell how the best learning rate scales"
    seen = [h.total_steps for h in found.horizons]
    low, high = min(seen), max(seen)
    inside, beyond = np.geomspace(low, high, _POINTS), np.geomspace(high, high * _BEYOND, _POINTS)
    parts = [(inside, "solid", "fit")] if high > low else []
    marks: list[Mark] = []
    for steps, dash, label in (*parts, (beyond, "dash", "beyond the runs")):
        value, bottom, top = (np.asarray(end, dtype=float) for end in lr_band(found, steps))
        if not np.isfinite([value, bottom, top]).all():
            continue
        x = tuple(steps.tolist())
        marks.append(
            Band(
                x=x,
                low=tuple(bottom.tolist()),
                high=tuple(top.tolist()),
                colour="complete",
                label="" if marks else "90 % band",
            )
        )
        marks.append(
            Line(
                x=x,
                y=tuple(value.tolist()),
                colour="complete",
                label=label,
                hover=label,
                width=2.5,
                dash=dash,  # type: ignore[arg-type] # a word of Dash
            )
        )
    points = [h for h in found.horizons if math.isfinite(h.lr.value) and h.lr.value > 0]
    if points:
        marks.append(
            Points(
                x=tuple(h.total_steps for h in points),
                y=tuple(h.lr.value for h in points),
                y_low=tuple(h.lr.low if h.lr.low > 0 and math.isfinite(h.lr.low) else h.lr.value for h in points),
                y_high=tuple(_end(h.lr, h.lr.high) for h in points),
                hovers=tuple(_horizon_hover(h, contents.runs.metric) for h in points),
                colour="best",
                size=9,
                label="best lr of runs of that length alone",
            )
        )
    return Plot(
        name="scaling",
        title="Best peak learning rate by length of run",
        x=Axis(title="total_steps", log=True),
        y=Axis(title="best peak learning rate", log=True),
        marks=tuple(marks),
    )


def _horizon_hover(horizon: HorizonBest, metric: str) -> str:
    size = f", dataset_size {horizon.dataset_size:,.0f}" if math.isfinite(horizon.dataset_size) else ""
    return (
        f"total_steps {horizon.total_steps:,.0f}{size}\nbest lr {lr_interval(horizon.lr)}\n"
        f"{metric} {interval(horizon.value, 5)}\n{horizon.runs:,} runs"
    )
