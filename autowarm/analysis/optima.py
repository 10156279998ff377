"""The best learning rate of each of several groups of runs, and the metric there, from one local fit.

Near its best learning rate the metric of a group g is a cubic in x = log lr,

    y = a[g] + b[g] x + c[g] x^2 + d[g] x^3 + what else varied,

as a learning rate too high costs more than one too low. It is fitted by least squares to the runs around each group's
best ones: within a factor of 3, or of as much more as it takes to leave 6 degrees of freedom in all. The
groups share c and d where one of them has fewer than 16 runs there, and d is left out where too few runs are left to
tell. A best learning rate is
looked for among the runs of the fit; its interval is where the slope does not differ from 0 (Fieller, Some Problems in
Interval Estimation, 1954), open at an end where that goes as far as the runs. The variance of the metric at it is that
of the fit there, as the slope is 0 (Box & Wilson, On the Experimental Attainment of Optimum Conditions, 1951).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from autowarm.analysis.estimate import Estimate
from autowarm.analysis.runs import Flags, Floats

_HALF_WIDTH = math.log(3.0)
_WIDEN = 1.3
_DEGREES = 8
_OWN_SHAPE = 16
# Degrees of freedom that a cubic term must leave.
_SKEW_LEAVES = 6
# Learning rates at which the slope is looked at.
_POINTS = 201
# Runs for each column of what else varied.
_RUNS_A_COLUMN = 5
# Beyond so many robust standard deviations a run is no part of the parabola, with degrees of freedom enough to tell.
_OUTLIER = 4.0
_DEGREES_TO_TRIM = 10
# Eigenvalues of the normal matrix this far below the largest are 0.
_SINGULAR = 1e-11
# Equal but for rounding.
_ROUNDING = 1e-9


@dataclass(frozen=True, eq=False)
class Optima:
    """Best learning rates of groups, in log lr, and the metric at them.

    Attributes:
        groups: names of the groups that could be fitted, as given; shape (groups,).
        best: log of the best learning rate of each, within the runs that ended.
        low: lower ends of their 90 % intervals, -inf where open; `high`, upper ends.
        counts: runs of each that the fit used.
        rows: what the coefficients are multiplied by at each optimum; shape (groups, coefficients).
        coefficients: of the fit.
        covariance: of the coefficients.
        degrees: degrees of freedom of the residuals, at least 1.
        noise: standard deviation of a run about the fit.
    """

    groups: NDArray[np.int_]
    best: Floats
    low: Floats
    high: Floats
    counts: NDArray[np.int_]
    rows: Floats
    coefficients: Floats
    covariance: Floats
    degrees: int
    noise: float

    @property
    def values(self) -> Floats:
        """The metric at each optimum."""
        found: Floats = self.rows @ self.coefficients
        return found

    def value(self, place: int) -> Estimate:
        """Return the metric at an optimum with its 90 % interval."""
        half = float(stdtrit(self.degrees, 0.95)) * math.sqrt(self._variance(self.rows[place]))
        middle = float(self.values[place])
        return Estimate(middle, middle - half, middle + half)

    def difference(self, i: int, k: int, comparisons: int = 1) -> Estimate:
        """Return the metric at one optimum less that at another, with an interval that is right for all of several.

        Args:
            i: place of the one.
            k: place of the other.
            comparisons: how many are made at once: each interval is then 1 - .1 / comparisons wide (Bonferroni).
        """
        middle = float(self.values[i] - self.values[k])
        error = math.sqrt(self._variance(self.rows[i] - self.rows[k]))
        half = float(stdtrit(self.degrees, 1 - 0.05 / comparisons)) * error + _ROUNDING * abs(float(self.values[k]))
        return Estimate(middle, middle - half, middle + half)

    def _variance(self, row: Floats) -> float:
        return max(float(row @ self.covariance @ row), 0.0)


def fit_optima(x: Floats, y: Floats, group: NDArray[np.int_], others: Sequence[Floats] = ()) -> Optima | None:
    """Fit the parabolas; None where no group has enough runs.

    Args:
        x: log lr of the runs that ended, finite, of shape (runs,).
        y: what they reached; less is better; finite.
        group: a number from 0 on for each run.
        others: what else varied, each of shape (runs,), the most important first. They are left out where they do
            not vary or the runs do not suffice; the metric is told at their mean over the best quarter of the runs.
    """
    used = _windows(x, y, group)
    names = np.unique(group[used])
    names = names[[len(np.unique(x[used & (group == g)])) >= 3 for g in names]] if len(names) else names
    used &= np.isin(group, names)
    if not used.any():
        return None
    for _ in range(2):
        # one curvature, and a height and a slope a group, must leave a residual
        if used.sum() < 2 * len(names) + 3:
            return None
        fit = _Design(x, y, group, names, used, others=others)
        kept = inliers(fit.residuals, fit.degrees, _ROUNDING * abs(fit.level))
        if kept.all():
            break
        used[np.flatnonzero(used)[~kept]] = False
    return fit.optima()


def _windows(x: Floats, y: Floats, group: NDArray[np.int_]) -> Flags:
    used = np.zeros(len(x), dtype=bool)
    groups = np.unique(group)
    enough = math.ceil((2 * len(groups) + 2 + _DEGREES) / max(len(groups), 1))
    for g in groups:
        rows = np.flatnonzero(group == g)
        used[rows] = around_the_best(x[rows], y[rows], enough)
    return used


class _Design:
    """Least squares of what lies in the windows."""

    def __init__(
        self,
        x: Floats,
        y: Floats,
        group: NDArray[np.int_],
        names: NDArray[np.int_],
        used: Flags,
        *,
        others: Sequence[Floats],
    ) -> None:
        self.names = names
        self.x, self.place = x[used], np.searchsorted(names, group[used])
        self.counts = np.bincount(self.place, minlength=len(names))
        # a shared shape is one about the middle of each
        self.middles = np.bincount(self.place, self.x, minlength=len(names)) / self.counts
        self.own = bool(len(names) == 1 or self.counts.min() >= _OWN_SHAPE)
        shapes = len(names) if self.own else 1
        self.powers = (2, 3) if used.sum() >= 2 * len(names) + 2 * shapes + _SKEW_LEAVES else (2,)
        base = self.base(self.x, self.place)
        good = np.argsort(y[used], kind="stable")[: max(1, int(used.sum()) // 4)]
        extra = varying([o[used] for o in others], good)[: max(0, int(used.sum()) // _RUNS_A_COLUMN - base.shape[1])]
        design = np.column_stack([base, *extra])
        # moments about the mean, or large values would cancel
        self.level = float(y[used].mean())
        target = y[used] - self.level
        inverse, rank = pseudo_inverse(design.T @ design)
        self.coefficients: Floats = inverse @ (design.T @ target)
        self.residuals: Floats = target - design @ self.coefficients
        self.degrees = len(target) - rank
        self.noise = math.sqrt(float(self.residuals @ self.residuals) / max(self.degrees, 1))
        self.covariance: Floats = self.noise**2 * inverse

    def base(self, x: Floats, place: NDArray[np.int_], *, slope: bool = False) -> Floats:
        """Return what the coefficients of the cubics are multiplied by, or by for their slope; a row for each x."""
        here = (place[:, None] == np.arange(len(self.names))).astype(np.float64)
        at = (x - self.middles[place])[:, None]
        shape = here if self.own else np.ones_like(at)
        bent = [shape * (k * at ** (k - 1) if slope else at**k) for k in self.powers]
        return np.column_stack([here * 0.0, here, *bent] if slope else [here, here * at, *bent])

    def optima(self) -> Optima | None:
        if self.degrees < 1:
            return None
        best, low, high = (np.array(ends) for ends in zip(*map(self._optimum, range(len(self.names))), strict=True))
        base = self.base(best, np.arange(len(self.names)))
        rows = np.zeros((len(self.names), len(self.coefficients)))
        rows[:, : base.shape[1]] = base
        coefficients = self.coefficients.copy()
        coefficients[: len(self.names)] += self.level
        return Optima(
            self.names, best, low, high, self.counts, rows, coefficients, self.covariance, self.degrees, self.noise
        )

    def _optimum(self, g: int) -> tuple[float, float, float]:
        """Return the lowest point of a group's curve among its runs, and the ends of its interval."""
        x = self.x[self.place == g]
        at = np.linspace(x.min(), x.max(), _POINTS)
        place = np.full(_POINTS, g)
        curve, slopes = self.base(at, place), self.base(at, place, slope=True)
        k = curve.shape[1]
        best = int(np.argmin(curve @ self.coefficients[:k]))
        slope = slopes @ self.coefficients[:k]
        error = np.sqrt(np.maximum(np.einsum("ij,jk,ik->i", slopes, self.covariance[:k, :k], slopes), 0.0))
        width = stdtrit(self.degrees, 0.95) * error
        falls, rises = np.flatnonzero(slope < -width), np.flatnonzero(slope > width)
        below, above = falls[falls < best], rises[rises > best]
        low = at[below[-1]] if len(below) else -math.inf
        high = at[above[0]] if len(above) else math.inf
        return float(at[best]), float(low), float(high)


