"""The best schedule by dataset_size and total_steps: what was found where runs are, what is expected where none are."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from autowarm.analysis.cells import Rows, bands, horizon_logs, numbered, usable
from autowarm.analysis.decay_peaks import favoured_decay, log_lr
from autowarm.analysis.estimate import Estimate
from autowarm.analysis.recommend import banded, choose_warmup, shaded
from autowarm.analysis.repeat_noise import pooled
from autowarm.analysis.runs import Runs
from autowarm.analysis.scaling import Scaling, best_value, fit_rows, scaling
from autowarm.analysis.warmup_choice import less_what_is_known, shortest_share
from autowarm.words import counted, number, percent

# Rows and columns of the grid.
_AT_MOST = 6
# Schedules within noise that are named.
_NAMED = 5
# Repeats of schedules, less the schedules, that tell the noise better than what is left of a fit.
_REPEATS = 3


@dataclass(frozen=True)
class GridCell:
    """The best schedule at one dataset_size and total_steps, or in a band of them.

    Attributes:
        total_steps: of the cell; where it is a band, the geometric mean of its runs.
        dataset_size: likewise; NaN where unknown.
        tried: how many runs ended or failed there.
        predicted: whether `initial_lr` comes from other horizons: too few runs here.
        initial_lr: the one to use, on the low side of the 90 % band of the best.
        warmup_ratio: the shortest within noise; NaN where unknown.
        decay: "" where unknown.
        expected: the metric at the best lr under that decay, fitted to all runs of the cell; None where predicted.
        value: of the metric, of the best schedule run there: the best of many, so it flatters; None where none ended.
        ties: in words, the schedules run there that are within noise of the best, the shortest warmup and lowest lr
            first; alone where nothing ties; at most five.
        n_ties: how many they are.
    """

    total_steps: float
    dataset_size: float
    tried: int
    predicted: bool
    initial_lr: Estimate
    warmup_ratio: float
    decay: str
    expected: Estimate | None
    value: float | None
    ties: tuple[str, ...]
    n_ties: int

    @property
    def tied(self) -> bool:
        """Whether another schedule is within noise of the best."""
        return self.n_ties > 1


@dataclass(frozen=True)
class HorizonGrid:
    """The best schedules of all horizons.

    Attributes:
        total_steps: of the columns, growing; of a band, the geometric mean.
        dataset_sizes: of the rows, growing; NaN where unknown.
        cells: a row for each dataset_size, a cell for each total_steps.
    """

    total_steps: tuple[float, ...]
    dataset_sizes: tuple[float, ...]
    cells: tuple[tuple[GridCell, ...], ...]

    def sentences(self) -> list[str]:
        """Say how much of the grid was tried, what was best at its largest tried corner, and what ties there."""
        cells = [cell for row in self.cells for cell in row]
        tried = [cell for cell in cells if cell.tried]
        said = [f"{len(tried)} of {counted(len(cells), 'horizon')} tried; the others are predictions."]
        if len(tried) == len(cells):
            said = [f"All {counted(len(cells), 'horizon')} were tried."] if len(cells) > 1 else []
        last = max(tried, key=lambda c: (c.total_steps, c.dataset_size))
        data = "" if math.isnan(last.dataset_size) else f" and {last.dataset_size:,.0f} examples"
        lr, decay = last.initial_lr, f" under {last.decay}" if last.decay else ""
        said.append(
            f"At {last.total_steps:,.0f} steps{data}, fitted to {counted(last.tried, 'run')}: the best "
            f"initial_lr{decay} lies between {number(lr.low, 2)} and {number(lr.high, 2)} (90 %); "
            f"{number(lr.value, 2)} is on the safe side, as one too high costs more."
        )
        if last.tied:
            said.append(f"{last.n_ties} of the schedules run there are within noise of each other: call it a tie.")
        return said


def horizon_grid(runs: Runs, law: Scaling | None = None) -> HorizonGrid | None:
    """Return the best schedule by dataset_size and total_steps; None where no run ended.

    Up to six different numbers of either are kept; more are put into bands of equal ratio.

    Args:
        runs: any.
        law: `scaling(runs)`, where it is known already.
    """
    runs = usable(runs)
    law = scaling(runs) if law is None else law
    if law is None:
        return None
    steps, column = bands(runs.total_steps, _AT_MOST)
    sizes, row = bands(runs.dataset_size, _AT_MOST)
    maker = _Maker(runs, law)
    cells = tuple(
        tuple(maker.cell(t, d, np.flatnonzero((column == j) & (row == i))) for j, t in enumerate(steps.tolist()))
        for i, d in enumerate(sizes.tolist())
    )
    return HorizonGrid(tuple(steps.tolist()), tuple(sizes.tolist()), cells)


class _Maker:
    """What all cells share."""

    def __init__(self, runs: Runs, law: Scaling) -> None:
        self.runs, self.law = runs, law
        self.z = horizon_logs(runs)
        self.schedules = numbered(runs.initial_lr, runs.warmup_ratio, runs.decay)
        self.noise, self.degrees = _repeated_noise(runs, self.schedules)
        if self.degrees < _REPEATS:
            self.noise, self.degrees = law.noise, sum(max(h.runs - 4, 1) for h in law.horizons)

    def cell(self, total_steps: float, dataset_size: float, rows: Rows) -> GridCell:
        runs, law = self.runs, self.law
        decay = (favoured_decay(runs.where(_mask(rows, len(runs)))) or law.decay) if len(rows) else law.decay
        at = np.array([math.log(total_steps), np.log(dataset_size), law.centre[2]])
        if len(rows):
            at = np.where(np.isfinite(law.centre), self.z[rows].mean(axis=0), at)
        mean, sd = (float(v[0]) for v in law.predict(at[None]))
        fit = fit_rows(runs, rows, log_lr(runs, decay), self.z, law.mean[1:], decay=decay) if len(rows) else None
        predicted = fit is None or math.isnan(fit.noise)
        if fit is not None and not predicted:
            band = fit.lr()
            used = max(float(np.exp(shaded(np.array(fit.mean), np.array(fit.sd)))), band.low)
            lr = Estimate(used, band.low, band.high)
            warmup = shortest_share(runs.where(_mask(rows, len(runs))), log_lr(runs, decay)[rows])
        else:
            off = float(shaded(np.array(mean), np.array(sd))) - mean
            lr = banded(mean + off, mean, sd)
            warmup = choose_warmup(runs, law, at)
        value, ties = self._ties(rows)
        named = tuple(_words(self.runs, row) for row in ties[:_NAMED])
        return GridCell(
            total_steps=total_steps,
            dataset_size=dataset_size,
            tried=len(rows),
            predicted=predicted,
            initial_lr=lr,
            warmup_ratio=math.nan if warmup is None else warmup.share.value,
            decay=decay,
            expected=None if fit is None or predicted else best_value(runs, fit),
            value=value,
            ties=named,
            n_ties=len(ties),
        )

    def _ties(self, rows: Rows) -> tuple[float | None, list[int]]:
        """Return the mean of the best schedule run, and a row of each that is within noise of it.

        The best of many is lucky: so that the truly best one is among the ties in nineteen of twenty grids, the bound
        on the difference is Student's t at 1 - .05 / schedules (Bonferroni).
        """
        runs = self.runs
        ended = rows[runs.ended[rows]]
        if not len(ended):
            return None, []
        one = np.zeros(len(ended), dtype=np.intp)
        rest = less_what_is_known(runs.badness[ended], self.z[ended], np.ones(len(ended), dtype=bool), one)
        names, group = np.unique(self.schedules[ended], return_inverse=True)
        group = group.ravel()
        count = np.bincount(group)
        mean = np.bincount(group, rest) / count
        # a schedule with failures is no tie of one without
        lost = np.isin(names, self.schedules[rows[runs.failed[rows]]])
        kept = np.flatnonzero(~lost) if not lost.all() else np.arange(len(names))
        best = int(kept[np.argmin(mean[kept])])
        noise = 0.0 if math.isnan(self.noise) else self.noise
        error = float(stdtrit(self.degrees, 1 - 0.05 / len(names))) * noise * np.sqrt(1 / count + 1 / count[best])
        error[best] = 0.0
        tied = kept[mean[kept] - mean[best] <= error[kept]]
        first = {int(g): int(ended[i]) for i, g in reversed(list(enumerate(group)))}
        order = sorted(
            (first[int(g)] for g in tied), key=lambda i: (_or_last(float(runs.warmup_ratio[i])), runs.initial_lr[i])
        )
        return float(np.mean(runs.value[ended[group == best]])), order


def _repeated_noise(runs: Runs, schedules: Rows) -> tuple[float, int]:
    """Return the standard deviation of repeats of one schedule at one horizon, and its degrees of freedom."""
    rows = np.flatnonzero(runs.ended)
    return pooled(runs.badness[rows], numbered(schedules[rows], *horizon_logs(runs)[rows].T))


def _mask(rows: Rows, n: int) -> NDArray[np.bool_]:
    mask = np.zeros(n, dtype=bool)
    mask[rows] = True
    return mask


def _or_last(share: float) -> float:
    return math.inf if math.isnan(share) else share


def _words(runs: Runs, row: int) -> str:
    share = runs.warmup_ratio[row]
    warmup = "" if math.isnan(share) else f", warmup {percent(share)}"
    decay = f", {runs.decay[row]}" if runs.decay[row] else ""
    return f"lr {number(runs.initial_lr[row], 2)}{warmup}{decay}"
