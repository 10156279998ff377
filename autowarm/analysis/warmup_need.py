"""How much warmup does this training need?

Warmup can do two things: let a higher learning rate train at all, and make the best metric better. Both are
measured, runs with a warmup below 5 % of the steps against longer ones:

- `lr_factor`: by how much the learning rate at which half of the runs fail is higher (`autowarm.analysis.stable_lr`);
- `gains`: by how much the metric is better, each share at its own best learning rate (`autowarm.analysis.optima`).

Warmup matters where the 90 % interval of either leaves out no effect (for the gains, of all pairs of shares taken
together). It does not matter where both are known to be small: the upper end of the factor below 1.5, or that of the
failure rate without warmup below 10 %, and the upper ends of all gains within one standard deviation of a run that is
repeated: each gain by itself, as all must pass. Everything between is not known yet.

The metric is compared at the longest horizon with enough runs, or, where there is none, among lengths within a factor
of 2, with that of the run and how it moves the best learning rate taken out; the decay, `dataset_size` and `batch_size`
are taken out, too, where they vary. (Of the 1,024 runs of DeBERTa by N. Lourie at 6,000 to 98,000 steps, long warmups
are short runs: at all lengths together a warmup of 30 % looked as good as a short one, and at equal lengths it
costs .005 of accuracy.) Failures are counted at all lengths.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from autowarm.analysis.binomial import proportion
from autowarm.analysis.decay_peaks import log_lr
from autowarm.analysis.estimate import Estimate
from autowarm.analysis.group_best import group_bests
from autowarm.analysis.lr_bands import lr_bands
from autowarm.analysis.one_horizon import alike_lengths
from autowarm.analysis.repeat_noise import repeat_noise
from autowarm.analysis.runs import Flags, Floats, Runs
from autowarm.analysis.sensitivity import Sensitivity, sensitivities
from autowarm.analysis.stable_lr import StableLr, lr_factor, stable_lr
from autowarm.analysis.warmup_choice import WarmupChoice, shortest_share, what_else
from autowarm.analysis.warmup_words import need_sentences

# Edges of the shares of warmup that are told apart; a ratio is below 1.
SHARES = (0.0, 0.05, 0.15, 0.30, 1.0)
# What a verdict of "does not matter" must rule out.
LARGEST_FACTOR = 1.5
LARGEST_FAILURE = 0.1
_ENOUGH, _ENOUGH_OF_A_FACTOR = 30, 200


@dataclass(frozen=True, kw_only=True)
class Cell:
    """Runs of one band of learning rates and one range of warmup.

    Attributes:
        lr_low: lower end of the learning rates, inclusive; `lr_high`, upper end, exclusive.
        share_low: lower end of the warmup's share of `total_steps`, inclusive; `share_high`, upper end, exclusive.
        runs: how many, those stopped early left out, and `failed`, how many of them failed.
        failure: the rate of failure.
        value: mean metric of the best third of those that ended; NaN where none did.
    """

    lr_low: float
    lr_high: float
    share_low: float
    share_high: float
    runs: int
    failed: int
    failure: Estimate
    value: float


@dataclass(frozen=True, kw_only=True)
class Gain:
    """How much better the metric is at a warmup than at one below 5 %, each at its own best learning rate.

    Attributes:
        share_low: lower end of the warmup's share of `total_steps`, inclusive; `share_high`, upper end, exclusive.
        gain: in units of the metric, positive where the longer warmup is better, whatever the mode; its interval holds
            for all pairs of shares taken together.
        most: the upper end of the gain's interval where it is the only one looked at, for ruling a gain out.
        runs: of both, around their best learning rates.
    """

    share_low: float
    share_high: float
    gain: Estimate
    most: float
    runs: int


@dataclass(frozen=True, kw_only=True)
class WarmupNeed:
    """What runs tell of the warmup.

    Attributes:
        cells: a row a band of learning rates, the lowest first, of the ranges of warmup, the shortest first.
        stable: how high the learning rate may go at each range of warmup that was tried.
        sensitivity: LR sensitivity with warmup below 5 % and above; empty where the runs are too few.
        lr_factor: by what factor the learning rate at which half of the runs fail is higher with a warmup of 5 % or
            more than with less; None where nothing failed or one of the two was not tried.
        gains: of the ranges of warmup from 5 % on over those below; empty where the runs are too few.
        noise: standard deviation of a run's metric when it is repeated; NaN where nothing is known of it.
        noise_is_repeats: whether it comes from runs that differ by their seed alone, or from a local fit.
        choice: the shortest warmup whose metric is within `noise` of the best, each share at its own best learning
            rate, and with which no more runs fail; None where the runs are too few.
        short: failures of the runs with a warmup below 5 %, as a rate; NaN where there is none.
        matters: whether warmup matters here; None where the runs cannot tell.
        total_steps: the shortest and the longest run whose metric was compared; None where none was.
        metric: its name.
        runs: how many were looked at.
    """

    cells: tuple[tuple[Cell, ...], ...]
    stable: tuple[StableLr, ...]
    sensitivity: tuple[Sensitivity, ...]
    lr_factor: Estimate | None
    gains: tuple[Gain, ...]
    noise: float
    noise_is_repeats: bool
    choice: WarmupChoice | None
    short: Estimate
    matters: bool | None
    total_steps: tuple[float, float] | None
    metric: str
    runs: int

    @property
    def shortest(self) -> Estimate | None:
        """The share of `choice`."""
        return None if self.choice is None else self.choice.share

    def sentences(self) -> list[str]:
        """Say whether warmup matters, how much of it is enough, and what the learning rate may be."""
        return need_sentences(self)


@dataclass(frozen=True)
class _Value:
    """What is known of the metric against the warmup."""

    gains: tuple[Gain, ...] = ()
    noise: float = math.nan
    noise_is_repeats: bool = False
    choice: WarmupChoice | None = None
    total_steps: tuple[float, float] | None = None


def warmup_need(runs: Runs) -> WarmupNeed | None:
    """Look at what warmup did; None where no run has a learning rate and a warmup.

    Runs that were stopped early are left out: they neither failed nor ended.
    """
    known = np.isfinite(runs.initial_lr) & (runs.initial_lr > 0) & (runs.warmup_ratio >= 0) & (runs.warmup_ratio < 1)
    runs = runs.where(known & ~runs.stopped)
    if len(runs) == 0:
        return None
    warmed = runs.warmup_ratio >= SHARES[1]
    factor = lr_factor(runs.initial_lr, runs.failed, warmed)
    short = proportion(int((runs.failed & ~warmed).sum()), int((~warmed).sum()))
    value = _value(runs)
    return WarmupNeed(
        cells=_cells(runs),
        stable=_stable(runs),
        sensitivity=sensitivities(runs, [("warmup below 5 %", ~warmed), ("warmup of 5 % or more", warmed)]),
        lr_factor=factor,
        gains=value.gains,
        noise=value.noise,
        noise_is_repeats=value.noise_is_repeats,
        choice=value.choice,
        short=short,
        matters=_matters(factor, short, value),
        total_steps=value.total_steps,
        metric=runs.metric,
        runs=len(runs),
    )


def _matters(factor: Estimate | None, short: Estimate, value: _Value) -> bool | None:
    if (factor is not None and factor.low > 1) or any(g.gain.low > 0 for g in value.gains):
        return True
    stable = short.high < LARGEST_FAILURE or (factor is not None and factor.high < LARGEST_FACTOR)
    same = bool(value.gains) and all(g.most <= value.noise for g in value.gains)
    return False if stable and same else None


def _cells(runs: Runs) -> tuple[tuple[Cell, ...], ...]:
    edges = lr_bands(float(runs.initial_lr.min()), float(runs.initial_lr.max()))
    row, column = _place(runs.initial_lr, edges), _place(runs.warmup_ratio, SHARES)
    return tuple(
        tuple(
            _cell(runs, (row == i) & (column == k), edges[i : i + 2], SHARES[k : k + 2]) for k in range(len(SHARES) - 1)
        )
        for i in range(len(edges) - 1)
    )


def _cell(runs: Runs, mask: Flags, lrs: tuple[float, ...], shares: tuple[float, ...]) -> Cell:
    total, failed = int(mask.sum()), int((mask & runs.failed).sum())
    losses = np.sort(runs.badness[mask & runs.ended])
    value = float(losses[: max(1, len(losses) // 3)].mean()) if len(losses) else math.nan
    return Cell(
        lr_low=lrs[0],
        lr_high=lrs[1],
        share_low=shares[0],
        share_high=shares[1],
        runs=total,
        failed=failed,
        failure=proportion(failed, total),
        value=value if runs.mode == "min" else -value,
    )


def _stable(runs: Runs) -> tuple[StableLr, ...]:
    column = _place(runs.warmup_ratio, SHARES)
    found = []
    for k in range(len(SHARES) - 1):
        lr, failed = runs.initial_lr[column == k], runs.failed[column == k]
        few, half = stable_lr(lr, failed, 0.1), stable_lr(lr, failed)
        if few is not None and half is not None:
            found.append(
                StableLr(
                    share_low=SHARES[k],
                    share_high=SHARES[k + 1],
                    lr=few,
                    half=half,
                    runs=len(lr),
                    failed=int(failed.sum()),
                )
            )
    return tuple(found)


def _value(runs: Runs) -> _Value:
    alike = runs.where(alike_lengths(runs, runs.ended, enough=_ENOUGH, enough_of_a_factor=_ENOUGH_OF_A_FACTOR))
    here = alike.where(alike.ended)
    if len(here) == 0:
        return _Value()
    x = log_lr(here, "")
    column = _place(here.warmup_ratio, SHARES)
    fit = group_bests(x, here.badness, here.failed, column, what_else(here))
    if fit is None:
        return _Value()
    near = np.isin(column, fit.groups)
    for group, found in zip(fit.groups, fit.found, strict=True):
        near &= (column != group) | (np.abs(x - found.mean) <= math.log(3.0))
    repeats = repeat_noise(here, near)
    noise = repeats if math.isfinite(repeats) else fit.noise
    gains = []
    if fit.groups[0] == 0:
        pairs = len(fit.groups) * (len(fit.groups) - 1) // 2
        for place in range(1, len(fit.groups)):
            k = int(fit.groups[place])
            gains.append(
                Gain(
                    share_low=SHARES[k],
                    share_high=SHARES[k + 1],
                    gain=fit.difference(0, place, pairs),
                    most=fit.difference(0, place).high,
                    runs=fit.found[0].runs + fit.found[place].runs,
                )
            )
    choice = shortest_share(alike, log_lr(alike, ""))
    choice = choice if choice is not None and choice.fitted else None
    steps = float(here.total_steps.min()), float(here.total_steps.max())
    return _Value(tuple(gains), noise, math.isfinite(repeats), choice, steps)


def _place(values: Floats, edges: tuple[float, ...]) -> np.ndarray[tuple[int], np.dtype[np.int_]]:
    return np.clip(np.searchsorted(np.array(edges), values, side="right") - 1, 0, len(edges) - 2)
