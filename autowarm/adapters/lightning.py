"""A Schedule in Lightning: a callback that steers any module, and a module that is ready to train and to be tuned."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import GradientAccumulationScheduler, Timer
from lightning.pytorch.utilities.types import LRSchedulerConfig, OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim import Optimizer

from autowarm.adapters.torch import ScheduleLR, build_scheduler
from autowarm.errors import JobError, ScheduleError
from autowarm.schedule import ScheduleLike, load_schedule


class TunedSchedule(Callback):
    """Applies a schedule to any LightningModule with one optimizer, without touching the module.

    The schedule is stepped once an optimizer step (after gradient accumulation), and saved in and restored from the
    Trainer's checkpoints. A scheduler of the module's own is set aside with one warning.

    Args:
        schedule: a Schedule, a YAML file that ``autowarm export`` or `Schedule.save` wrote, or a mapping.
        total_steps: optimizer steps the schedule spans; default: what the Trainer is set to run.

    Raises:
        ScheduleError: here, when the schedule is not valid; at the start of the fit, when it does not fit into the
            run, or when the checkpoint resumed from holds no state of it.
        JobError: at the start of the fit: manual optimization, several optimizers, or a number of steps that cannot
            be known.
    """

    def __init__(self, schedule: ScheduleLike, total_steps: int | None = None) -> None:
        self.schedule = load_schedule(schedule)
        self.total_steps = total_steps
        self._scheduler: ScheduleLR | None = None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put the schedule in the place of the module's own scheduler; the checkpoint is restored after this."""
        optimizer = the_optimizer(trainer, pl_module)
        total_steps = self.total_steps if self.total_steps is not None else total_steps_of(trainer)
        schedule = self.schedule
        if schedule.warmup_epochs is not None:
            schedule = schedule.resolved(steps_per_epoch=steps_per_epoch_of(trainer))
        _set_aside(trainer, optimizer)
        self._scheduler = build_scheduler(optimizer, schedule, total_steps=total_steps)
        trainer.strategy.lr_scheduler_configs = [LRSchedulerConfig(self._scheduler, interval="step")]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse a checkpoint that had nothing to restore the schedule from."""
        assert self._scheduler is not None  # noqa: S101 - on_fit_start made it
        if self._scheduler.last_epoch != trainer.global_step:
            raise ScheduleError(
                f"the training resumes at step {trainer.global_step}, but its checkpoint holds no state of this "
                "schedule, so the warmup would start again: resume with the scheduler that the checkpoint was saved "
                "with, or load only its weights"
            )


class WarmupModule(LightningModule):
    """A network, a loss and a schedule as a LightningModule, ready to train and to be tuned.

    A batch is a sequence whose last element is the target: ``loss(network(*inputs), target)``. Logs `train_loss`,
    `val_loss`, and `val_<name>` for each of the metrics.

    Args:
        network: what is trained.
        loss: (output, target) -> scalar.
        schedule: a Schedule, a YAML file of one, or a mapping.
        optimizer: parameters -> optimizer; its own learning rate counts only as a ratio between param groups.
        total_steps: optimizer steps the schedule spans; default: what the Trainer is set to run.
        metrics: by name, (output, target) -> scalar; averaged over the validation batches.

    Raises:
        ScheduleError: the schedule is not valid.
        JobError: at the start of the fit, when the number of steps cannot be known.
    """

    def __init__(
        self,
        network: nn.Module,
        loss: Callable[[Tensor, Tensor], Tensor],
        schedule: ScheduleLike,
        *,
        optimizer: Callable[[Iterable[nn.Parameter]], Optimizer] = torch.optim.AdamW,
        total_steps: int | None = None,
        metrics: Mapping[str, Callable[[Tensor, Tensor], Tensor]] | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.loss = loss
        self.schedule = load_schedule(schedule)
        self.optimizer = optimizer
        self.total_steps = total_steps
        self.metrics = dict(metrics or {})

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return the network's output."""
        return cast("Tensor", self.network(*inputs))

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Return the training loss of a batch."""
        *inputs, target = batch
        loss = self.loss(self(*inputs), target)
        self.log("train_loss", loss, batch_size=len(target))
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Log the loss and the metrics of a validation batch."""
        *inputs, target = batch
        output = self(*inputs)
        values = {"val_loss": self.loss(output, target)}
        values |= {f"val_{name}": metric(output, target) for name, metric in self.metrics.items()}
        self.log_dict(values, batch_size=len(target), sync_dist=True)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Return the optimizer with the schedule attached."""
        optimizer = self.optimizer(self.parameters())
        total_steps = self.total_steps if self.total_steps is not None else total_steps_of(self.trainer)
        schedule = self.schedule
        if schedule.warmup_epochs is not None:
            schedule = schedule.resolved(steps_per_epoch=steps_per_epoch_of(self.trainer))
        scheduler = build_scheduler(optimizer, schedule, total_steps=total_steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def the_optimizer(trainer: Trainer, module: LightningModule) -> Optimizer:
    """Return the one optimizer of a fit that has started.

    Raises:
        JobError: the module optimizes by hand, or has none or several optimizers.
    """
    if not module.automatic_optimization:
        raise JobError(
            f"{type(module).__name__} uses manual optimization (automatic_optimization=False), where Lightning never "
            "steps a scheduler: step autowarm.build_scheduler(...) yourself, after optimizer.step()"
        )
    optimizers = trainer.strategy.optimizers
    if len(optimizers) != 1 or not isinstance(optimizers[0], Optimizer):
        raise JobError(
            f"{type(module).__name__} has {len(optimizers)} optimizers; one schedule steers one: "
            "put the parameters into param groups of one optimizer, whose learning-rate ratios are kept"
        )
    return optimizers[0]


def total_steps_of(trainer: Trainer) -> int:
    """Return the optimizer steps that a Trainer is set to run: gradient accumulation and batch limits counted in.

    Raises:
        JobError: the number cannot be known before the training; says why.
    """
    why = None
    if any(isinstance(c, GradientAccumulationScheduler) for c in _callbacks(trainer)):
        # estimated_stepping_batches divides by the accumulation of the first epoch
        if trainer.max_epochs == -1 and trainer.max_steps > 0:
            return trainer.max_steps
        why = "GradientAccumulationScheduler changes the steps in an epoch"
    elif any(isinstance(c, Timer) for c in _callbacks(trainer)):
        why = "the Trainer stops by max_time"
    else:
        steps = trainer.estimated_stepping_batches
        if 0 < steps < float("inf"):
            return int(steps)
        why = "the training data is empty" if steps == 0 else "the training data has no length and no max_steps is set"
    raise JobError(f"the number of optimizer steps cannot be known, because {why}: give total_steps")


def steps_per_epoch_of(trainer: Trainer) -> float:
    """Return the optimizer steps in an epoch of a fit that has started; the last, shorter accumulation counts as one.

    Raises:
        JobError: the training data has no length.
    """
    trainer.fit_loop.setup_data()
    batches = trainer.num_training_batches
    if batches == float("inf"):
        raise JobError("the training data has no length, so it has no epochs: give the warmup in steps or as a ratio")
    return -(-int(batches) // trainer.accumulate_grad_batches)


def _callbacks(trainer: Trainer) -> list[Callback]:
    return cast("list[Callback]", getattr(trainer, "callbacks", []))


def _set_aside(trainer: Trainer, optimizer: Optimizer) -> None:
    """Drop the module's own schedulers, and undo what they have changed in the optimizer beside the lr."""
    others = [c.scheduler for c in trainer.strategy.lr_scheduler_configs if not isinstance(c.scheduler, ScheduleLR)]
    if not others:
        return
    names = ", ".join(type(scheduler).__name__ for scheduler in others)
    warnings.warn(
        f"the module's own scheduler ({names}) is set aside: the tuned schedule steers the learning rate",
        stacklevel=2,
    )
    if any(_cycles_momentum(scheduler) for scheduler in others):
        for group in optimizer.param_groups:
            for name in ("momentum", "betas"):
                if name in optimizer.defaults:
                    group[name] = optimizer.defaults[name]


def _cycles_momentum(scheduler: object) -> bool:
    """Tell whether OneCycleLR or CyclicLR, alone or within a chain, has moved momentum or beta1 at its making."""
    inner = getattr(scheduler, "_schedulers", ())
    return bool(getattr(scheduler, "cycle_momentum", False)) or any(map(_cycles_momentum, inner))
