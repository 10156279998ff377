"""Where on the axis of the learning rate the best lies: a posterior from noisy runs of one horizon.

Near its best, what a run loses by its learning rate is taken to follow, with u = ln(lr / best lr) and k > 0,

    k * (exp(a u) - 1 - a u) / a^2,        k u^2 / 2 where a = 0.

a = 0 is as bad to both sides; at a = 2, twice the best lr costs 2.5 times what half of it does (medians measured on
language models: .84 % and .32 %). `a` is not known beforehand, so it is averaged over. For a given `a` the formula is a
line in (exp(a x), x) with x = ln lr: least squares needs each run once, and then every place of the optimum costs
nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from autowarm.analysis.estimate import Estimate
from autowarm.analysis.runs import Flags, Floats

# How much worse the high side is.
_SHAPES = (0.0, 0.5, 1.0, 2.0, 3.0)
# How far from the likely best a run still tells where it is, and how far beyond the runs it may lie: a factor of 5.
_REACH = math.log(5)
# ... above the likely best
_REACH_ABOVE = math.log(4)
# Width of the kernel that finds the likely best; a factor of 1.4.
_KERNEL = 0.35
# With fewer runs than this about the likely best, the nearest others are taken in.
_FEW = 8
# ... but none so far off as this
_FARTHEST = 6.0
_PLACES = 161
# A fit that is better than this share of the runs' own spread is luck.
_FLOOR = 0.02
# What a fit needs: a level, a curvature, a place, and one to tell noise by.
_LEAST = 4
# How fast it gets unlikely that the best lies beyond the runs: by a factor of e for each of these (in ln lr).
_BEYOND = 0.7
# From so many runs on, those off the curve by more than so many standard deviations (of the median run) are outliers.
_MANY = 12
_FAR = 4.0
# The formula is wrong by this share of what it says that a learning rate costs.
_ERROR = 0.12
# Fits, each with the outliers drawn in and the weights of the one before.
_ROUNDS = 3
_LITTLE = 1e-6
# Weights add up to so many runs, where there are as many.
_TRUSTED = 6.0
# A spread that is so small a share of the values squared is rounding.
_EXACT = 1e-20
_EXACT_SPREAD = 1e-10
# Learning rates this near (in ln lr) are the same.
_SAME = 1e-6
# More runs than this tell no more that matters: so many of them are taken, evenly.
_PLENTY = 4096
_TINY = 1e-300


@dataclass(frozen=True, eq=False)
class Response:
    """What the runs of one horizon tell of ln lr*, its best learning rate.

    Attributes:
        places: of shape (161,), candidates of ln lr*, evenly spaced.
        weights: of shape (161,), their posterior; it sums to 1.
        value: what the metric is at the best, less is better; NaN where no fit was possible.
        value_sd: standard deviation of `value`.
        noise: standard deviation of a run about the fit; NaN where no fit was possible.
        degrees: degrees of freedom that `noise` and `value_sd` rest on, at least 1.
        runs: how many entered the fit.
    """

    places: Floats
    weights: Floats
    value: float
    value_sd: float
    noise: float
    degrees: float
    runs: int

    @property
    def mean(self) -> float:
        """Mean of ln lr*."""
        return float(self.weights @ self.places)

    @property
    def sd(self) -> float:
        """Standard deviation of ln lr*, at least what the spacing of the places leaves open."""
        spacing = self.places[1] - self.places[0]
        return math.sqrt(float(self.weights @ (self.places - self.mean) ** 2) + spacing**2 / 12)

    def lr(self) -> Estimate:
        """Return the best learning rate: median and 90 % interval."""
        low, middle, high = (self._quantile(q) for q in (0.05, 0.5, 0.95))
        return Estimate(math.exp(middle), math.exp(low), math.exp(high))

    def _quantile(self, share: float) -> float:
        spacing = self.places[1] - self.places[0]
        edges = np.append(self.places - spacing / 2, self.places[-1] + spacing / 2)
        return float(np.interp(share, np.append(0.0, np.cumsum(self.weights)), edges))


def failure_edge(x: Floats, failed: Flags) -> float:
    """Return the lowest ln lr from which on runs mostly fail; inf where they do not.

    It is the place that divides the runs with the fewest failures below and successes above.

    Args:
        x: ln lr, of shape (runs,).
        failed: of shape (runs,).
    """
    if not failed.any():
        return math.inf
    order = np.argsort(x, kind="stable")
    bad = failed[order]
    below = np.append(0, np.cumsum(bad))
    above = (~bad).sum() - np.append(0, np.cumsum(~bad))
    # of equally good places the highest: it says the least
    at = len(x) - int(np.argmin((below + above)[::-1]))
    return math.inf if at == len(x) else float(x[order[at]])


def likely_best(x: Floats, badness: Floats, failed: Flags) -> float:
    """Return the ln lr about which runs rank best, smoothed: a first guess that no outlier moves.

    Args:
        x: ln lr, of shape (runs,).
        badness: less is better; not read where `failed`.
        failed: those count as worse than any.
    """
    rank = np.empty(len(x))
    ended = np.flatnonzero(~failed)
    rank[ended[np.argsort(badness[ended], kind="stable")]] = np.arange(len(ended)) / len(x)
    rank[failed] = 1.0
    lowest, highest = x[ended].min(), x[ended].max()
    if lowest == highest:
        return float(lowest)
    places = np.linspace(lowest, highest, 41)
    kernel = max(_KERNEL, (highest - lowest) / max(len(x), 2) / 2)
    smooth = np.empty(len(places))
    for i, place in enumerate(places):
        near = np.exp(-0.5 * ((x - place) / kernel) ** 2)
        # a place without runs is nowhere; two pseudo runs of the middle rank keep one lucky run from winning
        smooth[i] = (near @ rank + 0.5) / (near.sum() + 1.0)
    return float(places[np.argmin(smooth)])


def response(
    x: Floats,
    badness: Floats,
    failed: Flags,
    besides: Floats,
    *,
    told_at: Floats | None = None,
    inside: bool = False,
) -> Response | None:
    """Return the posterior of the best ln lr of runs of one horizon; None where none ended.

    Args:
        x: ln lr, of shape (runs,).
        badness: the value so that less is better; not read where `failed`.
        failed: of shape (runs,); those runs bound the best from above, see `failure_edge`.
        besides: of shape (runs, columns): what else moves the value, such as the warmup share, as straight lines;
            columns that the runs are too few for are left out, the last first.
        told_at: of shape (columns,): where `besides` is when the value is told; by default its mean, which is no place
            to compare the values of several groups at.
        inside: whether the best among the learning rates of the runs is asked for, and not one beyond them.
    """
    if failed.all():
        return None
    edge = failure_edge(x, failed)
    guess = likely_best(x, badness, failed)
    near = _near(x[~failed], guess)
    rows = np.flatnonzero(~failed)[near]
    rows = rows[np.linspace(0, len(rows) - 1, min(len(rows), _PLENTY)).astype(np.intp)]
    x, badness, besides = x[rows], badness[rows], besides[rows]
    lowest, highest = x.min() - _REACH, min(x.max() + _REACH, max(edge, x.min()))
    if inside:
        lowest, highest = x.min(), x.max()
    places = np.linspace(lowest, highest, _PLACES)
    return _posterior(places, x, badness, besides, told_at)


def _near(x: Floats, guess: float) -> Flags:
    # the formula holds less far on the high side
    distance = np.where(x > guess, (x - guess) * _REACH / _REACH_ABOVE, guess - x)
    nearest = float(np.partition(distance, _FEW - 1)[_FEW - 1]) if len(x) > _FEW else math.inf
    return distance <= min(max(_REACH, nearest), _FARTHEST)


def _flat(places: Floats, runs: int) -> Response:
    return Response(places, np.full(_PLACES, 1 / _PLACES), math.nan, math.nan, math.nan, 1.0, runs)


def _posterior(places: Floats, x: Floats, badness: Floats, besides: Floats, told_at: Floats | None) -> Response:
    n = len(x)
    # through two learning rates goes a curve with its best anywhere
    middle = (x > x.min() + _SAME) & (x < x.max() - _SAME)
    if n < _LEAST or badness.min() == badness.max() or not middle.any():
        return _flat(places, n)
    level, x0 = float(np.median(badness)), float(x.mean())
    kept = np.flatnonzero(besides.std(axis=0) > 0)[: max((n - _LEAST) // 5, 0)]
    besides, told_at = besides[:, kept], None if told_at is None else told_at[kept]
    beyond = np.maximum(np.maximum(x.min() - places, places - x.max()), 0)
    y: Floats
    y, trust = _without_far_out(badness - level), np.ones(n)
    for _ in range(_ROUNDS):
        found = _Fit(x - x0, y, trust, besides=besides, told_at=told_at, at=places - x0, prior=-beyond / _BEYOND)
        if found.noise2 is None:
            return _flat(places, n)
        noise = math.sqrt(found.noise2)
        y, trust = found.without_outliers(badness - level), found.trust()
    return Response(places, found.weights, found.value + level, found.value_sd, noise, found.degrees, n)


def _without_far_out(y: Floats) -> Floats:
    """Return badness with what is far above its quartiles drawn in, for a first fit; as it is where runs are few."""
    if len(y) < _MANY:
        return y
    low, high = np.quantile(y, (0.25, 0.75))
    return np.minimum(y, high + 3 * (high - low)) if high > low else y


class _Fit:
    """Least squares at every place and shape at once; see the module for the formula.

    Args:
        u: ln lr, of shape (runs,), about 0.
        y: badness, of shape (runs,), about 0.
        trust: weight of each run, of shape (runs,), at most 1.
        besides: of shape (runs, columns), taken out of all as straight lines.
        told_at: of shape (columns,), where `besides` is when the value is told; None is at its mean.
        at: candidates of the best u, of shape (places,).
        prior: their log weights beforehand, of shape (places,).
    """

    weights: Floats
    value: float
    value_sd: float
    degrees: float
    noise2: float | None = None

    def __init__(
        self,
        u: Floats,
        y: Floats,
        trust: Floats,
        *,
        besides: Floats,
        told_at: Floats | None,
        at: Floats,
        prior: Floats,
    ) -> None:
        n, root = float(trust.sum()), np.sqrt(trust)
        # every column less what the level and what is besides explain: the rest is fitted one by one
        level = np.column_stack([np.ones(len(u)), besides - (trust @ besides / n if told_at is None else told_at)])
        base = np.linalg.qr(root[:, None] * level)[0]
        # what a column's level is where `besides` is told
        to_level = np.linalg.pinv(root[:, None] * level)[0]
        columns = np.column_stack([u, y, *(u**2 / 2 if a == 0 else np.exp(a * u) / a**2 for a in _SHAPES)])
        columns *= root[:, None]
        means = to_level @ columns
        columns -= base @ (base.T @ columns)
        cross = columns.T @ columns
        total = cross[1, 1]
        if not total > _EXACT * n * float(np.max(np.abs(y))) ** 2:
            return
        curved = np.arange(2, len(_SHAPES) + 2)
        shape = np.array(_SHAPES)[:, None]
        straight = shape == 0
        steep = np.where(straight, 1.0, shape)
        # the loss at a place is own * (curved column) + line * u + a constant
        own = np.where(straight, 1.0, np.exp(-shape * at))
        line = np.where(straight, -at, -1 / steep)
        parts = own**2 * cross[curved, curved][:, None] + line**2 * cross[0, 0]
        spread = parts + 2 * own * line * cross[curved, 0][:, None]
        together = own * cross[curved, 1][:, None] + line * cross[0, 1]
        # a curve that bends the other way has no best, one that is level at all runs is rounding: as good as none
        together = np.where(spread > _EXACT_SPREAD * parts, np.maximum(together, 0), 0)
        spread = np.maximum(spread, _EXACT_SPREAD * parts + _TINY)
        curvature = together / spread
        rest = np.maximum(total - curvature * together, 0)
        depth = own * means[curved][:, None] + line * means[0]
        depth = depth + np.where(straight, at**2 / 2, at / steep - 1 / steep**2)
        degrees = max(n - base.shape[1] - 1, 1.0)
        logs = prior - 0.5 * (degrees + 1) * np.log(rest + _FLOOR**2 * total)
        weights = np.exp(logs - logs.max())
        weights /= weights.sum()
        best = means[1] - curvature * depth
        self.weights = weights.sum(axis=0)
        self.noise2 = float((weights * rest).sum()) / degrees
        self.value = float((weights * best).sum())
        own_variance = self.noise2 * (float(to_level @ to_level) + float((weights * depth**2 / spread).sum()))
        self.degrees = degrees
        self.value_sd = math.sqrt(own_variance + float((weights * (best - self.value) ** 2).sum()))
        i, j = np.unravel_index(int(np.argmax(logs)), logs.shape)
        curve = curvature[i, j] * (own[i, j] * columns[:, i + 2] + line[i, j] * columns[:, 0])
        self._fitted, self._root = y - (columns[:, 1] - curve) / root, root
        off, a = u - at[j], _SHAPES[i]
        self._excess = curvature[i, j] * (off**2 / 2 if a == 0 else (np.exp(a * off) - 1 - a * off) / a**2)

    def without_outliers(self, y: Floats) -> Floats:
        """Return badness with what is far off the most likely curve drawn in; as it is where runs are few."""
        if len(y) < _MANY:
            return y
        residual = (y - self._fitted) * self._root
        bound = _FAR * 1.4826 * float(np.median(np.abs(residual)))
        drawn: Floats = self._fitted + np.clip(residual, -bound, bound) / self._root
        return drawn

    def trust(self) -> Floats:
        """Return the weight of each run: the variance of the noise over that and the square of the formula's error.

        Where that leaves too few, noise is taken as larger than it seems: else next to no noise would be no fit.
        """
        error2 = (_ERROR * self._excess) ** 2
        noise2 = max(self.noise2 or 0.0, float(error2.max()) * _LITTLE, _TINY)
        found: Floats = noise2 / (noise2 + error2)
        while found.sum() < min(len(error2), _TRUSTED):
            noise2 *= 2
            found = noise2 / (noise2 + error2)
            if noise2 > 100 * error2.max():
                break
        return found
