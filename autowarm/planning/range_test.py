"""A range of `initial_lr` for who names none: the learning rate rises until training breaks, and the losses say where.

The idea is Smith's, "Cyclical Learning Rates for Training Neural Networks" (2017): one short run with a rising learning
rate, and a look at where it begins to help and where it becomes unstable. Done differently here: the learning rate
rises exponentially and not linearly, since nothing is known of its order of magnitude; the training loss of every step
is read and not an accuracy; several seeds are run, and their medians count; the curve is read by the rules below and
not by eye; and what is read bounds a search, so it may be wide, but must not leave the best out.

Of each seed's losses y_i at learning rates x_i, with s_i the running median over half an order of magnitude of x:

    b = median of the losses of the first order of magnitude, where the learning rate is far too low to matter
    sigma = median of |y_i - y_(i-1)| / 0.954, the noise of one loss; e = 1.25 sigma / sqrt(points in a window)
    m_i = min of s_0 .. s_i, and d = b - min of m, the whole fall

- The loss *starts to fall* at the last x_i, before its minimum, with s_i >= b - max(d / 20, 2 e).
- Training is *unstable* from the first x_i with s_i > m_i + max((b - m_i) / 4, d / 10, 6 e): a quarter of what was
  gained is lost again.
- It *breaks* at the first x_i with s_i > b + max(d / 4, 6 e), where the divergence guard ended it, or where its loss is
  not finite, whichever comes first.
- The *edge* is the geometric mean of the two: some trainings (Adam's) go on behind their first spikes, and a slower
  warmup carries them further, but what breaks here breaks in any run.

Everything is a difference of losses, so a loss may be negative. The range is

    high = median of the edges
    low  = median of the starts / 10, and at least a factor of 100 below high

A tenth, as the test spends some four steps at each learning rate, and a run all of its own: what barely moves the loss
in the test may still train well. Where the loss never falls by more than 5 e, low is a thousandth of high; where the
training never becomes unstable, high is where the test ended. What this finds, and the largest learning rate that
trains, are measured on three jobs in studies/range_test. There, 8 and 16 steps an order of magnitude instead of 10 gave
a high between .2 and 4.7 times as high: so their number is the one that was measured, however long the run is.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autowarm.errors import StudyError
from autowarm.record import VALIDATION_BATCH_COST, TrialRecord
from autowarm.schedule import Schedule
from autowarm.specs import JobInfo
from autowarm.words import counted, number

SEEDS = 3
# numpy, and with it Lightning, seeds with 32 bits
_SEED_VALUES = 2**32
_STEPS_A_DECADE = 10
# Where a job tells no learning rate; and what a job's own may move the bottom to.
_BOTTOM = 1e-7
_BOTTOMS = (1e-8, 1e-3)
_TOP = 10.0
_WINDOW_DECADES = 0.5
# Median of |difference| of two draws from a Gaussian, over its standard deviation.
_MEDIAN_DIFFERENCE = 0.954
_MEDIAN_ERROR = 1.25
# In errors of a window: the lowest of some dozen windows is lower than their level by about two by luck alone.
_FALL = 5
_INSTABILITY = 6


@dataclass(frozen=True, kw_only=True)
class RangeTestPlan:
    """What a range test does.

    Attributes:
        low: learning rate of its first step, greater than 0, and `high`, of its last one.
        steps: optimizer steps of each seed, at least 3.
        seeds: of the trainings.
        cost: in training steps, at most: those of all seeds, and a third of the batches of a validation each.
        run_cost: of one full run.
    """

    low: float
    high: float
    steps: int
    seeds: tuple[int, ...]
    cost: float
    run_cost: float

    @property
    def share(self) -> float:
        """Cost in full runs, at most."""
        return self.cost / self.run_cost

    @property
    def schedule(self) -> Schedule:
        """The rise: step s uses low * (high / low)^(s / (steps - 1))."""
        return Schedule(
            initial_lr=self.high,
            warmup="exponential",
            warmup_steps=self.steps - 1,
            warmup_start_ratio=self.low / self.high,
            decay="constant",
        )


def plan_range_test(info: JobInfo, *, seed: int, run_cost: float) -> RangeTestPlan:
    """Lay out the range test of a job.

    It rises from a thousandth of what the job uses today, but not below 1e-8 nor above 1e-3, to a thousand times that,
    and at least to 10. Each seed takes 10 steps an order of magnitude.

    Args:
        info: what a look at the job told, at the longest horizon.
        seed: of the study; the test takes that one and those that follow.
        run_cost: of one full run there, in training steps.
    """
    today = max(info.lrs or info.seen_lrs or (0.0,))
    if not math.isfinite(today) or today <= 0:
        low, high = _BOTTOM, _TOP
    else:
        low = min(max(today / 1000, _BOTTOMS[0]), _BOTTOMS[1])
        high = max(today * 1000, _TOP)
    steps = math.ceil(_STEPS_A_DECADE * math.log10(high / low)) + 1
    return RangeTestPlan(
        low=low,
        high=high,
        steps=steps,
        seeds=tuple((seed + i) % _SEED_VALUES for i in range(SEEDS)),
        cost=SEEDS * (steps + info.val_batches * VALIDATION_BATCH_COST),
        run_cost=run_cost,
    )


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """The losses of one seed.

    Attributes:
        lrs: rising learning rates, shape (n,), and `losses`, the training losses there; those from the first that is
            not finite on do not count.
        broke_at: learning rate of the step that ended the run, if it was ended for its losses.
    """

    lrs: tuple[float, ...]
    losses: tuple[float, ...]
    broke_at: float | None = None


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What one seed's losses say, as learning rates; None: nowhere.

    Attributes:
        start: where the loss starts to fall.
        unstable: where training becomes unstable, and `breaks`, where it breaks.
    """

    start: float | None
    unstable: float | None
    breaks: float | None

    @property
    def edge(self) -> float | None:
        """The edge of instability."""
        if self.unstable is None or self.breaks is None:
            return self.unstable
        return math.sqrt(self.unstable * self.breaks)


