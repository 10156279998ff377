"""Values at the edge of a schedule: what counts as a number, and how a value from outside becomes a plain one."""

from __future__ import annotations

import operator
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from autowarm.errors import ScheduleError

# The largest whole number of steps, examples and the like: numpy's integers still have room for one more.
MOST_WHOLE = 2**62

# as a tuple: the union of the two would be made anew at each call
_NUMBERS = (int, float)


def is_number(x: Any) -> bool:
    """Tell whether x is a finite number: also not an int beyond the floats, which math.isfinite chokes on."""
    return isinstance(x, _NUMBERS) and not isinstance(x, bool) and abs(x) <= sys.float_info.max


def is_whole(x: Any) -> bool:
    """Tell whether x is a whole number of at least 1, as an int or a float."""
    return is_number(x) and x >= 1 and x == int(x)


def plain(value: Any) -> Any:
    """Turn a numpy scalar into the Python number it stands for: checkpoints hold plain data only."""
    return value.item() if isinstance(value, np.generic) else value


def from_text(value: Any) -> Any:
    """Turn text that is a number into the number; leave anything else."""
    if not isinstance(value, str):
        return value
    try:
        number = float(value)
    except ValueError:
        return value
    try:
        # by way of a float, whole numbers above 2^53 would come out as others
        return int(value)
    except ValueError:
        return number


def number_of(name: str, value: Any, check: Callable[[float], bool], domain: str) -> float:
    """Return a value as a float.

    Raises:
        ScheduleError: it is no finite number, or `check` refuses it.
    """
    value = plain(value)
    if not is_number(value) or not check(value):
        raise ScheduleError(f"{name} must be {domain}, got {value!r}")
    return float(value)


def whole_of(name: str, value: Any, *, minimum: int) -> int:
    """Return a value as an int.

    Raises:
        ScheduleError: it is no whole number, less than `minimum`, or more than `MOST_WHOLE`.
    """
    value = plain(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    try:
        whole = operator.index(value)
    except TypeError:
        whole = minimum - 1
    if whole > MOST_WHOLE:
        raise ScheduleError(f"{name} must be at most 2^62, got one of {whole.bit_length()} bits")
    if isinstance(value, bool) or whole < minimum:
        raise ScheduleError(f"{name} must be a whole number of at least {minimum}, got {value!r}")
    return whole
