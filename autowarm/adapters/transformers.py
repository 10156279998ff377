"""A Schedule in transformers' Trainer, applied in one line.

The Trainer makes its scheduler by `create_scheduler`, once the length of the run is known and before a checkpoint is
restored; it steps it after each optimizer step, and keeps its state in the checkpoint's ``scheduler.pt``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, cast

import torch
from torch.optim.lr_scheduler import LambdaLR

from autowarm.adapters.torch import OnResume, ScheduleLR, checked_on_resume, is_ours
from autowarm.errors import JobError, ScheduleError
from autowarm.schedule import Schedule, ScheduleLike, load_schedule

try:
    from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
except ModuleNotFoundError as e:
    if e.name != "transformers":
        raise
    raise ModuleNotFoundError(
        "transformers is not installed: pip install 'autowarm[transformers]'", name="transformers"
    ) from None


def use_schedule(
    trainer: Trainer,
    schedule: ScheduleLike,
    total_steps: int | None = None,
    *,
    on_resume: OnResume | None = None,
) -> Trainer:
    """Make a Trainer follow a schedule, in place of its own `learning_rate`, `lr_scheduler_type` and `warmup_steps`.

    A step is an optimizer step, as ``trainer.state.global_step`` counts: after gradient accumulation, those included
    that mixed precision skips. The state is saved in and restored from the Trainer's checkpoints; the ratios between
    the learning rates of the optimizer's param groups are kept.

    Args:
        trainer: not training yet; with an optimizer of its own or of the caller's, but no scheduler of the caller's.
        schedule: a Schedule, a YAML file that ``autowarm export`` or `Schedule.save` wrote, or a mapping.
        total_steps: optimizer steps the schedule spans; default: what the Trainer is set to run.
        on_resume: what to do with a checkpoint of another schedule, another length or another scheduler; see
            `autowarm.adapters.torch.OnResume`. Default: an error.

    Returns:
        The same trainer.

    Raises:
        ScheduleError: the schedule is not valid, or the trainer was given a scheduler; at the start of the training,
            the schedule does not fit into the run, or the checkpoint resumed from is not one of it and `on_resume` does
            not say what to do.
        JobError: at the start of the training: DeepSpeed or an optimizer a layer makes the schedulers, or a warmup in
            epochs of data without a length.

    >>> trainer = use_schedule(Trainer(model, args, train_dataset=data), "best.yaml")  # doctest: +SKIP
    """
    schedule = load_schedule(schedule)
    checked_on_resume(on_resume)
    # what the Trainer has made itself, in an earlier train(), it makes anew
    if trainer.lr_scheduler is not None and not trainer._created_lr_scheduler:  # noqa: SLF001
        raise ScheduleError(
            f"the trainer has a scheduler already ({type(trainer.lr_scheduler).__name__}), which may have changed the "
            "optimizer: build it with optimizers=(optimizer, None), and call use_schedule before train"
        )
    for earlier in [c for c in trainer.callback_handler.callbacks if isinstance(c, _FollowSteps)]:
        trainer.remove_callback(earlier)

    def create_scheduler(num_training_steps: int, optimizer: torch.optim.Optimizer | None = None) -> ScheduleLR:
        """Stand in for Trainer.create_scheduler."""
        steps = num_training_steps if total_steps is None else total_steps
        return _create(trainer, schedule, steps, optimizer=optimizer, on_resume=on_resume)

    # On the instance, whatever its class: the Trainer resets what it has made, so each train() comes by here again.
    trainer.create_scheduler = create_scheduler  # type: ignore[method-assign]
    trainer.add_callback(_FollowSteps())
    return trainer


class _FollowSteps(TrainerCallback):
    """Keeps the schedule at the Trainer's count of steps, so that no warmup starts again in mid-training."""

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Take over from a checkpoint that had nothing to restore the schedule from, or refuse it."""
        scheduler = kwargs["lr_scheduler"]
        if isinstance(scheduler, ScheduleLR) and scheduler.last_epoch != state.global_step:
            scheduler.adopt(state.global_step)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Step where the Trainer has not: it counts a step that mixed precision skipped, but leaves the scheduler."""
        scheduler = kwargs["lr_scheduler"]
        while isinstance(scheduler, ScheduleLR) and scheduler.last_epoch < state.global_step:
            scheduler.step()


class _TrainerLR(ScheduleLR):
    """A schedule that leaves another scheduler's state alone where it takes over from it."""

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restore the schedule; or, where the state is another scheduler's, leave it to the start of the training."""
        if is_ours(state_dict) or self.on_resume is None:
            super().load_state_dict(state_dict)


def _create(
    trainer: Trainer,
    schedule: Schedule,
    total_steps: int,
    *,
    optimizer: torch.optim.Optimizer | None,
    on_resume: OnResume | None,
) -> ScheduleLR:
    if trainer.lr_scheduler is not None:
        name = type(trainer.lr_scheduler).__name__
        raise ScheduleError(f"the trainer was given a scheduler ({name}) after use_schedule: leave it out")
    if trainer.is_deepspeed_enabled:
        raise JobError("under DeepSpeed the schedule is not applied: use `autowarm export --format transformers`")
    optimizer = trainer.optimizer if optimizer is None else optimizer
    assert optimizer is not None  # noqa: S101 - the Trainer makes its optimizer first
    if hasattr(getattr(optimizer, "optimizer", optimizer), "optimizer_dict"):
        raise JobError(f"optim={trainer.args.optim} has an optimizer for each layer; one schedule steers one optimizer")
    if schedule.warmup_epochs is not None:
        schedule = schedule.resolved(steps_per_epoch=_steps_per_epoch(trainer))
    scheduler = _TrainerLR(optimizer, schedule, total_steps=total_steps, on_resume=on_resume)
    # the Trainer's hint says LambdaLR, its code asks for a scheduler's step, state_dict and get_last_lr
    trainer.lr_scheduler = cast("LambdaLR", scheduler)
    trainer._created_lr_scheduler = True  # noqa: SLF001 - the Trainer's mark of what it may make anew
    return scheduler


def _steps_per_epoch(trainer: Trainer) -> int:
    """Return the optimizer steps in an epoch; the last, shorter accumulation counts as one."""
    # building a loader may draw a seed, which must not change what is trained
    with torch.random.fork_rng(devices=[]):
        loader = trainer.get_train_dataloader()
    try:
        batches = len(loader)
    except TypeError:
        raise JobError(
            "the training data has no length, so it has no epochs: give the warmup in steps or as a ratio"
        ) from None
    return math.ceil(batches / trainer.args.gradient_accumulation_steps)
