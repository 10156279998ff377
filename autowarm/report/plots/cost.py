"""The plot of what was spent."""

from __future__ import annotations

from autowarm.analysis.best import Horizon, horizon_words
from autowarm.analysis.spend import Spend
from autowarm.record import OUTCOMES
from autowarm.report.contents import Contents
from autowarm.report.plot import Axis, Bars, Plot
from autowarm.words import counted, duration

_MAX_HORIZONS = 8
# part of the cost: (role, outcome or any, colour, in the legend)
_PARTS = (
    ("range_test", None, "range", "range test"),
    *(("search", outcome, outcome.lower(), f"search, {outcome}") for outcome in OUTCOMES),
    ("confirm", None, "second", "the best again"),
    ("baseline", None, "ink", "today's schedule"),
)


def cost(contents: Contents) -> Plot | str:
    """Return the cost of each horizon in full runs, by what it was spent on."""
    if not contents.records or contents.target is None:
        return "what these runs cost is not known"
    drawn = dict(list(contents.spent_by_horizon.items())[:_MAX_HORIZONS][::-1])
    marks = []
    for role, outcome, colour, label in _PARTS:
        parts = [spent.of(role, outcome) for spent in drawn.values()]
        if any(part.total.cost for part in parts):
            lengths, hovers = tuple(part.full_runs for part in parts), tuple(_hover(label, part) for part in parts)
            marks.append(Bars(lengths=lengths, hovers=hovers, colour=colour, label=label))
    if not marks:
        return "no trial has taken a step"
    hidden = len(contents.spent_by_horizon) - len(drawn)
    return Plot(
        name="cost",
        title="What it cost to find, in full runs",
        x=Axis(title="full runs of as many steps"),
        y=Axis(title="", ticks=tuple((float(i), _two_lines(h)) for i, h in enumerate(drawn))),
        marks=tuple(marks),
        note=f"The {len(drawn)} longest of {len(drawn) + hidden} horizons are drawn." * (hidden > 0),
        height=0.38 + 0.14 * len(drawn),
    )


def _two_lines(horizon: Horizon) -> str:
    return horizon_words(horizon).replace(", ", "\n")


def _hover(label: str, spent: Spend) -> str:
    total = spent.total
    of = f"{counted(total.trials, 'trial')}, {total.steps:,} steps, {duration(total.seconds)}"
    return f"{label}: {spent.full_runs:.2f} full runs\n{of}"
