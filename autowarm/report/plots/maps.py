"""Maps: the runs by learning rate and warmup, and the best schedules by total_steps and dataset_size."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from autowarm.analysis.best import warmup_share
from autowarm.analysis.horizon_grid import GridCell
from autowarm.analysis.runs import Flags, Floats, Runs
from autowarm.report.contents import Contents
from autowarm.report.plot import Axis, Line, Mark, Plot, Points, Square, Squares
from autowarm.report.plots.thinning import thinned_rows
from autowarm.report.words import interval, lr_interval, schedule_in_words
from autowarm.words import counted, number, percent

# Lengths of run up to which each is a group of its own.
_LENGTHS = 12
# Values worse than this share of all have the colour of the worst: one bad run must not flatten the rest.
_WORST = 0.8


def warmup_map(contents: Contents) -> Plot | str:
    """Return every run by its peak learning rate and its warmup, coloured by what it reached; failures as crosses."""
    runs = contents.runs
    known = np.isfinite(runs.warmup_ratio) & (runs.initial_lr > 0) & np.isfinite(runs.initial_lr)
    rows = np.flatnonzero(known)
    if not len(rows):
        return "no run has both a learning rate and a warmup that are known"
    chosen = thinned_rows(rows, runs.best())
    drawn = np.zeros(len(runs), dtype=bool)
    drawn[chosen] = True
    values, named, span = _colours(runs)
    marks: list[Mark] = []
    if (drawn & runs.stopped).any():
        marks.append(_points(runs, drawn & runs.stopped, "stopped early", colour="pruned", symbol="ring", size=6.0))
    if (drawn & runs.failed).any():
        marks.append(_points(runs, drawn & runs.failed, "failed", colour="diverged", symbol="cross", size=7.0))
    ended = drawn & runs.ended
    if ended.any():
        # the colour bar tells what they are
        of = _points(runs, ended, "", colour="complete", symbol="dot", size=8.0)
        marks.append(replace(of, values=tuple(values[ended].tolist())))
    marks += _stable(contents) + _answer(contents)
    hidden = len(rows) - len(chosen)
    return Plot(
        name="warmup_map",
        title="Every run by its peak learning rate and its warmup",
        x=Axis(title="peak learning rate", log=True),
        y=Axis(title="warmup, % of the run"),
        marks=tuple(marks),
        note=f"{len(chosen):,} of {len(rows):,} runs are drawn, evenly." * (hidden > 0),
        values=named if ended.any() else "",
        better="max" if "rank" in named else runs.mode,
        values_span=span,
        height=1.15,
    )


def _colours(runs: Runs) -> tuple[Floats, str, tuple[float, float]]:
    """Return what colours the runs, its name, and the span of the colours.

    Values of runs of different lengths do not compare, so those of a ladder are ranked each among its like.
    """
    lengths = np.unique(runs.total_steps[runs.ended])
    if 1 < len(lengths) <= _LENGTHS:
        ranks = np.full(len(runs), math.nan)
        for steps in lengths:
            of = np.flatnonzero(runs.ended & (runs.total_steps == steps))
            # of a single run there is no rank: the middle
            places = np.argsort(np.argsort(-runs.badness[of])) / max(len(of) - 1, 1) if len(of) > 1 else np.array([0.5])
            ranks[of] = 100 * places
        return ranks, "rank among runs of as many steps, 100 is the best", (0.0, 100.0)
    values = runs.value[runs.ended]
    if not len(values):
        return runs.value, runs.metric, (0.0, 1.0)
    worst = float(np.quantile(values, _WORST if runs.mode == "min" else 1 - _WORST))
    low, high = (float(values.min()), worst) if runs.mode == "min" else (worst, float(values.max()))
    named = f"{runs.metric} ({'less' if runs.mode == 'min' else 'more'} is better)"
    return runs.value, named, (low, high if high > low else low + (abs(low) or 1.0) * 1e-3)


def _points(runs: Runs, mask: Flags, label: str, *, colour: str, symbol: str, size: float) -> Points:
    rows = np.flatnonzero(mask)
    return Points(
        x=tuple(runs.initial_lr[rows].tolist()),
        y=tuple((100 * runs.warmup_ratio[rows]).tolist()),
        hovers=tuple(_hover(runs, int(row)) for row in rows),
        colour=colour,
        symbol=symbol,  # type: ignore[arg-type] # a word of Symbol
        size=size if len(rows) < 300 else size * 0.7,
        label=label,
    )


def _hover(runs: Runs, row: int) -> str:
    schedule = schedule_in_words(runs.initial_lr[row], runs.warmup_ratio[row], str(runs.decay[row]))
    value = f"{runs.metric} {number(runs.value[row], 5)}" if np.isfinite(runs.value[row]) else "no value"
    ended = "failed: " if runs.failed[row] else "stopped early: " if runs.stopped[row] else ""
    return f"{schedule}\n{ended}{value}, {runs.total_steps[row]:,.0f} steps"


def _stable(contents: Contents) -> list[Mark]:
    """Return where training breaks: the largest lr that trains at each band of warmup."""
    runs, need = contents.runs, contents.warmup
    known = runs.warmup_ratio[np.isfinite(runs.warmup_ratio)]
    if need is None or not runs.failed.any() or not len(known):
        return []
    top = float(known.max())
    marks: list[Mark] = []
    for found in need.stable:
        low, high = found.share_low, min(found.share_high, top)
        # where nothing failed the bound is beyond what was tried
        if not math.isfinite(found.lr.value) or not math.isfinite(found.lr.high) or high < low:
            continue
        marks.append(
            Line(
                x=(found.lr.value,) * 2,
                y=(100 * low, 100 * high),
                colour="ink",
                label="" if marks else "largest lr that trains",
                hover=f"largest lr that trains: {lr_interval(found.lr, 2)}",
                width=2.5,
            )
        )
    return marks


def _answer(contents: Contents) -> list[Mark]:
    answer = contents.answer
    if answer is not None and answer.record.schedule is not None:
        lr, share = answer.record.schedule.initial_lr, warmup_share(answer.record)
        words, label = answer.record.label, "the answer"
    elif (row := contents.runs.best()) is not None and not contents.records:
        lr, share = float(contents.runs.initial_lr[row]), float(contents.runs.warmup_ratio[row])
        words, label = _hover(contents.runs, row), "the best run"
    else:
        return []
    if share is None or not math.isfinite(share):
        return []
    hovers = (f"{label}: {words}",)
    return [Points(x=(lr,), y=(100 * share,), hovers=hovers, colour="best", symbol="star", size=15, label=label)]


def horizons(contents: Contents) -> Plot | str:
    """Return the best schedule by total_steps and dataset_size; cells nobody tried look like predictions."""
    grid = contents.grid
    if grid is None:
        return "there are no runs of which a best schedule can be told"
    cells = [cell for row in grid.cells for cell in row]
    if len(cells) < 2:
        return "all runs are of one horizon: the table of the best schedules says it all"
    lrs = np.log([cell.initial_lr.value for cell in cells])
    low, high = float(np.nanmin(lrs)), float(np.nanmax(lrs))
    squares = tuple(
        Square(
            x=x,
            y=y,
            place=float((math.log(cell.initial_lr.value) - low) / (high - low)) if high > low else 0.5,
            text=_cell_text(cell),
            hover=_cell_hover(cell, contents.runs.metric),
            predicted=cell.predicted,
        )
        for y, row in enumerate(grid.cells)
        for x, cell in enumerate(row)
        if math.isfinite(cell.initial_lr.value)
    )
    sizes = [f"{size:,.0f}" if math.isfinite(size) else "unknown" for size in grid.dataset_sizes]
    predicted = any(cell.predicted for cell in cells)
    return Plot(
        name="horizons",
        title="Best learning rate and warmup by length of run and size of data",
        x=Axis(title="total_steps", ticks=tuple((i, f"{steps:,.0f}") for i, steps in enumerate(grid.total_steps))),
        y=Axis(title="dataset_size", ticks=tuple(enumerate(sizes))),
        marks=(Squares(squares=squares),),
        note="The stronger the blue, the higher the learning rate."
        + " Dashed and pale: predicted, nobody ran it or too few did." * predicted
        + " ≈: other schedules are within noise." * any(cell.tied for cell in cells),
        height=max(0.5, 0.28 * len(sizes) + 0.25),
    )


def _cell_text(cell: GridCell) -> str:
    tied = "≈ " if cell.tied else ""
    lines = [f"{tied}{number(cell.initial_lr.value, 2)}"]
    lines += [f"{percent(cell.warmup_ratio)}"] if math.isfinite(cell.warmup_ratio) else []
    return "\n".join([*lines, *([cell.decay] if cell.decay else [])])


def _tried(cell: GridCell) -> str:
    steps = f"{cell.total_steps:,.0f} steps here"
    if not cell.predicted:
        return counted(cell.tried, "run")
    if not cell.tried:
        return f"predicted: nobody ran {steps}"
    few = "the only run" if cell.tried == 1 else f"the {cell.tried:,} runs"
    return f"predicted: {few} of {steps} {'is' if cell.tried == 1 else 'are'} too little"


def _cell_hover(cell: GridCell, metric: str) -> str:
    lines = [
        _tried(cell),
        f"lr {lr_interval(cell.initial_lr)}",
        schedule_in_words(cell.initial_lr.value, cell.warmup_ratio, cell.decay),
    ]
    lines += [f"{metric} {interval(cell.expected, 5)}"] if cell.expected is not None else []
    lines += ["within noise of the best:", *cell.ties[:4]] if cell.tied else []
    return "\n".join(lines)
