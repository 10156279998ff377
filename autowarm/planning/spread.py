"""Points spread over a space: where a search looks before it knows anything."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from autowarm.schedule import Schedule
from autowarm.space import Dimension, Fixed, Range, SearchSpace, ends

_WARMUP = 0.15
# Of a range by order of magnitude, as much as a peak may be off and its loss still shows the way; and parts at least.
_PART_DECADES = 0.8
_FEWEST = 3


def spread(space: SearchSpace, *, decay: str) -> Iterator[Schedule]:
    """Yield schedules of one shape whose peaks lie in the middles of equal parts of the range, from the middle out.

    The peak matters most, and peaks compare only under one shape: the usual warmup, and the middle of everything else.

    Args:
        space: with a range or choices of `initial_lr`.
        decay: one of those that are searched.
    """
    dimensions = space.dimensions(decay)
    shape = {name: value_at(dimension, 0.5) for name, dimension in dimensions.items()}
    shape["warmup_ratio"] = usual_warmup(space)
    n = _parts(dimensions["initial_lr"])
    for i in sorted(range(n), key=lambda i: abs(i - (n - 1) / 2)):
        peak = value_at(dimensions["initial_lr"], (i + 0.5) / n)
        yield space.schedule({"decay": decay, **shape, "initial_lr": peak})


def usual_warmup(space: SearchSpace) -> float:
    """Return a warmup of 15 %, or the nearest that is searched: long enough for most peaks, and not long."""
    return nearest(space.warmup_ratio, _WARMUP)


def nearest(dimension: Dimension, wanted: float) -> float:
    """Return the value of a dimension of numbers that is nearest to one, or the one itself."""
    if isinstance(dimension, Range):
        return float(dimension.clip(wanted))
    return float(min(ends(dimension), key=lambda known: abs(known - wanted)))


def value_at(dimension: Dimension, place: float) -> Any:
    """Return the value at a place in [0, 1) of a dimension; of a range by order of magnitude, of its logarithm."""
    if isinstance(dimension, Fixed):
        return dimension.value
    if not isinstance(dimension, Range):
        return dimension.values[min(int(place * len(dimension.values)), len(dimension.values) - 1)]
    low, high = dimension.low, dimension.high
    if dimension.whole:
        return min(int(low) + int(place * (high - low + 1)), int(high))
    value = low * (high / low) ** place if dimension.log else low + place * (high - low)
    return dimension.clip(float(value))


def _parts(dimension: Dimension) -> int:
    if not isinstance(dimension, Range):
        return len(ends(dimension))
    if not dimension.log:
        return _FEWEST
    return max(_FEWEST, math.ceil(math.log10(dimension.high / dimension.low) / _PART_DECADES))
