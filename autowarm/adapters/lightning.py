"""A Schedule in Lightning: a callback that steers any module, and a module that is ready to train and to be tuned."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

import torch
from lightning.pytorch import Callback, LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim import Optimizer

from autowarm.adapters.run_length import schedule_for, total_steps_of
from autowarm.adapters.steering import Steering
from autowarm.adapters.torch import OnResume, build_scheduler
from autowarm.schedule import ScheduleLike, load_schedule


class TunedSchedule(Steering, Callback):
    """Applies a schedule to any LightningModule with one optimizer, without touching the module.

    The schedule is stepped once an optimizer step (after gradient accumulation), and saved in and restored from the
    Trainer's checkpoints. A scheduler of the module's own is set aside with one warning.

    For modules and Trainers of the `pytorch_lightning` package: `autowarm.adapters.pytorch_lightning.TunedSchedule`.

    Args:
        schedule: a Schedule, a YAML file that ``autowarm export`` or `Schedule.save` wrote, or a mapping.
        total_steps: optimizer steps the schedule spans; default: what the Trainer is set to run. In a longer training
            the learning rate stays where the schedule ends, with a warning.
        on_resume: what to do with a checkpoint that was saved with something else than this schedule over this number
            of steps: `continue` follows the checkpoint's schedule over the checkpoint's steps, `rehorizon` this one at
            the step reached, `restart` this one from its beginning over the steps that are left. Default: an error.

    Raises:
        ScheduleError: here, when an argument is not valid; at the start of the fit, when the schedule does not fit into
            the run, or when the checkpoint was saved with something else and `on_resume` does not say what to do.
        JobError: at the start of the fit: manual optimization, several optimizers, or a number of steps that cannot
            be known.
    """


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
        on_resume: what to do with a checkpoint of another schedule or length; as for `TunedSchedule`.

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
        on_resume: OnResume | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.loss = loss
        self.schedule = load_schedule(schedule)
        self.optimizer = optimizer
        self.total_steps = total_steps
        self.metrics = dict(metrics or {})
        self.on_resume = on_resume

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
        schedule = schedule_for(self.trainer, self.schedule)
        scheduler = build_scheduler(optimizer, schedule, total_steps=total_steps, on_resume=self.on_resume)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}
