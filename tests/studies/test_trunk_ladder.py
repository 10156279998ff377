"""The study of ladders whose runs go on from shorter ones: its page says what its runs say."""

from __future__ import annotations

import doctest
from dataclasses import replace

import pytest

from autowarm.planning.growth import grown_decay
from studies.trunk import ladder
from studies.tuner_race import race
from studies.tuner_race.contestants.run import Run
from studies.tuner_race.entries import ENTRIES, EVALUATION_SEEDS


@pytest.fixture(scope="module")
def runs() -> list[Run]:
    return race.runs_in(ladder.RUNS)


def test_the_page_is_what_the_runs_say(runs: list[Run]) -> None:
    assert ladder.REPORT.read_text(encoding="utf-8") == ladder.report(runs, ladder.worth())


def test_each_search_was_made_in_both_ways(runs: list[Run]) -> None:
    names = [name for pair in ladder.PAIRS for name in (pair.alone, pair.grown)]
    wanted = {(n, job, seed, b) for n in names for job in ENTRIES for seed in range(5) for b in ladder.BUDGETS}
    assert {run.key for run in runs} == wanted


def test_what_is_named_was_trained_again(runs: list[Run]) -> None:
    known = ladder.worth()
    assert all((run.job, ladder.named(run), seed) in known for run in runs for seed in EVALUATION_SEEDS)


def test_the_ways_differ_in_whether_trials_go_on(runs: list[Run]) -> None:
    for pair in ladder.PAIRS:
        assert grown_decay(pair.space, explore=pair.trunks == "explore") == "wsd"
    # what goes on trains fewer steps than its length
    shared = {
        run.contestant
        for run in runs
        for t in run.trials
        if t.outcome == "COMPLETE" and t.total_steps is not None and t.steps < t.total_steps
    }
    assert shared == {pair.grown for pair in ladder.PAIRS}


def test_a_run_that_names_another_schedule_is_told(runs: list[Run]) -> None:
    first = next(run for run in runs if run.contestant == "held_trunks")
    other = replace(first, trials=tuple(t.naming(None) for t in first.trials))
    rest = [run for run in runs if run is not first]
    known = ladder.worth()
    assert ladder.named(other) != ladder.named(first)
    assert ladder.report([*rest, other], known) != ladder.report(runs, known)


def test_a_difference_is_the_median_of_the_pairs() -> None:
    middle, low, high = ladder.difference([(float(i), 0.0) for i in range(20)])
    assert (middle, low, high) == (-9.5, -14.0, -5.0)
    assert doctest.testmod(ladder).failed == 0
