"""A running average of a training's weights, and a validation with it that the training does not notice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.parameter import is_lazy
from torch.optim import Optimizer

from autowarm.pruning import EMA_SHARE
from autowarm.traceless import traceless

# In these strategies each process has the weights whole.
_WHOLE = ("SingleDeviceStrategy", "DDPStrategy")
_HALVES = (torch.float16, torch.bfloat16)


class AveragedWeights:
    """An exponential moving average of what the optimizer trains.

    After each optimizer step, average <- average + (weights - average) / window, with a window of `total_steps` / 40:
    the decay is 1 - 40 / `total_steps`. It starts from the weights after the first step. The running means and
    variances of batch normalisation are averaged in the same way, since they belong to the weights they were gathered
    under; other buffers are validated with as they are. The average lies on the device of the weights, in float32
    where they are of half precision.

    Args:
        total_steps: of the run, at least 41: shorter runs have a window of a step.
    """

    def __init__(self, total_steps: int) -> None:
        self.weight = 1 / (total_steps * EMA_SHARE)
        self._statistics: list[Tensor] | None = None
        self._sources: list[Tensor] = []
        self._averages: list[Tensor] = []

    @torch.no_grad()
    def update(self, module: nn.Module, optimizer: Optimizer) -> None:
        """Take the weights after an optimizer step."""
        sources = self._sources_of(module, optimizer)
        if len(sources) != len(self._sources):
            # the first step, or weights that a job has begun to train since
            known = {id(source): average for source, average in zip(self._sources, self._averages, strict=True)}
            self._averages = [known.get(id(source), _start(source)) for source in sources]
        self._sources = sources
        now: list[Tensor] = [s.float() if s.dtype in _HALVES else s for s in sources]
        torch._foreach_lerp_(self._averages, now, self.weight)

    @property
    def averages(self) -> list[Tensor]:
        """The averages, in the order of the weights and then of the statistics; empty before the first step."""
        return self._averages

    @torch.no_grad()
    def restore(self, averages: list[Tensor], module: nn.Module, optimizer: Optimizer) -> None:
        """Go on from what `averages` returned for the same weights; the tensors may be on any device.

        Raises:
            ValueError: they are averages of another number of weights.
        """
        if averages:
            self._sources = self._sources_of(module, optimizer)
            self._averages = [_start(source) for source in self._sources]
            for average, saved in zip(self._averages, averages, strict=True):
                average.copy_(saved)

    def _sources_of(self, module: nn.Module, optimizer: Optimizer) -> list[Tensor]:
        if self._statistics is None:
            self._statistics = _statistics(module)
        # a lazy layer that nothing has run yet has no weights
        trained = [p for group in optimizer.param_groups for p in group["params"] if not is_lazy(p)]
        return trained + self._statistics

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Put the average in the place of the weights for a while, which takes a copy of them on their device."""
        with torch.no_grad():
            before = [source.detach().clone() for source in self._sources]
            torch._foreach_copy_(self._sources, self._averages)
        try:
            yield
        finally:
            with torch.no_grad():
                torch._foreach_copy_(self._sources, before)


def _start(source: Tensor) -> Tensor:
    return (source.float() if source.dtype in _HALVES else source).detach().clone()


def _statistics(module: nn.Module) -> list[Tensor]:
    layers = [m for m in module.modules() if isinstance(m, _NormBase)]
    return [t for layer in layers for t in (layer.running_mean, layer.running_var) if t is not None and not is_lazy(t)]


def averageable(trainer: Trainer) -> bool:
    """Tell whether the processes of a training each have the weights whole: of shards no average is made."""
    return type(trainer.strategy).__name__ in _WHOLE


def validate_averaged(
    trainer: Trainer, module: LightningModule, run: Callable[[], Any], *, averaged: AveragedWeights, monitor: str
) -> tuple[float | None, int]:
    """Validate with the averaged weights, and leave the training bit for bit as it is.

    Args:
        trainer: between a validation and the next training step.
        module: that is trained.
        run: the validation loop's run, with the random numbers isolated.
        averaged: the average.
        monitor: the metric that decides.

    Returns:
        The metric, None where this validation did not log it; and the batches it took.
    """
    with traceless(trainer, module), averaged.in_place():
        trainer.callback_metrics.pop(monitor, None)
        run()
        value = trainer.callback_metrics.get(monitor)
        batches = trainer.fit_loop.epoch_loop.val_loop.batch_progress.current.completed
        return (float(value) if value is not None else None), batches
