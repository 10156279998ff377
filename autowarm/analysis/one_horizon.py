"""Runs of one length, or nearly: metrics of different horizons do not compare."""

from __future__ import annotations

import numpy as np

from autowarm.analysis.cells import numbered
from autowarm.analysis.runs import Flags, Runs


def horizons_with_enough(runs: Runs, mask: Flags, enough: int, at_most: int) -> list[Flags]:
    """Return the runs of each horizon that has enough of them, the longest horizon first.

    Args:
        runs: any.
        mask: those that count, of shape (runs,).
        enough: how many of them a horizon (total_steps, dataset_size) must have.
        at_most: so many horizons.

    Returns:
        Masks of shape (runs,), of all runs at a horizon, those that do not count as well.
    """
    # an unknown size is the smallest
    horizon = numbered(runs.total_steps, np.where(np.isnan(runs.dataset_size), -1.0, runs.dataset_size))
    counts = np.bincount(horizon[mask & np.isfinite(runs.total_steps)])
    return [horizon == which for which in np.flatnonzero(counts >= enough)[::-1][:at_most]]


def alike_lengths(runs: Runs, mask: Flags, *, enough: int, enough_of_a_factor: int) -> Flags:
    """Return the runs of the longest horizon that has enough, or of lengths within a factor of 2 of each other.

    Args:
        runs: any.
        mask: those that count, of shape (runs,).
        enough: how many of them a single horizon must have.
        enough_of_a_factor: how many lengths within a factor of 2 must have together: the longest that do are taken, or
            those that have the most.

    Returns:
        A mask of shape (runs,), of all runs there, those that do not count as well; all False where none that counts
        has a known length.
    """
    same = horizons_with_enough(runs, mask, enough, 1)
    if same:
        return same[0]
    steps = np.sort(runs.total_steps[mask & np.isfinite(runs.total_steps)])
    if len(steps) == 0:
        return np.zeros_like(mask)
    counts = np.arange(1, len(steps) + 1) - np.searchsorted(steps, steps / 2, side="right")
    full = np.flatnonzero(counts >= min(enough_of_a_factor, int(counts.max())))
    longest = steps[full[-1]]
    alike: Flags = (runs.total_steps > longest / 2) & (runs.total_steps <= longest)
    return alike
