from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from power_runs import cost

from autowarm.analysis.response import Response, failure_edge, likely_best, response

Floats = NDArray[np.float64]
BEST = math.log(1e-3)


def fit(x: Floats, y: Floats, failed: NDArray[np.bool_] | None = None, besides: Floats | None = None) -> Response:
    none = np.zeros(len(x), dtype=bool) if failed is None else failed
    found = response(x, y, none, np.empty((len(x), 0)) if besides is None else besides)
    assert found is not None
    return found


@pytest.mark.parametrize("asymmetry", [0.0, 0.5, 1.0, 2.0, 3.0])
def test_without_noise_the_best_is_found_whatever_the_asymmetry(asymmetry: float) -> None:
    x = BEST + np.linspace(-2.1, 1.7, 20)
    found = fit(x, 3 + 0.1 * cost(x - BEST, asymmetry))
    assert found.mean == pytest.approx(BEST, abs=0.05)
    assert 1e-3 in found.lr()
    assert found.value == pytest.approx(3.0, abs=2e-3)
    assert found.weights.sum() == pytest.approx(1)


def test_more_noise_is_a_wider_interval() -> None:
    rng = np.random.default_rng(1)
    x = BEST + rng.uniform(-2, 1.5, 40)
    bump = rng.standard_normal(40)
    sds = [fit(x, 0.1 * cost(x - BEST, 1) + noise * bump).sd for noise in (0.001, 0.01, 0.1)]
    assert sds[0] < sds[1] < sds[2]


def test_of_noise_alone_the_best_may_be_anywhere() -> None:
    rng = np.random.default_rng(2)
    x = BEST + rng.uniform(-1.5, 1.5, 200)
    found = fit(x, rng.standard_normal(200))
    assert found.lr().high / found.lr().low > 8


def test_the_noise_is_told() -> None:
    rng = np.random.default_rng(3)
    x = BEST + rng.uniform(-1.5, 1.2, 300)
    found = fit(x, 0.1 * cost(x - BEST, 1) + 0.02 * rng.standard_normal(300))
    assert found.noise == pytest.approx(0.02, rel=0.15)


def test_an_outlier_does_not_move_the_best() -> None:
    rng = np.random.default_rng(4)
    x = BEST + rng.uniform(-1.5, 1.2, 40)
    y = 0.1 * cost(x - BEST, 1) + 0.005 * rng.standard_normal(40)
    without = fit(x, y).mean
    y[np.argmin(np.abs(x - BEST))] += 5.0
    assert fit(x, y).mean == pytest.approx(without, abs=0.1)


def test_what_is_far_below_the_best_is_not_read() -> None:
    x = BEST + np.append(np.linspace(-1.5, 1.2, 20), [-5.0, -4.5])
    y = 0.1 * cost(x - BEST, 1)
    assert fit(x, y).runs == 20


def test_what_else_moves_the_value_is_taken_out() -> None:
    rng = np.random.default_rng(5)
    x = BEST + rng.uniform(-1.5, 1.2, 60)
    warmup = rng.uniform(0, 0.3, (60, 1))
    y = 0.1 * cost(x - BEST, 1) + 0.002 * rng.standard_normal(60) + warmup[:, 0]
    told, untold = fit(x, y, besides=warmup), fit(x, y)
    assert told.sd < untold.sd / 3
    assert told.mean == pytest.approx(BEST, abs=0.1)


def test_failures_bound_the_best_from_above() -> None:
    x = BEST + np.linspace(-1, 1, 9)
    failed = np.arange(9) >= 5
    # falling all the way to the failures: without them the best would be beyond
    y = np.where(failed, math.nan, -x)
    assert fit(x, y, failed).lr().high <= math.exp(x[5]) * 1.02
    assert fit(x[:5], y[:5]).lr().high > math.exp(x[5]) * 1.5


@pytest.mark.parametrize(
    ("failed", "edge"),
    [
        ([0, 0, 0, 0], math.inf),
        ([0, 0, 0, 1], 3.0),
        ([0, 0, 1, 1], 2.0),
        # a failure below runs that ended says little
        ([1, 0, 0, 0], math.inf),
        ([0, 1, 0, 1, 1], 3.0),
        ([1, 1, 1], 0.0),
    ],
)
def test_the_edge_of_failure_divides_with_the_fewest_exceptions(failed: list[int], edge: float) -> None:
    assert failure_edge(np.arange(float(len(failed))), np.array(failed, dtype=bool)) == edge


def test_the_first_guess_is_where_runs_rank_best_and_no_single_lucky_run() -> None:
    rng = np.random.default_rng(6)
    x = np.linspace(-3, 3, 61)
    y = np.abs(x - 1) + 0.1 * rng.standard_normal(61)
    y[0] = -100
    assert likely_best(x, y, np.zeros(61, dtype=bool)) == pytest.approx(1, abs=0.5)


@pytest.mark.parametrize(
    ("x", "y"),
    [
        ([0.0], [1.0]),
        ([0.0, 1.0, 2.0], [1.0, 0.0, 1.0]),
        ([0.0, 1.0] * 3, [1.0, 2.0, 1.1, 2.2, 1.2, 2.1]),
        ([0.0] * 6, [1.0, 2.0, 3.0, 1.0, 2.0, 3.0]),
        ([0.0, 1.0, 2.0, 3.0, 4.0], [1.0] * 5),
        ([0.0, 1.0, 2.0, 3.0, 4.0], [1e-300, 0.0, 0.0, 0.0, 1e-300]),
    ],
)
def test_too_little_to_tell_is_anywhere_near_the_runs(x: list[float], y: list[float]) -> None:
    found = fit(np.array(x), np.array(y))
    assert math.isnan(found.value)
    assert found.lr().low < math.exp(min(x))
    assert found.lr().high > math.exp(max(x))


def test_no_run_that_ended_tells_nothing() -> None:
    x = np.arange(4.0)
    assert response(x, np.full(4, math.nan), np.ones(4, dtype=bool), np.empty((4, 0))) is None


def test_absurd_spreads_and_values_do_not_overflow() -> None:
    x = np.log(np.geomspace(1e-30, 1e30, 9))
    assert np.isfinite(fit(x, np.arange(9.0)).mean)
    assert np.isfinite(fit(np.arange(9.0) / 4, 1e100 * np.arange(9.0)[::-1]).mean)
