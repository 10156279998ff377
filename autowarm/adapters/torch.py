"""A Schedule as a torch learning-rate scheduler, for any training loop."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from autowarm.errors import ScheduleError
from autowarm.schedule import Schedule, ScheduleLike, load_schedule

# Tags the state in a checkpoint as ours, and its layout.
_STATE_VERSION = 1


class ScheduleLR(LRScheduler):
    """Sets the learning rates of an optimizer to those of a Schedule; step it once an optimizer step.

    The first param group follows the schedule exactly. The others keep the ratio of their learning rate to the first
    group's, as the optimizer was built.

    Args:
        optimizer: its param groups are changed at once: `lr` to that of step 0, `initial_lr` to the group's peak.
        schedule: what to follow.
        total_steps: optimizer steps the schedule spans, at least 1. Steps beyond them keep the learning rate of the
            end, with one warning.

    Raises:
        ScheduleError: the schedule does not fit into `total_steps`, or the first param group has learning rate 0
            while another has not, so that there is no ratio to keep.
    """

    def __init__(self, optimizer: Optimizer, schedule: Schedule, *, total_steps: int) -> None:
        self.schedule = schedule
        self.total_steps = int(total_steps)
        self._multipliers: list[float] = schedule.multipliers(total_steps=total_steps).tolist()
        self._warned = False
        peaks = _peaks(optimizer, schedule.initial_lr)
        for group, peak in zip(optimizer.param_groups, peaks, strict=True):
            group["initial_lr"] = peak
        super().__init__(optimizer)

    def get_lr(self) -> list[float | Tensor]:
        """Return each param group's learning rate for step `last_epoch`."""
        step = self.last_epoch
        if step > self.total_steps:
            step = self.total_steps
            if not self._warned:
                self._warned = True
                warnings.warn(
                    f"the training goes beyond the schedule's total_steps={self.total_steps}: "
                    "the learning rate stays where it ended",
                    stacklevel=3,
                )
        return [base_lr * self._multipliers[step] for base_lr in self.base_lrs]

    def state_dict(self) -> dict[str, Any]:
        """Return the state as plain Python data, which `torch.load` reads with ``weights_only=True``."""
        return {
            "autowarm": _STATE_VERSION,
            "schedule": self.schedule.to_dict(),
            "total_steps": self.total_steps,
            "last_epoch": self.last_epoch,
            "base_lrs": [float(lr) for lr in self.base_lrs],
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on at the step that `state_dict` was saved at.

        Raises:
            ScheduleError: the state is another scheduler's, or that of another schedule or `total_steps`: following
                it in silence would not train what was asked for.
        """
        if state_dict.get("autowarm") != _STATE_VERSION:
            raise ScheduleError(
                "the checkpoint holds the state of another scheduler (or of another version of autowarm): "
                "load only its weights, or go on with the scheduler that it was saved with"
            )
        for name, ours in (("schedule", self.schedule.to_dict()), ("total_steps", self.total_steps)):
            if state_dict[name] != ours:
                raise ScheduleError(
                    f"the checkpoint was saved with {name} {state_dict[name]}, this training has {ours}: "
                    "go on with what it was saved with, or load only its weights and start anew"
                )
        self.base_lrs = list(state_dict["base_lrs"])
        self.last_epoch = int(state_dict["last_epoch"])
        self._step_count = self.last_epoch + 1
        # torch's optimizers save the lr of each group too, but the order of loading is the caller's
        for group, lr in zip(self.optimizer.param_groups, self.get_lr(), strict=True):
            _write_lr(group, lr)
        self._last_lr = [float(group["lr"]) for group in self.optimizer.param_groups]


def build_scheduler(
    optimizer: Optimizer,
    schedule: ScheduleLike,
    *,
    total_steps: int,
    steps_per_epoch: float | None = None,
) -> ScheduleLR:
    """Return a torch scheduler that follows a schedule; call its ``step()`` once after each ``optimizer.step()``.

    Args:
        optimizer: any torch optimizer; the ratios between its param groups' learning rates are kept.
        schedule: a Schedule, a YAML file of one, or a mapping.
        total_steps: optimizer steps in the run, at least 1.
        steps_per_epoch: optimizer steps in an epoch; needed by a warmup given in epochs only.

    Raises:
        ScheduleError: see `ScheduleLR` and `load_schedule`.

    >>> import torch
    >>> layer = torch.nn.Linear(1, 1)
    >>> optimizer = torch.optim.SGD(layer.parameters(), lr=1.0)
    >>> schedule = Schedule(initial_lr=0.5, warmup_steps=2, decay="linear")
    >>> scheduler = build_scheduler(optimizer, schedule, total_steps=4)
    >>> lrs = []
    >>> for _ in range(4):
    ...     lrs.append(optimizer.param_groups[0]["lr"])
    ...     optimizer.step()
    ...     scheduler.step()
    >>> lrs
    [0.0, 0.25, 0.5, 0.25]
    """
    schedule = load_schedule(schedule)
    if steps_per_epoch is not None:
        schedule = schedule.resolved(steps_per_epoch=steps_per_epoch)
    return ScheduleLR(optimizer, schedule, total_steps=total_steps)


def _peaks(optimizer: Optimizer, initial_lr: float) -> list[float]:
    """Return each group's peak: `initial_lr` times the ratio of its learning rate to the first group's.

    A scheduler that was attached before keeps the lr of the optimizer's making in `initial_lr`, and may already have
    moved `lr` (to 0, at the start of a warmup).
    """
    built = [float(group.get("initial_lr", group["lr"])) for group in optimizer.param_groups]
    if len(set(built)) == 1:
        return [initial_lr] * len(built)
    if built[0] == 0:
        raise ScheduleError(
            "the first param group has learning rate 0, so the others have no ratio to it: "
            "put a group that trains first"
        )
    return [initial_lr * lr / built[0] for lr in built]


def _write_lr(group: dict[str, Any], lr: float | Tensor) -> None:
    # a tensor lr (capturable optimizers) is shared with compiled graphs: change it in place
    if isinstance(group["lr"], Tensor):
        group["lr"].fill_(lr)
    else:
        group["lr"] = float(lr)
