"""Runs put together by horizon: each horizon by itself, or neighbours where there are too many of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autowarm.analysis.runs import Floats, Runs

Rows = NDArray[np.intp]

# So many cells are enough for a power law, and as many horizons are kept apart.
MOST = 36
# Runs that a cell of neighbours should have.
_ENOUGH = 16
# Horizons of so many runs each are kept apart.
_OWN = 4
_HUGE = 1e100


def usable(runs: Runs) -> Runs:
    """Return the runs that tell of learning rates: ended or failed, initial_lr and total_steps positive and finite.

    Values beyond 1e100 are drawn in to it, or their squares would overflow.
    """
    numbers = [np.isfinite(column) & (column > 0) for column in (runs.initial_lr, runs.total_steps)]
    kept = runs.where((runs.ended | runs.failed) & numbers[0] & numbers[1])
    return replace(kept, value=np.clip(kept.value, -_HUGE, _HUGE))


def logs(column: Floats) -> Floats:
    """Return the logarithms of a column of positive numbers, the unknown ones in the middle of the known ones.

    Of a column with nothing known, or nothing positive, zeros: it does not vary.
    """
    known = np.isfinite(column) & (column > 0)
    if not known.any():
        return np.zeros(len(column))
    found = np.log(np.where(known, column, 1.0))
    return np.where(known, found, np.median(found[known]))


def horizon_logs(runs: Runs) -> Floats:
    """Return ln of (total_steps, dataset_size, batch_size), of shape (runs, 3); see `logs`."""
    return np.column_stack([logs(runs.total_steps), logs(runs.dataset_size), logs(runs.batch_size)])


def numbered(*columns: NDArray[Any]) -> Rows:
    """Return a number for each row that rows with the same entries share, from 0 on; NaN is the same as NaN.

    >>> numbered(np.array([1.0, 2.0, 1.0]), np.array(["a", "a", "a"])).tolist()
    [0, 1, 0]
    """
    found = np.zeros(len(columns[0]), dtype=np.intp)
    for column in columns:
        distinct, label = np.unique(column, return_inverse=True)
        found = np.unique(found * max(len(distinct), 1) + label.ravel(), return_inverse=True)[1].ravel()
    return found


def cells_of(z: Floats) -> list[Rows]:
    """Return the rows of each cell: of one horizon, or of neighbours where most horizons have too few runs.

    Neighbours come from splitting the widest axis at its median until a cell has few enough runs.

    Args:
        z: of shape (runs, 3), see `horizon_logs`.
    """
    if not len(z):
        return []
    label = numbered(*z.T)
    n = int(label.max()) + 1
    if n == 1 or (n <= MOST and len(z) >= _OWN * n):
        order = np.argsort(label, kind="stable")
        return list(np.split(order, np.cumsum(np.bincount(label))[:-1]))
    return _split(z, np.arange(len(z)), max(_ENOUGH, len(z) // MOST))


def _split(z: Floats, rows: Rows, enough: int) -> list[Rows]:
    widths = np.ptp(z[rows], axis=0)
    axis = int(np.argmax(widths))
    if len(rows) < 2 * enough or widths[axis] == 0:
        return [rows]
    column = z[rows, axis]
    low = column < np.median(column)
    if not low.any():
        low = column <= np.median(column)
    return [*_split(z, rows[low], enough), *_split(z, rows[~low], enough)]


def bands(column: Floats, at_most: int = 6) -> tuple[Floats, NDArray[np.intp]]:
    """Put the numbers of a column into bands: each number its own, or log-spaced ones where there are more.

    Args:
        column: positive numbers, or NaN where unknown: those are a band of their own.
        at_most: how many bands.

    Returns:
        what each band is called by (the number, or the geometric mean of those in the band; NaN where unknown), of
        shape (bands,), growing; and the band of each row, of shape (runs,). Bands with nothing in them are left out.
    """
    known = np.isfinite(column) & (column > 0)
    label = np.full(len(column), -1, dtype=np.intp)
    values = column[known]
    names: list[float] = []
    if len(values):
        distinct, found = np.unique(values, return_inverse=True)
        room = at_most - (not known.all())
        if len(distinct) > room:
            edges = np.geomspace(distinct[0], distinct[-1], room + 1)[1:-1]
            found = np.unique(np.searchsorted(edges, values, side="right"), return_inverse=True)[1]
        found = found.ravel()
        sizes = np.bincount(found)
        names = list(np.exp(np.bincount(found, np.log(values)) / sizes))
        if len(distinct) <= room:
            names = list(distinct)
        label[known] = found
    if not known.all():
        label[~known] = len(names)
        names.append(float("nan"))
    return np.array(names, dtype=np.float64), label
