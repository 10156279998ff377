"""The whole state of a running fit as plain data, and a fit that goes on from it as if nothing had been between.

A snapshot is taken between two batches, after an optimizer step, or between two epochs. It holds what Lightning's
own checkpoint holds (weights, optimizers, schedulers, precision, loops, callbacks, the data module), and what that
leaves out: random numbers, the position in the data, and what has been logged of the epoch. Lightning restores its part
by its own means, from memory; the rest is put back right before the first batch, after every hook that runs at a start.

Not seen is what a job keeps elsewhere: attributes of the module or its callbacks that are not in their `state_dict`,
generators of its own, open files.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any, TypeAlias

import numpy as np
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor
from torch.nn import Parameter

from autowarm.data_position import go_to, positions, training_loaders
from autowarm.errors import CheckpointError
from autowarm.random_state import generator_states, random_state, set_generator_states, set_random_state
from autowarm.running_metrics import restore_running_metrics, running_metrics

# Nested dictionaries, lists and tuples of numbers, words and tensors on the CPU.
Snapshot: TypeAlias = dict[str, Any]

# A module is built anew with its own; they may be anything.
_HYPER_PARAMETERS = tuple(
    f"{owner}{name}" for owner in ("", "datamodule_") for name in ("hparams_name", "hyper_parameters", "hparams_type")
)
_PLAIN = (bool, int, float, complex, str, bytes, type(None), torch.dtype, torch.device, torch.Size)


def can_be_captured(trainer: Trainer) -> bool:
    """Tell whether a training can be captured: one process on one device."""
    return trainer.world_size == 1 and type(trainer.strategy).__name__ == "SingleDeviceStrategy"


def why_not_captured(trainer: Trainer) -> str:
    """Say why a training that cannot be captured cannot."""
    return f"a {type(trainer.strategy).__name__} may not have all of its state in this process"


def at_boundaries(trainer: Trainer, then: Callable[[bool], None]) -> None:
    """Call something at each moment of a fit that can be captured: after each optimizer step and all that follows it.

    Args:
        trainer: whose fit is about to start.
        then: is told whether the epoch is over, too.
    """
    fit_loop, epoch_loop = trainer.fit_loop, trainer.fit_loop.epoch_loop
    batch_ends, epoch_ends = epoch_loop.on_advance_end, fit_loop.on_advance_end

    def after_batch(fetcher: Any) -> None:
        batch_ends(fetcher)
        # what follows an epoch is not done at its last batch
        if not epoch_loop._num_ready_batches_reached() and not epoch_loop._should_accumulate():  # noqa: SLF001
            then(False)

    def after_epoch() -> None:
        epoch_ends()
        then(True)

    epoch_loop.on_advance_end = after_batch  # type: ignore[method-assign, assignment]
    fit_loop.on_advance_end = after_epoch  # type: ignore[method-assign]


def capture(trainer: Trainer, *, epoch_over: bool) -> Snapshot:
    """Return the state of a fit, copied to the CPU; the fit goes on as if it had not been looked at.

    Args:
        trainer: at a moment that `at_boundaries` tells.
        epoch_over: as it told.

    Raises:
        CheckpointError: the job keeps something in its state that is no plain data; says where.
    """
    # hooks of the job, which may draw
    with isolate_rng():  # type: ignore[no-untyped-call, unused-ignore]
        drawn = random_state()
        lightnings = trainer._checkpoint_connector.dump_checkpoint(weights_only=False)  # noqa: SLF001 - no public name
        fit_loop = trainer.fit_loop
        for name in _HYPER_PARAMETERS:
            lightnings.pop(name, None)
        # without the state of the loaders, which are ours to restore
        lightnings["loops"] = {"fit_loop": {**fit_loop.state_dict(), "state_dict": {}}}
        return {
            "lightning": plain(lightnings, "the checkpoint"),
            "device": trainer.strategy.root_device.type,
            "epoch_over": epoch_over,
            "max_epochs": fit_loop.max_epochs,
            "batches_that_stepped": fit_loop.epoch_loop._batches_that_stepped,  # noqa: SLF001
            "reloaded_epoch": fit_loop._last_train_dl_reload_epoch,  # noqa: SLF001
            "random": drawn,
            "generators": {name: generator_states(loaders) for name, loaders in _loaders(trainer).items()},
            "data": plain(positions(trainer), "the position in the data"),
            "running": plain(running_metrics(trainer), "the logged metrics"),
        }


class Start:
    """Lets a fit that is about to start go on from a snapshot.

    The snapshot stays as it is: it may start many fits, each with a Start of its own.

    Args:
        snapshot: what `capture` returned, or a file has kept; let go of once all is in place.
        then: is called when all is in place, right before the first batch.

    Attributes:
        exact: whether the data goes on where it was; otherwise the fit goes on with data in a new order.
        done: whether all is in place.
    """

    def __init__(self, snapshot: Mapping[str, Any], then: Callable[[Trainer], None]) -> None:
        self.snapshot = snapshot
        self.exact = snapshot["data"] is not None
        self.done = False
        self._then = then

    def on_setup(self, trainer: Trainer) -> None:
        """Hand Lightning its part; to be called in the `setup` hook of a callback.

        Raises:
            CheckpointError: the training runs on another kind of device.
        """
        device = trainer.strategy.root_device.type
        if device != self.snapshot["device"]:
            raise CheckpointError(f"the training ran on {self.snapshot['device']} and would go on on {device}")
        state = dict(self.snapshot["lightning"])
        # weights are copied by those who load them; an optimizer takes the very tensors
        weights = state.pop("state_dict")
        state = {**deepcopy(state), "state_dict": OrderedDict(weights)}
        state["state_dict"]._metadata = getattr(weights, "_metadata", {})  # noqa: SLF001 - as modules make it
        trainer._checkpoint_connector._loaded_checkpoint = state  # noqa: SLF001 - what a file would be read to
        fit_loop, epoch_loop = trainer.fit_loop, trainer.fit_loop.epoch_loop

        def begin_epoch() -> None:
            del fit_loop.on_advance_start
            if self.snapshot["epoch_over"]:
                # all that follows is what follows an epoch
                _settle(fit_loop)
                self._put_back(trainer)
            fit_loop.on_advance_start()

        def begin_batches(fetcher: Any) -> None:
            del epoch_loop.on_run_start
            places = self.snapshot["data"]
            if places is not None:
                go_to(trainer, places)
                iter(fetcher)
            epoch_loop.on_run_start(fetcher)
            _settle(fit_loop)
            self._put_back(trainer)

        fit_loop.on_advance_start = begin_epoch  # type: ignore[method-assign]
        if not self.snapshot["epoch_over"]:
            epoch_loop.on_run_start = begin_batches  # type: ignore[method-assign, assignment]

    def on_fit_start(self, trainer: Trainer) -> None:
        """Allow the epochs that the fit was allowed; to be called in the `on_fit_start` hook of a callback."""
        allowed, now = self.snapshot["max_epochs"], trainer.max_epochs
        if None not in (allowed, now) and -1 not in (allowed, now):
            trainer.fit_loop.max_epochs = max(allowed, now)

    def _put_back(self, trainer: Trainer) -> None:
        saved = self.snapshot
        trainer.fit_loop.epoch_loop._batches_that_stepped = saved["batches_that_stepped"]  # noqa: SLF001
        trainer.fit_loop._last_train_dl_reload_epoch = saved["reloaded_epoch"]  # noqa: SLF001
        restore_running_metrics(trainer, deepcopy(saved["running"]))
        self._then(trainer)
        if self.exact:
            for name, loaders in _loaders(trainer).items():
                set_generator_states(loaders, saved["generators"][name])
        # last, as all of the above may have drawn
        set_random_state(saved["random"])
        self.done = True
        # as large as the training itself
        self.snapshot = {}


def _loaders(trainer: Trainer) -> dict[str, list[Any]]:
    validation = trainer.fit_loop.epoch_loop.val_loop._combined_loader  # noqa: SLF001
    return {"train": training_loaders(trainer), "val": validation.flattened if validation is not None else []}


def _settle(fit_loop: Any) -> None:
    """Let Lightning's loops forget that they were restored: in what they call a restart they leave some things out."""
    epoch_loop = fit_loop.epoch_loop
    inner = (epoch_loop.val_loop, epoch_loop.automatic_optimization, epoch_loop.manual_optimization)
    for loop in (fit_loop, epoch_loop, *inner):
        loop.on_iteration_done()


def plain(value: Any, where: str) -> Any:
    """Return a copy on the CPU of nested plain data, which `torch.load` reads with ``weights_only=True``.

    Args:
        value: dictionaries, lists, tuples, sets, numbers, words and tensors; a number of numpy becomes Python's.
        where: the place of the value, for the message.

    Raises:
        CheckpointError: something else is in it; says where.
    """
    kind = type(value)
    if kind in _PLAIN:
        return value
    if kind in (Tensor, Parameter):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, np.generic):
        return plain(value.item(), where)
    if kind in (list, tuple, set):
        return kind(plain(item, f"{where}[{i}]") for i, item in enumerate(value))
    if kind in (dict, OrderedDict, Counter):
        copy: Any = kind()
        for key, item in value.items():
            copy[plain(key, where)] = plain(item, f"{where}[{key!r}]")
        if hasattr(value, "_metadata"):
            # versions of the layers, beside their weights
            copy._metadata = plain(dict(value._metadata), f"{where}._metadata")  # noqa: SLF001
        return copy
    raise CheckpointError(f"{where} is a {kind.__module__}.{kind.__qualname__}, and no plain data")
