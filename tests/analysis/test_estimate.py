"""Numbers with their intervals, and what is made of two of them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from autowarm.analysis.estimate import Estimate, ratio
from autowarm.analysis.scaling import Z95


def lognormal(rng: np.random.Generator, truth: float, sd: float) -> Estimate:
    middle = math.log(truth) + sd * rng.standard_normal()
    return Estimate(math.exp(middle), math.exp(middle - Z95 * sd), math.exp(middle + Z95 * sd))


def test_nine_of_ten_intervals_of_a_ratio_hold_the_truth() -> None:
    rng = np.random.default_rng(0)
    held = [2.5 in ratio(lognormal(rng, 0.01, 0.2), lognormal(rng, 0.004, 0.4)) for _ in range(2000)]
    assert 0.88 < np.mean(held) < 0.92


def test_a_ratio_turned_around_is_one_over_it() -> None:
    a, b = Estimate(3.0, 1.0, 4.0), Estimate(0.5, 0.4, 2.0)
    one, other = ratio(a, b), ratio(b, a)
    assert (one.value, one.low, one.high) == pytest.approx((1 / other.value, 1 / other.high, 1 / other.low), rel=1e-12)


def test_what_nothing_bounds_has_no_bound() -> None:
    found = ratio(Estimate(2.0, 0.0, math.inf), Estimate(1.0, 0.5, 2.0))
    assert (found.value, found.low, found.high) == (2.0, 0.0, math.inf)
