"""Trees take the best splits there are down to the last run, and a forest predicts as well as scikit-learn's."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from autowarm.analysis.forest import grow
from autowarm.analysis.runs import Floats


def runs(n: int, seed: int) -> tuple[Floats, Floats]:
    """Return inputs, one of them of few values, and a noisy target."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(size=(n, 3))
    x[:, 2] = np.round(3 * x[:, 2])
    return x, truth(x) + 0.2 * rng.normal(size=n)


def truth(x: Floats) -> Floats:
    return np.asarray(np.sin(6 * x[:, 0]) + x[:, 0] * x[:, 1], dtype=np.float64)


def squares_left(x: Floats, y: Floats, weight: Floats, feature: int, threshold: float) -> float:
    """Return the sum of squares within the two sides of a split; infinite where one is empty."""
    left = x[:, feature] <= threshold
    if not weight[left].sum() or not weight[~left].sum():
        return math.inf
    sides = ((y[side], weight[side]) for side in (left, ~left))
    return float(sum(np.sum(w * (t - np.average(t, weights=w)) ** 2) for t, w in sides))


@pytest.mark.parametrize("seed", range(5))
def test_each_tree_splits_where_the_least_is_left(seed: int) -> None:
    x, y = runs(40, seed)
    forest = grow(x, y, trees=3, rng=np.random.default_rng(seed))
    rng = np.random.default_rng(seed)
    for tree in range(3):
        weight = np.bincount(rng.integers(len(y), size=len(y)), minlength=len(y)).astype(float)
        drawn = x[weight > 0]
        ends = ((k, (a + b) / 2) for k in range(3) for a, b in itertools.pairwise(np.unique(drawn[:, k])))
        least = min(squares_left(x, y, weight, k, threshold) for k, threshold in ends)
        taken = squares_left(x, y, weight, int(forest.feature[tree]), float(forest.threshold[tree]))
        assert taken == pytest.approx(least)
        assert forest.value[tree] == pytest.approx(np.average(y, weights=weight))


def test_a_tree_knows_what_it_has_drawn_by_heart_however_large_the_numbers_are() -> None:
    x, y = runs(200, 0)
    y = 1e6 + y
    forest = grow(x, y, trees=1, rng=np.random.default_rng(0))
    drawn = np.unique(np.random.default_rng(0).integers(200, size=200))
    assert forest.predict(x[drawn]) == pytest.approx(y[drawn], rel=1e-12)


def test_what_no_split_tells_apart_is_one_leaf() -> None:
    x, y = runs(30, 0)
    alike = grow(np.ones_like(x), y, trees=4, rng=np.random.default_rng(0))
    constant = grow(x, np.full(30, 0.1), trees=4, rng=np.random.default_rng(0))
    for forest in (alike, constant):
        assert forest.feature.tolist() == [-1] * 4
    assert constant.predict(x) == pytest.approx(np.full(30, 0.1))


def test_neighbouring_numbers_are_told_apart() -> None:
    x = np.repeat([1.0, np.nextafter(1.0, 2.0)], 20)[:, None]
    forest = grow(x, np.repeat([0.0, 1.0], 20), trees=5, rng=np.random.default_rng(0))
    assert forest.predict(x[[0, -1]]).tolist() == [0.0, 1.0]


def test_it_predicts_as_well_as_that_of_scikit_learn() -> None:
    ensemble = pytest.importorskip("sklearn.ensemble", reason="scikit-learn is not installed")
    points = runs(500, 99)[0]
    ours, theirs = [], []
    for seed in range(20):
        x, y = runs(150, seed)
        mine = grow(x, y, trees=12, rng=np.random.default_rng(seed)).predict(points)
        other = ensemble.RandomForestRegressor(12, random_state=seed).fit(x, y).predict(points)
        ours.append(np.mean((mine - truth(points)) ** 2))
        theirs.append(np.mean((other - truth(points)) ** 2))
    assert np.mean(ours) == pytest.approx(np.mean(theirs), rel=0.1)
