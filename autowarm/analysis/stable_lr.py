"""Where training begins to fail: the largest stable learning rate, and how far warmup moves it.

The chance that a run fails rises with its learning rate from next to nothing to nearly one,

    P(fails) = e + (1 - 2 e) / (1 + exp(-(log lr - m) / s)),

with the boundary m where half of the runs fail, the width s of what other choices blur it by, and e = .005 for runs
that fail, or get away, whatever their learning rate (so that one crash at a low learning rate moves nothing). The
likelihood of the failures is computed on a grid of m and s, and s integrated out (log-uniform from .05 to 1.5: from 10
to 90 % failures it takes a factor of 1.2 to 730). The 90 % interval holds what is less than 1.353 below the highest log
likelihood (half the 90 % quantile of chi-square with one degree; Berger, Liseo & Wolpert, Integrated Likelihood
Methods for Eliminating Nuisance Parameters, 1999). It stays right where failures and successes separate, where
logistic regression has no solution, and where nothing failed: then it has no upper end.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from autowarm.analysis.estimate import Estimate
from autowarm.analysis.runs import Flags, Floats

# Of a run that fails or gets away whatever its learning rate.
_FLUKE = 0.005
_WIDTHS = np.geomspace(0.05, 1.5, 20)
_PRIOR = np.log(_WIDTHS)
# The grid of boundaries goes as far beyond the learning rates tried, in log lr.
_BEYOND = 3.0
_COARSE, _FINE = 50, 80
# Half the 90 % quantile of chi-square with one degree of freedom.
_DROP = 1.3528
# More learning rates than these are counted in as many bins.
_BINS = 200
# A boundary whose log likelihood is so far below the highest is none.
_FAR_DROP = 8.0
# A likelihood that has come as near to its highest has reached its plateau.
_PLATEAU = 0.05
# Nothing is said of a factor beyond.
_LARGEST_FACTOR = 100.0


@dataclass(frozen=True, kw_only=True)
class StableLr:
    """How high the learning rate may go at a warmup.

    Attributes:
        share_low: lower end of the warmup's share of `total_steps`, inclusive; `share_high`, upper end, exclusive.
        lr: the largest learning rate at which at most one run in ten fails. Where none failed it is the highest one
            tried, with no upper end (inf); where all did, the lowest one tried, with no lower end (0).
        half: the learning rate at which half of the runs fail, likewise.
        runs: that it rests on, and `failed`, those of them that failed.
    """

    share_low: float
    share_high: float
    lr: Estimate
    half: Estimate
    runs: int
    failed: int


def stable_lr(initial_lr: Floats, failed: Flags, rate: float = 0.5) -> Estimate | None:
    """Return the learning rate at which a share of the runs fails; None without a run.

    Args:
        initial_lr: positive and finite, of shape (runs,).
        failed: of shape (runs,).
        rate: the share of runs that fail there, in (.01, .99).
    """
    if len(initial_lr) == 0:
        return None
    x = np.log(initial_lr)
    coarse = _whole(x, _COARSE)
    first, last = _within(_likelihood(x, failed, coarse, rate), _DROP)
    fine = np.linspace(coarse[max(first - 1, 0)], coarse[min(last + 1, _COARSE - 1)], _FINE)
    likelihood = _likelihood(x, failed, fine, rate)
    ends = _within(likelihood, _DROP)
    low = 0.0 if first == 0 else math.exp(fine[ends[0]])
    high = math.inf if last == _COARSE - 1 else math.exp(fine[ends[1]])
    if not failed.any():
        top = float(initial_lr.max())
        return Estimate(top, min(low, top), math.inf)
    if failed.all():
        bottom = float(initial_lr.min())
        return Estimate(bottom, 0.0, max(high, bottom))
    return Estimate(math.exp(fine[int(np.argmax(likelihood))]), low, high)


def lr_factor(initial_lr: Floats, failed: Flags, warmed: Flags) -> Estimate | None:
    """Return by what factor the learning rate at which half of the runs fail is higher with warmup than without.

    Both boundaries have one width, which is integrated out; the boundary without warmup is maximised over, so the
    interval is that of a profile likelihood.

    Args:
        initial_lr: positive and finite, of shape (runs,).
        failed: of shape (runs,).
        warmed: whether a run had warmup, of shape (runs,).

    Returns:
        The factor; None where one of the two has no runs, or none or all of the runs failed. Its interval is open
        (0 or inf) where the failures do not bound it within a factor of 100.
    """
    if not failed.any() or failed.all() or warmed.all() or not warmed.any():
        return None
    x = np.log(initial_lr)
    grid = _zoomed(x, failed, warmed)
    step = float(grid[1] - grid[0])
    without = _log_likelihood(x[~warmed], failed[~warmed], grid, 0.5)
    with_warmup = _log_likelihood(x[warmed], failed[warmed], grid, 0.5)
    most = min(int(math.log(_LARGEST_FACTOR) / step), _FINE - 1)
    shifts = range(-most, most + 1)
    profile = np.array([_shifted(without, with_warmup, shift) for shift in shifts])
    first, last = _within(profile, _DROP)
    open_low, open_high = first == 0, last == len(shifts) - 1
    place = int(np.argmax(profile))
    if open_low or open_high:
        # of a likelihood that stays as high for ever, the near end
        near = _within(profile, _PLATEAU)
        place = most if open_low and open_high else near[0] if open_high else near[1]
    return Estimate(
        math.exp(shifts[place] * step),
        0.0 if open_low else math.exp(shifts[first] * step),
        math.inf if open_high else math.exp(shifts[last] * step),
    )


def _zoomed(x: Floats, failed: Flags, warmed: Flags) -> Floats:
    """Return a grid of what both boundaries may be; of all there is where one of them is open."""
    coarse = _whole(x, _COARSE)
    zones = [_within(_likelihood(x[m], failed[m], coarse, 0.5), _FAR_DROP) for m in (warmed, ~warmed)]
    first, last = min(z[0] for z in zones), max(z[1] for z in zones)
    return np.linspace(coarse[max(first - 1, 0)], coarse[min(last + 1, _COARSE - 1)], _FINE)


def _shifted(without: Floats, with_warmup: Floats, shift: int) -> float:
    """Return the highest log likelihood where the boundary with warmup is so many steps of the grid higher."""
    here = without[:, max(-shift, 0) : without.shape[1] - max(shift, 0)]
    there = with_warmup[:, max(shift, 0) : without.shape[1] - max(-shift, 0)]
    return float(_over_widths(here + there).max())


def _whole(x: Floats, points: int) -> Floats:
    return np.linspace(x.min() - _BEYOND, x.max() + _BEYOND, points)


def _within(likelihood: Floats, drop: float) -> tuple[int, int]:
    """Return the first and the last place that is less than a drop below the highest."""
    inside = np.flatnonzero(likelihood >= likelihood.max() - drop)
    return int(inside[0]), int(inside[-1])


def _likelihood(x: Floats, failed: Flags, grid: Floats, rate: float) -> Floats:
    return _over_widths(_log_likelihood(x, failed, grid, rate))


def _over_widths(likelihood: Floats) -> Floats:
    found: Floats = np.logaddexp.reduce(likelihood + _PRIOR[:, None], axis=0)
    return found


def _log_likelihood(x: Floats, failed: Flags, grid: Floats, rate: float) -> Floats:
    """Return the log likelihood of the failures, of shape (widths, boundaries)."""
    lost, kept = failed.astype(np.float64), (~failed).astype(np.float64)
    if len(x) > _BINS:
        edges = np.linspace(x.min(), x.max() + 1e-9, _BINS + 1)
        lost, kept = np.histogram(x, edges, weights=lost)[0], np.histogram(x, edges, weights=kept)[0]
        x = (edges[1:] + edges[:-1]) / 2
    shift = math.log((rate - _FLUKE) / (1 - _FLUKE - rate))
    fails = _FLUKE + (1 - 2 * _FLUKE) * expit((x - grid[:, None]) / _WIDTHS[:, None, None] + shift)
    found: Floats = np.log(fails) @ lost + np.log1p(-fails) @ kept
    return found
