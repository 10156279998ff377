"""The shortest warmup that is as good as any and lets no more runs fail: the one rule for it.

Where runs suffice it comes from the surface of `autowarm.analysis.shortest_warmup`. Where they do not, runs are put
together by their warmup, and within noise is a mean that is worse than the best one by less than one standard error of
the difference. Either way a warmup is ruled out with which more runs fail, about the best learning rate and just above.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autowarm.analysis.cells import cells_of, horizon_logs
from autowarm.analysis.estimate import Estimate
from autowarm.analysis.repeat_noise import repeat_noise
from autowarm.analysis.response import likely_best
from autowarm.analysis.runs import Flags, Floats, Runs
from autowarm.analysis.shortest_warmup import shortest_warmup

# Runs whose lr is within this of the best (in ln lr) tell of its warmup, where they are put together ...
_ALIKE = math.log(2)
# ... and those above it up to this, of the failures to keep away from.
_ABOVE = math.log(3)
_MOST_DECAYS = 5
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
# Failed runs that a rate counts beside those seen, and as many that ended (Jeffreys' prior).
_UNSEEN = 0.5
# Warmups that differ by less are as long.
_AS_LONG = 0.05
_NO_WORSE = 1.5
# Shares that differ by more are clearly not the same.
_CLEARLY = 0.01


@dataclass(frozen=True)
class WarmupChoice:
    """A warmup and what it rests on.

    Attributes:
        share: the one to use; its interval holds the shortest that is as good, of a fit with 90 %.
        by_metric: the shortest that is as good; shorter than `share` where with less more runs fail, or too few
            had less to know that they train.
        fitted: whether it is of a fit, or of runs put together.
        failed: share of failed runs with such a warmup, about the best learning rate and just above; NaN where there
            is none.
        runs: how many it rests on.
    """

    share: Estimate
    by_metric: float
    fitted: bool
    failed: float
    runs: int

    @property
    def raised(self) -> bool:
        """Whether clearly more is used than the metric alone asks for."""
        return self.share.value > self.by_metric + _CLEARLY


def shortest_share(runs: Runs, x: Floats) -> WarmupChoice | None:
    """Return the shortest warmup that is within noise of the best and does not fail more; None where none is known.

    Args:
        runs: that ended or failed, of one horizon or of near ones.
        x: ln lr of each brought to one horizon, of shape (runs,).
    """
    known = np.isfinite(runs.warmup_ratio)
    runs, x = runs.where(known), x[known]
    if not runs.ended.any():
        return None
    above = x - likely_best(x, runs.badness, runs.failed)
    told = (above >= -_ALIKE) & (above <= _ABOVE)
    alike = told & (above <= _ALIKE)
    if np.count_nonzero(alike & runs.ended) < 2:
        alike = told = np.ones(len(x), dtype=bool)
    besides = np.column_stack([above, above**2, horizon_logs(runs)])
    horizon = _horizon(runs)
    rest = less_what_is_known(runs.badness, besides, runs.ended & alike, horizon)
    binned = by_bands(runs.warmup_ratio[told], rest[told], runs.failed[told], value_too=alike[told])
    ended = runs.where(runs.ended)
    others = [*what_else(ended), *(horizon[runs.ended] == h for h in range(1, int(horizon.max()) + 1))]
    noise = repeat_noise(ended, np.abs(above[runs.ended]) <= _ABOVE)
    fitted = shortest_warmup(x[runs.ended], ended.warmup_ratio, ended.badness, noise, others)
    if fitted is None or binned is None:
        return binned
    least = max(binned.least, _known_to_train(runs.warmup_ratio[told]))
    low, by_metric, high = fitted.share.low, fitted.share.value, fitted.share.high
    value = max(by_metric, least)
    near = told & (np.abs(runs.warmup_ratio - value) <= _AS_LONG)
    lost = float(runs.failed[near].mean()) if near.any() else math.nan
    return WarmupChoice(
        share=Estimate(value, low, max(high, value)),
        by_metric=by_metric,
        fitted=True,
        failed=lost,
        runs=fitted.runs,
    )


def _known_to_train(share: Floats) -> float:
    """Return the shortest share that enough runs had, or a shorter one, to know that few of them fail.

    A fit of the metric of those that ended says nothing of failures, and at the edge of what was tried a run or two say
    little.
    """
    enough = math.floor(_UNSEEN / _FAILED)
    return float(np.sort(share)[min(enough, len(share)) - 1])


def what_else(runs: Runs) -> list[Floats]:
    """Return what the metric depends on beside learning rate and warmup, the most important first."""
    _, place, counts = np.unique(runs.decay, return_inverse=True, return_counts=True)
    common: list[int] = np.argsort(-counts, kind="stable").tolist()[1 : _MOST_DECAYS + 1]
    length, x = np.log(runs.total_steps), np.log(runs.initial_lr)
    moved = (length - length.mean()) * (x - x.mean())
    decays = [(place == k).astype(np.float64) for k in common]
    return [length, moved, *decays, np.log(runs.dataset_size), np.log(runs.batch_size)]


def _horizon(runs: Runs) -> NDArray[np.intp]:
    label = np.zeros(len(runs), dtype=np.intp)
    for i, cell in enumerate(cells_of(horizon_logs(runs))):
        label[cell] = i
    return label


@dataclass(frozen=True)
class Banded(WarmupChoice):
    """A warmup from runs put together.

    Attributes:
        least: the shortest with which no more runs fail.
    """

    least: float


def by_bands(share: Floats, badness: Floats, failed: Flags, *, value_too: Flags | None = None) -> Banded | None:
    """Return the shortest warmup by means of runs put together; None where none is known.

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
    rate = (lost + _UNSEEN) / (lost + ended + 2 * _UNSEEN)
    stable = enough & (rate <= max(_FAILED, _NO_WORSE * rate[enough].min()))
    best = int(np.flatnonzero(stable)[np.argmin(mean[stable])])
    error = np.sqrt(noise2 * (1 / np.maximum(n, 1) + 1 / n[best]))
    good = np.flatnonzero(stable & (mean - mean[best] <= error))
    at = int(good[0])
    middle = [float(np.median(share[(label == i) & valued])) for i in (at, int(good[-1]))]
    # one longer share within noise says that warmups up to it do no harm
    low = float(names[at]) if len(names) > 1 else 0.0
    return Banded(
        share=Estimate(middle[0], min(low, middle[0]), max(middle[1], middle[0])),
        by_metric=middle[0],
        fitted=False,
        least=float(names[np.flatnonzero(stable)[0]]) if len(names) > 1 else 0.0,
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
