"""Points spread over a space: where a search looks before it knows anything."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from autowarm.schedule import Schedule
from autowarm.space import Dimension, Fixed, Range, SearchSpace


def spread(space: SearchSpace, n: int, *, seed: int, known: Iterable[Schedule] = ()) -> Iterator[Schedule]:
    """Yield schedules whose peaks lie one in each of n equal parts of the range; in seeded shapes, from the middle out.

    The peak is what matters most, so its parts are covered evenly; every other dimension is covered evenly, too, in an
    order of its own (a Latin hypercube; McKay, Beckman and Conover 1979), decays taking turns.

    Args:
        space: with a range or choices of `initial_lr`.
        n: parts, at least 1.
        seed: of the orders.
        known: schedules that are tried anyway: the parts that they lie in are left out.
    """
    random = np.random.default_rng(seed)
    decays = [space.decays[i % len(space.decays)] for i in range(n)]
    places = {name: (random.permutation(n) + 0.5) / n for name in _names(space)}
    decays = [decays[i] for i in random.permutation(n)]
    # no order for the peaks: part i is point i
    places["initial_lr"] = (np.arange(n) + 0.5) / n
    taken = {part for schedule in known if (part := _part(space.initial_lr, schedule.initial_lr, n)) is not None}
    for i in sorted(range(n), key=lambda i: abs(i - (n - 1) / 2)):
        if i in taken:
            continue
        dimensions = space.dimensions(decays[i])
        yield space.schedule(
            {"decay": decays[i], **{name: value_at(d, float(places[name][i])) for name, d in dimensions.items()}}
        )


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
    return min(max(float(value), low), high)


def _names(space: SearchSpace) -> list[str]:
    return sorted({name for decay in space.decays for name in space.dimensions(decay)})


def _part(dimension: Dimension, value: float, n: int) -> int | None:
    if not isinstance(dimension, Range) or not dimension.holds(value):
        return None
    low, high = dimension.low, dimension.high
    place = np.log(value / low) / np.log(high / low) if dimension.log else (value - low) / (high - low)
    return min(int(place * n), n - 1)
