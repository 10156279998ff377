from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from autowarm.planning.smaller_parts import MAX_PARTS, next_split


def test_powers_of_two_are_halved_until_one_example_is_left() -> None:
    tried, parts = [], next_split(1, 32)
    while parts is not None:
        tried.append(parts)
        parts = next_split(parts, 32)
    assert tried == [2, 4, 8, 16, 32]


def test_what_does_not_divide_is_passed_over() -> None:
    assert [next_split(parts, 12) for parts in (1, 2, 4, 12)] == [2, 4, 12, None]
    assert next_split(1, 7) == 7
    assert next_split(1, 1) is None
    assert next_split(1, 131) is None  # a prime beyond the most parts


@given(st.integers(1, 128), st.integers(1, 5000))
def test_the_next_split_divides_the_batch_and_at_least_doubles(parts: int, batch_size: int) -> None:
    found = next_split(parts, batch_size)
    divisors = [n for n in range(1, MAX_PARTS + 1) if batch_size % n == 0 and n >= 2 * parts]
    assert found == min(divisors, default=None)
