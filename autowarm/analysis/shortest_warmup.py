"""The shortest warmup whose metric is within noise of the best.

Around the best learning rates the metric is, with x = log lr and u = sqrt(warmup share),

    y = f(u) + b x + c x^2 + d x^3 + g x u + what else varied + noise.

f is any smooth function: a Gaussian process, told at knots with straight lines between them. The square root gives
short warmups the room that they have in practice, where 0 and 5 % differ more than 40 and 45 %. How smooth f is and how
far it moves is not known beforehand, so the posterior is averaged over both, weighted by the marginal likelihood (with
the other coefficients flat and the noise integrated out; Rasmussen & Williams, Gaussian Processes for Machine Learning,
2006, 2.7). At each share the metric is that of the share's own best learning rate within the runs. The answer is the
shortest share whose metric is at most one standard deviation of the noise worse than the best share's: what one cannot
see in one run. It is the median of draws from the posterior, on a fixed seed, and its interval their 5 and 95 %.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autowarm.analysis.cells import numbered
from autowarm.analysis.estimate import Estimate
from autowarm.analysis.runs import Flags, Floats

# Runs around the best learning rates, at least: where there are fewer in a factor of 3, from farther off.
_RUNS = 30
# ... of so many schedules, with so many learning rates and shares
_ENOUGH = 15
_VALUES = 4
_RUNS_A_COLUMN = 5
_DRAWS = 400
# Shares at which the metric is told, knots of f among them, and learning rates at which the best one is looked for.
_POINTS, _KNOTS, _LRS = 151, 41, 21
# Lengths, in u, over which f changes, and how far it moves, in standard deviations of the noise.
_LENGTHS = (0.1, 0.3, 1.0)
_SIZES = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
# How much worse the high side is, see `autowarm.analysis.response`.
_SHAPES = (0.0, 1.0, 2.5)
# Of the noise, the prior variance of a flat coefficient.
_FLAT = 1e8
_ROUNDING = 1e-9
# A factor of 3 to either side, and by how much it is widened where that holds too few runs.
_HALF_WIDTH = math.log(3.0)
_WIDEN = 1.3
# Beyond so many robust standard deviations a run is no part of the surface, with degrees of freedom enough to tell.
_OUTLIER = 4.0
_DEGREES_TO_TRIM = 10


@dataclass(frozen=True)
class Shortest:
    """The shortest warmup within noise.

    Attributes:
        share: of `total_steps`, within what was tried.
        runs: that it was fitted to.
    """

    share: Estimate
    runs: int


@dataclass(frozen=True, eq=False)
class _Draws:
    """Surfaces drawn from the posterior.

    Attributes:
        f: at the knots, shape (draws, knots).
        bends: coefficients of the bent term, x and x u, x about its mean; shape (draws, 3).
        shapes: of the bent term, shape (draws,).
        noise: standard deviation of a run, shape (draws,).
        knots: of u, growing; shape (knots,).
        x: lowest and highest of the runs.
        kept: which runs are no outliers, shape (runs,).
    """

    f: Floats
    bends: Floats
    shapes: Floats
    noise: Floats
    knots: Floats
    x: tuple[float, float]
    kept: Flags


def shortest_warmup(
    x: Floats, share: Floats, y: Floats, noise: float, others: Sequence[Floats] = ()
) -> Shortest | None:
    """Fit the surface and return the shortest warmup; None where there are too few runs, shares or learning rates.

    Args:
        x: log lr of the runs that ended, of shape (runs,).
        share: warmup's share of `total_steps`, in [0, 1).
        y: what they reached; less is better.
        noise: standard deviation of a run that is repeated; NaN: that of the residuals.
        others: what else varied, each of shape (runs,).
    """
    used = _around_the_best(x, y, _RUNS)
    fit = _fit(x[used], np.sqrt(share[used]), y[used], [o[used] for o in others])
    if fit is not None and not fit.kept.all():
        used[np.flatnonzero(used)[~fit.kept]] = False
        fit = _fit(x[used], np.sqrt(share[used]), y[used], [o[used] for o in others])
    if fit is None:
        return None
    shares = np.linspace(fit.knots[0] ** 2, fit.knots[-1] ** 2, _POINTS)
    loss = _best_lr_at(fit, np.sqrt(shares))
    tolerance = np.full(len(loss), noise) if math.isfinite(noise) else fit.noise
    # of a constant metric every share is the best one, but for rounding
    tolerance = tolerance + _ROUNDING * float(np.abs(y).max())
    # against the share that is best on average: the best of each draw is lucky
    worse = loss - loss[:, [int(np.argmin(loss.mean(axis=0)))]]
    first = shares[np.argmax(worse <= tolerance[:, None], axis=1)]
    low, value, high = (float(end) for end in np.percentile(first, [5, 50, 95]))
    return Shortest(Estimate(value, low, high), int(used.sum()))


def _fit(x: Floats, u: Floats, y: Floats, others: Sequence[Floats]) -> _Draws | None:
    # repeats of one schedule tell of noise alone
    if len(np.unique(numbered(x, u))) < _ENOUGH or len(np.unique(u)) < _VALUES or len(np.unique(x)) < _VALUES:
        return None
    middle = float(x.mean())
    ends = float(x.min()) - middle, float(x.max()) - middle
    x, target = x - middle, y - y.mean()
    good = np.argsort(y, kind="stable")[: max(1, len(y) // 4)]
    knots = np.linspace(u.min(), u.max(), _KNOTS)
    flat = np.column_stack([x, x * u, np.ones(len(x))])
    extra = _varying(others, good)[: max(0, len(x) // _RUNS_A_COLUMN - 6)]
    rest = np.column_stack([flat, *extra, _hats(u, knots)])
    degrees = len(y) - flat.shape[1] - len(extra) - 1
    smooth = [_smooth(knots, length) for length in _LENGTHS]
    fits = []
    for shape in _SHAPES:
        design = np.column_stack([_bend(x, shape), rest])
        gram, cross = design.T @ design, design.T @ target
        for kernel in smooth:
            for size in _SIZES:
                prior = np.diag(np.full(len(gram), math.sqrt(_FLAT)))
                prior[-_KNOTS:, -_KNOTS:] = size * kernel
                # (gram + prior^-1)^-1 without an inverse of the prior
                low = np.linalg.cholesky(np.eye(len(gram)) + prior.T @ gram @ prior)
                half = np.linalg.solve(low, prior.T)
                mean = half.T @ (half @ cross)
                left = max(float(target @ target - cross @ mean), (_ROUNDING * float(np.abs(y).max())) ** 2)
                log = -float(np.log(np.diag(low)).sum()) - 0.5 * degrees * math.log(left or 1.0)
                fits.append((log, shape, mean, half, left))
    logs = np.array([fit[0] for fit in fits])
    weights = np.exp(logs - logs.max())
    weights /= weights.sum()
    rng = np.random.default_rng(0)
    drawn, noise, shapes = [], [], []
    for (_, shape, mean, half, left), count in zip(fits, rng.multinomial(_DRAWS, weights), strict=True):
        sd = np.sqrt(left / rng.chisquare(degrees, count))
        drawn.append(mean + sd[:, None] * (rng.standard_normal((count, len(mean))) @ half))
        noise.append(sd)
        shapes.append(np.full(count, shape))
    _, shape, mean, *_ = fits[int(np.argmax(logs))]
    residuals = target - np.column_stack([_bend(x, shape), rest]) @ mean
    kept = _inliers(residuals, degrees, _ROUNDING * float(np.abs(y).max()))
    draws = np.vstack(drawn)
    return _Draws(draws[:, -_KNOTS:], draws[:, :3], np.concatenate(shapes), np.concatenate(noise), knots, ends, kept)


def _smooth(knots: Floats, length: float) -> Floats:
    """Return a root of the covariance of f at the knots: Matern's with 3/2, which bears a kink."""
    apart = math.sqrt(3) * np.abs(knots[:, None] - knots) / length
    return np.asarray(np.linalg.cholesky((1 + apart) * np.exp(-apart) + 1e-9 * np.eye(len(knots))), dtype=np.float64)


