"""The points of a curve, kept small: a hundred thousand records have tens of millions of them."""

from __future__ import annotations

import json
import math
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, overload

from autowarm.errors import RecordError
from autowarm.files import Part
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


class UnparsedPoints(Points):
    """Points that are left in their file, and parsed when one of them is asked for.

    Of a hundred thousand records a report draws a few hundred.
    """

    __slots__ = ("_count", "_name", "_text")

    def __init__(self, name: str, count: int, text: Part) -> None:
        """Take points.

        Args:
            name: of their curve.
            count: how many they are.
            text: the curves of their record: as in an object of JSON, but without its braces.
        """
        self._name, self._count, self._text = name, count, text

    def __getattr__(self, name: str) -> Any:
        # called for what has no value: steps and values, until either is asked for
        if name not in Points.__slots__:
            raise AttributeError(name)
        try:
            super().__init__(json.loads(b"{%b}" % self._text.read())[self._name])
        except (TypeError, ValueError, OverflowError) as e:
            raise RecordError(f"{self._text}: not a trial record: {self._name}: {e}") from None
        except OSError as e:
            raise RecordError(f"{self._text}: cannot be read: {e}") from None
        return getattr(self, name)

    def __len__(self) -> int:
        return self._count

    def __reduce__(self) -> tuple[type[Points], tuple[tuple[tuple[int, float], ...]]]:
        return Points, (tuple(self),)


def counts_of(text: bytes) -> Mapping[str, int] | None:
    """Return the points of each curve in a text, its numbers unparsed; None where it does not look like curves.

    What can be seen without parsing the numbers is seen: brackets, commas and names, and that there is nothing else but
    the characters of numbers.

    Args:
        text: the curves of a record, as in an object of JSON, but without its braces.

    >>> counts_of(b'"rungs": [[10, 2.5], [20, null]], "train_curve": []')
    {'rungs': 2, 'train_curve': 0}
    """
    shape = text.translate(None, b"0123456789.-+").replace(b", e]", b", ]").replace(b", null]", b", ]")
    counts, names = _counts(shape)
    # names have lost as much
    return counts if all(map(text.__contains__, names)) else None


@lru_cache(maxsize=4096)
def _counts(shape: bytes) -> tuple[Mapping[str, int] | None, tuple[bytes, ...]]:
    """Return the points of each curve in a text that has lost its numbers, and how the names are written there."""
    try:
        curves = dict[str, Any](
            pairs := json.loads(b"{%b}" % shape.replace(b"[, ]", b"[0, 0]"), object_pairs_hook=list)
        )
    except (TypeError, ValueError):
        return None, ()
    are_curves = all(isinstance(c, list) and c == [[0, 0]] * len(c) for c in curves.values())
    if not are_curves or len(curves) < len(pairs):
        return None, ()
    return {name: len(c) for name, c in curves.items()}, tuple(b'"%b": [' % name.encode() for name in curves)


def _checked(steps: tuple[Any, ...]) -> tuple[int, ...]:
    whole = tuple(map(int, steps))
    if whole and (min(whole) < 0 or max(whole) > MOST_WHOLE):
        raise ValueError("a step of a curve is out of range")
    return whole


# steps that are equal and of other types (1 and 1.0) come to the same whole numbers
_shared = lru_cache(maxsize=1024)(_checked)
