"""How the best learning rate moves with the length of the training, the data and the batch.

    lr* = C * total_steps^-b * dataset_size^d * batch_size^e

Two short horizons say next to nothing about an exponent: a fit to them alone cost three times more than not scaling at
all. So the exponents start from what is published, and the runs move them as far as they can:

- total_steps, at a fixed batch: -.2 +- .15. Published: -.23 to -.32 (Bjorck et al., Scaling Optimal LR Across Token
  Horizons, arXiv 2409.19913, among them), all of them of long language model trainings.
- batch_size, at fixed total_steps: .5 +- .25: the square root rule of Adam and RMSprop (Malladi et al., On the SDEs and
  Scaling Rules for Adaptive Gradient Algorithms, arXiv 2205.10287). SGD's linear rule is two deviations away.
- dataset_size, at fixed total_steps and batch: 0 +- .15: no published law was found.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from autowarm.analysis.cells import Rows, cells_of, horizon_logs, usable
from autowarm.analysis.decay_peaks import favoured_decay, log_lr
from autowarm.analysis.estimate import Estimate
from autowarm.analysis.response import Response, response
from autowarm.analysis.runs import Floats, Runs

NAMES = ("total_steps", "dataset_size", "batch_size")
# Of the exponents of NAMES: mean and standard deviation before any run.
PRIOR_MEAN = np.array([-0.2, 0.0, 0.5])
PRIOR_SD = np.array([0.15, 0.15, 0.25])
# Standard normal at 95 %: an interval of 90 %.
Z95 = 1.6449
# Of ln C nothing is known.
_ANY = 10.0
# How far a horizon's best may be off the power law (standard deviation of ln lr*), and how likely that is beforehand.
_OFF = (0.0, 0.1, 0.2, 0.4)
_LIKELY = (0.4, 0.3, 0.2, 0.1)


@dataclass(frozen=True)
class Power:
    """One exponent: lr* ~ name^exponent.

    Attributes:
        name: `total_steps`, `dataset_size` or `batch_size`.
        exponent: after the runs.
        prior: before them.
        seen_low: least of the runs, and `seen_high`, most; NaN where unknown.
        from_data: whether the runs say something about it: its interval is a fifth shorter than before, or it moved
            by half a standard deviation.
    """

    name: str
    exponent: Estimate
    prior: Estimate
    seen_low: float
    seen_high: float
    from_data: bool

    @property
    def varies(self) -> bool:
        """Whether the runs have more than one such number."""
        return self.seen_low < self.seen_high


@dataclass(frozen=True)
class HorizonBest:
    """The best learning rate of one horizon, or of neighbours, from the runs there alone.

    Attributes:
        total_steps: geometric mean of the runs there; so are `dataset_size` and `batch_size`, NaN where unknown.
        lr: best learning rate.
        value: of the metric there, under the law's decay; NaN where the runs are too few to tell.
        runs: that entered the fit.
    """

    total_steps: float
    dataset_size: float
    batch_size: float
    lr: Estimate
    value: Estimate
    runs: int


@dataclass(frozen=True, eq=False)
class Scaling:
    """The power law, and the horizons it rests on.

    Attributes:
        powers: one for each of NAMES.
        horizons: by total_steps, the shortest first.
        decay: the decay that the learning rates are for; "" where unknown.
        centre: ln of (total_steps, dataset_size, batch_size) that the law is centred at; NaN where unknown.
        mean: of shape (4,), of (ln lr* at the centre, the exponents of NAMES).
        covariance: of shape (4, 4).
        off: standard deviation of ln lr* of a horizon about the law.
        noise: standard deviation of the metric from run to run; NaN where unknown.
    """

    powers: tuple[Power, ...]
    horizons: tuple[HorizonBest, ...]
    decay: str
    centre: Floats
    mean: Floats
    covariance: Floats
    off: float
    noise: float

    def predict(self, at: Floats) -> tuple[Floats, Floats]:
        """Return mean and standard deviation of ln lr*, each of shape (n,).

        Args:
            at: ln of (total_steps, dataset_size, batch_size), of shape (n, 3); what is NaN is taken as at the centre.
        """
        moved = np.where(np.isfinite(at) & np.isfinite(self.centre), at - self.centre, 0.0)
        rows = np.column_stack([np.ones(len(moved)), moved])
        variance = np.einsum("ij,jk,ik->i", rows, self.covariance, rows) + self.off**2
        return rows @ self.mean, np.sqrt(variance)

    def sentences(self) -> list[str]:
        """Say how the best learning rate moves, and whether the runs or the prior say so."""
        said = [_power_words(power) for power in self.powers if power.varies]
        steps = self.powers[0]
        if not steps.varies:
            said.insert(
                0,
                f"All runs are of {steps.seen_low:,.0f} steps: how the best initial_lr moves with total_steps is what "
                f"is published, exponent {steps.prior.value:.2f} ({steps.prior.low:.2f} to {steps.prior.high:.2f}).",
            )
        low, middle, high = (2.0**e for e in (steps.exponent.low, steps.exponent.value, steps.exponent.high))
        said.append(f"Twice the steps with the same batch: initial_lr times {middle:.2f} ({low:.2f} to {high:.2f}).")
        return said


def _power_words(power: Power) -> str:
    e, p = power.exponent, power.prior
    words = f"The best initial_lr goes as {power.name}^{e.value:.2f} (90 %: {e.low:.2f} to {e.high:.2f})"
    seen = f"runs from {power.seen_low:,.0f} to {power.seen_high:,.0f}"
    if power.from_data:
        return f"{words}, from {seen} and the published {p.value:.2f} ({p.low:.2f} to {p.high:.2f})."
    return f"{words}: the {seen} do not tell, so this is what was known before."


def scaling(runs: Runs) -> Scaling | None:
    """Return how the best learning rate moves with the horizon; None where no run ended.

    Every horizon gives the posterior of its own best (`response`); their means and deviations enter a Bayesian linear
    regression in logarithms with the priors of this module, averaged over how well a power law holds.
    """
    runs = usable(runs)
    decay = favoured_decay(runs)
    fits = fit_cells(runs, decay)
    if not fits:
        return None
    z = horizon_logs(runs)
    centres = np.array([z[rows].mean(axis=0) for rows, _ in fits])
    best = np.array([found.mean for _, found in fits])
    sds = np.array([found.sd for _, found in fits])
    centre = np.average(centres, axis=0, weights=1 / sds**2)
    mean, covariance, off = _regress(centres - centre, best, sds)
    known = np.array([np.isfinite(column).any() for column in _columns(runs)])
    noises = np.array([found.noise for _, found in fits])
    told = np.isfinite(noises)
    horizons = [_horizon(runs, rows, found) for rows, found in fits]
    return Scaling(
        powers=tuple(_power(i, runs, mean, covariance) for i in range(3)),
        horizons=tuple(sorted(horizons, key=lambda h: (h.total_steps, h.dataset_size, h.batch_size))),
        decay=decay,
        centre=np.where(known, centre, math.nan),
        mean=mean,
        covariance=covariance,
        off=off,
        noise=float(np.median(noises[told])) if told.any() else math.nan,
    )


def fit_cells(runs: Runs, decay: str) -> list[tuple[Rows, Response]]:
    """Return the rows of each horizon, or of neighbours, with what they tell of its best learning rate.

    Args:
        runs: usable ones.
        decay: that the best learning rate is wanted for; those of the other decays are moved by what is known.
    """
    z = horizon_logs(runs)
    x = log_lr(runs, decay)
    found = []
    for rows in cells_of(z):
        fit = fit_rows(runs, rows, x, z, PRIOR_MEAN, decay=decay)
        if fit is not None:
            found.append((rows, fit))
    return found


def fit_rows(runs: Runs, rows: Rows, x: Floats, z: Floats, exponents: Floats, *, decay: str) -> Response | None:
    """Return what near horizons tell of the best learning rate in their middle; None where no run ended.

    Args:
        runs: that `rows` are of.
        rows: of one cell.
        x: ln lr of all runs, see `log_lr`.
        z: see `horizon_logs`.
        exponents: of shape (3,), by which a lr is brought to the middle of the cell.
        decay: that the metric is told under, where the runs have several; that of their mix, where they lack it.
    """
    share = runs.warmup_ratio[rows]
    share = np.where(np.isfinite(share), share, 0.0)
    inside = z[rows] - z[rows].mean(axis=0)
    names = np.unique(runs.decay[rows])
    besides = np.column_stack([share, inside, *(runs.decay[rows] == d for d in names[1:])])
    told_at = np.append(besides[:, :4].mean(axis=0), names[1:] == decay) if len(names) > 1 and decay in names else None
    return response(x[rows] - inside @ exponents, runs.badness[rows], runs.failed[rows], besides, told_at=told_at)


def _columns(runs: Runs) -> tuple[Floats, Floats, Floats]:
    return runs.total_steps, runs.dataset_size, runs.batch_size


def _regress(z: Floats, best: Floats, sds: Floats) -> tuple[Floats, Floats, float]:
    """Return mean (4,) and covariance (4, 4) of the law's parameters and how far horizons are off it.

    best = rows @ parameters + off * normal + sds * normal, the parameters normal beforehand, averaged over `off`.
    """
    rows = np.column_stack([np.ones(len(z)), z])
    level = float(np.average(best, weights=1 / sds**2))
    prior_mean = np.append(level, PRIOR_MEAN)
    prior = np.diag(np.append(_ANY, PRIOR_SD) ** 2)
    rest = best - rows @ prior_mean
    means, covariances, logs = [], [], []
    for off, likely in zip(_OFF, _LIKELY, strict=True):
        total = rows @ prior @ rows.T + np.diag(sds**2 + off**2)
        gain = np.linalg.solve(total, rows @ prior).T
        means.append(prior_mean + gain @ rest)
        covariances.append(prior - gain @ rows @ prior)
        sign_log = np.linalg.slogdet(total)[1]
        logs.append(math.log(likely) - 0.5 * (sign_log + rest @ np.linalg.solve(total, rest)))
    weights = np.exp(np.array(logs) - max(logs))
    weights /= weights.sum()
    mean = weights @ np.array(means)
    covariance = sum(
        w * (c + np.outer(m - mean, m - mean)) for w, m, c in zip(weights, means, covariances, strict=True)
    )
    return mean, np.asarray(covariance), float(np.sqrt(weights @ np.array(_OFF) ** 2))


def _power(index: int, runs: Runs, mean: Floats, covariance: Floats) -> Power:
    column = _columns(runs)[index]
    seen = column[np.isfinite(column) & (column > 0)]
    value, sd = float(mean[index + 1]), math.sqrt(covariance[index + 1, index + 1])
    before, before_sd = float(PRIOR_MEAN[index]), float(PRIOR_SD[index])
    return Power(
        name=NAMES[index],
        exponent=Estimate(value, value - Z95 * sd, value + Z95 * sd),
        prior=Estimate(before, before - Z95 * before_sd, before + Z95 * before_sd),
        seen_low=float(seen.min()) if len(seen) else math.nan,
        seen_high=float(seen.max()) if len(seen) else math.nan,
        from_data=sd < 0.8 * before_sd or abs(value - before) > 0.5 * before_sd,
    )


def _horizon(runs: Runs, rows: Rows, found: Response) -> HorizonBest:
    steps, size, batch = (_middle(column[rows]) for column in _columns(runs))
    return HorizonBest(steps, size, batch, found.lr(), best_value(runs, found), found.runs)


def best_value(runs: Runs, found: Response) -> Estimate:
    """Return the metric at the best learning rate, as the runs write it, with its 90 % interval."""
    sign = 1 if runs.mode == "min" else -1
    ends = sorted(sign * (found.value + s * Z95 * found.value_sd) for s in (-1, 1))
    return Estimate(sign * found.value, ends[0], ends[1])


def _middle(column: Floats) -> float:
    known = column[np.isfinite(column) & (column > 0)]
    if not len(known):
        return math.nan
    return float(known[0]) if known.min() == known.max() else float(np.exp(np.log(known).mean()))
