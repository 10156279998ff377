"""Which of many points are drawn: more than a screen can tell apart only make a page slow."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

MAX_POINTS = 2000


def thinned(count: int, most: int = MAX_POINTS) -> list[int]:
    """Return places among `count`, evenly spread, the first and the last among them.

    >>> thinned(5, 3), thinned(2, 3)
    ([0, 2, 4], [0, 1])

    Args:
        count: how many there are.
        most: how many to return at most, at least 2.
    """
    if count <= most:
        return list(range(count))
    return [int(place) for place in np.linspace(0, count - 1, most).round()]


def thinned_rows(rows: NDArray[np.intp], kept: int | None, most: int = MAX_POINTS) -> NDArray[np.intp]:
    """Return some of the rows, evenly spread; with one that is kept in any case, where it is among them."""
    chosen = rows[thinned(len(rows), most)]
    if kept is not None and kept in rows and kept not in chosen:
        chosen = np.append(chosen[:-1], kept)
    return chosen
