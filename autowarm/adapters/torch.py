"""A Schedule as a torch learning-rate scheduler, for any training loop."""

from __future__ import annotations

import math
import operator
import warnings
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias, cast, get_args

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from autowarm.errors import ScheduleError, unknown
from autowarm.schedule import Schedule, ScheduleLike, load_schedule

# Tags the state in a checkpoint as ours, and its layout.
_STATE_VERSION = 1

# What to do with a checkpoint that was saved with another schedule, or over another number of steps:
#   continue   follow the checkpoint's schedule over the checkpoint's steps
#   rehorizon  follow this schedule over this training's steps, at the step reached
#   restart    follow this schedule from its beginning, over the steps that are left
OnResume: TypeAlias = Literal["continue", "rehorizon", "restart"]
ON_RESUME: tuple[str, ...] = get_args(OnResume)
_OURS = (
    "'rehorizon' (this schedule, at the step reached) or 'restart' (this schedule anew, over the steps that are left)"
)
_CHOOSE = f"say on_resume='continue' (the checkpoint's schedule and steps), {_OURS}"
_WITHOUT_STATE = f"resume with the scheduler that it was saved with, load only its weights, or say on_resume={_OURS}"


class ScheduleLR(LRScheduler):
    """Sets the learning rates of an optimizer to those of a Schedule; step it once an optimizer step.

    The first param group follows the schedule exactly. The others keep the ratio of their learning rate to the first
    group's, as the optimizer was built.

    Args:
        optimizer: its param groups are changed at once: `lr` to that of step 0, `initial_lr` to the group's peak.
        schedule: what to follow.
        total_steps: optimizer steps the schedule spans, at least 1. Steps beyond them keep the learning rate of the
            end, with one warning.
        on_resume: what to do with a state that was saved with another schedule or another `total_steps`; see
            `OnResume`. Default: an error.

    Raises:
        ScheduleError: the schedule does not fit into `total_steps`, or the first param group has learning rate 0
            while another has not, so that there is no ratio to keep; an unknown `on_resume`.

    Attributes:
        first_step: the step that the schedule begins at; 0 but after a `restart`.
        warns_beyond_end: whether a step beyond the end is still to be warned of.
        restored: whether a state was loaded.
    """

    def __init__(
        self, optimizer: Optimizer, schedule: Schedule, *, total_steps: int, on_resume: OnResume | None = None
    ) -> None:
        self.on_resume = checked_on_resume(on_resume)
        self.warns_beyond_end = True
        self.restored = False
        self._follow(schedule, total_steps=total_steps, first_step=0)
        peaks = _peaks(optimizer, schedule.initial_lr)
        for group, peak in zip(optimizer.param_groups, peaks, strict=True):
            group["initial_lr"] = peak
        super().__init__(optimizer)

    def _follow(self, schedule: Schedule, *, total_steps: int, first_step: int) -> None:
        """Lay the schedule out over steps `first_step` .. `total_steps` - 1."""
        if first_step and first_step >= total_steps:
            raise ScheduleError(
                f"at step {first_step} of total_steps={total_steps} no step is left to start a schedule: train longer"
            )
        self._multipliers: list[float] = schedule.multipliers(total_steps=total_steps - first_step).tolist()
        self.schedule = schedule
        self.total_steps = int(total_steps)
        self.first_step = first_step

    def get_lr(self) -> list[float | Tensor]:
        """Return each param group's learning rate for step `last_epoch`."""
        step = self.last_epoch - self.first_step
        if step >= len(self._multipliers):
            step = len(self._multipliers) - 1
            if self.warns_beyond_end:
                self.warns_beyond_end = False
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
            "first_step": self.first_step,
            "last_epoch": self.last_epoch,
            "base_lrs": [float(lr) for lr in self.base_lrs],
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on at the step that `state_dict` was saved at, and write that step's learning rates.

        A state of the same schedule over the same `total_steps` goes on exactly, whatever `on_resume` says; so does one
        that was saved after a resume with `restart` or `rehorizon`.

        Raises:
            ScheduleError: the state is another scheduler's, or that of another schedule or `total_steps` while
                `on_resume` is not given: following it in silence would not train what was asked for.
        """
        self.restored = True
        saved = _read_state(state_dict, groups=len(self.base_lrs))
        schedule, total_steps, first_step, step, base_lrs = saved
        if (schedule, total_steps) == (self.schedule, self.total_steps):
            self._follow(schedule, total_steps=total_steps, first_step=first_step)
            self.base_lrs = list(base_lrs)
        elif self.on_resume is None:
            theirs = {**schedule.to_dict(), "total_steps": total_steps}
            ours = {**self.schedule.to_dict(), "total_steps": self.total_steps}
            names = [name for name in {**theirs, **ours} if theirs.get(name) != ours.get(name)]
            changed = ", ".join(f"{name} {theirs.get(name)} there, {ours.get(name)} here" for name in names)
            raise ScheduleError(f"the state to go on from was saved with another schedule ({changed}): {_CHOOSE}")
        elif self.on_resume == "continue":
            self._follow(schedule, total_steps=total_steps, first_step=first_step)
            self.base_lrs = list(base_lrs)
        elif self.on_resume == "restart":
            self._follow(self.schedule, total_steps=self.total_steps, first_step=step)
        self.go_to(step)

    def adopt(self, step: int) -> None:
        """Take over at a step that another scheduler (or none) has trained up to, as `on_resume` says.

        Raises:
            ScheduleError: `on_resume` is not given, or is `continue`, and there is no schedule to continue.
        """
        if self.on_resume in (None, "continue"):
            raise ScheduleError(
                f"the training resumes at step {step}, but its checkpoint holds no state of this schedule"
                f"{', so there is none to continue' if self.on_resume else ', so the warmup would start again'}: "
                f"{_WITHOUT_STATE}"
            )
        if self.on_resume == "restart":
            self._follow(self.schedule, total_steps=self.total_steps, first_step=step)
        self.go_to(step)

    def go_to(self, step: int) -> None:
        """Be at a step, as if stepped there, and write its learning rates to the optimizer."""
        self.last_epoch = step
        self._step_count = step + 1  # torch warns of a scheduler that is stepped before its optimizer
        lrs = self.get_lr()
        for group, base_lr, lr in zip(self.optimizer.param_groups, self.base_lrs, lrs, strict=True):
            group["initial_lr"] = float(base_lr)
            _write_lr(group, lr)
        self._last_lr = [float(lr) for lr in lrs]


def checked_on_resume(value: str | None) -> OnResume | None:
    """Return a policy on resume as one.

    Raises:
        ScheduleError: it is none; the nearest is suggested.
    """
    if value is not None and value not in ON_RESUME:
        raise ScheduleError(unknown("on_resume", value, ON_RESUME))
    return cast("OnResume | None", value)


def is_ours(state_dict: Mapping[str, Any]) -> bool:
    """Tell whether a scheduler's state was saved by a `ScheduleLR`."""
    return "autowarm" in state_dict


