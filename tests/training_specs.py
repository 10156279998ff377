"""Trainings of the sample jobs, for tests of what they run on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from autowarm import Schedule, Training
from autowarm.planning.trunks import plan_trunks
from autowarm.pruning import rungs_of
from autowarm.specs import JobSpec, TrainingSpec, TrunkSpec

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


HELD = Schedule(initial_lr=0.05, warmup_steps=2, decay="wsd", decay_ratio=0.25)
# in the order that they leave: after 13, 19 and 31 steps; the last one is the carrier
WANTED = ((replace(HELD, decay_ratio=0.5), 24), (HELD, 24), (HELD, 40))


def held_trial(
    factory: str | Callable[..., Training], schedule: Schedule = HELD, total_steps: int = 40
) -> TrainingSpec:
    """Return a trial that holds its peak for a while."""
    return TrainingSpec(
        job=JobSpec(factory=factory),
        monitor="val_loss",
        total_steps=total_steps,
        schedule=schedule,
        rungs=rungs_of(total_steps, 4),
    )


def trunk(factory: str | Callable[..., Training]) -> TrunkSpec:
    """Return the trunk of three trials of a job."""
    (planned,), alone = plan_trunks(WANTED)
    assert not alone
    return TrunkSpec(
        name="held",
        trials=tuple(held_trial(factory, b.schedule, b.total_steps) for b in planned.branches),
        branch_steps=tuple(b.step for b in planned.branches),
    )
