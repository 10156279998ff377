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
    """Drop the module's own schedulers and its own way of stepping them, and undo what they changed beside the lr."""
    others = [c.scheduler for c in trainer.strategy.lr_scheduler_configs if not isinstance(c.scheduler, ScheduleLR)]
    said = []
    if others:
        said.append(f"own scheduler ({', '.join(type(scheduler).__name__ for scheduler in others)})")
    if _steps_by_itself(module):
        said.append("lr_scheduler_step")
        # it may call what only its own scheduler has, or step by epochs
        module.lr_scheduler_step = _step
    if said:
        warnings.warn(
            f"the module's {' and '.join(said)} {'is' if len(said) == 1 else 'are'} set aside: "
            "the tuned schedule steers the learning rate",
            stacklevel=3,
        )
    if any(_cycles_momentum(scheduler) for scheduler in others):
        for group in optimizer.param_groups:
            if "betas" in optimizer.defaults:
                # only the first one is cycled; another second one is the group's own
                group["betas"] = (optimizer.defaults["betas"][0], *group["betas"][1:])
            elif "momentum" in optimizer.defaults:
                group["momentum"] = optimizer.defaults["momentum"]


def give_back(module: Any) -> None:
    """Leave the module as it was before `set_aside`."""
    if vars(module).get("lr_scheduler_step") is _step:
        del module.lr_scheduler_step


def disturbance(trainer: Any, scheduler: ScheduleLR) -> str | None:
    """Return what is wrong with the learning rate that an optimizer step is about to use, or None.

    A module or callback that writes learning rates itself would train something else than the schedule. One that has
    put a scheduler of its own in the place of ours (as StochasticWeightAveraging does) has said so.
    """
    if all(config.scheduler is not scheduler for config in trainer.strategy.lr_scheduler_configs):
        return None
    expected = scheduler.get_last_lr()
    for index, (group, lr) in enumerate(zip(scheduler.optimizer.param_groups, expected, strict=True)):
        found = float(group["lr"])
        if abs(found - float(lr)) > _RELATIVE * abs(float(lr)):
            which = f" of param group {index}" if index else ""
            return (
                f"step {scheduler.last_epoch} would use the learning rate {found:.6g}{which}, where the schedule has "
                f"{float(lr):.6g}: the module or a callback writes the learning rate itself. Take that out of it"
            )
    return None


def _step(scheduler: ScheduleLR, _metric: object = None) -> None:
    scheduler.step()


def _steps_by_itself(module: Any) -> bool:
    base = next((c for c in type(module).__mro__ if c.__name__ == "LightningModule"), None)
    theirs = vars(module).get("lr_scheduler_step", type(module).lr_scheduler_step)
    return theirs is not _step and theirs is not getattr(base, "lr_scheduler_step", None)


def _cycles_momentum(scheduler: object) -> bool:
    """Tell whether OneCycleLR or CyclicLR, alone or within a chain, has moved momentum or beta1 at its making."""
    inner = getattr(scheduler, "_schedulers", ())
    return bool(getattr(scheduler, "cycle_momentum", False)) or any(map(_cycles_momentum, inner))
