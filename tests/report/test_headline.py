"""What a report says first of a table of runs: what one run had, and what all of them point to."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sample_contents import sample_table

from autowarm.analysis.estimate import Estimate
from autowarm.report.contents import Contents, contents_of_runs
from autowarm.report.headline import headline
from autowarm.report.markdown import markdown


def told(low: float, high: float, *, ties: int) -> Contents:
    """Return a table of runs whose best one lies in a cell of its own, the best lr fitted as 0.002 (low to high)."""
    contents = sample_table()
    row = contents.runs.best()
    assert contents.grid is not None
    assert row is not None
    cell = replace(
        contents.grid.cells[0][0],
        value=float(contents.runs.value[row]),
        total_steps=9000.0,
        tried=40,
        predicted=False,
        initial_lr=Estimate(0.002, low, high),
        ties=("a", "b", "c", "d", "e"),
        n_ties=ties,
    )
    return replace(contents, grid=replace(contents.grid, cells=((cell, replace(cell, value=9.0)),)))


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (
            *(0.001, 0.003),
            "Lr 0.00483 is what that one run had; 0.002 (0.001 to 0.003) is fitted to all 40 runs of about 9,000 "
            "steps: for a new run the better guess.",
        ),
        (
            *(0.001, 0.007),
            "A fit to all 40 runs of about 9,000 steps puts the best lr at 0.002 (0.001 to 0.007), and this one is "
            "within that.",
        ),
    ],
)
def test_the_lr_of_the_best_run_and_the_fitted_one_are_told_apart(low: float, high: float, said: str) -> None:
    found = headline(told(low, high, ties=12))
    assert found.use == "Use lr 0.00483, warmup 31 %, linear"
    assert found.sentences == (said, "12 schedules there are within noise of each other: call it a tie.")
    assert headline(told(low, high, ties=1)).sentences == (said,)


def test_all_schedules_within_noise_are_counted_in_the_table_too() -> None:
    assert "| a; b; c; ... and 9 more |" in markdown(told(0.001, 0.003, ties=12))


def test_a_fit_to_one_run_is_not_told() -> None:
    contents = told(0.001, 0.003, ties=1)
    assert contents.grid is not None
    ((cell, other),) = contents.grid.cells
    alone = replace(contents, grid=replace(contents.grid, cells=((replace(cell, tried=1), other),)))
    assert headline(contents).sentences
    assert headline(alone).sentences == ()


def test_of_a_constant_metric_no_run_is_called_the_best() -> None:
    table = sample_table()
    runs = replace(table.runs, value=np.where(table.runs.ended, 0.5, np.nan))
    found = headline(contents_of_runs(runs, name="flat"))
    assert found.text == "There is no answer: all runs that ended have loss 0.5, which tells no schedule from another."


def test_the_best_alone_is_no_tie_in_the_table() -> None:
    contents = told(0.001, 0.003, ties=12)
    assert contents.grid is not None
    ((cell, other),) = contents.grid.cells
    alone = replace(cell, ties=("lr 0.02, cosine",), n_ties=1)
    text = markdown(replace(contents, grid=replace(contents.grid, cells=((alone, other),))))
    assert "| nothing: lr 0.02, cosine is alone |" in text
    assert "| a; b; c" in text
