"""How much a learning rate that is not the best costs: LR sensitivity, with and without warmup.

Wortsman et al. (Small-scale proxies for large-scale Transformer training instabilities, arXiv 2309.14322, 2023) define

    LR sensitivity = E over lr in [a, b] of (min(loss(lr), loss_0) - loss*),

with loss_0 the loss before training and loss* the lowest loss of any lr in [a, b]. Here lr is log-uniform in [a, b],
the range that was tried both with and without warmup; in bands of equal width in log lr, each with runs of both; and
the mean loss of a band counts once, however many runs it has. loss* comes of all runs near the best by
`autowarm.analysis.response`, as the best of many single runs, or of many bands, is lucky. Of loss_0 the runs tell only
what comes of learning nothing: it is the median of the values that ended beyond the bar of failure, or, where there is
no bar, the worst value that a run ended with; a run that has no value counts with it.

The mean and loss* are taken as independent, which makes intervals somewhat too wide where noise is large, and the
interval is Student's with the degrees of freedom of Welch (1947).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from autowarm.analysis.estimate import Estimate
from autowarm.analysis.response import response
from autowarm.analysis.runs import Flags, Floats, Runs

_MOST_BANDS = 8
_FEWEST_BANDS = 3
_RUNS_A_BAND = 6


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
    for words, mask in groups:
        within = mask & (x >= a) & (x <= b)
        value = _sensitivity(x[within], loss[within], runs.failed[within], bands[within])
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


def _sensitivity(x: Floats, loss: Floats, failed: Flags, bands: NDArray[np.int_]) -> Estimate:
    counts = np.bincount(bands)
    means = np.bincount(bands, loss) / counts
    variances = np.bincount(bands, (loss - means[bands]) ** 2) / (counts - 1) / counts
    parts, degrees = variances / len(counts) ** 2, counts - 1.0
    best = response(x, loss, failed, np.empty((len(x), 0)), inside=True)
    lowest = float(means.min())
    if best is not None and math.isfinite(best.value):
        lowest = best.value
        parts, degrees = np.append(parts, best.value_sd**2), np.append(degrees, best.degrees)
    value = float(means.mean()) - lowest
    total = float(parts.sum())
    half = 0.0
    if total > 0:
        half = float(stdtrit(total**2 / float((parts**2 / degrees).sum()), 0.95)) * math.sqrt(total)
    return Estimate(*(max(end, 0.0) for end in (value, value - half, value + half)))
