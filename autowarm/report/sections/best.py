"""The part of a report on the best schedules of each horizon."""

from __future__ import annotations

import math

from autowarm.analysis.best import horizon_words, ranked
from autowarm.analysis.horizon_grid import GridCell, HorizonGrid
from autowarm.analysis.spend import outcomes_of
from autowarm.report.cells import decay_cell, lr_cell, warmup_cell
from autowarm.report.contents import Contents
from autowarm.report.document import Block, Bullets, Figure, Heading, Section, Table, Text, table
from autowarm.report.words import counts_words, interval, lr_interval
from autowarm.words import counted, number, percent

TOP = 5
# Horizons with a table of their trials; trials.csv has them all.
_HORIZONS = 6
_FIT = (
    "This is fitted to all runs together, whatever their warmup; the schedule to use, at the top, is one that was "
    "trained, with a warmup and a decay of its own, so its lr need not be the same."
)
# Schedules within noise that are named.
_TIES = 3


def best(contents: Contents) -> Section | None:
    """Return the best schedules by horizon: of all in one table, then the best trials of each."""
    blocks: list[Block] = []
    if contents.grid is not None:
        said = [*contents.grid.sentences(), *([_FIT] if contents.answer is not None else [])]
        blocks += [Bullets(tuple(said))] if said else []
        blocks += [Figure("horizons"), _grid_table(contents.grid, contents.runs.metric)] if _several(contents) else []
    blocks += _trials(contents) if contents.records else []
    return Section("Best schedules", tuple(blocks)) if blocks else None


def _several(contents: Contents) -> bool:
    # of one horizon the table of its trials says more, where there is one
    return contents.grid is not None and (sum(map(len, contents.grid.cells)) > 1 or not contents.records)


def _grid_table(grid: HorizonGrid, metric: str) -> Table:
    cells = [cell for row in grid.cells for cell in row]
    rows = [_grid_row(cell) for cell in cells]
    known = (
        "total_steps",
        "dataset_size",
        "runs",
        "initial_lr to use (90 % interval of the best)",
        "shortest warmup",
        "decay",
        f"{metric} at the best lr (90 % interval)",
    )
    header = (*known, "within noise of the best")
    # a column that says the same everywhere says nothing
    said = [
        i for i in range(len(header)) if header[i] not in ("dataset_size", "decay") or len({r[i] for r in rows}) > 1
    ]
    return table([header[i] for i in said], [[row[i] for i in said] for row in rows])


def _grid_row(cell: GridCell) -> tuple[str, ...]:
    more = f"; ... and {cell.n_ties - _TIES:,} more" if cell.n_ties > _TIES else ""
    ties = (
        "; ".join(cell.ties[:_TIES]) + more if cell.tied else "".join(f"nothing: {one} is alone" for one in cell.ties)
    )
    return (
        f"{cell.total_steps:,.0f}",
        f"{cell.dataset_size:,.0f}" if math.isfinite(cell.dataset_size) else "-",
        _tried(cell),
        lr_interval(cell.initial_lr),
        percent(cell.warmup_ratio),
        cell.decay or "-",
        _metric(cell),
        ties or "-",
    )


def _tried(cell: GridCell) -> str:
    if not cell.predicted:
        return f"{cell.tried:,}"
    return f"{cell.tried:,}: too few, predicted" if cell.tried else "none: predicted"


def _metric(cell: GridCell) -> str:
    if cell.expected is not None:
        return interval(cell.expected, 5)
    return "-" if cell.value is None else f"{number(cell.value, 5)} (best run)"


def _trials(contents: Contents) -> list[Block]:
    blocks: list[Block] = []
    searched = sorted({h for h in contents.answers if _searched(contents, h)}, key=list(contents.answers).index)
    for horizon in searched[:_HORIZONS]:
        here = [r for r in contents.at(horizon) if r.role == "search"]
        rows = [
            (
                place,
                number(r.value, 5),
                lr_cell(r.schedule),
                warmup_cell(r),
                decay_cell(r.schedule),
                r.seed,
                r.trial,
            )
            for place, r in enumerate(ranked(here, horizon)[:TOP], start=1)
        ]
        header = ("", here[0].monitor, "initial_lr", "warmup", "decay", "seed", "trial")
        blocks += [
            Heading(f"At {horizon_words(horizon)}"),
            Text(f"{counted(len(here), 'trial')}: {counts_words(outcomes_of(here))}."),
            *([table(header, rows)] if rows else []),
        ]
    more = len(searched) - _HORIZONS
    return [*blocks, Text(f"... and {counted(more, 'shorter horizon')}, in trials.csv.")] if more > 0 else blocks


def _searched(contents: Contents, horizon: tuple[int, int | None]) -> bool:
    # a ladder may not have got there
    return any(r.role == "search" for r in contents.at(horizon))
