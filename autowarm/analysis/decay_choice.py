"""Which decay? Each at its own best learning rate.

The best peak of one decay is not that of another (constant's is about a third of cosine's), so at a shared learning
rate some decay always looks worse than it is. The metric at each decay's best learning rate comes from the fit of
`autowarm.analysis.optima`, at one horizon, with warmup and batch size taken out where they varied. Two decays tie
where the 90 % interval of their difference holds 0, all pairs of decays taken together (Bonferroni).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from autowarm.analysis.doubt import EDGE
from autowarm.analysis.estimate import Estimate
from autowarm.analysis.one_horizon import horizons_with_enough
from autowarm.analysis.optima import Optima, fit_optima
from autowarm.analysis.runs import Flags, Runs
from autowarm.record import Mode
from autowarm.words import counted, listed

_ENOUGH = 6
_MOST_HORIZONS = 8
_MOST_DECAYS = 15


@dataclass(frozen=True, kw_only=True)
class DecayBest:
    """A decay at its own best learning rate.

    Attributes:
        decay: its name.
        lr: its best learning rate, with no lower end (0) or upper end (inf) where the runs do not bound it.
        value: the metric there.
        runs: around the best learning rate, that this rests on.
        tied: whether it is within noise of the best decay; True for the best one itself.
        bound: "low" or "high" where the best learning rate is at the edge of what was tried with this decay.
    """

    decay: str
    lr: Estimate
    value: Estimate
    runs: int
    tied: bool
    bound: str | None


@dataclass(frozen=True, kw_only=True)
class DecayChoice:
    """Decays compared at one horizon.

    Attributes:
        decays: the best first.
        left_out: names of decays with too few runs that ended at this horizon, in alphabetical order.
        total_steps: of the horizon, and `dataset_size`; NaN where unknown.
        metric: name of the metric, and `mode`, whether less or more of it is better.
        constant: whether all runs ended with one value.
    """

    decays: tuple[DecayBest, ...]
    left_out: tuple[str, ...]
    total_steps: float
    dataset_size: float
    metric: str
    mode: Mode
    constant: bool

    def sentences(self) -> list[str]:
        """Say which decay to take, and how sure that is."""
        at = f"At {self.total_steps:,.0f} steps"
        best = self.decays[0]
        if self.constant:
            said = [
                f"{at} every run ended with {self.metric} {best.value.value:.5g}, which tells no decay from another."
            ]
        elif len(self.decays) == 1:
            said = [f"{at} only {best.decay} has runs enough: {self._words(best)}. Nothing to compare it with."]
        else:
            said = self._compared(at)
        if self.left_out:
            said.append(f"{at}, too few runs ended to judge {listed(self.left_out)}.")
        return said if self.constant else said + self._edges()

    def _compared(self, at: str) -> list[str]:
        best, *others = self.decays
        ties = [d for d in others if d.tied]
        worse = [d for d in others if not d.tied]
        said = []
        if ties:
            all_ = "all " if len(ties) > 1 else ""
            names = listed([d.decay for d in (best, *ties)])
            each = "; ".join(f"{d.decay} {self._words(d)}" for d in (best, *ties))
            said.append(f"{at} {names} {all_}tie within noise, each at its own best lr: {each}.")
        else:
            said.append(f"{at} {best.decay} is best: {self._words(best)}.")
        if worse:
            each = "; ".join(f"{d.decay} {self._words(d)}" for d in worse)
            said.append(f"Worse beyond noise, each at its own best lr: {each}.")
        return said

    def _words(self, d: DecayBest) -> str:
        value = f"{self.metric} {d.value.value:.5g} ({d.value.low:.5g} to {d.value.high:.5g})"
        return f"{value} at lr {d.lr.value:.2g}, {counted(d.runs, 'run')}"

    def _edges(self) -> list[str]:
        words = {"low": ("lowest", "lower"), "high": ("highest", "higher")}
        return [
            f"The best lr of {d.decay}, {d.lr.value:.2g}, is at the {words[d.bound][0]} tried with it: try "
            f"{words[d.bound][1]} ones before you judge it."
            for d in self.decays
            if d.bound is not None
        ]


def decay_choice(runs: Runs) -> DecayChoice | None:
    """Compare the decays at the longest horizon where two of them can be fitted, or failing that one.

    Returns:
        None where no horizon has a decay with runs enough: about 6 that ended, at 3 learning rates.
    """
    usable = runs.ended & (runs.decay != "") & np.isfinite(runs.initial_lr) & (runs.initial_lr > 0)
    first: DecayChoice | None = None
    for mask in horizons_with_enough(runs, usable, _ENOUGH)[:_MOST_HORIZONS]:
        found = _at_one_horizon(runs, mask)
        if found is not None and len(found.decays) > 1:
            return found
        first = first or found
    return first


def _at_one_horizon(runs: Runs, mask: Flags) -> DecayChoice | None:
    here = runs.where(mask)
    names, group = np.unique(here.decay, return_inverse=True)
    common = np.argsort(-np.bincount(group), kind="stable")[:_MOST_DECAYS]
    judged = np.isin(group, common)
    x = np.log(here.initial_lr)
    root = np.sqrt(np.clip(here.warmup_ratio, 0.0, 1.0))
    others = [root, root**2, np.log(here.batch_size)]
    fit = fit_optima(x[judged], here.badness[judged], group[judged], [o[judged] for o in others])
    if fit is None:
        return None
    order = [int(place) for place in np.argsort(fit.values, kind="stable")]
    pairs = len(order) * (len(order) - 1) // 2
    sign = 1.0 if runs.mode == "min" else -1.0
    steps, data = float(here.total_steps[0]), float(here.dataset_size[0])
    horizon = (runs.total_steps == steps) & (
        (runs.dataset_size == data) | (math.isnan(data) & np.isnan(runs.dataset_size))
    )
    decays = []
    for place in order:
        name = str(names[fit.groups[place]])
        tried = runs.initial_lr[horizon & (runs.decay == name)]
        decays.append(
            DecayBest(
                decay=name,
                lr=_lr(fit, place),
                value=_signed(fit.value(place), sign),
                runs=int(fit.counts[place]),
                tied=place == order[0] or fit.difference(place, order[0], pairs).low <= 0,
                bound=_bound(float(fit.best[place]), np.log(tried[np.isfinite(tried) & (tried > 0)])),
            )
        )
    return DecayChoice(
        decays=tuple(decays),
        left_out=tuple(str(n) for i, n in enumerate(names) if i not in fit.groups),
        total_steps=steps,
        dataset_size=data,
        metric=runs.metric,
        mode=runs.mode,
        constant=bool(np.ptp(here.value) == 0),
    )


def _lr(fit: Optima, place: int) -> Estimate:
    return Estimate(*(math.exp(min(float(end[place]), 700.0)) for end in (fit.best, fit.low, fit.high)))


def _signed(estimate: Estimate, sign: float) -> Estimate:
    if sign > 0:
        return estimate
    return Estimate(-estimate.value, -estimate.high, -estimate.low)


def _bound(best: float, tried: np.ndarray[tuple[int], np.dtype[np.float64]]) -> str | None:
    low, high = float(tried.min()), float(tried.max())
    if best >= high - EDGE * (high - low):
        return "high"
    return "low" if best <= low + EDGE * (high - low) else None
