"""The columns of ours that a table has, by name, by mapping or as a constant."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autowarm.analysis.runs import Flags, Floats, Words
from autowarm.errors import RecordError
from autowarm.run_tables.cells import FAILED, FINE, FLAGS, STOPPED, CellError, Codes, flags, last_values, numbers, words
from autowarm.run_tables.checks import called
from autowarm.run_tables.columns import NAMES, NEEDED, WARMUPS, Columns, constant, decay_word, missing
from autowarm.run_tables.files import Cells, open_table

# Read as words. The last two are of trials.csv, and the columns after them what it is known by.
_WORDS = ("decay", "outcome", "role")
_OWN = {"study", "trial", "outcome", "role"}
_MUST_BE = {
    "value": "a number, or a list whose last entry is one, and nothing where a run diverged",
    "failed": f"a flag: true or false, 1 or 0, or one of {', '.join(w for w in FLAGS if len(w) > 4)}",
    "decay": "a word",
}

# A report of a million runs takes .85 GB and 9 s.
MOST_ROWS = 2_000_000


@dataclass
class Found:
    """The columns that a table has, by our names.

    Attributes:
        floats: numbers, each of shape (rows,); of the warmups one at most.
        state: FINE, FAILED or STOPPED, shape (rows,).
        decay: shape (rows,), "" where unknown.
        sources: how the table calls what it has; only of what is a column.
        present: all its columns.
        searched: whether a search chose from a run; shape (rows,).
        left_out: (rows, why) of those that tell nothing of a schedule.
    """

    floats: dict[str, Floats]
    state: Codes
    decay: Words
    sources: dict[str, str]
    present: list[str]
    searched: Flags
    left_out: tuple[tuple[Flags, str], ...] = ()


def found_in(path: Path, columns: Columns) -> Found:
    """Read the columns of ours that a table has.

    Raises:
        RecordError: one that is needed or named is missing, a cell is not what it must be, or there are no rows.
    """
    table = open_table(path)
    # a warmup that is named takes the place of one that is merely there
    warmups = [name for name in WARMUPS if name in columns] or WARMUPS
    wanted = {n: str(columns.get(n, n)) for n in NAMES if n not in WARMUPS or n in warmups}
    # our own table tells more of a run than a flag
    own = "failed" not in columns and set(table.names) >= _OWN
    wanted |= {"outcome": "outcome", "role": "role"} if own else {}
    parts: dict[str, list[NDArray[Any]]] = {name: [] for name in wanted}
    codes: dict[str, dict[str, int]] = {name: {} for name in _WORDS}
    rows = 0
    for size, batch in table.batches(list(wanted.values())):
        for name, theirs in wanted.items():
            if theirs in batch:
                try:
                    parts[name].append(_converted(name, batch[theirs], codes))
                except CellError as e:
                    raise RecordError(
                        f"{path}, row {rows + e.index + 1}: {called(name, wanted)} must be "
                        f"{_MUST_BE.get(name, 'a number')}, got {_shown(e.cell)}"
                    ) from None
        rows += size
        if rows > MOST_ROWS:
            raise RecordError(
                f"{path}: has more than {MOST_ROWS:,} rows, and a report gains nothing from so many: give it a random "
                "sample, such as (head -n 1 runs.csv; tail -n +2 runs.csv | shuf -n 500000) > sample.csv"
            )
    if not rows and not table.names:
        raise RecordError(f"{path}: holds no rows: each run must be one")
    constants = _constants(wanted, columns, table.met)
    lacking = {
        name: theirs
        for name, theirs in wanted.items()
        if (name in NEEDED or name in columns) and theirs not in table.met and name not in constants
    }
    if lacking:
        warmup = any(wanted[name] in table.met or name in constants for name in warmups)
        raise RecordError(f"{path}: {missing(lacking, table.names, warmup=warmup)}")
    if not rows:
        raise RecordError(f"{path}: holds no rows below its header: each run must be one")
    met = {name: theirs for name, theirs in wanted.items() if theirs in table.met}
    return _assembled(parts, codes, rows=rows, constants=constants, met=met, present=table.names)


def _converted(name: str, cells: Cells, codes: dict[str, dict[str, int]]) -> NDArray[Any]:
    if name in codes:
        return words(cells, codes[name])
    if name == "failed":
        return flags(cells)
    return last_values(cells) if name == "value" else numbers(cells)


def _constants(wanted: Mapping[str, str], columns: Columns, met: set[str]) -> dict[str, float | str]:
    """Return what holds for all rows: of the columns named, those that are none but a constant."""
    told = {n: constant(n, columns[n]) for n, theirs in wanted.items() if n in columns and theirs not in met}
    return {name: value for name, value in told.items() if value is not None}


def _assembled(
    parts: dict[str, list[NDArray[Any]]],
    codes: Mapping[str, Mapping[str, int]],
    *,
    rows: int,
    constants: Mapping[str, float | str],
    met: dict[str, str],
    present: list[str],
) -> Found:
    # popped, so that of a large table no column is there twice for longer than it takes
    columns: dict[str, NDArray[Any]] = {name: np.concatenate(parts.pop(name)) for name in met}
    told = {name: _named(name, codes[name])[columns.pop(name)] for name in _WORDS if name in columns}
    decay: Words = told.get("decay", np.full(rows, constants.get("decay", "")))
    state = columns.pop("failed", np.full(rows, FINE, dtype=np.int8))
    searched: Flags = np.ones(rows, dtype=np.bool_)
    left_out: tuple[tuple[Flags, str], ...] = ()
    if "outcome" in told:
        outcome, searched = told["outcome"], told["role"] == "search"
        state = np.select([outcome == "DIVERGED", outcome == "PRUNED"], [FAILED, STOPPED], FINE).astype(np.int8)
        left_out = ((outcome == "FAILED", "whose job failed"), (told["role"] == "range_test", "of a range test"))
    floats: dict[str, Floats] = columns
    for name, value in constants.items():
        if name != "decay":
            floats[name] = np.full(rows, value, dtype=np.float64)
    first = next((name for name in WARMUPS if name in floats), None)
    for name in WARMUPS:
        if name != first:
            floats.pop(name, None)
            met.pop(name, None)
    return Found(
        floats=floats,
        state=state,
        decay=decay,
        sources=met,
        present=present,
        searched=searched,
        left_out=left_out,
    )


def _named(name: str, codes: Mapping[str, int]) -> Words:
    return np.array([decay_word(word) if name == "decay" else word for word in codes], dtype=np.str_)


def _shown(cell: Any, most: int = 60) -> str:
    text = repr(cell)
    point = ": write numbers with a point, as 0.001" if isinstance(cell, str) and "," in cell[:most] else ""
    return (text if len(text) <= most else f"{text[:most]}...") + point
