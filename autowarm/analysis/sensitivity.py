"""How much a learning rate that is not the best costs: LR sensitivity, with and without warmup.

Wortsman et al. (Small-scale proxies for large-scale Transformer training instabilities, arXiv 2309.14322, 2023) define

    LR sensitivity = E over lr in [a, b] of (min(loss(lr), loss_0) - loss*),

with loss_0 the loss before training and loss* the lowest loss of any lr in [a, b]. Here lr is log-uniform in [a, b],
the range that was tried both with and without warmup; in bands of equal width in log lr, each with runs of both; the
mean loss of a band counts once, however many runs it has; and loss* is the lowest mean of a band, as the best of
many single runs is lucky. Of loss_0 the runs tell only what comes of learning nothing: it is the median of the values
that ended beyond the bar of failure, or, where there is no bar, the worst value that a run ended with; a run that has
no value counts with it.

Intervals are percentiles of a bootstrap of the runs within their bands, on a fixed seed, moved by what it adds to the
lowest of the means on average (Efron & Tibshirani, An Introduction to the Bootstrap, 1993, 10). Of many runs, blocks
of runs are drawn.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autowarm.analysis.estimate import Estimate
from autowarm.analysis.runs import Flags, Floats, Runs

_MOST_BANDS = 8
_FEWEST_BANDS = 3
_RUNS_A_BAND = 6
_BLOCKS = 60
_DRAWS = 400


@dataclass(frozen=True, kw_only=True)
class Sensitivity:
    """LR sensitivity of some of the runs.

    Attributes:
        words: which runs.
        value: in units of the metric, at least 0; less is better.
        runs: that it rests on.
        lr_low: a, lower end of the range of learning rates; `lr_high`, b, upper end.
    """

    words: str
    value: Estimate
    runs: int
    lr_low: float
    lr_high: float


def sensitivities(runs: Runs, groups: Sequence[tuple[str, Flags]]) -> tuple[Sensitivity, ...]:
    """Return the LR sensitivity of each group of runs over the range of learning rates they have in common.

    Args:
        runs: with finite positive learning rates, none of them stopped.
        groups: words and a mask of shape (runs,) each.

    Returns:
        One a group; none at all where the groups have too few runs in common bands: 6 in each of 3.
    """
    worst = nothing_learned(runs)
    if not math.isfinite(worst) or any(mask.sum() < _RUNS_A_BAND * _FEWEST_BANDS for _, mask in groups):
        return ()
    x = np.log(runs.initial_lr)
    a, b = max(float(x[m].min()) for _, m in groups), min(float(x[m].max()) for _, m in groups)
    if not a < b:
        return ()
    bands = _bands(x, [mask for _, mask in groups], a, b)
    if bands is None:
        return ()
    loss = np.where(np.isfinite(runs.badness), np.minimum(runs.badness, worst), worst)
    found = []
    for place, (words, mask) in enumerate(groups):
        within = mask & (x >= a) & (x <= b)
        value = _sensitivity(loss[within], bands[within], np.random.default_rng(place))
        found.append(
            Sensitivity(words=words, value=value, runs=int(within.sum()), lr_low=math.exp(a), lr_high=math.exp(b))
        )
    return tuple(found)


def nothing_learned(runs: Runs) -> float:
    """Return what a run is worth that learned nothing, so that less is better; NaN where no run says."""
    finite = np.isfinite(runs.value) & ~runs.stopped
    beyond = runs.badness[finite & runs.failed] if math.isfinite(runs.bar) else np.empty(0)
    if len(beyond):
        return float(np.median(beyond))
    ended = runs.badness[runs.ended]
    return float(ended.max()) if len(ended) else math.nan


def _bands(x: Floats, masks: Sequence[Flags], a: float, b: float) -> NDArray[np.int_] | None:
    """Return the band of each run, from 0; None where even wide bands lack runs. Runs outside [a, b] get any."""
    inside = (x >= a) & (x <= b)
    for bands in range(_MOST_BANDS, _FEWEST_BANDS - 1, -1):
        of = np.clip(((x - a) / (b - a) * bands).astype(np.int_), 0, bands - 1)
        counts = [np.bincount(of[mask & inside], minlength=bands).min() for mask in masks]
        if min(counts) >= _RUNS_A_BAND:
            return of
    return None


def _sensitivity(loss: Floats, bands: NDArray[np.int_], rng: np.random.Generator) -> Estimate:
    means, drawn = [], []
    for band in range(int(bands.max()) + 1):
        values = loss[bands == band]
        means.append(float(values.mean()))
        if len(values) > _BLOCKS:
            values = rng.permutation(values)[: len(values) // _BLOCKS * _BLOCKS].reshape(_BLOCKS, -1).mean(axis=1)
        n = len(values)
        # a sample varies by (n - 1) / n of what it was drawn from
        sampled = values[rng.integers(0, n, (_DRAWS, n))].mean(axis=1)
        drawn.append(means[-1] + (sampled - means[-1]) * math.sqrt(n / (n - 1)))
    value = float(np.mean(means) - min(means))
    each = np.mean(drawn, axis=0) - np.min(drawn, axis=0)
    bias = float(each.mean()) - value
    low, high = (max(float(end), 0.0) for end in np.percentile(each - 2 * bias, [5, 95]))
    value = max(value - bias, 0.0)
    return Estimate(value, min(low, value), max(high, value))
