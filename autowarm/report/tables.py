"""Records as flat tables, one row a record.

They are made column by column: of a hundred thousand records that takes half as long as row by row.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from autowarm.analysis.best import warmup_share, warmup_steps
from autowarm.decays import DECAY_PARAMETERS
from autowarm.record import TrialRecord
from autowarm.schedule import OPTIONS

if TYPE_CHECKING:
    import pandas as pd

_BREAK = "\r\n"
# With these a spreadsheet's formulas begin.
_FORMULAS = ("=", "+", "-", "@", "\t", "\r", "\n")
# What few records tell: columns only where one does, after the others.
RARE: tuple[str, ...] = ("timescale", *OPTIONS, "target_steps")
_OWN = tuple(name for name in DECAY_PARAMETERS if name not in RARE)
COLUMNS: tuple[str, ...] = (
    *("study", "trial", "role", "outcome", "value", "monitor", "mode"),
    *("initial_lr", "warmup_ratio", "warmup_steps", "warmup", "warmup_start_ratio"),
    *("decay", *_OWN, "final_lr_ratio"),
    *("total_steps", "dataset_size", "batch_size", "seed"),
    *("steps", "val_batches", "cost", "seconds"),
    *("label", "reason", "error"),
)
# All other columns hold numbers.
WORDS: tuple[str, ...] = (
    *("study", "role", "outcome", "monitor", "mode", "warmup", "decay", "cooldown", "decay_from", "decay_to"),
    *("label", "reason", "error"),
)
_SAME_NAME = (
    *("study", "trial", "role", "outcome", "value", "monitor", "mode", "total_steps", "dataset_size"),
    *("batch_size", "seed", "steps", "val_batches", "cost", "seconds", "label", "reason"),
)
_OF_SCHEDULE = ("initial_lr", "warmup", "warmup_start_ratio", "decay", *_OWN, "final_lr_ratio")


def to_columns(records: Iterable[TrialRecord]) -> dict[str, list[Any]]:
    """Return records as {column: a value of each}, in the order of `COLUMNS`; then those of `RARE` that there are.

    `warmup_ratio` and `warmup_steps` are both filled in, whichever the schedule gives; `error` is the last
    line of the traceback. What does not apply is None.
    """
    records = list(records)
    # those of a job's own scheduler have none
    schedules = [record.schedule for record in records]
    found: dict[str, list[Any]] = {name: list(map(attrgetter(name), records)) for name in _SAME_NAME}
    found |= {name: [getattr(schedule, name, None) for schedule in schedules] for name in _OF_SCHEDULE}
    found["warmup_ratio"] = [warmup_share(record) for record in records]
    found["warmup_steps"] = [warmup_steps(record) for record in records]
    found["error"] = [last_line(record.error) for record in records]
    found["timescale"] = [getattr(schedule, "timescale", None) for schedule in schedules]
    found["target_steps"] = [record.target_steps for record in records]
    for name, (usual, *_) in OPTIONS.items():
        values = [getattr(schedule, name, usual) for schedule in schedules]
        found[name] = [None if value == usual else value for value in values]
    rare = [name for name in RARE if any(value is not None for value in found[name])]
    return {name: found[name] for name in (*COLUMNS, *rare)}


def last_line(text: str | None) -> str | None:
    """Return the last line of a text that says something: of a traceback, the exception and its message."""
    lines = [line.strip() for line in (text or "").splitlines() if line.strip()]
    return lines[-1] if lines else None


def to_frame(records: Iterable[TrialRecord]) -> pd.DataFrame:
    """Return the records as a DataFrame: a row for each in the order given, the columns of `COLUMNS`, and of `RARE`.

    Curves are left out; `autowarm.record.read_jsonl` has them.
    """
    import pandas as pd

    return pd.DataFrame(to_columns(records))


def to_csv(records: Iterable[TrialRecord], *, for_spreadsheets: bool = True) -> str:
    """Return the same table as CSV text; floats in full, an empty field for what does not apply.

    Args:
        records: of one study.
        for_spreadsheets: a word that a spreadsheet would take for a formula (it begins with =, +, -, @, a tab or a
            break) has an apostrophe before it.
    """
    return to_both_csv(records)[0 if for_spreadsheets else 1]


def to_both_csv(records: Iterable[TrialRecord]) -> tuple[str, str]:
    """Return the table as CSV text for spreadsheets, and the same table for anything else: see `to_csv`."""
    columns = to_columns(records)
    plain = _csv(columns)
    formulas = {name: {cell for cell in set(columns[name]) if _is_formula(cell)} for name in WORDS if name in columns}
    if not any(formulas.values()):
        return plain, plain
    safe = {name: [f"'{cell}" if cell in found else cell for cell in columns[name]] for name, found in formulas.items()}
    return _csv(columns | safe), plain


def _csv(columns: Mapping[str, list[Any]]) -> str:
    # not by way of pandas: its import is a quarter of the time that `autowarm report` may take
    text = _Lines()
    # by the name of both breaks: a cell that holds either is quoted then
    writer = csv.writer(text, lineterminator=_BREAK)
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    return "".join(text)


class _Lines(list[str]):
    """Takes what a writer writes, a row each time; rows end as all our files' lines do."""

    def write(self, row: str) -> None:
        self.append(row.removesuffix(_BREAK) + "\n")


def _is_formula(cell: Any) -> bool:
    # OWASP, CSV Injection
    return isinstance(cell, str) and cell.startswith(_FORMULAS)
