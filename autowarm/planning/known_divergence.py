"""What need not be trained: schedules that go at least as far as one that has diverged."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from autowarm.errors import ScheduleError
from autowarm.record import TrialRecord
from autowarm.schedule import Schedule


@dataclass(frozen=True)
class Diverged:
    """A training that diverged.

    Attributes:
        schedule: that it followed, over `total_steps`.
        total_steps: of the schedule.
        steps: that it made.
    """

    schedule: Schedule
    total_steps: int
    steps: int


def diverged(records: Iterable[TrialRecord]) -> list[Diverged]:
    """Return what diverged among search trials of any horizon: the first steps of a run are the same at all of them."""
    return [
        Diverged(r.schedule, r.total_steps, r.steps)
        for r in records
        if r.role == "search" and r.outcome == "DIVERGED" and r.schedule is not None and r.steps > 0
    ]


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
