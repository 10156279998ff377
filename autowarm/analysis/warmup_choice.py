"""The shortest warmup that is as good as any, among runs that are otherwise alike."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autowarm.analysis.estimate import Estimate
from autowarm.analysis.runs import Flags, Floats

# Where there are more different shares than this, runs are put together by these edges.
_DISTINCT = 6
_EDGES = (0.0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0)
# ... with fewer runs by these
_COARSE = (0.0, 0.05, 0.15, 0.3, 1.0)
_COARSER = (0.0, 0.1, 1.0)
# Runs for each of the bands there are.
_WANTED = 10
# Runs that a share needs to be judged.
_LEAST = 3
# More than so many failed runs in all are not few, unless every warmup has as many.
_FAILED = 0.1
_NO_WORSE = 1.5


@dataclass(frozen=True)
class WarmupChoice:
    """A warmup and what it rests on.

    Attributes:
        share: the one to use; its interval holds those that are as good within noise.
        failed: share of failed runs there.
        runs: how many runs it rests on.
    """

    share: Estimate
    failed: float
    runs: int


def shortest_share(
    share: Floats, badness: Floats, failed: Flags, *, value_too: Flags | None = None
) -> WarmupChoice | None:
    """Return the shortest warmup that is within noise of the best and does not fail more; None where none is known.

    Within noise is: the mean is worse than the best one by less than one standard error of the difference.

    Args:
        share: warmup share of each run, NaN where unknown.
        badness: less is better, what is not due to the warmup taken out; not read where `failed`.
        failed: those tell of stability alone.
        value_too: runs whose value tells of the warmup; by default all. The others tell of stability alone, too.
    """
    known = np.isfinite(share)
    if not known.any():
        return None
    valued = known & ~failed & np.isfinite(np.where(failed, 0.0, badness))
    if value_too is not None:
        valued &= value_too
    share, failed, valued = share[known], failed[known], valued[known]
    badness = np.where(failed, 0.0, badness[known])
    label, names = _labels(share, int(valued.sum()))
    n = np.bincount(label, valued, len(names))
    lost = np.bincount(label, failed, len(names))
    ended = np.bincount(label, ~failed, len(names))
    enough = n >= min(_LEAST, n.max())
    enough &= n > 0
    if not enough.any():
        return None
    clipped = _drawn_in(badness, valued)
    mean = np.bincount(label, np.where(valued, clipped, 0.0), len(names)) / np.maximum(n, 1)
    rest = np.where(valued, clipped - mean[label], 0.0)
    noise2 = float(rest @ rest) / max(int(n.sum()) - len(np.flatnonzero(n)), 1)
    rate = (lost + 0.5) / (lost + ended + 1)
    stable = enough & (rate <= max(_FAILED, _NO_WORSE * rate[enough].min()))
    best = int(np.flatnonzero(stable)[np.argmin(mean[stable])])
    error = np.sqrt(noise2 * (1 / np.maximum(n, 1) + 1 / n[best]))
    good = np.flatnonzero(stable & (mean - mean[best] <= error))
    at = int(good[0])
    middle = [float(np.median(share[(label == i) & valued])) for i in (at, int(good[-1]))]
    # one longer share within noise says that warmups up to it do no harm
    low = float(names[at]) if len(names) > 1 else 0.0
    return WarmupChoice(
        share=Estimate(middle[0], min(low, middle[0]), max(middle[1], middle[0])),
        failed=float(lost[at] / (lost[at] + ended[at])),
        runs=int(n[at]),
    )


def _labels(share: Floats, valued: int) -> tuple[NDArray[np.intp], Floats]:
    distinct, label = np.unique(np.round(share, 3), return_inverse=True)
    if len(distinct) <= _DISTINCT:
        return label.ravel(), distinct
    edges = next((e for e in (_EDGES, _COARSE) if valued >= _WANTED * (len(e) - 1)), _COARSER)
    return np.clip(np.searchsorted(edges, share, side="right") - 1, 0, len(edges) - 2), np.array(edges[:-1])


def _drawn_in(badness: Floats, valued: Flags) -> Floats:
    if not valued.any():
        return badness
    low, middle, high = np.quantile(badness[valued], (0.25, 0.5, 0.75))
    return np.minimum(badness, middle + 4 * (high - low)) if high > low else badness


def less_what_is_known(badness: Floats, besides: Floats, ended: Flags, label: NDArray[np.intp]) -> Floats:
    """Return badness less the mean of its group and what columns explain as straight lines, over the runs that ended.

    Args:
        badness: of shape (runs,); not read where not `ended`, where it comes back as NaN.
        besides: of shape (runs, columns); taken out only where there are five runs for each.
        ended: of shape (runs,).
        label: group of each run, of shape (runs,).
    """
    out = np.full(len(badness), math.nan)
    rows = np.flatnonzero(ended)
    if not len(rows):
        return out
    groups = np.unique(label[rows], return_inverse=True)[1].ravel()
    sizes = np.bincount(groups)
    columns = np.column_stack([badness[rows], besides[rows]])
    centred = columns - np.column_stack([np.bincount(groups, c) / sizes for c in columns.T])[groups]
    y, x = centred[:, 0], centred[:, 1:]
    x = x[:, x.std(axis=0) > 1e-9][:, : max((len(rows) - len(sizes)) // 5, 0)]
    if x.shape[1]:
        middle = np.median(y)
        spread = 1.4826 * np.median(np.abs(y - middle))
        drawn = np.clip(y, middle - 4 * spread, middle + 4 * spread) if spread > 0 else y
        y = y - x @ np.linalg.lstsq(x, drawn, rcond=None)[0]
    out[rows] = y
    return out
