from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from power_runs import Truth, make_runs

from autowarm.analysis.horizon_grid import horizon_grid
from autowarm.analysis.recommend import recommend
from autowarm.analysis.runs import Runs

LRS = np.geomspace(1e-4, 1e-1, 12)


def seeds_of(values: dict[float, float], *, noise: float, seeds: int = 8, seed: int = 0) -> Runs:
    """Return repeated runs of schedules that differ in lr, each with its true value."""
    rng = np.random.default_rng(seed)
    lr = np.repeat(list(values), seeds)
    value = np.repeat(list(values.values()), seeds) + noise * rng.standard_normal(len(lr))
    return make_runs(lr, value, seed=np.tile(np.arange(seeds), len(values)), decay="cosine")


def test_cells_that_were_run_are_found_and_those_that_were_not_are_predictions() -> None:
    truth = Truth(runs=20, noise=0.005)
    parts = [
        Truth(steps=s, runs=20, noise=0.005).draw(np.random.default_rng(i))[0]
        for i, s in enumerate([(300.0, 1000.0), (1000.0,)])
    ]
    size = np.repeat([1000.0, 4000.0], [40, 20])
    runs = make_runs(
        *(np.concatenate([getattr(p, name) for p in parts]) for name in ("initial_lr", "value")),
        total_steps=np.concatenate([p.total_steps for p in parts]),
        warmup=np.concatenate([p.warmup_ratio for p in parts]),
        dataset_size=size,
        decay="linear",
    )
    grid = horizon_grid(runs)
    assert grid is not None
    assert grid.total_steps == (300.0, 1000.0)
    assert grid.dataset_sizes == (1000.0, 4000.0)
    assert [[c.tried for c in row] for row in grid.cells] == [[20, 20], [0, 20]]
    assert [[c.predicted for c in row] for row in grid.cells] == [[False, False], [True, False]]
    for row in grid.cells:
        for cell in row:
            assert cell.initial_lr.value == pytest.approx(float(truth.best(cell.total_steps)), rel=0.3)
            assert cell.initial_lr.low < cell.initial_lr.value < cell.initial_lr.high
            assert cell.decay == "linear"
    untried = grid.cells[1][0]
    assert untried.value is None
    assert untried.ties == ()
    assert 0 <= untried.warmup_ratio < 0.3
    assert "3 of 4 horizons tried; the others are predictions." in grid.sentences()


def test_ties_are_called_ties() -> None:
    """Of schedules that are equally good, each is named in nineteen of twenty grids."""
    alike = {0.001 * i: 1.0 for i in range(1, 6)}
    counts = []
    for seed in range(40):
        grid = horizon_grid(seeds_of(alike, noise=0.05, seed=seed))
        assert grid is not None
        counts.append(grid.cells[0][0].n_ties)
    assert np.mean(counts) >= 0.95 * 5


def test_what_is_better_beyond_noise_is_alone() -> None:
    grid = horizon_grid(seeds_of({0.001: 1.5, 0.002: 1.0, 0.003: 1.4}, noise=0.05))
    assert grid is not None
    cell = grid.cells[0][0]
    assert cell.ties == ("lr 0.002, warmup 10 %, cosine",)
    assert cell.value == pytest.approx(1.0, abs=0.05)
    assert not any("tie" in s for s in grid.sentences())


def test_the_lower_lr_is_named_first_and_no_more_than_five() -> None:
    grid = horizon_grid(seeds_of({0.001 * i: 1.0 for i in range(9, 0, -1)}, noise=1.0, seeds=3))
    assert grid is not None
    cell = grid.cells[0][0]
    assert 6 <= cell.n_ties <= 9
    assert [words.split(",")[0] for words in cell.ties] == sorted(words.split(",")[0] for words in cell.ties)
    assert len(cell.ties) == 5
    assert (
        f"{cell.n_ties} of the schedules run there are within noise of each other: call it a tie." in grid.sentences()
    )


def test_a_schedule_that_failed_once_is_no_tie_of_those_that_did_not() -> None:
    runs = seeds_of({0.001: 1.0, 0.002: 1.0}, noise=0.05)
    value = runs.value.copy()
    value[10] = math.nan
    grid = horizon_grid(make_runs(runs.initial_lr, value))
    assert grid is not None
    assert grid.cells[0][0].ties == ("lr 0.001, warmup 10 %",)


