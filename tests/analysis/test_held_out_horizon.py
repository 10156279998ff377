"""Somebody else's 1,024 runs: what the short ones recommend for the long ones, and what that would have cost."""

from __future__ import annotations

import gzip
import json
import os
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from power_runs import make_runs

from autowarm.analysis.horizon_grid import horizon_grid
from autowarm.analysis.recommend import Recommendation, recommend
from autowarm.analysis.runs import Runs, with_failures
from autowarm.analysis.scaling import scaling

ROOT = Path(__file__).parents[2]
SHARED = Path(os.environ.get("AUTOWARM_SHARED", ROOT.parent / "shared" / "data"))
TABLE = SHARED / "deberta-base_tuning.jsonl.gz"
# Training examples of MultiNLI.
EXAMPLES = 392_702
# Held-out runs that are averaged, and what makes a run near: a factor of 1.65 in lr, 5 % of the steps of warmup.
NEAR = 12
UNIT = np.array([0.5, 0.05])

needs_table = pytest.mark.skipif(
    not TABLE.is_file(), reason=f"{TABLE.name} is not in ../shared/data; AUTOWARM_SHARED names another folder"
)


@cache
def table() -> Runs:
    with gzip.open(TABLE, "rt") as lines:
        rows = [json.loads(line) for line in lines]
    steps = np.array([r["total_model_steps"] for r in rows], dtype=np.float64)
    return with_failures(
        make_runs(
            [r["learning_rate"] for r in rows],
            [r["learning_curves"]["matched"][-1][1] for r in rows],
            total_steps=steps,
            warmup=np.array([r["warmup_steps"] for r in rows]) / steps,
            dataset_size=EXAMPLES,
            batch_size=[r["train_batch_size"] for r in rows],
            mode="max",
        )
    )


def near(held: Runs, lr: float, share: float) -> float:
    """Return the mean accuracy of the held-out runs nearest to a schedule, failed ones included."""
    places = np.column_stack([np.log(held.initial_lr), held.warmup_ratio])
    distance = (((places - [np.log(lr), share]) / UNIT) ** 2).sum(axis=1)
    return float(held.value[np.argpartition(distance, NEAR)[:NEAR]].mean())


def regrets(held: Runs, found: Recommendation) -> tuple[float, float]:
    """Return how much less accurate the recommended schedule is: than the best of a dense grid, than the best run."""
    lrs: NDArray[np.float64] = np.geomspace(held.initial_lr.min(), held.initial_lr.max(), 40)
    best = max(near(held, lr, share) for lr in lrs for share in np.linspace(0, 0.5, 26))
    got = near(held, found.initial_lr.value, found.warmup_ratio.value)
    return best - got, float(held.value.max()) - got


@needs_table
@pytest.mark.parametrize(("low", "high"), [(0.75, 1.0), (0.5, 0.75), (0.6, 1.0), (0.85, 1.0), (0.9, 1.0), (0.5, 1.0)])
def test_the_schedule_recommended_by_shorter_runs_is_near_the_best_of_the_longer_ones(low: float, high: float) -> None:
    runs = table()
    steps = runs.total_steps
    first, last = np.quantile(steps, (low, high))
    held = runs.where((steps >= first) & (steps <= last))
    found = recommend(runs.where(steps < first), np.median(held.total_steps), batch_size=np.median(held.batch_size))
    regret, to_best = regrets(held, found)
    print(
        f"held out: {len(held)} runs of {first:,.0f} to {last:,.0f} steps; recommended {found.initial_lr.value:.2g}, "
        f"warmup {found.warmup_ratio.value:.1%}: {100 * regret:.2f} points below the best neighbourhood, "
        f"{100 * to_best:.2f} below the best run"
    )
    assert regret <= 0.003


@needs_table
def test_longer_trainings_have_a_lower_best_lr() -> None:
    found = scaling(table())
    assert found is not None
    steps, size, batch = found.powers
    assert steps.exponent.high < 0
    assert steps.from_data
    assert not size.from_data
    assert batch.varies
    assert 0.001 < found.noise < 0.003


@needs_table
def test_its_grid_has_six_bands_of_steps_and_its_lr_falls() -> None:
    grid = horizon_grid(table())
    assert grid is not None
    lrs = [cell.initial_lr.value for cell in grid.cells[0]]
    assert len(lrs) == 6
    assert lrs == sorted(lrs, reverse=True)
    assert sum(cell.tried for cell in grid.cells[0]) == 1024
