"""Runs of one length, or nearly: metrics of different horizons do not compare."""

from __future__ import annotations

import numpy as np

from autowarm.analysis.runs import Flags, Runs


def horizons_with_enough(runs: Runs, mask: Flags, enough: int) -> list[Flags]:
    """Return which of the runs belong to each horizon that has enough of them, the longest horizon first.

    Args:
        runs: any.
        mask: those that count, of shape (runs,).
        enough: how many of them a horizon (total_steps, dataset_size) must have.

    Returns:
        Masks of shape (runs,), of runs that count.
    """
    # an unknown size is the smallest
    sizes = np.where(np.isnan(runs.dataset_size), -1.0, runs.dataset_size)
    keys = np.column_stack([runs.total_steps, sizes])
    known, counts = np.unique(keys[mask & np.isfinite(runs.total_steps)], axis=0, return_counts=True)
    return [mask & np.all(keys == key, axis=1) for key in known[counts >= enough][::-1]]


def alike_lengths(runs: Runs, mask: Flags, *, enough: int, enough_of_a_factor: int) -> Flags:
    """Return the runs of the longest horizon that has enough, or of lengths within a factor of 2 of each other.

    Args:
        runs: any.
        mask: those that count, of shape (runs,).
        enough: how many of them a single horizon must have.
        enough_of_a_factor: how many lengths within a factor of 2 must have together: the longest that do are taken, or
            those that have the most.

    Returns:
        A mask of shape (runs,), of runs that count; all False where none has a known length.
    """
    same = horizons_with_enough(runs, mask, enough)
    if same:
        return same[0]
    steps = np.sort(runs.total_steps[mask & np.isfinite(runs.total_steps)])
    if len(steps) == 0:
        return np.zeros_like(mask)
    counts = np.arange(1, len(steps) + 1) - np.searchsorted(steps, steps / 2, side="right")
    full = np.flatnonzero(counts >= min(enough_of_a_factor, int(counts.max())))
    longest = steps[full[-1]]
    alike: Flags = mask & (runs.total_steps > longest / 2) & (runs.total_steps <= longest)
    return alike
