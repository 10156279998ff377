"""Taking the learning rate of a Lightning fit over from whatever steered it: refusing, setting aside, putting right."""

from __future__ import annotations

import warnings
from typing import Any

from torch.optim import Optimizer

from autowarm.adapters.torch import ScheduleLR
from autowarm.errors import JobError

# A tensor learning rate may be of float32.
_RELATIVE = 1e-6


def the_optimizer(trainer: Any, module: Any) -> Optimizer:
    """Return the one optimizer of a fit that has started.

    Raises:
        JobError: the module optimizes by hand, or has none or several optimizers.
    """
    if not module.automatic_optimization:
        raise JobError(
            f"{type(module).__name__} uses manual optimization (automatic_optimization=False), where Lightning never "
            "steps a scheduler: step autowarm.build_scheduler(...) yourself, after optimizer.step()"
        )
    # Lightning's stand-in for a module without an optimizer has no param groups
    optimizers = [o for o in trainer.strategy.optimizers if not isinstance(o, Optimizer) or o.param_groups]
    if len(optimizers) != 1 or not isinstance(optimizers[0], Optimizer):
        raise JobError(
            f"{type(module).__name__} has {len(optimizers)} optimizers; one schedule steers one: "
            "put the parameters into param groups of one optimizer, whose learning-rate ratios are kept"
        )
    return optimizers[0]


def set_aside(trainer: Any, module: Any, optimizer: Optimizer) -> None:
    """Drop the module's own schedulers and its own way of stepping them, and undo what they changed beside the lr.

    `give_back` undoes what this does to the module.
    """
    others = [c.scheduler for c in trainer.strategy.lr_scheduler_configs if not isinstance(c.scheduler, ScheduleLR)]
    said = []
    if others:
        said.append(f"own scheduler ({', '.join(type(scheduler).__name__ for scheduler in others)})")
    if steps_by_itself(module):
        said.append("lr_scheduler_step")
        # it may call what only its own scheduler has, or step by epochs
        module.lr_scheduler_step = _Step(vars(module).get("lr_scheduler_step"))
    if said:
        warnings.warn(
            f"the module's {' and '.join(said)} {'is' if len(said) == 1 else 'are'} set aside: "
            "the tuned schedule steers the learning rate",
            stacklevel=3,
        )
    put_momentum_back(optimizer)


def put_momentum_back(optimizer: Optimizer) -> None:
    """Undo what OneCycleLR and CyclicLR do to momentum or the first beta, of which they leave a mark in each group.

    The state of an optimizer carries both, so a checkpoint brings them back.
    """
    for group in optimizer.param_groups:
        if "max_momentum" not in group:
            continue
        del group["max_momentum"], group["base_momentum"]
        if "betas" in optimizer.defaults:
            # only the first one is cycled; another second one is the group's own
            group["betas"] = (optimizer.defaults["betas"][0], *group["betas"][1:])
        elif "momentum" in optimizer.defaults:
            group["momentum"] = optimizer.defaults["momentum"]


def give_back(module: Any) -> None:
    """Leave the module as it was before `set_aside`."""
    ours = vars(module).get("lr_scheduler_step")
    if isinstance(ours, _Step):
        del module.lr_scheduler_step
        if ours.earlier is not None:
            module.lr_scheduler_step = ours.earlier


def disturbance(trainer: Any, scheduler: ScheduleLR) -> str | None:
    """Return what is wrong with the learning rate that an optimizer step has just used, or None.

    A module or callback that writes learning rates itself would train something else than the schedule. One that has
    put a scheduler of its own in the place of ours (as StochasticWeightAveraging does) has said so.

    Raises:
        JobError: param groups have come or gone since the schedule began.
    """
    if not is_in_place(trainer, scheduler):
        return None
    expected, groups = scheduler.get_last_lr(), scheduler.optimizer.param_groups
    if len(groups) != len(expected):
        raise JobError(
            f"the optimizer has {len(groups)} param groups, and had {len(expected)} when the schedule began: no "
            "scheduler of torch can follow that. Give the optimizer all its groups at the start (a callback such as "
            "BackboneFinetuning adds them later)"
        )
    for index, (group, lr) in enumerate(zip(groups, expected, strict=True)):
        found = float(group["lr"])
        if abs(found - float(lr)) > _RELATIVE * abs(float(lr)):
            which = f" of param group {index}" if index else ""
            return (
                f"step {scheduler.last_epoch} used the learning rate {found:.6g}{which}, where the schedule has "
                f"{float(lr):.6g}: the module or a callback writes the learning rate itself. Take that out of it"
            )
    return None


def is_in_place(trainer: Any, scheduler: ScheduleLR) -> bool:
    """Tell whether Lightning steps this scheduler, and no callback has put another one in its place."""
    return any(config.scheduler is scheduler for config in trainer.strategy.lr_scheduler_configs)


def steps_by_itself(module: Any) -> bool:
    """Tell whether a module has a way of its own to step its scheduler."""
    base = next((c for c in type(module).__mro__ if c.__name__ == "LightningModule"), None)
    theirs = vars(module).get("lr_scheduler_step", type(module).lr_scheduler_step)
    return not isinstance(theirs, _Step) and theirs is not getattr(base, "lr_scheduler_step", None)


class _Step:
    """Steps our scheduler in the place of a module's own `lr_scheduler_step`; `earlier` is one of the instance."""

    def __init__(self, earlier: object) -> None:
        self.earlier = earlier

    def __call__(self, scheduler: ScheduleLR, _metric: object = None) -> None:
        scheduler.step()
