"""Round bands of learning rates."""

from __future__ import annotations

import math

_MOST = 12


def lr_bands(low: float, high: float) -> tuple[float, ...]:
    """Return the edges of bands that hold all of [low, high]: half decades (1, 3, 10, ...).

    Where these are more than 12 they are whole decades, where those are, two, four, ... decades wide.

    Args:
        low: positive and finite.
        high: at least as large, and finite.

    >>> lr_bands(2e-5, 5e-4)
    (1e-05, 3e-05, 0.0001, 0.0003, 0.001)
    """
    first, last = math.floor(math.log10(low)), math.floor(math.log10(high)) + 1
    # numbers as they are written: 3 * 10.0**-5 is not 3e-5
    halves = [float(f"{digit}e{power}") for power in range(first, last + 1) for digit in (1, 3)]
    begin = max(i for i, edge in enumerate(halves) if edge <= low)
    end = min(i for i, edge in enumerate(halves) if edge > high)
    if end - begin <= _MOST:
        return tuple(halves[begin : end + 1])
    step = 1
    while math.ceil((last - first) / step) > _MOST:
        step *= 2
    return tuple(float(f"1e{power}") for power in range(first, last + step, step))
