"""Points are the tuple of their pairs, in all that code asks of one, and smaller."""

from __future__ import annotations

import copy
import math
import pickle
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autowarm.points import Points

PAIRS = st.lists(st.tuples(st.integers(0, 2**62), st.floats(allow_nan=False))).map(tuple)


@given(pairs=PAIRS, other=PAIRS)
def test_they_are_as_the_tuple_of_their_pairs(
    pairs: tuple[tuple[int, float], ...], other: tuple[tuple[int, float], ...]
) -> None:
    points = Points([list(pair) for pair in pairs])
    assert tuple(points) == pairs
    assert points == pairs
    assert pairs == points
    assert (points == Points(other)) == (points == other) == (pairs == other)
    assert (hash(points), repr(points), len(points), bool(points)) == (
        hash(pairs),
        repr(pairs),
        len(pairs),
        bool(pairs),
    )
    assert [points[i] for i in range(-len(pairs), len(pairs))] == [*pairs, *pairs]
    assert (points[1:], points[::-2]) == (pairs[1:], pairs[::-2])
    assert pickle.loads(pickle.dumps(points)) == copy.deepcopy(points) == points  # noqa: S301 - our own


def test_numbers_are_plain_ones_whatever_came_before() -> None:
    # steps are shared between curves, and 1 == 1.0 == True
    for steps in ([1.0, 2.0], [True, 2], [1, 2]):
        points = Points([[steps[0], 1], [steps[1], None]])
        assert [type(x) for pair in points for x in pair] == [int, float, int, float]
        assert points[0] == (1, 1.0)
        assert math.isnan(points[1][1])


@pytest.mark.parametrize(
    "bad",
    [[[1]], [[1, 2, 3]], [[1, 2.0], [2]], [[-1, 2.0]], [[2**62 + 1, 2.0]], [["a", 2]], [[math.nan, 2]], [[[], 1]], 3],
)
def test_what_is_no_point_is_refused(bad: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        Points(bad)


def test_steps_out_of_range_are_refused_in_long_curves_too() -> None:
    with pytest.raises(ValueError, match="out of range"):
        Points([[step, 0.5] for step in range(-1, 2000)])


def test_curves_at_the_same_steps_take_little_more_than_their_values() -> None:
    first, second = (Points([[step, value + step] for step in range(500, 600)]) for value in (0.25, 0.5))
    assert first._steps is second._steps
    assert sys.getsizeof(second._values) < 1000
