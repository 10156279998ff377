"""Text that goes into Markdown: tables, and what their cells say of a schedule."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from autowarm.analysis.best import warmup_share, warmup_steps
from autowarm.record import TrialRecord
from autowarm.schedule import Schedule
from autowarm.words import number


def escape(text: object) -> str:
    """Return text that Markdown shows as it is, on one line, inside a table too: no HTML, links or columns.

    >>> print(escape("a <i>"))
    a &lt;i&gt;
    """
    shown = " ".join(str(text).split())
    for char, safe in (("\\", "\\\\"), ("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
        shown = shown.replace(char, safe)
    for char in "|`*[]":
        shown = shown.replace(char, "\\" + char)
    return shown


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """Return the lines of a table, every cell escaped."""
    body = ["| " + " | ".join(escape(cell) for cell in row) + " |" for row in (header, *rows)]
    return [body[0], "|" + "---|" * len(header), *body[1:]]


def lr_cell(schedule: Schedule | None) -> str:
    """Return the peak learning rate."""
    return "-" if schedule is None else number(schedule.initial_lr, 4)


def warmup_cell(record: TrialRecord) -> str:
    """Return the length of the warmup as a share and in steps, and its shape where it is not linear."""
    share, steps, schedule = warmup_share(record), warmup_steps(record), record.schedule
    if schedule is None or share is None or steps is None:
        return "-"
    if steps == 0:
        return "none"
    shape = "" if schedule.warmup == "linear" else f", {schedule.warmup}"
    return f"{number(share * 100)} % ({steps:,} steps{shape})"


def decay_cell(schedule: Schedule | None) -> str:
    """Return the decay and its parameters."""
    return "-" if schedule is None else schedule.decay_words
