"""The points of a curve, kept small: a hundred thousand records have tens of millions of them."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any, overload

from autowarm.values import MOST_WHOLE

# Steps are shared between curves up to that length: what is kept for sharing stays small.
_LONGEST_SHARED = 1000


class Points(Sequence[tuple[int, float]]):
    """Points of a curve: like the tuple of its (step, value) pairs, equal to it, and a sixth of its size.

    Values lie in an array of 8 bytes each. Curves of trials of one length have their points at the same steps, and
    share these.

    >>> curve = Points([[10, 2.5], [20, None]])
    >>> curve
    ((10, 2.5), (20, nan))
    >>> curve[0] == (10, 2.5) and curve[:1] == ((10, 2.5),) == Points([(10, 2.5)])
    True
    """

    __slots__ = ("_steps", "_values")

    def __init__(self, points: Iterable[Iterable[Any]]) -> None:
        """Take points as JSON has them.

        Args:
            points: (step, value) each: a whole number from 0 to 2^62, and a number, or None for NaN.

        Raises:
            TypeError, ValueError, OverflowError: one of them is none.
        """
        columns = tuple(zip(*points, strict=True))
        steps, values = columns or ((), ())
        self._steps = _shared(steps) if len(steps) <= _LONGEST_SHARED else _checked(steps)
        try:
            self._values = array("d", values)
        except TypeError:
            self._values = array("d", [math.nan if v is None else float(v) for v in values])

    @overload
    def __getitem__(self, place: int) -> tuple[int, float]: ...
    @overload
    def __getitem__(self, place: slice) -> tuple[tuple[int, float], ...]: ...
    def __getitem__(self, place: int | slice) -> tuple[int, float] | tuple[tuple[int, float], ...]:
        if isinstance(place, slice):
            return tuple(zip(self._steps[place], self._values[place], strict=True))
        return self._steps[place], self._values[place]

    def __len__(self) -> int:
        return len(self._steps)

    def __iter__(self) -> Iterator[tuple[int, float]]:
        return zip(self._steps, self._values, strict=True)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Points):
            return self._steps == other._steps and self._values == other._values
        return tuple(self) == other if isinstance(other, tuple) else NotImplemented

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return repr(tuple(self))


def _checked(steps: tuple[Any, ...]) -> tuple[int, ...]:
    whole = tuple(map(int, steps))
    if whole and (min(whole) < 0 or max(whole) > MOST_WHOLE):
        raise ValueError("a step of a curve is out of range")
    return whole


# steps that are equal and of other types (1 and 1.0) come to the same whole numbers
_shared = lru_cache(maxsize=1024)(_checked)
