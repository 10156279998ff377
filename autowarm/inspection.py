"""A look at a job before it is tuned: a few steps and one validation tell its length, its speed and its schedule."""

from __future__ import annotations

import statistics
import time
import warnings
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch.optim import Optimizer

from autowarm.adapters.run_length import epochs_for, steps_in, steps_per_epoch_of, total_steps_of
from autowarm.adapters.takeover import steps_by_itself, the_optimizer
from autowarm.adapters.torch import ScheduleLR
from autowarm.errors import JobError
from autowarm.job import NEVER, Training, trainer_keywords
from autowarm.smaller_batches import loader_batch_size
from autowarm.specs import JobInfo, TrainingSpec
from autowarm.trial import fit, prepare
from autowarm.watcher import Ended, limit_epochs, means, metric, validates

# Enough for a median time a step; a slow training stops after the time instead.
_STEPS = 12
_SECONDS = 10.0
# Stepping a scheduler through a longer run takes too long for a look.
_LONGEST_SIMULATION = 300_000


def inspect_job(spec: TrainingSpec) -> JobInfo:
    """Build a job, train it for a few steps, validate once, and return what that told.

    Args:
        spec: the job, its `monitor` where that counts, `dataset_size` and, where the study sets it, `total_steps`.

    Raises:
        JobError: the job cannot be tuned as it is: manual optimization, several optimizers, a number of steps that
            cannot be known, a metric that is never logged.
    """
    started = time.monotonic()
    training = prepare(spec)
    _, dropped = trainer_keywords(training.trainer, keep_callbacks=spec.keep_callbacks)
    inspector = _Inspector(spec)
    limits = None if spec.total_steps is not None else _own_limits(training)
    try:
        fit(training, spec, [inspector], limits)
    except Ended:
        pass
    else:
        raise JobError("the training ended by itself before its first validation: is the training data empty?")
    seconds = time.monotonic() - started
    notices = []
    if dropped:
        notices.append(
            f"trials run without the job's {', '.join(dropped)}: nothing is logged, saved or stopped by them "
            "(keep_callbacks keeps them)"
        )
    if (own := inspector.own_scheduler) is not None:
        notices.append(f"trials set the job's own scheduler ({own}) aside: the schedules searched take its place")
    if inspector.length not in (None, spec.dataset_size) and (name := spec.job.dataset_size_arg) and spec.dataset_size:
        notices.append(
            f"dataset_size {spec.dataset_size:,} goes to the job as {name}; its training data then has "
            f"{inspector.length:,} items"
        )
    return inspector.info(seconds, tuple(notices))


def _own_limits(training: Training) -> dict[str, Any]:
    """Return the job's own limits of its run."""
    given = {name: training.trainer.get(name) for name in ("max_steps", "max_epochs", "max_time")}
    if given["max_time"] is not None:
        raise JobError(
            "the number of optimizer steps cannot be known, because the trainer stops by max_time: give total_steps"
        )
    if given["max_steps"] in (None, -1) and given["max_epochs"] in (None, -1):
        # Lightning would run 1000 epochs, which nobody means
        raise JobError(
            "the number of optimizer steps cannot be known, because the trainer sets neither max_steps nor "
            "max_epochs: give total_steps"
        )
    return {name: value for name, value in given.items() if value is not None}