def _read_state(state: Mapping[str, Any], *, groups: int) -> tuple[Schedule, int, int, int, list[float]]:
    """Return the schedule, total_steps, first_step, step and base learning rates of a saved state.

    Raises:
        ScheduleError: it is another scheduler's, or comes from a newer version, or is damaged.
    """
    if not is_ours(state):
        raise ScheduleError(f"the checkpoint holds the state of another scheduler: {_WITHOUT_STATE}")
    if state["autowarm"] != _STATE_VERSION:
        raise ScheduleError(
            f"the checkpoint holds a state of version {state['autowarm']!r}, this autowarm reads {_STATE_VERSION}: "
            "update autowarm"
        )
    try:
        schedule = Schedule.from_dict(state["schedule"])
        numbers = [state["total_steps"], state.get("first_step", 0), state["last_epoch"]]
        total_steps, first_step, step = (operator.index(number) for number in numbers)
        base_lrs = [float(lr) for lr in state["base_lrs"]]
        if not (0 <= first_step <= step and all(math.isfinite(lr) and lr >= 0 for lr in base_lrs)):
            raise ValueError(f"{first_step=}, last_epoch={step}, {base_lrs=}")  # noqa: TRY301 - damaged like the rest
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as e:
        raise ScheduleError(
            f"the state of the schedule in the checkpoint is damaged: {type(e).__name__}: {e}"
        ) from None
    if len(base_lrs) != groups:
        raise ScheduleError(
            f"the checkpoint was saved with {len(base_lrs)} param groups, this optimizer has {groups}: "
            "build the optimizer as it was, or load only the weights"
        )
    return schedule, total_steps, first_step, step, base_lrs


def build_scheduler(
    optimizer: Optimizer,
    schedule: ScheduleLike,
    *,
    total_steps: int,
    steps_per_epoch: float | None = None,
    on_resume: OnResume | None = None,
) -> ScheduleLR:
    """Return a torch scheduler that follows a schedule; call its ``step()`` once after each ``optimizer.step()``.

    Args:
        optimizer: any torch optimizer; the ratios between its param groups' learning rates are kept.
        schedule: a Schedule, a YAML file of one, or a mapping.
        total_steps: optimizer steps in the run, at least 1.
        steps_per_epoch: optimizer steps in an epoch; needed by a warmup given in epochs only.
        on_resume: what to do when a state of another schedule is loaded; see `OnResume`. Default: an error. After
            steps that were trained without this scheduler, call its ``go_to(step)``.

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
    return ScheduleLR(optimizer, schedule, total_steps=total_steps, on_resume=on_resume)


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
