"""Schedules of projects that are no dependency here, from their documentation and papers: each returns step -> lr.

The keywords are the projects' own. timm needs torchvision, Megatron-LM a GPU build; nanoGPT is a script, Noam a paper.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

StepToLr: TypeAlias = Callable[[int], float]


def _timm(
    base: float, shape: Callable[[int], float], *, warmup_t: int, warmup_lr_init: float, warmup_prefix: bool
) -> StepToLr:
    """Rise in a straight line to the base lr; what follows counts from the end of that with a prefix, else from 0."""

    def lr(t: int) -> float:
        if t < warmup_t:
            return warmup_lr_init + (base - warmup_lr_init) / warmup_t * t
        return shape(t - warmup_t if warmup_prefix else t)

    return lr


def _timm_cycles(
    between: Callable[[float], float], base: float, lr_min: float, t_initial: int, cycle_limit: int
) -> StepToLr:
    """Go from base to lr_min once a cycle of t_initial steps, and stay there after the last."""

    def lr(t: int) -> float:
        cycle, place = divmod(t, t_initial)
        return lr_min if cycle >= cycle_limit else lr_min + (base - lr_min) * between(place / t_initial)

    return lr


def CosineLRScheduler(  # noqa: N802 # timm's names
    optimizer: Any, *, t_initial: int, lr_min: float, cycle_limit: int = 1, **warmup: Any
) -> StepToLr:
    shape = _timm_cycles(
        lambda p: (1 + math.cos(math.pi * p)) / 2, optimizer.defaults["lr"], lr_min, t_initial, cycle_limit
    )
    return _timm(optimizer.defaults["lr"], shape, **warmup)


def PolyLRScheduler(  # noqa: N802
    optimizer: Any, *, t_initial: int, power: float, lr_min: float, **warmup: Any
) -> StepToLr:
    shape = _timm_cycles(lambda p: (1 - p) ** power, optimizer.defaults["lr"], lr_min, t_initial, 1)
    return _timm(optimizer.defaults["lr"], shape, **warmup)


def StepLRScheduler(optimizer: Any, *, decay_t: int, decay_rate: float, **warmup: Any) -> StepToLr:  # noqa: N802
    base = optimizer.defaults["lr"]
    return _timm(base, lambda t: base * decay_rate ** (t // decay_t), **warmup)


def noam(*, d_model: int, warmup_steps: int, factor: float = 1.0) -> StepToLr:
    """Vaswani et al. 2017, section 5.3; the paper's step_num is 1 at the first update."""

    def lr(step: int) -> float:
        step_num = step + 1
        return float(factor * d_model**-0.5 * min(step_num**-0.5, step_num * warmup_steps**-1.5))

    return lr


def nanogpt(*, learning_rate: float, warmup_iters: int, lr_decay_iters: int, min_lr: float) -> StepToLr:
    """Return the get_lr(it) of nanoGPT's train.py."""

    def lr(it: int) -> float:
        if it < warmup_iters:
            return learning_rate * (it + 1) / (warmup_iters + 1)
        ratio = (it - warmup_iters) / (lr_decay_iters - warmup_iters)
        return min_lr + 0.5 * (1 + math.cos(math.pi * ratio)) * (learning_rate - min_lr)

    return lr


def one_based(*, learning_rate: float, warmup_steps: int, total_steps: int) -> StepToLr:
    """Return what many scripts have: min((step + 1) / warmup, 1), then a straight line to 0 at the last step."""

    def lr(step: int) -> float:
        done = step + 1
        if done <= warmup_steps:
            return learning_rate * done / warmup_steps
        return learning_rate * (total_steps - done) / (total_steps - warmup_steps)

    return lr


_MEGATRON: dict[str, Callable[[float], float]] = {
    "linear": lambda r: 1 - r,
    "cosine": lambda r: (1 + math.cos(math.pi * r)) / 2,
    "exponential": lambda r: 2 * 0.5**r - 1,
    "minus_sqrt": lambda r: 1 - math.sqrt(r),
}


def megatron(
    style: str,
    *,
    max_lr: float,
    lr_warmup_steps: int,
    lr_decay_steps: int,
    init_lr: float = 0.0,
    min_lr: float = 0.0,
    wsd_decay_steps: int = 0,
    lr_wsd_decay_style: str = "",
) -> StepToLr:
    """Megatron-LM's OptimizerParamScheduler, lr_decay_style first; it counts samples, here of batches of one."""

    def lr(n: int) -> float:
        if lr_warmup_steps and n <= lr_warmup_steps:
            return init_lr + (max_lr - init_lr) * n / lr_warmup_steps
        if style == "constant":
            return max_lr
        if style == "inverse-square-root":
            return max(min_lr, max_lr * math.sqrt(max(lr_warmup_steps, 1)) / math.sqrt(max(n, 1)))
        if style == "WSD":
            over = max(0, n - (lr_decay_steps - wsd_decay_steps)) / wsd_decay_steps
            return min_lr + (max_lr - min_lr) * _MEGATRON[lr_wsd_decay_style](over)
        over = (n - lr_warmup_steps) / (lr_decay_steps - lr_warmup_steps)
        return min_lr + (max_lr - min_lr) * _MEGATRON[style](over)

    return lr
