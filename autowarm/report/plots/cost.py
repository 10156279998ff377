"""The plot of what was spent."""

from __future__ import annotations

from collections.abc import Iterable

from autowarm.analysis.best import Horizon, horizon_words
from autowarm.analysis.spend import full_run_cost
from autowarm.record import OUTCOMES, TrialRecord
from autowarm.report.contents import Contents
from autowarm.report.plot import Axis, Bars, Plot
from autowarm.words import counted, duration

_MAX_HORIZONS = 8
# part of the cost: (role, outcome or any, colour, in the legend)
_PARTS = (
    ("range_test", "", "range", "range test"),
    *(("search", outcome, outcome.lower(), f"search, {outcome}") for outcome in OUTCOMES),
    ("confirm", "", "second", "the best again"),
    ("baseline", "", "ink", "today's schedule"),
)


def cost(contents: Contents) -> Plot | str:
    """Return the cost of each horizon in full runs, by what it was spent on."""
    if not contents.records or contents.target is None:
        return "what these runs cost is not known"
    groups: dict[Horizon, list[TrialRecord]] = {h: [] for h in list(contents.spent_by_horizon)[:_MAX_HORIZONS][::-1]}
    for record in contents.records:
        horizon = record.target if record.role != "range_test" else contents.target
        if horizon in groups:
            groups[horizon].append(record)
    units = [full_run_cost(records, horizon) for horizon, records in groups.items()]
    by_part = [_parted(records) for records in groups.values()]
    marks = []
    for role, outcome, colour, label in _PARTS:
        parts = [found.get((role, outcome), []) for found in by_part]
        lengths = tuple(sum(r.cost for r in part) / unit for part, unit in zip(parts, units, strict=True))
        if any(lengths):
            hovers = tuple(_hover(label, part, length) for part, length in zip(parts, lengths, strict=True))
            marks.append(Bars(lengths=lengths, hovers=hovers, colour=colour, label=label))
    if not marks:
        return "no trial has taken a step"
    hidden = len(contents.spent_by_horizon) - len(groups)
    return Plot(
        name="cost",
        title="What it cost to find, in full runs",
        x=Axis(title="full runs of as many steps"),
        y=Axis(title="", ticks=tuple((float(i), _two_lines(h)) for i, h in enumerate(groups))),
        marks=tuple(marks),
        note=f"The {len(groups)} longest of {len(groups) + hidden} horizons are drawn." * (hidden > 0),
        height=0.38 + 0.14 * len(groups),
    )


def _parted(records: Iterable[TrialRecord]) -> dict[tuple[str, str], list[TrialRecord]]:
    """Return records by role, those of the search by their outcome, too: as `_PARTS` names them."""
    found: dict[tuple[str, str], list[TrialRecord]] = {}
    for record in records:
        found.setdefault((record.role, record.outcome if record.role == "search" else ""), []).append(record)
    return found


def _two_lines(horizon: Horizon) -> str:
    return horizon_words(horizon).replace(", ", "\n")


def _hover(label: str, records: list[TrialRecord], length: float) -> str:
    steps, seconds = sum(r.own_steps for r in records), sum(r.seconds for r in records)
    return f"{label}: {length:.2f} full runs\n{counted(len(records), 'trial')}, {steps:,} steps, {duration(seconds)}"