def test_many_horizons_become_six_bands_of_either() -> None:
    rng = np.random.default_rng(3)
    steps, size = np.round(np.exp(rng.uniform(6, 11, (2, 1500))))
    u = rng.uniform(-2.5, 1.5, 1500)
    value = 1 + 0.05 * u**2 + 0.003 * rng.standard_normal(1500)
    lr = 1e-3 * (steps / 1000) ** -0.3 * np.exp(u)
    grid = horizon_grid(make_runs(lr, value, total_steps=steps, dataset_size=size, warmup=rng.uniform(0, 0.3, 1500)))
    assert grid is not None
    assert len(grid.total_steps) == len(grid.dataset_sizes) == 6
    assert sum(c.tried for row in grid.cells for c in row) == 1500
    off = [math.log(c.initial_lr.value / (1e-3 * (c.total_steps / 1000) ** -0.3)) for row in grid.cells for c in row]
    assert np.max(np.abs(off)) < 0.3


def test_an_unknown_dataset_size_is_a_row_of_its_own() -> None:
    runs, _ = Truth(steps=(1000.0,), runs=20).draw(np.random.default_rng(4))
    grid = horizon_grid(runs)
    assert grid is not None
    assert len(grid.dataset_sizes) == 1
    assert math.isnan(grid.dataset_sizes[0])
    assert math.isnan(grid.cells[0][0].dataset_size)
    assert len(grid.sentences()) > 0


@pytest.mark.parametrize("value", [[], LRS * math.nan, [math.inf] * 12], ids=["empty", "all failed", "infinities"])
def test_with_no_run_that_ended_there_is_no_grid(value: NDArray[np.float64]) -> None:
    assert horizon_grid(make_runs(LRS[: len(value)], value)) is None


@pytest.mark.parametrize(
    ("lr", "value"),
    [([0.1], [1.0]), (LRS, LRS * 0 + 1), (LRS, LRS * 1e300), (LRS, np.where(LRS > 0.01, math.inf, 1 / LRS))],
    ids=["one run", "constant", "huge", "some infinities"],
)
def test_odd_values_are_survived(lr: NDArray[np.float64], value: NDArray[np.float64]) -> None:
    grid = horizon_grid(make_runs(lr, value, total_steps=np.array([100.0, 200.0] * 6)[: len(lr)]))
    assert grid is not None
    for cell in grid.cells[0]:
        assert cell.initial_lr.low <= cell.initial_lr.value <= cell.initial_lr.high
        assert cell.value is not None


def test_of_constant_values_everything_ties() -> None:
    grid = horizon_grid(make_runs(LRS, LRS * 0 + 1))
    assert grid is not None
    assert grid.cells[0][0].n_ties == 12
    assert grid.cells[0][0].predicted


def test_a_hundred_thousand_runs_are_no_problem() -> None:
    rng = np.random.default_rng(5)
    n = 100_000
    u = rng.uniform(-2, 2, n)
    steps = rng.choice([100.0, 1000.0, 10_000.0], n)
    size = rng.choice([1e3, 1e4], n)
    grid = horizon_grid(
        make_runs(1e-3 * np.exp(u), u**2 + rng.standard_normal(n), total_steps=steps, dataset_size=size)
    )
    assert grid is not None
    for row in grid.cells:
        for cell in row:
            assert cell.initial_lr.value == pytest.approx(1e-3, rel=0.1)


@pytest.mark.parametrize("seed", range(5))
def test_a_decay_that_is_worse_beyond_noise_is_not_the_best_of_a_cell_however_often_it_ran(seed: int) -> None:
    rng = np.random.default_rng(seed)
    decay = np.array(["constant", "constant", "cosine"])[np.arange(90) % 3]
    lr = np.exp(rng.uniform(math.log(3e-4), math.log(0.1), 90))
    u = np.log(lr / np.where(decay == "constant", 0.32 * 0.01, 0.01))
    value = 1 + 0.1 * u**2 + 0.1 * (decay == "constant") + 0.01 * rng.standard_normal(90)
    grid = horizon_grid(make_runs(lr, value, decay=decay))
    assert grid is not None
    assert grid.cells[0][0].decay == "cosine"
    assert grid.cells[0][0].initial_lr.value == pytest.approx(0.01, rel=0.1)
    assert grid.cells[0][0].expected is not None
    assert grid.cells[0][0].expected.value == pytest.approx(1.0, abs=0.02), "under that decay, not over all"
    assert recommend(make_runs(lr, value, decay=decay), 1000).decay == "cosine"
