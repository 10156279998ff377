from __future__ import annotations

from dataclasses import replace

import pytest
import sample_info

from autowarm.planning.price import Price, price_of

INFO = replace(sample_info.INFO, val_batches=9, validation_seconds=0.5, fixed_seconds=2.0)


def test_a_run_costs_its_steps_and_a_third_of_its_validation_batches() -> None:
    price = price_of(INFO, rungs=20, n_trials=10, checks=2, n_jobs=1)
    assert price.runs == 12
    assert price.run_cost == pytest.approx(1000 + 20 * 9 / 3)
    assert price.cost == pytest.approx(12 * 1060)


def test_a_run_takes_its_steps_its_validations_and_its_start() -> None:
    price = price_of(INFO, rungs=20, n_trials=10, checks=2, n_jobs=1)
    assert price.run_seconds == pytest.approx(2 + 1000 * 0.01 + 20 * 0.5)
    assert price.seconds == pytest.approx(12 * 22)


def test_searches_that_may_be_pruned_validate_averaged_weights_too() -> None:
    plain = price_of(INFO, rungs=20, n_trials=10, checks=2, n_jobs=3)
    price = price_of(INFO, rungs=20, n_trials=10, checks=2, n_jobs=3, ema_rungs=14)
    assert price.runs == plain.runs
    assert price.run_cost == plain.run_cost
    assert price.cost == pytest.approx(plain.cost + 10 * 14 * 9 / 3)
    assert plain.full_runs == 12
    assert price.full_runs == pytest.approx(12 + 10 * 42 / 1060)
    # 10 searches by threes take four rounds
    assert price.seconds == pytest.approx(plain.seconds + 4 * 14 * 0.5)


@pytest.mark.parametrize(("runs", "n_jobs", "rounds"), [(12, 1, 12), (12, 5, 3), (12, 12, 1), (1, 8, 1), (0, 3, 0)])
def test_runs_at_once_share_the_time_but_not_the_cost(runs: int, n_jobs: int, rounds: int) -> None:
    price = Price(runs=runs, run_cost=5.0, run_seconds=2.0, n_jobs=n_jobs)
    assert price.seconds == 2.0 * rounds
    assert price.cost == 5.0 * runs