def around_the_best(x: Floats, y: Floats, enough: int) -> Flags:
    """Return which runs are within a factor of 3 of the best ones' learning rates, or of as many more as are enough."""
    best = np.argsort(y, kind="stable")[: max(3, len(y) // 5)]
    far: Floats = np.abs(x - np.median(x[best]))
    half = _HALF_WIDTH
    while (far <= half).sum() < min(enough, len(x)):
        half *= _WIDEN
    found: Flags = far <= half
    return found


def inliers(residuals: Floats, degrees: int, rounding: float) -> Flags:
    """Return which runs lie within 4 robust standard deviations of a fit; all where it has few degrees of freedom."""
    if degrees < _DEGREES_TO_TRIM:
        return np.ones(len(residuals), dtype=bool)
    spread = 1.4826 * float(np.median(np.abs(residuals)))
    found: Flags = np.abs(residuals) <= max(_OUTLIER * spread, rounding)
    return found


def varying(columns: Sequence[Floats], good: NDArray[np.int_]) -> list[Floats]:
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


def pseudo_inverse(gram: Floats) -> tuple[Floats, int]:
    """Return the pseudo-inverse of a symmetric matrix with no negative eigenvalue, and its rank."""
    sizes, vectors = np.linalg.eigh(gram)
    kept = sizes > _SINGULAR * sizes[-1]
    found: Floats = (vectors[:, kept] / sizes[kept]) @ vectors[:, kept].T
    return found, int(kept.sum())
