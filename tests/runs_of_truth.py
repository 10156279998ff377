"""Runs whose truth is known, for the analyses of many runs."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from autowarm.analysis.runs import Runs, with_failures

Floats = NDArray[np.float64]


def make_runs(n: int, **columns: Any) -> Runs:
    """Return n runs at one horizon: any column as an array or one value for all; what is not told is unknown."""
    values: dict[str, Any] = {
        "initial_lr": 1e-3,
        "warmup_ratio": np.nan,
        "total_steps": 1000.0,
        "dataset_size": np.nan,
        "batch_size": np.nan,
        "decay": "",
        "seed": np.nan,
        "value": 1.0,
        "failed": False,
        "stopped": False,
        "searched": True,
    }
    mode, metric = columns.pop("mode", "min"), columns.pop("metric", "loss")
    unknown = columns.keys() - values.keys()
    assert not unknown, unknown
    arrays: dict[str, Any] = {
        name: np.array(np.broadcast_to(value, (n,))) for name, value in (values | columns).items()
    }
    return with_failures(Runs(**arrays, metric=metric, mode=mode))


def log_uniform(rng: np.random.Generator, low: float, high: float, n: int) -> Floats:
    return np.exp(rng.uniform(np.log(low), np.log(high), n))


def failures(rng: np.random.Generator, lr: Floats, boundary: Floats | float, width: float) -> NDArray[np.bool_]:
    """Draw which runs fail: half of them at the boundary."""
    chance = 1 / (1 + np.exp(-(np.log(lr) - np.log(boundary)) / width))
    drawn: NDArray[np.bool_] = rng.random(len(lr)) < chance
    return drawn


def curve(lr: Floats, best: Floats | float, skew: float = 0.0) -> Floats:
    """Return a loss that is 0 at the best lr; with a skew, a lr too high costs more than one too low."""
    z = np.log(lr) - np.log(best)
    found: Floats = 0.05 * z**2 * (1 + skew * np.tanh(z))
    return found