@dataclass(frozen=True, kw_only=True)
class Bracket:
    """A range of `initial_lr`, and what it rests on.

    Attributes:
        low: lowest learning rate to search, and `high`, the highest.
        readings: of the seeds whose losses say anything.
        fell: whether the loss fell, for most seeds, and `edged`, whether training became unstable.
    """

    low: float
    high: float
    readings: tuple[Reading, ...]
    fell: bool
    edged: bool

    @property
    def words(self) -> str:
        """The range and its reasons, in a sentence."""
        n = len(self.readings)
        fall = "the loss never falls beyond its noise"
        if self.fell:
            fall = f"the loss starts to fall at {_spread([r.start for r in self.readings])}"
        end = "training never becomes unstable"
        if self.edged:
            breaks = _spread([r.breaks for r in self.readings])
            end = f"training becomes unstable at {_spread([r.unstable for r in self.readings])}"
            end += f" and breaks at {breaks}" if breaks else ""
        ends = f"{number(self.low)} to {number(self.high)}"
        return f"initial_lr {ends} by a range test of {counted(n, 'seed')}: {fall}, {end}"


def _spread(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    ends = dict.fromkeys(number(value, 2) for value in (min(known), max(known))) if known else {}
    return " to ".join(ends)


def sweep_of(record: TrialRecord) -> Sweep:
    """Return the losses of a range test's record by learning rate.

    A point of a thinned curve is a mean over several steps; it lies at the geometric mean of their learning rates.
    """
    assert record.schedule is not None  # noqa: S101 - a range test follows one
    lrs = record.schedule.lrs(total_steps=record.total_steps)
    xs, ys, before = [], [], 0
    for step, loss in record.train_curve:
        xs.append(math.sqrt(lrs[before] * lrs[step - 1]))
        ys.append(loss)
        before = step
    broke = float(lrs[max(record.steps - 1, 0)]) if record.outcome == "DIVERGED" else None
    return Sweep(lrs=tuple(map(float, xs)), losses=tuple(ys), broke_at=broke)


def bracket_of(records: Iterable[TrialRecord]) -> Bracket:
    """Return the range that the records of a range test show; records of other roles do not count.

    Raises:
        StudyError: there is none, none of them trained, or their losses were never finite.
    """
    tests = [r for r in records if r.role == "range_test"]
    trained = [sweep_of(r) for r in tests if r.outcome != "FAILED" and r.schedule is not None]
    if not trained:
        reasons = "; ".join(sorted({r.reason or "no reason" for r in tests}))
        raise StudyError(
            f"the range test of initial_lr did not run ({reasons or 'no trial'}): "
            "give space.initial_lr a low and a high"
        )
    return bracket(trained)


def found_range(records: Iterable[TrialRecord]) -> Bracket | None:
    """Return the same, or None where no range test says anything: for reports, which must not fail."""
    try:
        return bracket_of(records)
    except StudyError:
        return None


def bracket(sweeps: Sequence[Sweep]) -> Bracket:
    """Return the range of learning rates that several seeds show; the module's docstring holds the rules.

    Args:
        sweeps: at least one.

    Raises:
        StudyError: the losses of no seed are finite for long enough to be read: the job is broken at any learning rate.
    """
    readable = [s for s in sweeps if len(_finite(s)) >= 3]
    if not readable:
        lowest = min((s.lrs[0] for s in sweeps if s.lrs), default=None)
        where = f" from a learning rate of {number(lowest, 2)} on" if lowest is not None else ""
        raise StudyError(
            f"the training loss is not finite{where}, too low to be the cause: "
            "run the job on its own, outside of autowarm, until it trains"
        )
    readings = tuple(read(sweep) for sweep in readable)
    edge = statistics.median(math.inf if r.edge is None else math.log(r.edge) for r in readings)
    edged = math.isfinite(edge)
    high = math.exp(edge) if edged else max(s.lrs[-1] for s in readable)
    starts = [math.log(r.start) for r in readings if r.start is not None]
    fell = 2 * len(starts) > len(readings)
    low = min(math.exp(statistics.median(starts)) / 10, high / 100) if fell else high / 1000
    return Bracket(
        low=_two_digits(low, math.floor), high=_two_digits(high, math.ceil), readings=readings, fell=fell, edged=edged
    )


def read(sweep: Sweep) -> Reading:
    """Return where one seed's loss starts to fall and where it becomes unstable.

    Args:
        sweep: with at least 3 losses before the first that is not finite.
    """
    losses = _finite(sweep)
    n, lrs = len(losses), sweep.lrs
    decades = math.log10(lrs[-1] / lrs[0]) / max(len(lrs) - 1, 1)
    half = max(1, round(_WINDOW_DECADES / decades / 2)) if decades > 0 else 1
    # the first order of magnitude, or a third of a run that broke before its end
    first = losses[: max(3, min(round(1 / decades), n // 3))] if decades > 0 else losses[:3]
    smooth = np.array([np.median(losses[max(0, i - half) : i + half + 1]) for i in range(n)])
    base = float(np.median(first))
    # most differences are noise: the fall is slow, and the end short
    sigma = float(np.median(np.abs(np.diff(losses)))) / _MEDIAN_DIFFERENCE
    # never 0: without any noise, rounding is no instability
    error = max(_MEDIAN_ERROR * sigma / math.sqrt(2 * half + 1), 1e-6 * abs(base), 1e-30)
    lowest = np.minimum.accumulate(smooth)
    fall = base - float(lowest[-1])
    breaks = _first(lrs, smooth > base + max(fall / 4, _INSTABILITY * error))
    ended = [lrs[n]] if n < len(sweep.losses) else []
    ended += [sweep.broke_at] if sweep.broke_at is not None else []
    breaks = min([*([breaks] if breaks is not None else []), *ended], default=None)
    unstable = _first(
        lrs, smooth > lowest + np.maximum(np.maximum((base - lowest) / 4, fall / 10), _INSTABILITY * error)
    )
    if breaks is not None:
        unstable = min(breaks, unstable if unstable is not None else breaks)
    start = None
    if fall > _FALL * error:
        reached = int(np.argmin(smooth))
        unmoved = np.flatnonzero(smooth[: reached + 1] >= base - max(fall / 20, 2 * error))
        start = lrs[int(unmoved[-1])] if len(unmoved) else lrs[0]
        # a loss that fell for the first time behind the edge says nothing about what is below it
        start = None if unstable is not None and start >= unstable else start
    return Reading(start=start, unstable=unstable, breaks=breaks)


def _first(lrs: Sequence[float], over: NDArray[np.bool_]) -> float | None:
    found = np.flatnonzero(over)
    return lrs[int(found[0])] if len(found) else None


def _finite(sweep: Sweep) -> NDArray[np.float64]:
    """Return the losses before the first that is not finite."""
    losses = np.asarray(sweep.losses, dtype=np.float64)
    bad = np.flatnonzero(~np.isfinite(losses))
    return losses[: int(bad[0])] if len(bad) else losses


def _two_digits(value: float, way: Callable[[float], int]) -> float:
    """Round to two digits, outwards by `way`."""
    digits = math.floor(math.log10(value)) - 1
    # what is two digits already stays, though a division says 0.29999...
    return float(f"{way(round(value / 10.0**digits, 9))}e{digits}")
