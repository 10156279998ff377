from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from power_runs import make_runs

from autowarm.analysis.cells import MOST, bands, cells_of, horizon_logs, logs, numbered, usable


def test_usable_runs_are_those_that_tell_of_learning_rates() -> None:
    lr = [0.1, 0.0, -1.0, math.nan, math.inf, 0.2, 0.3]
    runs = usable(make_runs(lr, [1.0, 1, 1, 1, 1, math.nan, 1e200]))
    np.testing.assert_array_equal(runs.initial_lr, [0.1, 0.2, 0.3])
    assert runs.value[-1] == 1e100
    assert len(usable(make_runs([0.1], [1.0], stopped=True))) == 0
    assert len(usable(make_runs([0.1], [1.0], total_steps=math.nan))) == 0


def test_what_is_unknown_is_in_the_middle_and_nothing_known_does_not_vary() -> None:
    np.testing.assert_allclose(logs(np.array([1.0, math.nan, math.e])), [0, 0.5, 1])
    np.testing.assert_array_equal(logs(np.array([math.nan, 0.0, -1.0])), [0, 0, 0])


def test_rows_with_the_same_entries_share_a_number() -> None:
    a = np.array([1.0, math.nan, 1.0, math.nan, 2.0])
    b = np.array(["x", "x", "x", "y", "x"])
    label = numbered(a, b)
    assert label[0] == label[2]
    assert len(set(label.tolist())) == 4
    assert numbered(np.empty(0)).tolist() == []


def test_few_horizons_are_kept_apart() -> None:
    steps = np.tile([100.0, 1000.0], 10)
    runs = make_runs(np.ones(20), np.ones(20), total_steps=steps, batch_size=np.repeat([8.0, 16.0], 10))
    cells = cells_of(horizon_logs(runs))
    assert len(cells) == 4
    assert sorted(np.concatenate(cells).tolist()) == list(range(20))
    assert all(len(set(steps[rows])) == 1 for rows in cells)


def test_many_horizons_are_put_together_with_their_neighbours() -> None:
    rng = np.random.default_rng(0)
    steps = np.exp(rng.uniform(5, 9, 400))
    runs = make_runs(np.ones(400), np.ones(400), total_steps=steps)
    cells = cells_of(horizon_logs(runs))
    assert sorted(np.concatenate(cells).tolist()) == list(range(400))
    assert 10 <= len(cells) <= MOST
    assert min(len(rows) for rows in cells) >= 8
    spans = sorted((steps[rows].min(), steps[rows].max()) for rows in cells)
    assert all(a[1] < b[0] for a, b in itertools.pairwise(spans))


def test_no_runs_are_no_cells() -> None:
    assert cells_of(np.empty((0, 3))) == []


def test_few_numbers_are_bands_of_their_own() -> None:
    names, label = bands(np.array([300.0, 100.0, 300.0, math.nan]))
    np.testing.assert_array_equal(names, [100, 300, math.nan])
    np.testing.assert_array_equal(label, [1, 0, 1, 2])


def test_many_numbers_are_log_spaced_bands() -> None:
    values = np.geomspace(10, 1e7, 100)
    names, label = bands(values, 6)
    assert len(names) == 6
    np.testing.assert_array_equal(np.unique(label), np.arange(6))
    assert (np.diff(label) >= 0).all()
    np.testing.assert_allclose(names[1:] / names[:-1], 10, rtol=0.1)
    for i, name in enumerate(names):
        assert name == pytest.approx(np.exp(np.log(values[label == i]).mean()))


def test_a_band_with_nothing_in_it_is_left_out() -> None:
    values = np.append(np.linspace(10, 11, 8), 1e6)
    names, label = bands(values, 6)
    assert len(names) == 2
    assert label[-1] == 1
