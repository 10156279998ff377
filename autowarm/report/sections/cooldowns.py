"""The part of a report on what one trunk told of lengths and cooldowns."""

from __future__ import annotations

from autowarm.report.contents import Contents
from autowarm.report.document import Figure, Section, bullets, table
from autowarm.words import number


def cooldowns(contents: Contents) -> Section | None:
    """Return the final metric against total_steps and the cooldown's share, from the trials of one trunk."""
    found = contents.cooldowns
    if found is None:
        return None
    rows, word = [], " (lowest)" if found.mode == "min" else " (highest)"
    for steps in found.total_steps:
        best = found.best_of(steps)
        cells = []
        for cooldown in found.cooldowns:
            value = found.values.get((steps, cooldown))
            cells.append("-" if value is None else number(value, 5) + word * (cooldown == best))
        rows.append((f"{steps:,}", *cells))
    header = ("total_steps", *(f"cooldown {cooldown}" for cooldown in found.cooldowns))
    blocks = [*bullets(found.sentences()), Figure("cooldowns"), table(header, rows)]
    return Section("Length and cooldown", tuple(blocks))
