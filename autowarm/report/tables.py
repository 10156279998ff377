"""Records as flat tables, one row a record."""

from __future__ import annotations

import csv
from collections.abc import Iterable
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
_SAME_NAME = (
    *("study", "trial", "role", "outcome", "value", "monitor", "mode", "total_steps", "dataset_size"),
    *("batch_size", "seed", "steps", "val_batches", "cost", "seconds", "label", "reason"),
)
_OF_SCHEDULE = ("initial_lr", "warmup", "warmup_start_ratio", "decay", *_OWN, "final_lr_ratio")


def to_row(record: TrialRecord) -> dict[str, Any]:
    """Return a record as {column: value}, in the order of `COLUMNS`; then those of `RARE` that there are.

    `warmup_ratio` and `warmup_steps` are both filled in, whichever the schedule gives; `error` is the last
    line of the traceback. What does not apply is None.
    """
    row: dict[str, Any] = dict.fromkeys(COLUMNS)
    row.update({name: getattr(record, name) for name in _SAME_NAME})
    if record.schedule is not None:
        row.update({name: getattr(record.schedule, name) for name in _OF_SCHEDULE})
        row["warmup_ratio"] = warmup_share(record)
        row["warmup_steps"] = warmup_steps(record)
        told = record.schedule.told_parameters
        row.update({name: told[name] for name in RARE if name in told})
    if record.target_steps is not None:
        row["target_steps"] = record.target_steps
    row["error"] = last_line(record.error)
    return row


def _columns(rows: Iterable[dict[str, Any]]) -> list[str]:
    told = {name for row in rows for name in row}
    return [*COLUMNS, *(name for name in RARE if name in told)]


def last_line(text: str | None) -> str | None:
    """Return the last line of a text that says something: of a traceback, the exception and its message."""
    lines = [line.strip() for line in (text or "").splitlines() if line.strip()]
    return lines[-1] if lines else None


def to_frame(records: Iterable[TrialRecord]) -> pd.DataFrame:
    """Return the records as a DataFrame: a row for each in the order given, the columns of `COLUMNS`, and of `RARE`.

    Curves are left out; `autowarm.record.read_jsonl` has them.
    """
    import pandas as pd

    rows = [to_row(record) for record in records]
    return pd.DataFrame(rows, columns=_columns(rows))


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
    rows = [to_row(record) for record in records]
    columns = _columns(rows)
    cells = [[row.get(name) for name in columns] for row in rows]
    plain = _csv(columns, cells)
    if not any(_is_formula(cell) for row in cells for cell in row):
        return plain, plain
    return _csv(columns, [[f"'{cell}" if _is_formula(cell) else cell for cell in row] for row in cells]), plain


def _csv(columns: list[str], cells: Iterable[list[Any]]) -> str:
    # not by way of pandas: its import is a quarter of the time that `autowarm report` may take
    text = _Lines()
    # by the name of both breaks: a cell that holds either is quoted then
    writer = csv.writer(text, lineterminator=_BREAK)
    writer.writerow(columns)
    writer.writerows(cells)
    return "".join(text)


class _Lines(list[str]):
    """Takes what a writer writes, a row each time; rows end as all our files' lines do."""

    def write(self, row: str) -> None:
        self.append(row.removesuffix(_BREAK) + "\n")


def _is_formula(cell: Any) -> bool:
    # OWASP, CSV Injection
    return isinstance(cell, str) and cell.startswith(_FORMULAS)
