"""What a report says first of a table of runs: what one run had, and what all of them point to."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from sample_contents import sample_table

from autowarm.analysis.estimate import Estimate
from autowarm.report.contents import Contents, contents_of_runs
from autowarm.report.headline import headline
from autowarm.report.markdown import markdown


def told(low: float, high: float, *, ties: int) -> Contents:
    """Return a table of runs whose best one lies in the second cell, the best lr fitted as 0.002 (low to high)."""
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
    return replace(contents, grid=replace(contents.grid, cells=((replace(cell, total_steps=90.0, value=9.0), cell),)))


def test_a_best_run_that_the_fit_bears_out_leads() -> None:
    found = headline(told(0.001, 0.007, ties=12))
    assert found.use == "Use lr 0.00483, warmup 31 %, linear"
    said = "A fit to all 40 runs of about 9,000 steps puts the best lr at 0.002 (0.001 to 0.007), and this one is "
    said += "within that."
    assert found.sentences == (said, "12 schedules there are within noise of each other: call it a tie.")
    assert headline(told(0.001, 0.007, ties=1)).sentences == (said,)


def test_of_a_best_run_that_was_lucky_the_fit_leads() -> None:
    found = headline(told(0.001, 0.003, ties=12))
    assert found.use.startswith("Use lr 0.002")
    assert (
        found.rest == ": fitted to all 40 runs of about 9,000 steps; the best lr lies between 0.001 and 0.003 (90 %)."
    )
    best, tie = found.sentences
    assert best.startswith("The best of ")
    assert ", with lr 0.00483, warmup 31 %, linear, reached loss " in best
    assert best.endswith(" steps: by luck, as its neighbours did not.")
    assert tie == "12 schedules there are within noise of each other: call it a tie."


def test_all_schedules_within_noise_are_counted_in_the_table_too() -> None:
    assert "| a; b; c; ... and 9 more |" in markdown(told(0.001, 0.003, ties=12))


def test_a_fit_to_one_run_is_not_told() -> None:
    contents = told(0.001, 0.003, ties=1)
    assert contents.grid is not None
    ((other, cell),) = contents.grid.cells
    alone = replace(contents, grid=replace(contents.grid, cells=((other, replace(cell, tried=1)),)))
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
    ((other, cell),) = contents.grid.cells
    alone = replace(cell, ties=("lr 0.02, cosine",), n_ties=1)
    text = markdown(replace(contents, grid=replace(contents.grid, cells=((other, alone),))))
    assert "| nothing: lr 0.02, cosine is alone |" in text
    assert "| a; b; c" in text


def test_what_to_expect_is_fitted_and_the_best_run_is_called_lucky() -> None:
    contents = told(0.001, 0.003, ties=12)
    first = headline(contents).facts[0]
    assert (first.label, first.value) == ("Expected loss", "1.15 (1.1 to 1.2)")
    assert "of the best run was lucky" in first.detail
    assert contents.grid is not None
    alone = replace(contents, grid=replace(contents.grid, cells=((replace(contents.grid.cells[0][1], tried=1),),)))
    assert headline(alone).facts[0].label == "Best loss"


def test_what_runs_cost_is_said_in_steps() -> None:
    contents = sample_table()
    runs = next(fact for fact in headline(contents).facts if fact.label == "Runs")
    assert f" {contents.runs.total_steps.sum():,.0f} in all where none stopped early" in runs.detail


def test_what_like_runs_tell_is_said_whichever_of_them_is_the_best_of_the_cell() -> None:
    """The best of a cell is chosen with the length taken out, so it need not be the best of all."""
    contents = told(0.001, 0.003, ties=12)
    assert contents.grid is not None
    ((other, cell),) = contents.grid.cells
    moved = replace(contents, grid=replace(contents.grid, cells=((other, replace(cell, value=5.0)),)))
    assert headline(moved).sentences == headline(contents).sentences != ()
