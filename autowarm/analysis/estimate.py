"""A number with its interval: what every analysis answers with."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Estimate:
    """A number and the interval it lies in with 90 % confidence.

    Attributes:
        value: the estimate.
        low: lower end of the interval; -inf where nothing bounds it.
        high: upper end.
    """

    value: float
    low: float
    high: float

    def __contains__(self, number: float) -> bool:
        return self.low <= number <= self.high


def ratio(a: Estimate, b: Estimate) -> Estimate:
    """Return a / b of two independent estimates of positive numbers.

    The ends of its interval are those of a difference of logarithms, made of how far the ends of the two are from
    their middles (Zou & Donner, Construction of Confidence Limits about Effect Measures, 2008): right, too, where the
    two intervals are lopsided.

    Args:
        a: value and ends positive; an end may be 0 or infinite.
        b: likewise.

    >>> found = ratio(Estimate(2.0, 1.0, 4.0), Estimate(1.0, 0.5, 2.0))
    >>> round(found.value, 3), round(found.low, 3), round(found.high, 3)
    (2.0, 0.75, 5.33)
    """
    below = math.hypot(_log(a.value) - _log(a.low), _log(b.high) - _log(b.value))
    above = math.hypot(_log(a.high) - _log(a.value), _log(b.value) - _log(b.low))
    middle = _log(a.value) - _log(b.value)
    return Estimate(math.exp(middle), math.exp(middle - below), math.exp(middle + above))


def _log(value: float) -> float:
    return math.log(value) if value > 0 else -math.inf
