"""Which schedules of a search are worth training again: the best ones that are not the same but for a hair."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from autowarm.analysis.best import schedule_in_steps, warmup_steps
from autowarm.decays import Array
from autowarm.errors import ScheduleError
from autowarm.record import TrialRecord
from autowarm.schedule import Schedule

# What lies between two curves of learning rates, as a share of what lies below the larger one: up to this, alike.
_CURVES_APART = 0.05
# And the lengths of their warmups, as a share of the run: a short warmup is little of the curve, and may decide.
_WARMUPS_APART = 0.01
# Rounding, as in recognising the schedule of today.
_RELATIVE = 1e-5


def candidates(order: Sequence[TrialRecord], top: int) -> list[TrialRecord]:
    """Return the best records of different schedules, best first.

    Two schedules are alike where the area between their learning rates is at most 5 % of the area below the larger
    ones, and their warmups differ by at most 1 % of the run (one step, where that is more). The sampler proposes many
    such near the best one; training two of them again would tell little more than training one.

    Args:
        order: records of one horizon, best first, as `autowarm.analysis.best.ranked` returns them.
        top: how many to return at most.
    """
    chosen: list[TrialRecord] = []
    for record in order:
        if len(chosen) == top:
            break
        if not any(alike(record, other) for other in chosen):
            chosen.append(record)
    return chosen


def alike(a: TrialRecord, b: TrialRecord) -> bool:
    """Tell whether two records of one horizon have the same schedule but for a hair; see `candidates`."""
    first, second = _lrs(schedule_in_steps(a), a.total_steps), _lrs(schedule_in_steps(b), b.total_steps)
    if first is None or second is None or first.shape != second.shape:
        return a.schedule == b.schedule
    warmups = abs((warmup_steps(a) or 0) - (warmup_steps(b) or 0))
    apart = float(np.abs(first - second).sum())
    near = apart <= _CURVES_APART * max(float(first.sum()), float(second.sum()))
    return near and warmups <= max(1, _WARMUPS_APART * a.total_steps)


def same_lrs(a: Schedule | None, b: Schedule | None, total_steps: int) -> bool:
    """Tell whether two schedules have the same learning rate at every step of a run, however they are written.

    Args:
        a: a schedule; None, for a job's own scheduler that is no Schedule, equals nothing.
        b: another.
        total_steps: optimizer steps in the run.
    """
    if a is None or b is None:
        return False
    if a == b:
        return True
    # where the decay counts from the peak, the peak is reached: what differs there needs no look at the rest
    if _reaches_peak(a) and _reaches_peak(b):
        apart = abs(a.initial_lr - b.initial_lr)
        if apart > 2 * _RELATIVE * max(a.initial_lr, b.initial_lr):
            return False
    first, second = _lrs(a, total_steps), _lrs(b, total_steps)
    if first is None or second is None:
        return False
    return np.allclose(first, second, rtol=_RELATIVE, atol=_RELATIVE * float(first.max()))


def _reaches_peak(schedule: Schedule) -> bool:
    return schedule.step_offset == 0 and schedule.decay_from == "peak"


def _lrs(schedule: Schedule | None, total_steps: int) -> Array | None:
    try:
        return schedule.lrs(total_steps=total_steps) if schedule is not None else None
    except ScheduleError:
        # a warmup that does not fit, or one in epochs of unknown length
        return None
