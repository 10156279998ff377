from __future__ import annotations

import math

import numpy as np
import pytest

from autowarm.analysis.warmup_choice import by_bands, less_what_is_known

SHARES = np.repeat([0.0, 0.05, 0.1, 0.2], 10)
FINE = np.zeros(40, dtype=bool)


def noise(seed: int = 0) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.random.default_rng(seed).standard_normal(40)


def test_the_shortest_warmup_within_noise_of_the_best_is_taken() -> None:
    needs = 0.5 * (SHARES < 0.05) + 0.3 * (SHARES == 0.05)
    found = by_bands(SHARES, needs + 0.02 * noise(), FINE)
    assert found is not None
    assert found.share.value == 0.1
    assert found.share.high == 0.2
    assert found.runs == 10


def test_a_longer_warmup_wins_only_beyond_noise() -> None:
    gain = -0.05 * (SHARES == 0.2)
    sure, unsure = (by_bands(SHARES, gain + sd * noise(3), FINE) for sd in (0.01, 1.0))
    assert sure is not None
    assert unsure is not None
    assert sure.share.value == 0.2
    assert unsure.share.value < 0.2


def test_no_effect_is_mostly_no_warmup() -> None:
    chosen = [by_bands(SHARES, noise(seed), FINE) for seed in range(60)]
    shares = [c.share.value for c in chosen if c is not None]
    assert np.mean(np.array(shares) <= 0.05) > 0.6
    holds = [0.0 in c.share for c in chosen if c is not None]
    assert np.mean(holds) > 0.4


def test_a_warmup_with_which_runs_fail_is_not_taken_however_good_the_others_are() -> None:
    failed = (SHARES == 0.0) & (np.arange(40) % 3 == 0)
    value = np.where(failed, math.nan, 0.01 * noise() - 1.0 * (SHARES == 0.0))
    found = by_bands(SHARES, value, failed)
    assert found is not None
    assert found.share.value == 0.05
    assert found.failed == 0


def test_where_every_warmup_fails_as_often_failures_decide_nothing() -> None:
    failed = np.arange(40) % 5 == 0
    found = by_bands(SHARES, np.where(failed, math.nan, 0.1 * (SHARES == 0.0) + 0.001 * noise()), failed)
    assert found is not None
    assert found.share.value == 0.05
    assert found.failed == pytest.approx(0.2)


def test_random_shares_are_put_together() -> None:
    rng = np.random.default_rng(1)
    share = rng.uniform(0, 0.5, 300)
    value = np.where(share < 0.1, 1.0, 0.0) + 0.05 * rng.standard_normal(300)
    found = by_bands(share, value, np.zeros(300, dtype=bool))
    assert found is not None
    assert 0.1 <= found.share.value < 0.15
    assert found.share.low == pytest.approx(0.1)


def test_one_outlier_does_not_rule_a_warmup_out() -> None:
    value = 0.01 * noise()
    value[3] = 1e6
    found = by_bands(SHARES, value + 0.001 * (SHARES > 0), FINE)
    assert found is not None
    assert found.share.low <= 0.05


def test_runs_that_only_tell_of_stability_do_not_tell_of_value() -> None:
    # the longest warmup is best, in runs that do not count for that
    value = 0.01 * noise() - 1.0 * (SHARES == 0.2)
    found = by_bands(SHARES, value, FINE, value_too=SHARES < 0.2)
    assert found is not None
    assert found.share.value < 0.2


def test_unknown_warmups_say_nothing() -> None:
    assert by_bands(np.full(40, math.nan), noise(), FINE) is None
    assert by_bands(SHARES, noise(), ~FINE) is None
    assert by_bands(np.empty(0), np.empty(0), np.empty(0, dtype=bool)) is None
    half = np.where(np.arange(40) % 2, SHARES, math.nan)
    found = by_bands(half, noise(), FINE)
    assert found is not None
    assert found.runs == 5


def test_one_run_is_its_own_warmup() -> None:
    found = by_bands(np.array([0.1]), np.array([1.0]), np.array([False]))
    assert found is not None
    assert (found.share.value, found.runs) == (0.1, 1)


def test_groups_and_lines_are_taken_out() -> None:
    rng = np.random.default_rng(2)
    label = np.repeat([0, 1], 50)
    besides = rng.standard_normal((100, 2))
    own = 0.1 * rng.standard_normal(100)
    rest = less_what_is_known(5.0 * label + besides @ [2.0, -3.0] + own, besides, np.ones(100, dtype=bool), label)
    assert np.corrcoef(rest, own)[0, 1] > 0.95
    assert np.std(rest) == pytest.approx(0.1, rel=0.2)


def test_runs_that_did_not_end_have_no_rest() -> None:
    ended = np.array([True, False, True])
    rest = less_what_is_known(np.array([1.0, math.nan, 3.0]), np.zeros((3, 1)), ended, np.zeros(3, dtype=np.intp))
    np.testing.assert_array_equal(rest, [-1, math.nan, 1])
    none = less_what_is_known(np.ones(3), np.zeros((3, 1)), np.zeros(3, dtype=bool), np.zeros(3, dtype=np.intp))
    assert np.isnan(none).all()
