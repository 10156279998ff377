from __future__ import annotations

import math

import numpy as np
import pytest
from power_runs import cost
from runs_of_truth import Floats, log_uniform

from autowarm.analysis.group_best import GroupBests, group_bests

BEST = np.array([0.003, 0.01])


def two_groups(seed: int, runs: int, asymmetry: float, noise: float, apart: float = 0.0) -> GroupBests | None:
    """Draw two groups of runs whose best metrics are 1 and 1 + apart."""
    rng = np.random.default_rng(seed)
    group = np.arange(2 * runs) % 2
    lr = log_uniform(rng, 3e-4, 0.1, 2 * runs)
    loss = 1 + apart * group + 0.1 * cost(np.log(lr / BEST[group]), asymmetry) + noise * rng.standard_normal(2 * runs)
    return group_bests(np.log(lr), loss, np.zeros(2 * runs, dtype=bool), group)


@pytest.mark.parametrize("noise", [0.01, 0.05])
@pytest.mark.parametrize("asymmetry", [0.0, 1.0, 2.0])
@pytest.mark.parametrize("runs", [8, 20])
def test_nine_of_ten_intervals_hold_the_truth(runs: int, asymmetry: float, noise: float) -> None:
    """Measured on 200 draws each: lr .90 to .98, the metric .93 to .98, a difference .93 to .99, the fewer runs the
    wider."""
    lr, value, difference = [], [], []
    for seed in range(100):
        found = two_groups(seed, runs, asymmetry, noise)
        assert found is not None
        lr += [best in one.lr() for best, one in zip(BEST[found.groups], found.found, strict=True)]
        value += [1.0 in found.value(place) for place in range(len(found.groups))]
        if len(found.groups) == 2:
            difference.append(0.0 in found.difference(0, 1))
    assert min(np.mean(lr), np.mean(value), np.mean(difference)) >= 0.85


def test_with_many_runs_an_interval_is_no_wider_than_it_says() -> None:
    held = []
    for seed in range(200):
        found = two_groups(seed, 45, 1.0, 0.05)
        assert found is not None
        held.append(0.0 in found.difference(0, 1))
    assert 0.85 <= np.mean(held) <= 0.95


def test_a_difference_is_found() -> None:
    found = two_groups(0, 30, 1.0, 0.01, apart=0.05)
    assert found is not None
    assert found.difference(0, 1).high < 0
    assert 0.05 in found.difference(1, 0)
    assert found.noise == pytest.approx(0.01, rel=0.3)


def test_several_comparisons_at_once_are_wider() -> None:
    found = two_groups(0, 30, 1.0, 0.01)
    assert found is not None
    one, ten = found.difference(0, 1), found.difference(0, 1, 10)
    assert ten.low < one.low < one.high < ten.high


def test_groups_are_told_at_the_same_place_of_what_else_varied() -> None:
    """The second group had more of what makes runs worse, and is no worse for that."""
    rng = np.random.default_rng(3)
    group = np.arange(80) % 2
    u, other = rng.uniform(-1.5, 1.5, 80), rng.uniform(0, 1, 80) + group
    loss = 1 + 0.05 * u**2 + 0.3 * other + 0.005 * rng.standard_normal(80)
    told = group_bests(u, loss, np.zeros(80, dtype=bool), group, [other])
    untold = group_bests(u, loss, np.zeros(80, dtype=bool), group)
    assert told is not None
    assert untold is not None
    assert 0.0 in told.difference(0, 1)
    assert untold.difference(0, 1).high < -0.2


def few(n: int) -> Floats:
    return np.linspace(-1.0, 1.0, n)


@pytest.mark.parametrize(("n", "lrs"), [(5, 5), (8, 2)])
def test_a_group_with_too_few_runs_or_learning_rates_is_not_judged(n: int, lrs: int) -> None:
    u = few(lrs)[np.arange(n) % lrs]
    assert group_bests(u, u**2, np.zeros(n, dtype=bool), np.zeros(n, dtype=int)) is None
    both, group = np.append(u, few(9)), np.repeat([0, 1], [n, 9])
    found = group_bests(both, both**2, np.zeros(len(both), dtype=bool), group)
    assert found is not None
    assert found.groups.tolist() == [1]


def test_nothing_ended_is_nothing_found() -> None:
    u = few(9)
    assert group_bests(u, np.full(9, math.nan), np.ones(9, dtype=bool), np.zeros(9, dtype=int)) is None
    assert group_bests(u, np.zeros(9), np.zeros(9, dtype=bool), np.zeros(9, dtype=int)) is None