def _bend(x: Floats, shape: Floats | float) -> Floats:
    """Return the curve of `autowarm.analysis.response` about 0."""
    shape = np.asarray(shape, dtype=np.float64)
    a = np.where(shape == 0, 1.0, shape)
    return np.asarray(np.where(shape == 0, x**2 / 2, (np.exp(a * x) - 1 - a * x) / a**2), dtype=np.float64)


def _hats(u: Floats, knots: Floats) -> Floats:
    """Return how much of the value at each knot is that at u, on the straight line between two; shape (u, knots)."""
    place = np.clip((u - knots[0]) / (knots[1] - knots[0]), 0, len(knots) - 1)
    found: Floats = np.maximum(1 - np.abs(place[:, None] - np.arange(len(knots))), 0.0)
    return found


def _best_lr_at(fit: _Draws, u: Floats) -> Floats:
    """Return the metric at the best x for each u, less a constant; shape (draws, len(u))."""
    bend, slope, moved = (column[:, None] for column in fit.bends.T)
    lowest = np.full((len(fit.f), len(u)), np.inf)
    for at in np.linspace(*fit.x, _LRS):
        np.minimum(lowest, bend * _bend(at, fit.shapes)[:, None] + slope * at + (moved * at) * u, out=lowest)
    found: Floats = lowest + fit.f @ _hats(u, fit.knots).T
    return found


def _around_the_best(x: Floats, y: Floats, enough: int) -> Flags:
    """Return which runs are within a factor of 3 of the best ones' learning rates, or of as many more as are enough."""
    best = np.argsort(y, kind="stable")[: max(3, len(y) // 5)]
    far: Floats = np.abs(x - np.median(x[best]))
    half = _HALF_WIDTH
    while (far <= half).sum() < min(enough, len(x)):
        half *= _WIDEN
    found: Flags = far <= half
    return found


def _inliers(residuals: Floats, degrees: int, rounding: float) -> Flags:
    """Return which runs lie within 4 robust standard deviations of a fit; all where it has few degrees of freedom."""
    if degrees < _DEGREES_TO_TRIM:
        return np.ones(len(residuals), dtype=bool)
    spread = 1.4826 * float(np.median(np.abs(residuals)))
    found: Flags = np.abs(residuals) <= max(_OUTLIER * spread, rounding)
    return found


def _varying(columns: Sequence[Floats], good: NDArray[np.int_]) -> list[Floats]:
    """Return those columns that vary, less their mean over the good runs and over their spread.

    Args:
        columns: each of shape (runs,); those with an unknown (NaN) are left out.
        good: rows of the good runs.
    """
    found = []
    for column in columns:
        spread = float(column.std())
        if np.isfinite(spread) and spread > _ROUNDING * max(float(np.abs(column).max()), 1e-300):
            found.append((column - column[good].mean()) / spread)
    return found
