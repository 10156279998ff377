"""A validation more than the training has: what it changes, put back bit for bit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.loggers.logger import DummyLogger
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from autowarm.random_state import generators_of

# What a module's attributes hold by other means: these are put back by their own rules, or never change.
_STRUCTURE = frozenset({"_parameters", "_buffers", "_modules", "_trainer"})


@contextmanager
def traceless(trainer: Trainer, module: LightningModule) -> Iterator[None]:
    """Put back what a run of the validation loop changes beside random numbers, which the loop's own isolation keeps.

    Put back are the buffers and attributes of the module and its submodules (train or eval mode, counters, lists,
    dictionaries and tensors, and with them the state of torchmetrics), the Trainer's metric dictionaries and the loop's
    own progress, and the generators of its loaders. The job's callbacks and loggers are away meanwhile.

    Not put back is what the module keeps in objects of other classes, and what it does outside of the process, such as
    a file it writes in `on_validation_end`.
    """
    loop = trainer.fit_loop.epoch_loop.val_loop
    connector = trainer._logger_connector  # noqa: SLF001 - Lightning has no other way to its dictionaries
    names = ("_callback_metrics", "_logged_metrics", "_progress_bar_metrics")
    dictionaries: list[dict[str, Any]] = [getattr(connector, name) for name in names]
    metrics = [dict(told) for told in dictionaries]
    progress = loop.batch_progress.state_dict()
    seen = dict(loop._seen_batches_per_dataloader)  # noqa: SLF001
    callbacks, loggers = trainer.callbacks, trainer.loggers  # type: ignore[attr-defined] # set in the Trainer's connector
    combined = loop._combined_loader  # noqa: SLF001 - Lightning has no public name for it
    loaders = combined.flattened if combined is not None else ()
    generators = [(generator, generator.get_state()) for generator in generators_of(loaders)]
    state = _State(module)
    trainer.callbacks = []  # type: ignore[attr-defined]
    # a module that talks to its logger still finds one
    trainer.loggers = [DummyLogger() for _ in loggers]
    try:
        yield
    finally:
        trainer.callbacks, trainer.loggers = callbacks, loggers  # type: ignore[attr-defined]
        state.restore()
        for generator, drawn in generators:
            generator.set_state(drawn)
        for told, logged in zip(dictionaries, metrics, strict=True):
            told.clear()
            told.update(logged)
        loop.batch_progress.load_state_dict(progress)
        loop._seen_batches_per_dataloader.clear()  # noqa: SLF001
        loop._seen_batches_per_dataloader.update(seen)  # noqa: SLF001


class _State:
    """The state of a module beside its parameters: the very objects it had, with what was in them."""

    def __init__(self, module: nn.Module) -> None:
        # inference mode allows what the validation did: tensors made in it may be changed in it alone
        # one that TorchScript compiled has its attributes elsewhere
        modules = [m for m in module.modules() if not isinstance(m, torch.jit.ScriptModule)]
        with torch.inference_mode():
            self._contents = [(b, b.clone()) for b in module.buffers() if not is_lazy(b)]
            self._buffers: list[tuple[dict[str, Tensor | None], dict[str, Tensor | None]]] = [
                (m._buffers, dict(m._buffers))  # noqa: SLF001 - buffers() leaves out those that are None
                for m in modules
            ]
            seen: set[int] = set()
            self._attributes = [
                (m, {name: (value, _Kept(value, seen)) for name, value in vars(m).items() if name not in _STRUCTURE})
                for m in modules
            ]

    def restore(self) -> None:
        with torch.inference_mode():
            for buffers, before in self._buffers:
                buffers.clear()
                buffers.update(before)
            for buffer, content in self._contents:
                buffer.copy_(content)
            for module, attributes in self._attributes:
                now = vars(module)
                for name in [name for name in now if name not in attributes and name not in _STRUCTURE]:
                    del now[name]
                for name, (value, kept) in attributes.items():
                    kept.restore()
                    now[name] = value


class _Kept:
    """What was in a value: in a tensor, or in a list, tuple, dictionary or set; anything else is only the value itself.

    Args:
        value: to keep.
        seen: ids of the containers that are kept already: one may hold itself.
    """

    def __init__(self, value: Any, seen: set[int]) -> None:
        self._value = value
        self._before: Any = None
        self._version: int | None = None
        self._parts: list[_Kept] = []
        if type(value) is Tensor:
            self._before = value.clone()
            self._version = None if value.is_inference() else value._version  # noqa: SLF001
        elif isinstance(value, list | tuple | dict | set) and id(value) not in seen:
            seen.add(id(value))
            if not isinstance(value, tuple):
                self._before = dict(value) if isinstance(value, dict) else list(value)
            items = value.values() if isinstance(value, dict) else value
            self._parts = [_Kept(item, seen) for item in items if isinstance(item, Tensor | list | tuple | dict | set)]

    def restore(self) -> None:
        value, before = self._value, self._before
        if before is None:
            pass
        elif isinstance(value, Tensor):
            # a write to one that is part of a graph would break its backward pass
            if self._version is None or value._version != self._version:  # noqa: SLF001
                value.copy_(before)
        elif isinstance(value, list):
            value[:] = before
        else:
            value.clear()
            value.update(before)
        for part in self._parts:
            part.restore()
