from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import sample_info
from hypothesis import given
from hypothesis import strategies as st

from autowarm.budget import Budget, read_budget
from autowarm.errors import SettingsError
from autowarm.planning.ladder import MIN_STEPS, Ladder, pays, plan_ladder, rungs_at
from autowarm.planning.range_test import plan_range_test
from autowarm.specs import JobInfo

INFO = replace(sample_info.INFO, total_steps=800, val_batches=3, fixed_seconds=2.0)
# 800 steps and 20 validations of 3 batches
FULL = 820.0


def ladder(budget: Any, info: JobInfo = INFO, **options: Any) -> Ladder:
    return plan_ladder(read_budget(budget), info, **{"n_jobs": 1, "pruning": "balanced", **options})


def shape(found: Ladder) -> list[tuple[int, int]]:
    return [(level.total_steps, level.trials) for level in found.levels]


def test_most_trials_are_short_and_a_third_of_the_budget_is_for_checks() -> None:
    found = ladder(6)
    assert shape(found) == [(100, 9), (200, 3), (800, 2)]
    assert found.checks == 2
    assert (found.price, found.total) == (FULL, 6 * FULL)
    # of four full runs of search two are whole runs; the rest is shared 8 to 6
    limits = [level.limit for level in found.levels]
    assert limits == pytest.approx([2 * FULL * 4 / 7, 2 * FULL, 4 * FULL])


@pytest.mark.parametrize(
    ("budget", "levels", "checks"),
    [
        # one run, and nothing to explore with
        (1, [800], 0),
        (1.4, [800], 0),
        (2, [100, 800], 0),
        (3, [100, 800], 1),
        (12, [100, 200, 800], 4),
        (20, [100, 200, 400, 800], 6),
    ],
)
def test_a_level_that_its_share_does_not_pay_for_is_left_out(budget: float, levels: list[int], checks: int) -> None:
    found = ladder(budget)
    assert [steps for steps, _ in shape(found)] == levels
    assert found.checks == checks


def test_without_checks_all_is_for_the_search() -> None:
    found = ladder(6, checked=False)
    assert found.checks == 0
    assert found.levels[-1].limit == pytest.approx(6 * FULL)


def test_a_run_too_short_for_an_eighth_has_a_shorter_ladder() -> None:
    info = replace(INFO, total_steps=8 * MIN_STEPS - 1)
    assert [steps for steps, _ in shape(ladder(6, info))] == [info.total_steps // 4, info.total_steps]
    tiny = replace(INFO, total_steps=2 * MIN_STEPS - 1)
    assert [steps for steps, _ in shape(ladder(6, tiny))] == [tiny.total_steps]


def test_steps_and_seconds_are_budgets_too() -> None:
    assert shape(ladder(f"{6 * FULL} steps")) == shape(ladder(6))
    # 2 s to start, 8 s of steps, 2 s of validations; a short run starts as slowly as a long one
    seconds = ladder("120 s")
    assert seconds.in_seconds
    assert seconds.price == pytest.approx(12.0)
    assert shape(seconds) == [(100, 6), (200, 3), (800, 1)] or shape(seconds)[0][1] < shape(ladder(10))[0][1]
    at_once = ladder("60 s", n_jobs=2)
    assert at_once.price == pytest.approx(6.0)
    assert shape(at_once) == shape(seconds)


def test_the_range_test_is_paid_for_first() -> None:
    test = plan_range_test(INFO, seed=0, run_cost=FULL)
    plain, tested = ladder(6), ladder(6, range_test=test)
    assert tested.levels[0].limit > test.cost
    assert sum(n * steps for steps, n in shape(tested)) < sum(n * steps for steps, n in shape(plain))
    assert tested.levels[-1].limit + tested.checks * FULL == pytest.approx(6 * FULL)


@pytest.mark.parametrize(
    ("budget", "smallest"), [(0.99, "1"), ("819 steps", "820 steps"), ("11 s", "12 s"), (Budget(1e-9), "1")]
)
def test_a_budget_below_one_run_names_the_smallest_that_works(budget: Any, smallest: str) -> None:
    with pytest.raises(
        SettingsError, match=rf"does not pay for one trial of 800 steps: the smallest that works is {smallest}$"
    ):
        ladder(budget)
    assert ladder(smallest).levels[-1].trials == 1


def test_a_budget_below_the_range_test_and_one_run_names_the_smallest_that_works() -> None:
    test = plan_range_test(INFO, seed=0, run_cost=FULL)
    with pytest.raises(SettingsError, match="and the range test before it") as caught:
        ladder(1.0, range_test=test)
    smallest = str(caught.value).rpartition(" ")[2]
    assert ladder(smallest, range_test=test).levels[-1].trials == 1


def test_only_levels_of_many_long_trials_are_pruned_and_safely() -> None:
    assert {level.pruning for level in ladder(6).levels} == {"off"}
    many = ladder(60)
    assert [level.pruning for level in many.levels] == ["off", "off", "safe", "safe"]
    # what pruning costs in validations of averaged weights is in the price
    assert many.levels[-1].price == pytest.approx(FULL + 14)
    assert {level.pruning for level in ladder(60, pruning="off").levels} == {"off"}


def test_short_runs_validate_as_often_a_step_as_long_ones_and_twice_at_least() -> None:
    assert [rungs_at(steps, 800) for steps in (20, 100, 200, 400, 800)] == [2, 2, 5, 10, 20]


@given(
    amount=st.floats(1.0, 200.0),
    total_steps=st.integers(1, 100_000),
    val_batches=st.integers(0, 50),
    n_jobs=st.integers(1, 8),
)
def test_no_plan_exceeds_its_budget(amount: float, total_steps: int, val_batches: int, n_jobs: int) -> None:
    info = replace(INFO, total_steps=total_steps, val_batches=val_batches)
    found = ladder(amount, info, n_jobs=n_jobs)
    limits = [level.limit for level in found.levels]
    assert limits == sorted(limits)
    assert limits[-1] + found.checks * found.price == pytest.approx(found.total)
    before = 0.0
    for level in found.levels:
        assert level.trials >= 1
        # each level pays for what it says
        assert pays(level.limit, before + (level.trials - 1) * level.price, level.price) or level.pruning == "safe"
        before = level.limit
    assert found.levels[-1].total_steps == total_steps
