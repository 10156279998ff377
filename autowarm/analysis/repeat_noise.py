"""How much the same training varies from seed to seed."""

from __future__ import annotations

import math

import numpy as np

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
    if not len(rows):
        return math.nan
    decay = np.unique(runs.decay[rows], return_inverse=True)[1].ravel()
    columns = [runs.initial_lr, runs.warmup_ratio, runs.total_steps, runs.dataset_size, runs.batch_size]
    # unknown is the same as unknown
    keys = np.column_stack([decay, *(np.where(np.isnan(c[rows]), -1.0, c[rows]) for c in columns), runs.seed[rows]])
    first = np.unique(keys, axis=0, return_index=True)[1]
    place = np.unique(keys[first, :-1], axis=0, return_inverse=True)[1].ravel()
    values = runs.value[rows][first]
    counts = np.bincount(place)
    deviations = values - (np.bincount(place, values) / counts)[place]
    degrees = len(values) - len(counts)
    return math.sqrt(float(deviations @ deviations) / degrees) if degrees >= _ENOUGH else math.nan
