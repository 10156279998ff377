"""What need not be trained: schedules that go at least as far as one that has diverged, or has broken down.

A net that breaks down at a high learning rate does not always diverge: with ReLUs and SGD its loss may stay for good at
that of a constant answer, where it began. Such a run ends, with a value, and no guard sees it.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass

from autowarm.analysis.best import Horizon, best_first, has_value
from autowarm.errors import ScheduleError
from autowarm.record import TrialRecord
from autowarm.schedule import Schedule

# A training loss that fell by less than so much of what the best one fell by has not learned.
_LEARNED = 0.05


@dataclass(frozen=True)
class Diverged:
    """A training that diverged or broke down.

    Attributes:
        schedule: that it followed, over `total_steps`.
        total_steps: of the schedule.
        steps: that it made.
    """

    schedule: Schedule
    total_steps: int
    steps: int


def diverged(records: Iterable[TrialRecord]) -> list[Diverged]:
    """Return what diverged among search trials of any horizon: the first steps of a run are the same at all of them.

    And what broke down: its peak is above that of the best trial of its horizon, and its training loss fell by next to
    nothing of what the best one's fell by.
    """
    search = [r for r in records if r.role == "search" and r.schedule is not None and r.steps > 0]
    best: dict[Horizon, TrialRecord] = {}
    for record in best_first(r for r in search if has_value(r)):
        best.setdefault(record.horizon, record)
    return [
        Diverged(r.schedule, r.total_steps, r.steps)
        for r in search
        if r.schedule is not None and (r.outcome == "DIVERGED" or _broke_down(r, best.get(r.horizon)))
    ]


def _broke_down(record: TrialRecord, best: TrialRecord | None) -> bool:
    if not has_value(record) or best is None or best.schedule is None or record.schedule is None:
        return False
    fell, best_fell = _fell(record), _fell(best)
    if fell is None or best_fell is None or best_fell <= 0:
        return False
    return record.schedule.initial_lr > best.schedule.initial_lr and fell < _LEARNED * best_fell


def _fell(record: TrialRecord) -> float | None:
    """Return by how much the training loss fell, from its first point to the last quarter; None where it has none."""
    losses = [loss for _, loss in record.train_curve]
    if len(losses) < 2:
        return None
    return losses[0] - statistics.fmean(losses[-max(1, len(losses) // 4) :])


def bound_to_diverge(schedule: Schedule, total_steps: int, known: Iterable[Diverged]) -> str | None:
    """Say why a schedule would diverge, or None: at every step until one that diverged had ended, its lr is as high.

    Trainings that diverge at some lr may survive a higher one by luck; nobody wants that schedule.

    Args:
        schedule: proposed for a run of `total_steps`.
        total_steps: of that run.
        known: trainings that diverged.
    """
    try:
        lrs = schedule.lrs(total_steps=total_steps)
    except ScheduleError:
        return None
    for other in known:
        steps = min(other.steps, total_steps, other.total_steps)
        # a shorter run may end before it diverges
        if (
            other.steps <= total_steps
            and (lrs[:steps] >= other.schedule.lrs(total_steps=other.total_steps)[:steps]).all()
        ):
            return (
                f"{other.schedule} diverged within {other.steps} steps, and this one's lr is nowhere lower until then"
            )
    return None
