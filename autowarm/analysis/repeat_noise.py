"""How much the same training varies from seed to seed."""

from __future__ import annotations

import math

import numpy as np

from autowarm.analysis.cells import Rows, numbered
from autowarm.analysis.runs import Flags, Floats, Runs

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
    schedule = schedules(runs)[rows]
    first = np.unique(numbered(schedule, runs.seed[rows]), return_index=True)[1]
    noise, degrees = pooled(runs.value[rows][first], schedule[first])
    return noise if degrees >= _ENOUGH else math.nan


def schedules(runs: Runs) -> Rows:
    """Return a number for each run, the same one for runs that differ in their seed alone."""
    columns = (runs.initial_lr, runs.warmup_ratio, runs.total_steps, runs.dataset_size, runs.batch_size, runs.decay)
    return numbered(*columns)


def pooled(values: Floats, group: Rows) -> tuple[float, int]:
    """Return the standard deviation of values about the means of their groups, and its degrees of freedom.

    Args:
        values: of shape (runs,).
        group: a number from 0 on for each.

    Returns:
        0 and 0 where no group has two.
    """
    number = np.unique(group, return_inverse=True)[1].ravel()
    counts = np.bincount(number)
    rest = values - (np.bincount(number, values) / counts)[number]
    degrees = len(values) - len(counts)
    return math.sqrt(float(rest @ rest) / max(degrees, 1)), degrees
