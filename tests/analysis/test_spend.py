from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from autowarm.analysis.spend import Part, full_run_cost, spend, spend_by_horizon

if TYPE_CHECKING:
    from collections.abc import Callable

    from autowarm.record import TrialRecord

    MakeRecord = Callable[..., TrialRecord]


def test_nothing_costs_nothing() -> None:
    spent = spend([])
    assert (spent.total.trials, spent.total.cost, spent.full_runs, spent.outcomes, spent.roles) == (0, 0, 0, {}, [])
    assert spend_by_horizon([]) == {}


def test_the_parts_add_up(make_record: MakeRecord) -> None:
    records = [
        make_record(steps=100, val_batches=30, seconds=2.0),
        make_record(steps=40, val_batches=12, seconds=1.0, outcome="PRUNED"),
        make_record(steps=7, val_batches=0, seconds=0.5, outcome="DIVERGED"),
        make_record(steps=100, val_batches=30, seconds=2.0, role="baseline"),
    ]
    spent = spend(records)
    assert spent.total == Part(4, 247, 72, 5.5, 247)
    assert spent.total.cost == pytest.approx(247 + 24)
    assert spent.full_runs == pytest.approx((247 + 24) / 110)
    assert spent.outcomes == {"COMPLETE": 2, "DIVERGED": 1, "PRUNED": 1}
    assert spent.roles == ["search", "baseline"]
    assert spent.of("search").outcomes == {"COMPLETE": 1, "DIVERGED": 1, "PRUNED": 1}
    assert spent.of("search", "PRUNED").total.trials == 1
    assert spent.of("search").full_runs + spent.of("baseline").full_runs == pytest.approx(spent.full_runs)


def test_a_full_run_includes_the_validation_of_a_complete_trial(make_record: MakeRecord) -> None:
    pruned = make_record(steps=40, val_batches=900, outcome="PRUNED")
    assert full_run_cost([pruned], (100, 1000)) == 100
    assert full_run_cost([pruned, make_record(val_batches=30)], (100, 1000)) == pytest.approx(110)


def test_a_full_run_does_not_include_the_validations_of_averaged_weights(make_record: MakeRecord) -> None:
    # two of four validations
    record = make_record(val_batches=60, ema_rungs=((50, 2.0), (75, 1.5)))
    assert full_run_cost([record], (100, 1000)) == pytest.approx(110)
    assert spend([record]).full_runs == pytest.approx(120 / 110)


def test_shared_steps_are_counted_once_and_a_full_run_is_one_by_itself(make_record: MakeRecord) -> None:
    rungs = tuple((step, 1.0) for step in (25, 50, 75, 100))
    # a validation is of 9 batches: the carrier has two more of them for others, a branch has one of its own
    carrier = make_record(trunk="one", shared_steps=0, rungs=rungs, val_batches=54, seconds=5.0)
    branch = make_record(trunk="one", shared_steps=80, rungs=rungs, val_batches=9, seconds=1.0)
    constant = make_record(trunk="one", shared_steps=100, rungs=rungs, val_batches=0, seconds=0.0)
    spent = spend([carrier, branch, constant])
    assert (spent.total.steps, spent.total.val_batches, spent.total.cost) == (100 + 20 + 0, 63, 120 + 21)
    assert spent.total.represented == 300
    assert full_run_cost([carrier, branch, constant], (100, 1000)) == pytest.approx(100 + 4 * 9 / 3)
    assert spent.full_runs == pytest.approx(141 / 112)
    # nothing better is known
    assert full_run_cost([carrier, constant], (100, 1000)) == pytest.approx(100 + 54 / 3)


def test_each_horizon_is_counted_in_its_own_full_runs_and_the_whole_in_the_targets(
    make_record: MakeRecord,
) -> None:
    records = [
        *(make_record(total_steps=100, steps=100, val_batches=0) for _ in range(6)),
        make_record(total_steps=300, steps=300, val_batches=0),
    ]
    by_horizon = spend_by_horizon(records)
    assert list(by_horizon) == [(300, 1000), (100, 1000)]
    assert [s.full_runs for s in by_horizon.values()] == [1.0, 6.0]
    assert spend(records).full_runs == pytest.approx(3.0)
    assert spend(records, (100, 1000)).full_runs == pytest.approx(9.0)