class _Inspector(Callback):
    """Times a few steps and one validation, then ends the fit."""

    def __init__(self, spec: TrainingSpec) -> None:
        self.spec = spec
        self.total_steps = 0
        # of the training data, where it has one
        self.length: int | None = None
        self.lrs: list[float] = []
        self._times: list[float] = []
        self._validation_seconds = 0.0
        self._val_batches = 0
        self._facts: dict[str, Any] = {}
        self._scheduler: Any = None
        # names of the job's schedulers, unless they are ours
        self.own_scheduler: str | None = None
        self._foreseeable = True
        # the step that an epoch ends at -> how many epochs are over then
        self._epoch_ends: dict[int, int] | None = None
        self._optimizer: Optimizer | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        limit_epochs(trainer, pl_module, self.spec.total_steps)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._optimizer = the_optimizer(trainer, pl_module)
        self.total_steps = self.spec.total_steps or total_steps_of(trainer)
        configs = trainer.strategy.lr_scheduler_configs
        self._scheduler = configs[0] if configs else None
        names = ", ".join(type(c.scheduler).__name__ for c in configs if not isinstance(c.scheduler, ScheduleLR))
        self.own_scheduler = names or None
        # what several do together, or a module by its own code, only training can tell
        self._foreseeable = len(configs) <= 1 and not (configs and steps_by_itself(pl_module))
        # at the end of an epoch it would ask for a metric that no validation has logged yet
        trainer.strategy.lr_scheduler_configs = [c for c in configs if not c.reduce_on_plateau]
        per_epoch = None
        trainer.fit_loop.setup_data()
        if trainer.num_training_batches != float("inf"):
            per_epoch = steps_per_epoch_of(trainer)
        if per_epoch is not None and self._scheduler is not None and self._scheduler.interval == "epoch":
            epochs = epochs_for(trainer, min(self.total_steps, _LONGEST_SIMULATION)) or 0
            self._epoch_ends = {steps_in(trainer, epoch): epoch for epoch in range(1, epochs + 1)}
        loader = trainer.train_dataloader
        batch_size = loader_batch_size(loader)
        self.length = _length(getattr(loader, "dataset", None))
        defaults = self._optimizer.defaults
        self._facts = {
            "dataset_size": self.spec.dataset_size or self.length,
            "batch_size": batch_size and batch_size * trainer.accumulate_grad_batches * trainer.world_size,
            "loader_batch_size": batch_size and batch_size * self.spec.split_batches,
            "processes": trainer.world_size,
            "gpus": torch.cuda.device_count() if trainer.strategy.root_device.type == "cuda" else 0,
            "steps_per_epoch": per_epoch,
            "accelerator": trainer.strategy.root_device.type,
            "beta2": float(defaults["betas"][1]) if "betas" in defaults else None,
        }

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        self.lrs.append(float(optimizer.param_groups[0]["lr"]))

    def on_train_batch_end(self, trainer: Trainer, *_args: Any) -> None:
        trainer.val_check_batch = NEVER
        if trainer.global_step == len(self._times):
            return
        self._times.append(time.monotonic())
        enough = len(self._times) >= min(_STEPS, self.total_steps) or self._times[-1] - self._times[0] > _SECONDS
        if any(means(trainer, enough)):
            if validates(trainer):
                trainer.val_check_batch = 1
                self._validation_seconds = -time.monotonic()
            else:
                self._end(trainer)

    def on_validation_batch_end(self, *_args: Any, **_keywords: Any) -> None:
        self._val_batches += 1

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._validation_seconds += time.monotonic()
        self._end(trainer)

    def _end(self, trainer: Trainer) -> None:
        if self.spec.monitor is not None:
            metric(trainer, self.spec.monitor)
        raise Ended(None, "seen enough")

    def info(self, seconds: float, notices: tuple[str, ...]) -> JobInfo:
        steps = [b - a for a, b in zip(self._times, self._times[1:], strict=False)]
        # the first steps of a process pay for allocations and imports
        step_seconds = statistics.median(steps[2:] or steps or [0.0])
        scheduler = self._scheduler and self._scheduler.scheduler
        ours = isinstance(scheduler, ScheduleLR)
        return JobInfo(
            total_steps=self.total_steps,
            val_batches=self._val_batches,
            step_seconds=step_seconds,
            validation_seconds=self._validation_seconds,
            fixed_seconds=max(0.0, seconds - len(self._times) * step_seconds - self._validation_seconds),
            lrs=self._lr_curve(),
            scheduler=self.own_scheduler or (type(scheduler).__name__ if ours else self._own_code()),
            schedule=scheduler.schedule if ours else None,
            notices=notices,
            seen_lrs=tuple(self.lrs),
            **self._facts,
        )

    def _own_code(self) -> str | None:
        """Name what a job without a scheduler steers its learning rate by, where it does."""
        return "its own code" if self._scheduler is None and len(set(self.lrs)) > 1 else None

    def _lr_curve(self) -> tuple[float, ...] | None:
        """Step the job's scheduler through the whole run, where it needs no metric for it."""
        config, optimizer = self._scheduler, self._optimizer
        assert optimizer is not None  # noqa: S101 - the fit has started
        if not self._foreseeable or self._own_code() is not None:
            return None
        if config is None:
            return (self.lrs[0],) * self.total_steps
        by_step = config.interval == "step" and config.frequency == 1
        by_epoch = config.interval == "epoch" and self._epoch_ends is not None
        known = (by_step or by_epoch) and not config.reduce_on_plateau
        if not known or self.total_steps > _LONGEST_SIMULATION:
            return None
        lrs = self.lrs[: len(self._times)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                while len(lrs) < self.total_steps:
                    lrs.append(float(optimizer.param_groups[0]["lr"]))
                    # Lightning steps a scheduler of epochs with the last batch of one
                    epoch = self._epoch_ends.get(len(lrs), 0) if by_epoch and self._epoch_ends else 0
                    if by_step or (epoch and epoch % config.frequency == 0):
                        config.scheduler.step()
            except Exception:  # noqa: BLE001 - a scheduler that cannot run on its own is no Schedule
                return None
        return tuple(lrs)


def _length(dataset: Any) -> int | None:
    try:
        return len(dataset)
    except (TypeError, NotImplementedError):
        return None
