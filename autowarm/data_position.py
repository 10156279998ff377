"""How far the training data of an epoch has been used, and a loader that goes on from there.

A loader draws the order of its examples at the start of an epoch. So its place is: the random numbers it began with,
and the batches taken since. To go back there, the same order is drawn again and the batches taken are left out, at
their indices: no example is loaded for it.

Exact, bit for bit, for map-style data in the order of one of torch's own samplers, whose examples depend on their index
alone. Where the examples are loaded in the training's process (no workers) they may draw from the global random
numbers, too. Where workers are seen to draw from those, the batches taken are loaded once more, so that each worker's
random numbers are where they were; but not with `persistent_workers`, whose random numbers are as old as the training.

What cannot be put back: iterable data, samplers and loaders of the job's own, loaders out of order, and a
`training_step` that takes the iterator of the data. What cannot be seen: a data set that keeps random numbers or other
state to itself.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from typing import Any, cast

import numpy as np
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.utilities.combined_loader import CombinedLoader
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)

from autowarm.random_state import generator_states, random_state, set_generator_states, set_random_state

# They draw when they begin, or from a generator that the loader names; others may keep state to themselves.
_SAMPLERS = (SequentialSampler, RandomSampler, SubsetRandomSampler, WeightedRandomSampler)


def keep_positions(trainer: Trainer) -> None:
    """Let the training loaders of a fit keep their position, from the moment that Lightning takes them from the job.

    Args:
        trainer: in the `setup` hook of a callback: its loaders are known by then, and not used yet.
    """
    source = trainer.fit_loop._data_source  # noqa: SLF001 - Lightning has no public name for it
    taken = source.dataloader

    def dataloader() -> Any:
        loaders = taken()
        flat = loaders.flattened if hasattr(loaders, "flattened") else CombinedLoader(loaders).flattened
        for loader in flat:
            _keep(loader)
        return loaders

    source.dataloader = dataloader  # type: ignore[method-assign]


def positions(trainer: Trainer) -> list[dict[str, Any]] | None:
    """Return where each training loader is, as plain data; None where one of them could not be put back there.

    Args:
        trainer: between two batches, or two epochs.
    """
    loaders = training_loaders(trainer)
    # a training step that takes the iterator may be ahead of the loop
    takes_iterator = type(trainer.fit_loop._data_fetcher).__name__ == "_DataLoaderIterDataFetcher"  # noqa: SLF001
    if not loaders or takes_iterator:
        return None
    found = [loader.state_dict() if isinstance(loader, _Positioned) else {} for loader in loaders]
    return found if all(found) else None


def go_to(trainer: Trainer, places: list[dict[str, Any]]) -> None:
    """Let the next pass of each training loader begin at its position, and draw random numbers on the way.

    Args:
        trainer: with loaders that keep their position.
        places: what `positions` returned.

    Raises:
        ValueError: there are other loaders than there were.
    """
    for loader, place in zip(training_loaders(trainer), places, strict=True):
        if not isinstance(loader, _Positioned):
            raise ValueError("the training data comes from another kind of loader than it did")  # noqa: TRY004
        loader.load_state_dict(place)


def training_loaders(trainer: Trainer) -> list[Any]:
    """Return the training loaders of a fit as Lightning uses them."""
    combined = trainer.fit_loop._combined_loader  # noqa: SLF001
    return combined.flattened if combined is not None else []


def _keep(loader: Any) -> None:
    """Turn a loader into one that keeps its position, in place: the job, or Lightning, may hold on to it."""
    if isinstance(loader, _Positioned) or not _can_be_put_back(loader):
        return
    kind = type(loader)
    # DataLoader forbids some attributes, and Lightning records them all at this moment
    object.__setattr__(loader, "__class__", type(kind.__name__, (_Positioned, kind), {}))


def _can_be_put_back(loader: Any) -> bool:
    if not isinstance(loader, DataLoader) or isinstance(loader.dataset, IterableDataset):
        return False
    kind = type(loader)
    stock = kind.__iter__ is DataLoader.__iter__ and kind._index_sampler is DataLoader._index_sampler  # noqa: SLF001
    # what one that keeps its own position restores is its own
    stock = stock and not hasattr(loader, "state_dict") and getattr(loader, "in_order", True)
    return stock and type(loader.sampler) in _SAMPLERS and type(loader.batch_sampler) in (BatchSampler, type(None))


class _Pass:
    """One pass of a loader over its data.

    Attributes:
        began: random numbers before its iterator was made, which draws a seed for the workers.
        drew: random numbers before its sampler drew.
        taken: batches that training took.
        skips: batches that its sampler leaves out at its start.
        indices: what is left of its order.
    """

    def __init__(self, began: Mapping[str, Any], drew: Mapping[str, Any] | None = None, skips: int = 0) -> None:
        self.began = began
        self.drew = drew
        self.skips = skips
        self.taken = skips
        self.indices: _Indices | None = None


class _Positioned(DataLoader[Any]):
    """A DataLoader that knows its position; an object is made one by `_keep`, without a call of `__init__`.

    By the names of its methods Lightning knows it as one that can be resumed.
    """

    _pass: _Pass | None = None
    _place: dict[str, Any] | None = None
    # one number in memory that the workers share: whether one of them has drawn random numbers
    _drawn: torch.Tensor | None = None

    def state_dict(self) -> dict[str, Any]:
        """Return the position as plain data; empty where it would not be exact."""
        draws = bool(self._drawn is not None and self._drawn.item())
        if self._pass is None or (draws and self.persistent_workers):
            return {}
        now = self._pass
        return {"began": now.began, "drew": now.drew, "taken": now.taken, "draws": draws}

    def load_state_dict(self, place: dict[str, Any]) -> None:
        """Begin the next pass at a position."""
        self._place = place or None

    @property
    def _index_sampler(self) -> Any:
        return _IndexSampler(super()._index_sampler, self)

    def __iter__(self) -> Any:
        place, self._place = self._place, None
        if place is None:
            self._pass = now = _Pass(self._state())
            return _Counted(self._iterate(), now)
        again = place["taken"] if place["draws"] else 0
        self._pass = now = _Pass(place["began"], place["drew"], skips=place["taken"] - again)
        self._set_state(place["began"])
        batches = _Counted(self._iterate(), now)
        if now.indices is not None:
            # without workers the sampler would begin with the first batch, when the random numbers are others
            now.indices.begin()
        for _ in range(again):
            next(batches)
        return batches

    def _iterate(self) -> Iterator[Any]:
        """Make torch's own iterator, whose workers tell when they draw random numbers."""
        if self.num_workers == 0:
            return super().__iter__()
        if self._drawn is None:
            self._drawn = torch.zeros(1, dtype=torch.uint8).share_memory_()  # type: ignore[no-untyped-call]
        init, collate = self.worker_init_fn, self.collate_fn
        self.worker_init_fn = _Seeded(init)
        self.collate_fn = _Noticing(collate, self._drawn)
        try:
            return super().__iter__()
        finally:
            self.worker_init_fn, self.collate_fn = init, collate

    def _state(self) -> dict[str, Any]:
        return {"global": random_state(), "own": generator_states([self])}

    def _set_state(self, state: Mapping[str, Any]) -> None:
        set_random_state(state["global"])
        set_generator_states([self], state["own"])


