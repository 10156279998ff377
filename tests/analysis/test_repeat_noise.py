from __future__ import annotations

import math

import numpy as np
import pytest
from runs_of_truth import make_runs

from autowarm.analysis.repeat_noise import pooled, repeat_noise, schedules


def test_runs_of_one_schedule_have_one_number_whatever_is_unknown_of_it() -> None:
    runs = make_runs(5, initial_lr=[0.1, 0.1, 0.2, 0.1, 0.1], decay=["a", "a", "a", "b", "a"], seed=range(5))
    numbers = schedules(runs)
    assert numbers[0] == numbers[1] == numbers[4]
    assert len(set(numbers.tolist())) == 3


def test_the_deviation_is_pooled_within_groups() -> None:
    values, group = np.array([1.0, 3.0, 10.0, 14.0, 7.0]), np.array([0, 0, 1, 1, 2])
    noise, degrees = pooled(values, group)
    assert degrees == 2
    assert noise == pytest.approx(math.sqrt((1 + 1 + 4 + 4) / 2))
    assert pooled(values, np.arange(5)) == (0.0, 0)


def test_the_noise_of_repeats_is_found_and_a_run_told_twice_is_one() -> None:
    rng = np.random.default_rng(0)
    lrs, seeds = np.repeat([0.1, 0.2, 0.3], 40), np.tile(np.arange(40), 3)
    values = lrs + rng.normal(0, 0.05, 120)
    once = make_runs(120, initial_lr=lrs, seed=seeds, value=values)
    found = repeat_noise(once, once.ended)
    assert found == pytest.approx(0.05, rel=0.15)
    twice = make_runs(240, initial_lr=np.tile(lrs, 2), seed=np.tile(seeds, 2), value=np.tile(values, 2))
    assert repeat_noise(twice, twice.ended) == pytest.approx(found)


def test_without_seeds_or_repeats_nothing_is_known() -> None:
    unseeded = make_runs(10)
    assert math.isnan(repeat_noise(unseeded, unseeded.ended))
    single = make_runs(10, initial_lr=np.arange(1.0, 11.0), seed=0)
    assert math.isnan(repeat_noise(single, single.ended))
