"""Trainings of the sample jobs, for tests of what they run on."""

from __future__ import annotations

from collections.abc import Callable

from autowarm import Schedule, Training
from autowarm.pruning import rungs_of
from autowarm.specs import JobSpec, TrainingSpec

SCHEDULE = Schedule(initial_lr=0.1, warmup_ratio=0.1, decay="linear")


def spec_of(
    factory: str | Callable[..., Training], *, total_steps: int = 40, monitor: str = "val_loss"
) -> TrainingSpec:
    """Return a trial of a job."""
    return TrainingSpec(
        job=JobSpec(factory=factory),
        monitor=monitor,
        total_steps=total_steps,
        schedule=SCHEDULE,
        rungs=rungs_of(total_steps),
    )
