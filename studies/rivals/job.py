"""A training of the race with an optimizer that is to need no schedule in place of its own.

Schedule-Free AdamW (`schedulefree`; Defazio et al., The Road Less Scheduled, 2024) averages its weights instead of
cooling down, and has a warmup of its own. Prodigy (`prodigyopt`; Mishchenko & Defazio, Prodigy: An Expeditiously
Adaptive Parameter-Free Learner, 2024) estimates how far the weights have to go and scales its learning rate, left at 1,
by that. Both are set up as their documentation has it, with the weight decay and betas of the optimizer that they take
the place of. Run in the environment of `make .venv-race/ready`.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeAlias, cast, get_args

from torch.optim import Optimizer

from autowarm import Training
from studies.tuner_race.contestants.schedule_free import Modes

Rival: TypeAlias = Literal["schedule_free", "prodigy"]


def build(
    *,
    job: str,
    rival: Rival,
    warmup_ratio: float = 0.0,
    d_coef: float = 1.0,
    total_steps: int = 300,
    args: Mapping[str, Any] | None = None,
) -> Training:
    """Build one fresh training.

    Args:
        job: a module of studies/tuner_race/jobs that trains by Adam or AdamW.
        rival: the optimizer.
        warmup_ratio: of Schedule-Free's own warmup, its share of the steps that the Trainer takes, in [0, 1).
        d_coef: of Prodigy: what its estimate is multiplied by, greater than 0; its documentation's way to tune it.
        total_steps: optimizer steps, at least 1.
        args: of the job's `build`, beside total_steps.

    Raises:
        ValueError: no such rival.
    """
    if rival not in get_args(Rival):
        raise ValueError(f"rival must be one of {', '.join(get_args(Rival))}, got {rival!r}")
    build_job = cast("Callable[..., Training]", importlib.import_module(f"studies.tuner_race.jobs.{job}").build)
    training = build_job(total_steps=total_steps, **(args or {}))
    module: Any = training.module
    group = module.configure_optimizers().param_groups[0]
    shared = {"betas": group["betas"], "weight_decay": group["weight_decay"]}

    def schedule_free() -> Optimizer:
        _check_installed("schedulefree")
        from schedulefree import AdamWScheduleFree

        warmup_steps = round(warmup_ratio * int(module.trainer.estimated_stepping_batches))
        return cast("Optimizer", AdamWScheduleFree(module.parameters(), warmup_steps=warmup_steps, **shared))

    def prodigy() -> Optimizer:
        _check_installed("prodigyopt")
        from prodigyopt import Prodigy

        return cast("Optimizer", Prodigy(module.parameters(), d_coef=d_coef, **shared))

    if rival == "schedule_free":
        module.configure_optimizers = schedule_free
        training.trainer = {**training.trainer, "callbacks": [Modes()]}
    else:
        module.configure_optimizers = prodigy
    return training


def _check_installed(package: str) -> None:
    if importlib.util.find_spec(package) is None:
        raise ModuleNotFoundError(f"{package} is not installed: run `make .venv-race/ready`", name=package)
