"""The part of a report on which decay to use."""

from __future__ import annotations

from autowarm.analysis.decay_choice import DecayBest
from autowarm.report.contents import Contents
from autowarm.report.document import Figure, Section, bullets, table
from autowarm.report.words import interval, lr_interval

_BOUNDS = {"low": ", at the low end of what was tried", "high": ", at the high end of what was tried"}


def which_decay(contents: Contents) -> Section | None:
    """Return the decays, each at its own best lr, the best first."""
    choice = contents.decays
    if choice is None or not choice.decays:
        return None
    blocks = bullets(choice.sentences())
    rows = [_row(decay, place) for place, decay in enumerate(choice.decays)]
    header = ("decay", f"{contents.runs.metric} at its best lr (90 % interval)", "its best lr", "runs", "")
    blocks += [Figure("decays"), table(header, rows)]
    return Section("Which decay", tuple(blocks))


def _row(decay: DecayBest, place: int) -> tuple[str, ...]:
    verdict = "the best" if place == 0 else "a tie with the best" if decay.tied else ""
    bound = _BOUNDS.get(decay.bound or "", "")
    return (decay.decay, interval(decay.value, 5), lr_interval(decay.lr) + bound, f"{decay.runs:,}", verdict)
