from __future__ import annotations

import math
import statistics

import numpy as np
import pytest

from autowarm.analysis.two_way import two_way


def test_of_a_whole_table_the_means_are_plain_and_the_noise_is_that_of_the_pairs() -> None:
    a, b = [1.0, 1.3, 1.1], [1.4, 1.9, 1.2]
    layout = two_way([dict(enumerate(a)), dict(enumerate(b))])
    assert layout.means == pytest.approx((statistics.fmean(a), statistics.fmean(b)))
    assert layout.degrees == 2
    pairs = [x - y for x, y in zip(a, b, strict=True)]
    assert layout.standard_error(0, 1) == pytest.approx(statistics.stdev(pairs) / math.sqrt(3))
    assert layout.half_width(1, 0) == pytest.approx(4.303 * layout.standard_error(0, 1))


def test_the_noise_of_several_schedules_is_pooled() -> None:
    rows = [[1.0, 2.0], [1.5, 2.4], [0.9, 2.2]]
    layout = two_way([dict(enumerate(row)) for row in rows])
    table = np.array(rows)
    rest = table - table.mean(axis=1, keepdims=True) - table.mean(axis=0) + table.mean()
    assert layout.degrees == 2, "2 seeds of 3 schedules tell it"
    assert layout.variance == pytest.approx(float((rest**2).sum()) / 2)
    assert layout.standard_error(0, 2) == pytest.approx(math.sqrt(layout.variance * 2 / 2))


def test_a_seed_that_one_missed_does_not_shift_its_mean() -> None:
    # seed 2 is hard for everybody: by plain means the one that missed it would look better than it is
    layout = two_way([{0: 1.0, 1: 1.0, 2: 9.0}, {0: 1.5, 1: 1.5}, {0: 2.0, 1: 2.0, 2: 10.0}])
    assert layout.means[1] - layout.means[0] == pytest.approx(0.5)
    assert layout.variance == pytest.approx(0.0, abs=1e-20)
    assert layout.degrees == 3


def test_the_standard_error_is_that_of_repeated_experiments() -> None:
    rng = np.random.default_rng(0)
    missing = {(1, 3), (2, 0)}
    found, said = [], []
    for _ in range(2000):
        seeds, noise = rng.normal(0, 5, 4), rng.normal(0, 0.3, (3, 4))
        runs = [{j: i + seeds[j] + noise[i, j] for j in range(4) if (i, j) not in missing} for i in range(3)]
        layout = two_way(runs)
        found.append(layout.means[1] - layout.means[2])
        said.append(layout.standard_error(1, 2) ** 2)
    assert statistics.fmean(found) == pytest.approx(-1.0, abs=0.02)
    assert statistics.variance(found) == pytest.approx(statistics.fmean(said), rel=0.1)


def test_of_one_seed_nothing_is_known_of_the_noise() -> None:
    layout = two_way([{4: 1.0}, {4: 2.0}])
    assert layout.means == pytest.approx((1.0, 2.0))
    assert layout.degrees == 0
    assert math.isnan(layout.standard_error(0, 1))
    assert math.isinf(layout.half_width(0, 1))
    assert layout.standard_error(1, 1) == 0.0
