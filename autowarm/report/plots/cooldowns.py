"""The plot of what one trunk told of lengths and cooldowns."""

from __future__ import annotations

from autowarm.report.contents import Contents
from autowarm.report.palette import SERIES
from autowarm.report.plot import Axis, Dash, Line, Mark, Plot, Points
from autowarm.words import number

# Cooldowns that are told apart by their colours and dashes.
_DASHES: tuple[Dash, ...] = ("solid", "dash", "dot")


def cooldowns(contents: Contents) -> Plot | str:
    """Return the final metric over total_steps, a line a cooldown; over the cooldown where there is but one length."""
    found = contents.cooldowns
    if found is None:
        return "no trials of several cooldowns or lengths have shared a trunk"
    less = "less" if found.mode == "min" else "more"
    over_steps = len(found.total_steps) > 1
    series = found.cooldowns if over_steps else found.total_steps
    marks: list[Mark] = []
    for i, one in enumerate(series):
        cells = [(steps, c) for steps, c in found.values if (c if over_steps else steps) == one]
        points = sorted((float(steps) if over_steps else 100 * c.share, found.values[steps, c]) for steps, c in cells)
        x, y = tuple(x for x, _ in points), tuple(y for _, y in points)
        label = f"cooldown {one}" if over_steps else f"{one:,} steps"
        colour, dash = SERIES[i % len(SERIES)], _DASHES[i // len(SERIES) % len(_DASHES)]
        if len(x) > 1:
            marks.append(Line(x=x, y=y, colour=colour, dash=dash, width=2.0, label=label, hover=label))
        hovers = tuple(f"{label}: {found.metric} {number(value, 5)}" for value in y)
        marks.append(Points(x=x, y=y, hovers=hovers, colour=colour, size=8, label=label * (len(x) == 1)))
    across = Axis(title="total_steps", log=True) if over_steps else Axis(title="cooldown, % of the run")
    return Plot(
        name="cooldowns",
        title=f"Final {found.metric} of one trunk's trials",
        x=across,
        y=Axis(title=f"{found.metric} ({less} is better)"),
        marks=tuple(marks),
        note=" ".join(found.sentences()),
    )