class _Counted:
    """An iterator over batches that counts them."""

    def __init__(self, batches: Iterator[Any], now: _Pass) -> None:
        self._batches = batches
        self._now = now

    def __iter__(self) -> _Counted:
        return self

    def __next__(self) -> Any:
        batch = next(self._batches)
        self._now.taken += 1
        return batch

    def __len__(self) -> int:
        return len(self._batches)  # type: ignore[arg-type] # torch's has one


class _IndexSampler:
    """What torch draws the indices of batches from, once for each pass."""

    def __init__(self, sampler: Any, loader: _Positioned) -> None:
        self._sampler = sampler
        self._loader = loader

    def __len__(self) -> int:
        return len(self._sampler)

    def __iter__(self) -> _Indices:
        now = self._loader._pass  # noqa: SLF001 - of one thing two classes
        assert now is not None  # noqa: S101 - a pass has begun
        now.indices = _Indices(self._sampler, self._loader, now)
        return now.indices


class _Indices:
    """The indices of the batches of one pass; drawn as late as without us, or the training would be another."""

    def __init__(self, sampler: Any, loader: _Positioned, now: _Pass) -> None:
        self._sampler = sampler
        self._loader = loader
        self._now = now
        self._drawn: Iterator[Any] | None = None

    def __iter__(self) -> _Indices:
        return self

    def __next__(self) -> Any:
        return next(self.begin())

    def begin(self) -> Iterator[Any]:
        """Draw the order, where that has not been done; leave out what was taken."""
        if self._drawn is None:
            if self._now.drew is None:
                self._now.drew = self._loader._state()  # noqa: SLF001
            else:
                self._loader._set_state(self._now.drew)  # noqa: SLF001
            self._drawn = iter(self._sampler)
            for _ in range(self._now.skips):
                next(self._drawn)
        return self._drawn


# In a worker: its random numbers before its first example.
_seeded: tuple[Any, ...] | None = None


class _Seeded:
    """A `worker_init_fn` that remembers how the worker was seeded."""

    def __init__(self, init: Any) -> None:
        self._init = init

    def __call__(self, worker: int) -> None:
        global _seeded  # noqa: PLW0603 - a worker is a process
        if self._init is not None:
            self._init(worker)
        _seeded = _fingerprint()


class _Noticing:
    """A `collate_fn` that tells when the worker has drawn random numbers since it was seeded."""

    def __init__(self, collate: Any, drawn: torch.Tensor) -> None:
        self._collate = collate
        self._drawn = drawn

    def __call__(self, examples: Any) -> Any:
        batch = self._collate(examples)
        if not self._drawn[0] and _fingerprint() != _seeded:
            self._drawn[0] = 1
        return batch


def _fingerprint() -> tuple[Any, ...]:
    name, key, *rest = np.random.get_state()  # noqa: NPY002 - the one that data sets draw from
    return torch.get_rng_state().numpy().tobytes(), random.getstate(), name, cast("Any", key).tobytes(), *rest
