from __future__ import annotations

import math

import numpy as np
import pytest
from power_runs import cost
from runs_of_truth import Floats, log_uniform, make_runs

from autowarm.analysis.runs import Runs
from autowarm.analysis.sensitivity import Sensitivity, sensitivities

BEST, WORST = 0.006, 2.5


def loss(lr: Floats, steep: float = 0.1) -> Floats:
    return np.minimum(1 + steep * cost(np.log(lr / BEST), 1.0), WORST)


def draw(seed: int, runs: int, noise: float, steep: float = 0.1) -> tuple[Runs, tuple[Sensitivity, ...]]:
    rng = np.random.default_rng(seed)
    lr, share = log_uniform(rng, 3e-4, 0.1, runs), np.where(rng.random(runs) < 0.5, 0.0, 0.1)
    table = make_runs(
        runs, initial_lr=lr, warmup_ratio=share, value=loss(lr, steep) + noise * rng.standard_normal(runs)
    )
    return table, sensitivities(table, [("without", share == 0), ("with", share > 0)])


def truth(found: Sensitivity) -> float:
    values = loss(np.geomspace(found.lr_low, found.lr_high, 4001))
    return float(values.mean() - values.min())


def coverage(runs: int, noise: float, draws: int) -> float:
    held = [truth(found) in found.value for seed in range(draws) for found in draw(seed, runs, noise)[1]]
    return float(np.mean(held))


@pytest.mark.parametrize("runs", [80, 200, 600])
def test_nine_of_ten_intervals_hold_the_truth(runs: int) -> None:
    """Measured on 200 draws of two: .91 to .93."""
    assert 0.85 <= coverage(runs, 0.02, 100) <= 0.96


@pytest.mark.parametrize("noise", [0.1, 0.3])
def test_with_much_noise_intervals_are_too_wide_and_not_too_narrow(noise: float) -> None:
    """Measured on 200 draws of two: .97 to .99, as the mean and the best are taken as independent."""
    assert coverage(200, noise, 100) >= 0.9


def test_where_every_learning_rate_is_as_good_there_is_none() -> None:
    held = [found.value.low == 0 for seed in range(50) for found in draw(seed, 100, 0.1, steep=0.0)[1]]
    assert np.mean(held) >= 0.9


def test_what_failed_counts_as_having_learned_nothing() -> None:
    table, (calm, _) = draw(0, 400, 0.02)
    lost = (table.initial_lr > 0.03) & (table.warmup_ratio == 0)
    value = np.where(lost, math.nan, table.value)
    runs = make_runs(400, initial_lr=table.initial_lr, warmup_ratio=table.warmup_ratio, value=value)
    broken, whole = sensitivities(runs, [("without", runs.warmup_ratio == 0), ("with", runs.warmup_ratio > 0)])
    assert broken.value.low > calm.value.high
    assert truth(whole) in whole.value


def test_too_few_runs_in_common_bands_tell_nothing() -> None:
    assert draw(0, 20, 0.02)[1] == ()
    runs = make_runs(40, initial_lr=np.geomspace(1e-4, 1e-2, 40), value=math.nan)
    assert sensitivities(runs, [("all", np.ones(40, dtype=bool))]) == ()
