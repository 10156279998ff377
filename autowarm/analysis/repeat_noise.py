"""How much the same training varies from seed to seed."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from autowarm.analysis.runs import Flags, Runs

# Fewer degrees of freedom say little of a standard deviation.
_ENOUGH = 3


def repeat_noise(runs: Runs, mask: Flags) -> float:
    """Return the standard deviation of runs that differ by their seed alone; NaN where there are too few.

    It is pooled over the schedules and horizons that were repeated, with at least 3 degrees of freedom in all. A row
    that repeats the seed as well is the same run, and counts once.

    Args:
        runs: any.
        mask: those to look at, of shape (runs,): those that ended, about as good as the best.
    """
    rows = np.flatnonzero(mask & runs.ended & np.isfinite(runs.seed))
    same = ["lr", "warmup", "steps", "data", "batch", "decay"]
    table = pd.DataFrame(
        {
            "lr": runs.initial_lr[rows],
            "warmup": runs.warmup_ratio[rows],
            "steps": runs.total_steps[rows],
            "data": runs.dataset_size[rows],
            "batch": runs.batch_size[rows],
            "decay": pd.factorize(runs.decay[rows])[0],
            "seed": runs.seed[rows],
            "value": runs.value[rows],
        }
    ).drop_duplicates([*same, "seed"])
    groups = table.groupby(same, dropna=False, sort=False)["value"]
    deviations = table["value"] - groups.transform("mean")
    degrees = len(table) - groups.ngroups
    return math.sqrt(float((deviations**2).sum()) / degrees) if degrees >= _ENOUGH else math.nan
