"""How many optimizer steps a Trainer is set to run: accumulation, batch limits and epochs counted in.

Works on the Trainers of `lightning.pytorch` and `pytorch_lightning` alike, whose classes are not related: callbacks are
known by the names of their classes.
"""

from __future__ import annotations

from typing import Any

from autowarm.errors import JobError
from autowarm.schedule import Schedule

# What Lightning runs where neither max_epochs nor max_steps is set, with a warning of its own.
LIGHTNINGS_DEFAULT_EPOCHS = 1000


def total_steps_of(trainer: Any) -> int:
    """Return the optimizer steps that a Trainer is set to run.

    Args:
        trainer: in a fit that has started.

    Raises:
        JobError: the number cannot be known before the training; says why.
    """
    why = None
    # a Timer without a duration only measures
    if getattr(_callback(trainer, "Timer"), "_duration", None) is not None:
        why = "the Trainer stops by max_time"
    elif trainer.max_steps == 0 or trainer.max_epochs == 0:
        raise JobError("the training has no steps: max_steps or max_epochs is 0")
    elif _epochs(trainer) is None:
        if trainer.max_steps > 0:
            return int(trainer.max_steps)
        why = "the Trainer sets neither max_steps nor max_epochs"
    else:
        batches = _batches(trainer)
        if batches == 0:
            raise JobError("the training has no steps: the training data is empty")
        if batches is not None:
            steps = steps_in(trainer, _epochs(trainer) or 0)
            return min(steps, int(trainer.max_steps)) if trainer.max_steps > 0 else steps
        if trainer.max_steps > 0:
            return int(trainer.max_steps)
        why = "the training data has no length and no max_steps is set"
    raise JobError(f"the number of optimizer steps cannot be known, because {why}: give total_steps")


def steps_per_epoch_of(trainer: Any) -> float:
    """Return the optimizer steps in the first epoch of a fit; the last, shorter accumulation counts as one.

    Raises:
        JobError: the training data has no length.
    """
    if _batches(trainer) is None:
        raise JobError("the training data has no length, so it has no epochs: give the warmup in steps or as a ratio")
    return steps_in(trainer, 1)


def schedule_for(trainer: Any, schedule: Schedule) -> Schedule:
    """Return a schedule with a warmup in epochs turned into the steps that those take in a fit.

    Raises:
        JobError: the training data has no length.
    """
    if schedule.warmup_epochs is None:
        return schedule
    return schedule.resolved(steps_per_epoch=steps_per_epoch_of(trainer))


def steps_in(trainer: Any, epochs: int) -> int:
    """Return the optimizer steps in the first `epochs` epochs of a fit whose data has a length."""
    batches = _batches(trainer)
    assert batches is not None  # noqa: S101 - the caller has seen it
    scheduler = _callback(trainer, "GradientAccumulationScheduler")
    if scheduler is None:
        return epochs * -(-batches // int(trainer.accumulate_grad_batches))
    # estimated_stepping_batches takes the accumulation of the first epoch for all
    return sum(-(-batches // int(scheduler.get_accumulate_grad_batches(epoch))) for epoch in range(epochs))


def epochs_for(trainer: Any, total_steps: int) -> int | None:
    """Return the number of epochs that `total_steps` optimizer steps take; None where the data has no length."""
    if not _batches(trainer):
        return None
    scheduler = _callback(trainer, "GradientAccumulationScheduler")
    settled = max(scheduler.epochs) if scheduler is not None else 0
    # from the epoch on where the accumulation stays as it is, every epoch has the same number of steps
    epochs, steps = 0, 0
    while steps < total_steps and epochs <= settled:
        epochs += 1
        steps = steps_in(trainer, epochs)
    each = steps - steps_in(trainer, epochs - 1)
    return epochs + max(0, -(-(total_steps - steps) // each))


def _epochs(trainer: Any) -> int | None:
    epochs = trainer.max_epochs
    return None if epochs in (None, -1) else int(epochs)


def _batches(trainer: Any) -> int | None:
    """Return the batches of an epoch on this process, limits counted in; None where the data has no length."""
    trainer.fit_loop.setup_data()
    batches = trainer.num_training_batches
    return None if batches == float("inf") else int(batches)


def _callback(trainer: Any, name: str) -> Any:
    return next((c for c in trainer.callbacks if name in (k.__name__ for k in type(c).__mro__)), None)
