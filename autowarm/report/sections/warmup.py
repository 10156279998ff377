"""The part of a report on how much warmup is needed."""

from __future__ import annotations

import math
from collections.abc import Sequence

from autowarm.analysis.sensitivity import Sensitivity
from autowarm.analysis.stable_lr import StableLr
from autowarm.analysis.warmup_need import Cell
from autowarm.analysis.warmup_words import by_length_sentences
from autowarm.report.contents import Contents
from autowarm.report.document import Figure, Section, Table, Text, bullets, table
from autowarm.report.words import interval, lr_interval
from autowarm.words import number, percent

# Of fewer runs the ranking says as much.
_FEWEST = 8


def how_much_warmup(contents: Contents) -> Section | None:
    """Return what failed by warmup within bands of lr, the largest stable lr of each warmup, and the words on it."""
    need = contents.warmup
    if need is None or need.runs < _FEWEST:
        return None
    cells_by_length = [cell for row in contents.grid.cells for cell in row] if contents.grid is not None else []
    by_length = [(cell.tried, cell.warmup_ratio) for cell in cells_by_length if not cell.predicted]
    blocks = bullets([*need.sentences(), *by_length_sentences(need, by_length)])
    blocks.append(Figure("warmup_map"))
    cells = [row for row in need.cells if any(cell.runs for cell in row)]
    if cells:
        words = (
            f"Failed of all runs, and in brackets the mean {contents.runs.metric} of the best third of those that "
            "ended, by peak learning rate (downwards) and share of warmup:"
        )
        blocks += [Text(words), _cells_table(cells)]
    if need.stable:
        blocks.append(_stable_table(need.stable))
    if need.sensitivity:
        words = (
            "LR sensitivity, the mean loss above the best over the learning rates tried (Wortsman et al. 2023; 0 is "
            "best):"
        )
        blocks += [Text(words), _sensitivity_table(need.sensitivity)]
    return Section("How much warmup", tuple(blocks))


def _cells_table(cells: Sequence[Sequence[Cell]]) -> Table:
    header = ["initial_lr", *(f"warmup {share_band(cell.share_low, cell.share_high)}" for cell in cells[0])]
    rows = [
        [f"{number(row[0].lr_low, 2)} to {number(row[0].lr_high, 2)}", *(_cell(cell) for cell in row)] for row in cells
    ]
    shades = tuple(
        (i, j, cell.failure.value)
        for i, row in enumerate(cells)
        for j, cell in enumerate(row, start=1)
        if cell.runs and cell.failed
    )
    return Table(tuple(header), tuple(tuple(row) for row in rows), shades)


def _cell(cell: Cell) -> str:
    if not cell.runs:
        return "-"
    value = f" [{number(cell.value, 4)}]" if math.isfinite(cell.value) else ""
    return f"{percent(cell.failure.value)} of {cell.runs:,}{value}"


def share_band(low: float, high: float) -> str:
    """Return a band of warmup shares in words.

    >>> share_band(0.0, 0.05), share_band(0.05, 0.15), share_band(0.3, 1.0)
    ('< 5 %', '5 to 15 %', '> 30 %')
    """
    if low <= 0 and high >= 1:
        return "any"
    if low <= 0:
        return f"< {number(high * 100)} %"
    return f"> {number(low * 100)} %" if high >= 1 else f"{number(low * 100)} to {number(high * 100)} %"


def _stable_table(stable: Sequence[StableLr]) -> Table:
    rows = [(share_band(s.share_low, s.share_high), lr_interval(s.lr, 2), f"{s.runs:,}") for s in stable]
    return table(("warmup", "largest lr that trains (90 % interval)", "runs"), rows)


def _sensitivity_table(found: Sequence[Sensitivity]) -> Table:
    rows = [(s.words, interval(s.value), f"{s.runs:,}") for s in found]
    return table(("", "LR sensitivity (90 % interval)", "runs"), rows)
