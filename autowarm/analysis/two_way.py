"""Schedules trained with the same seeds: their means, and how far two of them must be apart to differ.

A seed that is easy is easy for every schedule. The two-way layout value = schedule + seed + noise takes that out:

    y[i, j] = m[i] + b[j] + e[i, j],    sum of b[j] = 0,    e of one variance

fitted by least squares. Where every schedule was trained with every seed, m[i] is the plain mean of a schedule, and the
noise of a difference of two that of the paired differences, pooled over all pairs of schedules; so two seeds of three
schedules already have 2 degrees of freedom. (Montgomery, Design and Analysis of Experiments, on randomised blocks.)
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autowarm.analysis.student import t_975


@dataclass(frozen=True)
class TwoWay:
    """A fitted two-way layout.

    Attributes:
        means: of the schedules over all seeds, one a schedule, in units of the metric.
        degrees: degrees of freedom of the noise; 0: nothing is known of it.
        variance: of one run, less its schedule and its seed; NaN where `degrees` is 0.
        inverse: of the normal matrix, of the schedules: shape (schedules, schedules).
    """

    means: tuple[float, ...]
    degrees: int
    variance: float
    inverse: NDArray[np.float64]

    def standard_error(self, i: int, k: int) -> float:
        """Return the standard error of ``means[i] - means[k]``; NaN where nothing is known of the noise."""
        if i == k:
            return 0.0
        spread = self.inverse[i, i] + self.inverse[k, k] - 2 * self.inverse[i, k]
        return math.sqrt(self.variance * spread) if self.degrees else math.nan

    def half_width(self, i: int, k: int) -> float:
        """Return half the 95 % interval of ``means[i] - means[k]``; infinite where nothing is known of the noise."""
        return t_975(self.degrees) * self.standard_error(i, k) if self.degrees else math.inf


def two_way(runs: Sequence[Mapping[int, float]]) -> TwoWay:
    """Fit the layout.

    Args:
        runs: one mapping a schedule, from a seed to the value reached with it. At least one; none is empty; and one of
            them shares a seed with every other, or their means would not compare.
    """
    seeds = sorted({seed for values in runs for seed in values})
    places = {seed: place for place, seed in enumerate(seeds)}
    rows, values = [], []
    for schedule, by_seed in enumerate(runs):
        for seed, value in by_seed.items():
            row = np.zeros(len(runs) + len(seeds) - 1)
            row[schedule] = 1.0
            if places[seed] < len(seeds) - 1:
                row[len(runs) + places[seed]] = 1.0
            else:
                # the effects of the seeds add up to 0: the last one is less the sum of the others
                row[len(runs) :] = -1.0
            rows.append(row)
            values.append(value)
    x, y = np.array(rows), np.array(values)
    inverse: NDArray[np.float64] = np.linalg.inv(x.T @ x).astype(np.float64)
    fitted = inverse @ x.T @ y
    degrees = len(y) - x.shape[1]
    variance = float(np.sum((y - x @ fitted) ** 2)) / degrees if degrees else math.nan
    means = tuple(float(mean) for mean in fitted[: len(runs)])
    return TwoWay(means, degrees, variance, inverse[: len(runs), : len(runs)])
