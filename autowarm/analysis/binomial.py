"""A rate from a count, with its interval."""

from __future__ import annotations

import math

from scipy.special import betaincinv

from autowarm.analysis.estimate import Estimate


def proportion(count: int, total: int) -> Estimate:
    """Return count / total with Jeffreys' 90 % interval.

    Its ends are the 5 % and 95 % quantiles of Beta(count + 1/2, total - count + 1/2), and 0 or 1 where nothing or
    everything was counted (Brown, Cai & DasGupta, Interval Estimation for a Binomial Proportion, 2001).

    Args:
        count: of what happened, from 0 to `total`.
        total: of what could have happened; where it is 0, the value is NaN and the interval all of [0, 1].

    >>> found = proportion(0, 20)
    >>> found.value, found.low, round(found.high, 3)
    (0.0, 0.0, 0.09)
    """
    if total == 0:
        return Estimate(math.nan, 0.0, 1.0)
    a, b = count + 0.5, total - count + 0.5
    low = 0.0 if count == 0 else float(betaincinv(a, b, 0.05))
    high = 1.0 if count == total else float(betaincinv(a, b, 0.95))
    return Estimate(count / total, low, high)
