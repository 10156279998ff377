"""Runs of one length, or nearly: metrics of different horizons do not compare."""

from __future__ import annotations

import numpy as np
import pandas as pd

from autowarm.analysis.runs import Flags, Floats, Runs


def horizons_with_enough(runs: Runs, mask: Flags, enough: int) -> list[Flags]:
    """Return which of the runs belong to each horizon that has enough of them, the longest horizon first.

    Args:
        runs: any.
        mask: those that count, of shape (runs,).
        enough: how many of them a horizon (total_steps, dataset_size) must have.

    Returns:
        Masks of shape (runs,), of runs that count.
    """
    table = pd.DataFrame({"steps": runs.total_steps, "data": runs.dataset_size})[mask]
    sizes = table.groupby(["steps", "data"], dropna=False).size()
    chosen = sorted((key for key, size in sizes.items() if size >= enough), reverse=True, key=_unknown_last)
    return [mask & (runs.total_steps == steps) & _same(runs.dataset_size, data) for steps, data in chosen]


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
    return mask & (runs.total_steps > longest / 2) & (runs.total_steps <= longest)


def _unknown_last(key: tuple[float, float]) -> tuple[float, float]:
    steps, data = key
    return steps, -1.0 if np.isnan(data) else data


def _same(column: Floats, value: float) -> Flags:
    return np.isnan(column) if np.isnan(value) else column == value
