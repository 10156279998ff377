"""The shortest warmup whose metric is within noise of the best.

Around the best learning rates the metric is a smooth surface in x = log lr and u = sqrt(warmup share),

    y = a + b x + c x^2 + d x^3 + e u + f u^2 + g x u + what else varied,

fitted by least squares (after Box & Wilson, On the Experimental Attainment of Optimum Conditions, 1951; the cubic term
as a learning rate too high costs more than one too low). The square root gives short warmups the room that they have
in practice, where 0 and 5 % differ more than 40 and 45 %. At each share the metric is that of the share's own best
learning rate within the runs. The answer is the shortest share whose metric is at most one standard deviation of the
noise worse than the best share's: what one cannot see in one run. Its interval comes from 600 draws of the coefficients
from their distribution (multivariate t), on a fixed seed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from autowarm.analysis.estimate import Estimate
from autowarm.analysis.optima import around_the_best, inliers, pseudo_inverse, varying
from autowarm.analysis.runs import Flags, Floats

# Runs around the best learning rates, at least: where there are fewer in a factor of 3, from farther off.
_RUNS = 30
_ENOUGH = 15
_VALUES = 4
_RUNS_A_COLUMN = 5
_DRAWS = 600
_POINTS = 201
# Of a learning rate, at which the best one is looked for.
_LRS = 41
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Shortest:
    """The shortest warmup within noise.

    Attributes:
        share: of `total_steps`, within what was tried.
        best: the share of the best metric.
    """

    share: Estimate
    best: float


@dataclass(frozen=True, eq=False)
class _Surface:
    """A fitted surface, x about its mean: coefficients of x, x^2, x^3, u, u^2 and x u, and their covariance."""

    coefficients: Floats
    covariance: Floats
    degrees: int
    noise: float
    x: tuple[float, float]
    u: tuple[float, float]
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
    used = around_the_best(x, y, _RUNS)
    fit = _fit(x[used], np.sqrt(share[used]), y[used], [o[used] for o in others])
    if fit is not None and not fit.kept.all():
        used[np.flatnonzero(used)[~fit.kept]] = False
        fit = _fit(x[used], np.sqrt(share[used]), y[used], [o[used] for o in others])
    if fit is None:
        return None
    shares = np.linspace(fit.u[0] ** 2, fit.u[1] ** 2, _POINTS)
    loss = _best_lr_at(np.vstack([fit.coefficients, _draws(fit)]), np.sqrt(shares), fit.x)
    worse = loss - loss.min(axis=1, keepdims=True)
    tolerance = noise if math.isfinite(noise) else fit.noise
    # of a constant metric every share is the best one, but for rounding
    first = shares[np.argmax(worse <= tolerance + _ROUNDING * float(np.abs(y).max()), axis=1)]
    value = float(first[0])
    low, high = (float(end) for end in np.percentile(first[1:], [5, 95]))
    return Shortest(Estimate(value, min(low, value), max(high, value)), float(shares[np.argmin(worse[0])]))


def _fit(x: Floats, u: Floats, y: Floats, others: Sequence[Floats]) -> _Surface | None:
    if len(x) < _ENOUGH or len(np.unique(u)) < _VALUES or len(np.unique(x)) < _VALUES:
        return None
    ends = (float(x.min() - x.mean()), float(x.max() - x.mean())), (float(u.min()), float(u.max()))
    x = x - x.mean()
    good = np.argsort(y, kind="stable")[: max(1, len(y) // 4)]
    surface = np.column_stack([x, x**2, x**3, u, u**2, x * u, np.ones(len(x))])
    extra = varying(others, good)[: max(0, len(x) // _RUNS_A_COLUMN - surface.shape[1])]
    design = np.column_stack([surface, *extra])
    target = y - y.mean()
    inverse, rank = pseudo_inverse(design.T @ design)
    degrees = len(y) - rank
    fitted = inverse @ (design.T @ target)
    residuals = target - design @ fitted
    variance = float(residuals @ residuals) / max(degrees, 1)
    kept = inliers(residuals, degrees, _ROUNDING * float(np.abs(y).max()))
    return _Surface(fitted[:6], variance * inverse[:6, :6], degrees, math.sqrt(variance), *ends, kept)


def _draws(fit: _Surface) -> Floats:
    rng = np.random.default_rng(0)
    sizes, vectors = np.linalg.eigh(fit.covariance)
    normal = (rng.standard_normal((_DRAWS, 6)) * np.sqrt(np.maximum(sizes, 0.0))) @ vectors.T
    scale = np.sqrt(fit.degrees / rng.chisquare(fit.degrees, _DRAWS))
    found: Floats = fit.coefficients + normal * scale[:, None]
    return found


def _best_lr_at(coefficients: Floats, u: Floats, x: tuple[float, float]) -> Floats:
    """Return the metric at the best x for each u, less a constant; shape (draws, len(u))."""
    b, c, d, e, f, g = (column[:, None] for column in coefficients.T)
    lowest = np.full((len(coefficients), len(u)), np.inf)
    for at in np.linspace(*x, _LRS):
        np.minimum(lowest, (b * at + c * at**2 + d * at**3) + (g * at) * u, out=lowest)
    found: Floats = lowest + e * u + f * u**2
    return found
