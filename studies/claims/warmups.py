"""The runs of an arm, warmup by warmup: each with its own best learning rate, and how they differ."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from autowarm.analysis.estimate import Estimate
from autowarm.analysis.group_best import GroupBests, group_bests
from autowarm.analysis.runs import Flags, Floats, Runs, runs_of, with_failures
from autowarm.record import TrialRecord
from autowarm.report.palette import SERIES, colour
from autowarm.words import number, percent


@dataclass(frozen=True, eq=False)
class Warmups:
    """Runs of one job at one horizon, grouped by their warmup.

    Attributes:
        runs: all of them.
        shares: the warmups' shares of `total_steps`, growing; the first is 0, no warmup.
        bests: what the runs of each warmup tell of its best learning rate, by its place in `shares`; None: nothing.
    """

    runs: Runs
    shares: tuple[float, ...]
    bests: GroupBests | None

    def of(self, share: float) -> Flags:
        """Return which runs had a warmup."""
        found: Flags = np.isclose(self.runs.warmup_ratio, share)
        return found

    def value(self, share: float) -> Estimate | None:
        """Return the metric at a warmup's own best learning rate; None where its runs do not tell."""
        place = self._place(share)
        return None if place is None or self.bests is None else self.bests.value(place)

    def value_sd(self, share: float) -> float:
        """Return the standard error of `value`; NaN where its runs do not tell."""
        place = self._place(share)
        return math.nan if place is None or self.bests is None else self.bests.found[place].value_sd

    def lr(self, share: float) -> Estimate | None:
        """Return a warmup's best learning rate; None where its runs do not tell."""
        place = self._place(share)
        return None if place is None or self.bests is None else self.bests.found[place].lr()

    def gain(self, share: float) -> Estimate | None:
        """Return how much less the metric is than without warmup, each at its own best learning rate.

        Its interval is right for all warmups taken together.
        """
        none, one = self._place(0.0), self._place(share)
        if none is None or one is None or self.bests is None:
            return None
        return self.bests.difference(none, one, len(self.shares) - 1)

    def _place(self, share: float) -> int | None:
        if self.bests is None:
            return None
        found = np.flatnonzero(self.bests.groups == self.shares.index(share))
        return int(found[0]) if len(found) else None


def warmups_of(records: Sequence[TrialRecord], bar: float | None = None) -> Warmups:
    """Group records of one job at one horizon by their warmup; less of their metric is better.

    Args:
        records: of an arm.
        bar: the metric at which, or worse, a run has failed; None: `autowarm.analysis.runs.failure_bar` looks for it.
    """
    runs = runs_of(records)
    if bar is not None:
        runs = with_failures(replace(runs, failed=~np.isfinite(runs.value)), bar)
    shares = tuple(sorted({round(float(share), 6) for share in runs.warmup_ratio}))
    group = np.array([shares.index(round(float(share), 6)) for share in runs.warmup_ratio], dtype=np.intp)
    x = np.log(runs.initial_lr)
    bests = group_bests(x, runs.badness, runs.failed, group) if len(runs) else None
    return Warmups(runs, shares, bests)


def has_warmup(record: TrialRecord, share: float) -> bool:
    """Tell whether a record's warmup has a share of its `total_steps`."""
    ratio = None if record.schedule is None else record.schedule.warmup_ratio
    return ratio is not None and math.isclose(ratio, share, abs_tol=1e-6)


def warmup_words(share: float) -> str:
    """Name a warmup.

    >>> warmup_words(0.0), warmup_words(0.04)
    ('no warmup', 'warmup 4 %')
    """
    return "no warmup" if share == 0 else f"warmup {percent(share)}"


def warmup_colour(place: int) -> str:
    """Return the colour of a warmup by its place among those of a study."""
    return colour(SERIES[place % len(SERIES)])


def lr_axis(axes: Axes, lrs: Floats) -> None:
    """Draw the axis of a grid's learning rates: logarithmic, every second one named."""
    axes.set_xscale("log")
    axes.set_xticks(lrs[::2], [number(lr) for lr in lrs[::2]])
    axes.set_xticks([], minor=True)
    axes.grid(alpha=0.25)


def label_panels(figure: Figure, panels: Sequence[Axes], *, x: str, y: str) -> None:
    """Name the axes that all panels of a figure share, and put the legend of the first one above them."""
    figure.supxlabel(x, fontsize=10)
    figure.supylabel(y, fontsize=10)
    handles, _ = panels[0].get_legend_handles_labels()
    figure.legend(handles=handles, loc="outside upper center", ncols=4, fontsize=9, frameon=False)


def effect(estimate: Estimate, none: float) -> int:
    """Tell what an interval says of an effect: 1 where all of it is above `none`, -1 below it, 0 where it holds it."""
    return (estimate.low > none) - (estimate.high < none)
