"""A number with its interval: what every analysis answers with."""

from __future__ import annotations

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
