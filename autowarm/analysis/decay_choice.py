"""Which decay? Each at its own best learning rate.

The best peak of one decay is not that of another (constant's is about a third of cosine's), so at a shared learning
rate some decay always looks worse than it is. The best learning rate of each, and the metric there, come from its own
runs at one horizon (`autowarm.analysis.group_best`), with warmup and batch size taken out where they varied. Two decays
tie where the 90 % interval of their difference holds 0, all pairs of decays taken together (Bonferroni).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from autowarm.analysis.doubt import EDGE
from autowarm.analysis.estimate import Estimate
from autowarm.analysis.group_best import group_bests
from autowarm.analysis.one_horizon import horizons_with_enough
from autowarm.analysis.runs import Runs
from autowarm.record import Mode
from autowarm.words import counted, listed, number

_ENOUGH = 6
_MOST_HORIZONS = 8
_MOST_DECAYS = 15


@dataclass(frozen=True, kw_only=True)
class DecayBest:
    """A decay at its own best learning rate.

    Attributes:
        decay: its name.
        lr: its best learning rate.
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
    """

    decays: tuple[DecayBest, ...]
    left_out: tuple[str, ...]
    total_steps: float
    dataset_size: float
    metric: str
    mode: Mode

    def sentences(self) -> list[str]:
        """Say which decay to take, and how sure that is."""
        at = f"At {self.total_steps:,.0f} steps"
        best = self.decays[0]
        if len(self.decays) == 1:
            said = [f"{at} only {best.decay} has runs enough: {self._words(best)}. Nothing to compare it with."]
        else:
            said = self._compared(at)
        if self.left_out:
            said.append(f"{at}, too few runs ended to judge {listed(self.left_out)}.")
        return said + self._edges()

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
        value = f"{self.metric} {number(d.value.value, 5)} ({number(d.value.low, 5)} to {number(d.value.high, 5)})"
        return f"{value} at lr {number(d.lr.value, 2)}, {counted(d.runs, 'run')}"

    def _edges(self) -> list[str]:
        words = {"low": ("lowest", "lower"), "high": ("highest", "higher")}
        return [
            f"The best lr of {d.decay}, {number(d.lr.value, 2)}, is at the {words[d.bound][0]} tried with it: try "
            f"{words[d.bound][1]} ones before you judge it."
            for d in self.decays
            if d.bound is not None
        ]


def decay_choice(runs: Runs) -> DecayChoice | None:
    """Compare the decays at the longest horizon where two of them can be fitted, or failing that one.

    Returns:
        None where all runs have one decay, or no horizon has a decay with runs enough: 6 that ended, at 3 learning
        rates.
    """
    known = (runs.ended | runs.failed) & (runs.decay != "") & np.isfinite(runs.initial_lr) & (runs.initial_lr > 0)
    runs = runs.where(known)
    if len(np.unique(runs.decay)) < 2:
        return None
    first: DecayChoice | None = None
    for mask in horizons_with_enough(runs, runs.ended, _ENOUGH, _MOST_HORIZONS):
        found = _at_one_horizon(runs.where(mask))
        if found is not None and len(found.decays) > 1:
            return found
        first = first or found
    return first


def _at_one_horizon(runs: Runs) -> DecayChoice | None:
    names, group = np.unique(runs.decay, return_inverse=True)
    common = np.argsort(-np.bincount(group), kind="stable")[:_MOST_DECAYS]
    judged, place_of = runs.where(np.isin(group, common)), group[np.isin(group, common)]
    root = np.sqrt(np.clip(judged.warmup_ratio, 0.0, 1.0))
    others = [root, root**2, np.log(judged.batch_size)]
    fit = group_bests(np.log(judged.initial_lr), judged.badness, judged.failed, place_of, others)
    if fit is None:
        return None
    order = [int(place) for place in np.argsort([f.value for f in fit.found], kind="stable")]
    pairs = len(order) * (len(order) - 1) // 2
    sign = 1.0 if runs.mode == "min" else -1.0
    decays = []
    for place in order:
        name = str(names[fit.groups[place]])
        tried = np.log(runs.initial_lr[runs.decay == name])
        decays.append(
            DecayBest(
                decay=name,
                lr=fit.found[place].lr(),
                value=_signed(fit.value(place), sign),
                runs=fit.found[place].runs,
                tied=place == order[0] or fit.difference(place, order[0], pairs).low <= 0,
                bound=_bound(fit.found[place].mean, tried),
            )
        )
    return DecayChoice(
        decays=tuple(decays),
        left_out=tuple(str(n) for i, n in enumerate(names) if i not in fit.groups),
        total_steps=float(runs.total_steps[0]),
        dataset_size=float(runs.dataset_size[0]),
        metric=runs.metric,
        mode=runs.mode,
    )


def _signed(estimate: Estimate, sign: float) -> Estimate:
    if sign > 0:
        return estimate
    return Estimate(-estimate.value, -estimate.high, -estimate.low)


def _bound(best: float, tried: np.ndarray[tuple[int], np.dtype[np.float64]]) -> str | None:
    low, high = float(tried.min()), float(tried.max())
    if best >= high - EDGE * (high - low):
        return "high"
    return "low" if best <= low + EDGE * (high - low) else None
