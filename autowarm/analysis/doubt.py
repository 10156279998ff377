"""A doubt about an answer, and the rule for the one that stands at the edge of what was tried."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from autowarm.words import number

# The best this near to a bound, as a share of the range, might lie beyond it.
EDGE = 0.05
# Of n random trials the best is the outermost with a chance of 2 / n: with fewer, an edge says nothing.
_ENOUGH_TRIALS = 5

# (low, high) of `initial_lr` and of `warmup_ratio` as they were searched
Bounds = Mapping[str, tuple[float, float]]


@dataclass(frozen=True)
class Doubt:
    """One reason not to trust an answer, or not that far.

    Attributes:
        kind: in one word, such as `edge`, `seeds`, `noise`.
        words: a sentence, which ends with what to do.
    """

    kind: str
    words: str


@dataclass(frozen=True)
class Edge:
    """A best value at an end of what was tried: the true best may lie beyond.

    Attributes:
        name: `initial_lr` or `warmup_ratio`.
        value: of the best.
        bounds: (low, high) of what was tried.
        end: `low` or `high`.
    """

    name: str
    value: float
    bounds: tuple[float, float]
    end: str

    @property
    def words(self) -> str:
        """Where the best is, without what to do."""
        span = f"{number(self.bounds[0])} to {number(self.bounds[1])}"
        return f"the best {self.name}, {number(self.value)}, is at the {self.end} end of {span}"


def edges(
    initial_lr: float,
    warmup_ratio: float | None,
    *,
    lrs: Sequence[float],
    ratios: Sequence[float],
    bounds: Bounds,
) -> list[Edge]:
    """Return where the best schedule is at an edge of the search.

    Args:
        initial_lr: of the best schedule.
        warmup_ratio: of the best schedule; None where unknown.
        lrs: all that were tried.
        ratios: all that were tried.
        bounds: of the search; where they do not tell, the lowest and the highest tried are taken.
    """
    found = []
    lr_range = _range(lrs, bounds.get("initial_lr"))
    if lr_range:
        # a learning rate is searched in factors, so nearness is measured in factors too
        low, high = (math.log(bound) for bound in lr_range)
        found += _edge("initial_lr", initial_lr, lr_range, (math.log(initial_lr) - low) / (high - low))
    ratio_range = _range(ratios, bounds.get("warmup_ratio"))
    if ratio_range and warmup_ratio is not None:
        low, high = ratio_range
        place = (warmup_ratio - low) / (high - low)
        # below no warmup there is nothing
        found += _edge("warmup_ratio", warmup_ratio, ratio_range, place if low > 0 or place > 0.5 else 0.5)
    return found


def _range(tried: Sequence[float], bounds: tuple[float, float] | None) -> tuple[float, float] | None:
    """Return (low, high), or None where they are one value or too few were tried to tell an edge by."""
    if bounds is None:
        if len(tried) < _ENOUGH_TRIALS:
            return None
        bounds = min(tried), max(tried)
    return bounds if bounds[0] < bounds[1] else None


def _edge(name: str, value: float, bounds: tuple[float, float], place: float) -> list[Edge]:
    if EDGE < place < 1 - EDGE:
        return []
    return [Edge(name, value, bounds, "low" if place <= EDGE else "high")]
