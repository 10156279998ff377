"""The picture of a range test: the training loss of each seed over the learning rate, and the range that was found."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from autowarm.planning.range_test import Bracket, Sweep, found_range, sweep_of
from autowarm.record import TrialRecord
from autowarm.report.palette import SERIES, colour
from autowarm.report.picture import new_figure, plain_text, save

# A loss that explodes leaves the axis: it shows the fall, and this share of it above the start.
_ABOVE = 0.6
_COLOURS = tuple(colour(name) for name in SERIES)


def draw_range_test(records: Sequence[TrialRecord], path: Path) -> None:
    """Draw the range test among the records of a study; each seed's edge of instability is marked.

    Args:
        records: of one study, with a range test that trained.
        path: ends in .png (1000 pixels wide) or .svg; replaced in one move.
    """
    tests = [r for r in records if r.role == "range_test" and r.schedule is not None and r.train_curve]
    bracket = found_range(records)
    figure = new_figure(width=10.0, height=4.6)
    axes = figure.subplots()
    sweeps = [sweep_of(record) for record in tests]
    for i, (record, sweep) in enumerate(zip(tests, sweeps, strict=True)):
        line = _COLOURS[i % len(_COLOURS)]
        axes.plot(sweep.lrs, sweep.losses, color=line, linewidth=1.2, label=f"seed {record.seed}")
    if bracket is not None:
        axes.axvspan(bracket.low, bracket.high, color=colour("range"), alpha=0.2, label="range searched")
        for i, reading in enumerate(bracket.readings):
            if reading.edge is not None:
                axes.axvline(
                    reading.edge, color=colour("muted"), linewidth=0.8, linestyle=":", label="edge" if i == 0 else None
                )
        figure.suptitle(plain_text(_title(bracket)), fontsize=10, x=0.01, ha="left")
    if span := loss_range(sweeps):
        axes.set_ylim(*span)
    axes.set_xscale("log")
    axes.set_xlabel("learning rate (log)")
    axes.set_ylabel("training loss")
    axes.grid(alpha=0.25)
    if tests:
        axes.legend(frameon=False, fontsize=9)
    save(figure, path)


def loss_range(sweeps: Sequence[Sweep]) -> tuple[float, float] | None:
    """Return the (low, high) of the losses worth showing: from the lowest to somewhat above the first ones."""
    finite = [np.array([x for x in sweep.losses if np.isfinite(x)]) for sweep in sweeps]
    losses = [x for x in finite if len(x)]
    if not losses:
        return None
    low = min(float(x.min()) for x in losses)
    start = max(float(np.median(x[:10])) for x in losses)
    fall = max(start - low, 0.05 * abs(start), 1e-9)
    return low - 0.1 * fall, start + _ABOVE * fall


def _title(bracket: Bracket) -> str:
    head, _, reasons = bracket.words.partition(": ")
    return f"{head}:\n{reasons}"
