"""Runs as columns: what the analyses of many runs read, whoever made the runs.

A study's records become columns by `runs_of`; a table of somebody else's runs by `autowarm.run_tables`. A hundred
thousand runs are a few megabytes this way, and every analysis is a few lines of numpy.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autowarm.analysis.best import check_one_metric, warmup_share
from autowarm.record import Mode, TrialRecord
from autowarm.schedule import Schedule

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Words = NDArray[np.str_]

# The split of all values in two leaves at most so much of their variance within the two: .25 in a uniform
# distribution, .36 in a normal one, .01 in the 1,024 runs of DeBERTa by N. Lourie.
_WITHIN = 0.1
# Below so many values a split says nothing.
_ENOUGH = 20


@dataclass(frozen=True, eq=False)
class Runs:
    """Trainings that tried a schedule, one a row; every array is of shape (runs,).

    Attributes:
        initial_lr: peak learning rate, positive.
        warmup_ratio: share of `total_steps`, in [0, 1); NaN where unknown.
        total_steps: optimizer steps of the schedule.
        dataset_size: training examples available; NaN where unknown.
        batch_size: examples of an optimizer step; NaN where unknown.
        decay: name of the decay, with its share where it is wsd ("wsd 20 %"); "" where unknown.
        seed: NaN where unknown.
        value: of the metric at the end; NaN where a run did not get there.
        failed: whether it diverged, ended with no number, or where runs end that learned nothing: see `bar`.
        stopped: whether it was stopped early as unpromising; such a run is neither failed nor ended.
        searched: whether it is one of those that a search chose from; others repeat what was found.
        metric: name of the metric, and `mode`, whether less (`min`) or more (`max`) of it is better.
        bar: the value at which, or worse, a run that ended counts as failed; NaN where no such bar is seen.
    """

    initial_lr: Floats
    warmup_ratio: Floats
    total_steps: Floats
    dataset_size: Floats
    batch_size: Floats
    decay: Words
    seed: Floats
    value: Floats
    failed: Flags
    stopped: Flags
    searched: Flags
    metric: str
    mode: Mode
    bar: float = math.nan

    def __len__(self) -> int:
        return len(self.value)

    @property
    def warmup_steps(self) -> Floats:
        """Optimizer steps of the warmup, to the nearest."""
        return np.round(self.warmup_ratio * self.total_steps)

    @property
    def ended(self) -> Flags:
        """Whether a run has a value and did not fail."""
        return np.isfinite(self.value) & ~self.failed & ~self.stopped

    @property
    def badness(self) -> Floats:
        """The value so that less is better."""
        return self.value if self.mode == "min" else -self.value

    def where(self, mask: Flags) -> Runs:
        """Return the runs for which a mask holds."""
        columns = {f.name: getattr(self, f.name)[mask] for f in fields(self) if f.name not in ("metric", "mode", "bar")}
        return replace(self, **columns)

    def best(self) -> int | None:
        """Return the row of the best run that ended; None where none did."""
        rows = np.flatnonzero(self.ended)
        return int(rows[np.argmin(self.badness[rows])]) if len(rows) else None


def runs_of(records: Sequence[TrialRecord]) -> Runs:
    """Return the records that tried a schedule as columns, those of a range test and FAILED ones left out.

    Raises:
        RecordError: the records watch different metrics.
    """
    kept = [r for r in records if r.role != "range_test" and r.outcome != "FAILED" and r.schedule is not None]
    check_one_metric(kept)

    def column(values: Sequence[Any]) -> Floats:
        return np.array([math.nan if v is None else v for v in values], dtype=np.float64)

    diverged = np.array([r.outcome == "DIVERGED" for r in kept], dtype=bool)
    stopped = np.array([r.outcome == "PRUNED" for r in kept], dtype=bool)
    return with_failures(
        Runs(
            initial_lr=column([r.schedule.initial_lr for r in kept if r.schedule is not None]),
            warmup_ratio=column([warmup_share(r) for r in kept]),
            total_steps=column([r.total_steps for r in kept]),
            dataset_size=column([r.dataset_size for r in kept]),
            batch_size=column([r.batch_size for r in kept]),
            decay=np.array([decay_name(r.schedule) for r in kept if r.schedule is not None], dtype=np.str_),
            seed=column([r.seed for r in kept]),
            value=column([r.value for r in kept]),
            failed=diverged,
            stopped=stopped,
            searched=np.array([r.role == "search" for r in kept], dtype=bool),
            metric=kept[0].monitor if kept else "value",
            mode=kept[0].mode if kept else "min",
        )
    )


def decay_name(schedule: Schedule) -> str:
    """Name a decay: with its share where that makes it another one.

    >>> decay_name(Schedule(initial_lr=1.0, warmup_ratio=0.0, decay="wsd", decay_ratio=0.21))
    'wsd 20 %'
    """
    if schedule.decay != "wsd":
        return schedule.decay
    return wsd_name(schedule.decay_ratio)


def wsd_name(decay_ratio: float | None) -> str:
    """Name a wsd by its share, to the nearest tenth of the run."""
    return "wsd" if decay_ratio is None else f"wsd {max(10 * round(10 * decay_ratio), 10)} %"


def decay_of(name: str) -> tuple[str, float | None]:
    """Return the decay that a name stands for, and its share where the name tells it.

    >>> decay_of("wsd 40 %"), decay_of("cosine")
    (('wsd', 0.4), ('cosine', None))
    """
    told = re.fullmatch(r"wsd (\d+) %", name)
    return ("wsd", int(told[1]) / 100) if told else (name, None)


def with_failures(runs: Runs, bar: float | None = None) -> Runs:
    """Return runs whose `failed` counts those that ended where runs end that learned nothing.

    Args:
        runs: whose `failed` tells what is known of them otherwise; those without a number are added, too.
        bar: the value at which, or worse, a run has failed; by default, see `failure_bar`.
    """
    told = runs.failed | (~np.isfinite(runs.value) & ~runs.stopped)
    runs = replace(runs, failed=told)
    at = failure_bar(runs.value[runs.ended], runs.mode) if bar is None else bar
    if not math.isfinite(at):
        return replace(runs, bar=math.nan)
    worse = runs.value >= at if runs.mode == "min" else runs.value <= at
    return replace(runs, failed=told | (worse & ~runs.stopped), bar=at)


def failure_bar(values: Floats, mode: Mode) -> float:
    """Return the value at which, or worse, a run has learned nothing; NaN where the values are of one kind.

    A net that has broken down predicts a constant: the values of such runs lie close together, far from all others.
    So the values are split in two where that leaves the least variance within the two (Otsu, A Threshold Selection
    Method from Gray-Level Histograms, 1979), and the worse of them failed if it leaves next to none.

    Args:
        values: of runs that ended; finite.
        mode: whether less or more is better.
    """
    order = np.sort(values if mode == "min" else -values)
    n = len(order)
    if n < _ENOUGH or order[0] == order[-1]:
        return math.nan
    # moments about the middle, or large values would cancel
    order = order - np.median(order)
    count = np.arange(1, n)
    total, squares = np.cumsum(order), np.cumsum(order**2)
    below = squares[:-1] - total[:-1] ** 2 / count
    above = (squares[-1] - squares[:-1]) - (total[-1] - total[:-1]) ** 2 / (n - count)
    within = (below + above) / (squares[-1] - total[-1] ** 2 / n)
    split = int(np.argmin(within))
    if within[split] > _WITHIN:
        return math.nan
    middle = np.sort(values if mode == "min" else -values)[split : split + 2].mean()
    return float(middle if mode == "min" else -middle)
