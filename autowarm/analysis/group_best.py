"""The best learning rate of each of several groups of runs, the metric there, and how the groups differ.

Each group has the posterior of `autowarm.analysis.response` from its own runs, the one estimator of a best learning
rate there is: a cubic fitted to all groups together said .6 of its 90 % intervals right where a learning rate too high
costs much more than one too low, as it does. What else varied is told at one place for all groups.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from autowarm.analysis.estimate import Estimate
from autowarm.analysis.response import Response, response
from autowarm.analysis.runs import Flags, Floats

# Runs near its best learning rate that a group needs, at learning rates of which so many differ.
_RUNS, _LRS = 6, 3
# Equal but for rounding.
_ROUNDING = 1e-9


@dataclass(frozen=True, eq=False)
class GroupBests:
    """The best learning rates of groups, and the metric at them; less is better.

    Attributes:
        groups: those that could be judged, as given; shape (groups,).
        found: what the runs of each tell.
    """

    groups: NDArray[np.int_]
    found: tuple[Response, ...]

    @property
    def noise(self) -> float:
        """Standard deviation of a run about the fits, all groups taken together."""
        degrees = np.array([f.degrees for f in self.found])
        return math.sqrt(float(degrees @ [f.noise**2 for f in self.found] / degrees.sum()))

    def value(self, place: int) -> Estimate:
        """Return the metric at a best learning rate."""
        one = self.found[place]
        half = _half(one.value_sd, one.degrees, 0.95)
        return Estimate(one.value, one.value - half, one.value + half)

    def difference(self, i: int, k: int, comparisons: int = 1) -> Estimate:
        """Return the metric of one group less that of another, with an interval that is right for all of several.

        Args:
            i: place of the one.
            k: place of the other.
            comparisons: how many are made at once: each interval is then 1 - .1 / comparisons wide (Bonferroni).
        """
        a, b = self.found[i], self.found[k]
        middle, spread = a.value - b.value, math.hypot(a.value_sd, b.value_sd)
        # degrees of freedom of a sum of two variances (Welch, 1947)
        parts = a.value_sd**4 / a.degrees + b.value_sd**4 / b.degrees
        degrees = spread**4 / parts if parts > 0 else a.degrees + b.degrees
        half = _half(spread, degrees, 1 - 0.05 / comparisons) + _ROUNDING * abs(b.value)
        return Estimate(middle, middle - half, middle + half)


def group_bests(
    x: Floats, badness: Floats, failed: Flags, group: NDArray[np.int_], others: Sequence[Floats] = ()
) -> GroupBests | None:
    """Return what the runs of each group tell of its best learning rate; None where no group can be judged.

    A group is judged where 6 of its runs, at 3 learning rates, lie near its best.

    Args:
        x: ln lr, finite, of shape (runs,).
        badness: what they reached; less is better; not read where `failed`.
        failed: those bound the best from above.
        group: a number from 0 on for each run.
        others: what else varied, each of shape (runs,), the most important first. They are left out where they do
            not vary or the runs do not suffice; the metric is told at their mean over the best quarter of all runs.
    """
    ended = np.flatnonzero(~failed)
    good = ended[np.argsort(badness[ended], kind="stable")[: max(1, len(ended) // 4)]]
    kept = [column for column in others if np.isfinite(column).all()]
    besides = np.column_stack(kept) if kept else np.empty((len(x), 0))
    names, found = [], []
    for g in np.unique(group[ended]):
        rows = np.flatnonzero(group == g)
        if len(np.unique(x[rows][~failed[rows]])) < _LRS:
            continue
        one = response(x[rows], badness[rows], failed[rows], besides[rows], told_at=besides[good].mean(axis=0))
        if one is not None and one.runs >= _RUNS and math.isfinite(one.value):
            names.append(int(g))
            found.append(one)
    return GroupBests(np.array(names), tuple(found)) if found else None


def _half(sd: float, degrees: float, share: float) -> float:
    return float(stdtrit(max(degrees, 1.0), share)) * sd
