"""Training in parts of the job's batches where whole ones do not fit into memory: the same examples an optimizer step.

Each batch is cut into equal parts, and as many more batches are accumulated before a step. The examples of a step and
their order stay the same, and with a loss that is a mean over examples, so do the gradients but for float round-off.
What sees a batch as a whole does not: the statistics of BatchNorm, the random numbers of dropout, a loss that is a sum
or compares examples of a batch with each other. Validation batches stay whole; they need less memory, as nothing is
kept for a backward pass.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, cast

from torch.utils.data import BatchSampler, DataLoader, IterableDataset, RandomSampler, SequentialSampler

from autowarm.errors import JobError
from autowarm.job import Training
from autowarm.subset import loader_like


def split_batches(training: Training, parts: int, *, processes: int = 1) -> None:
    """Make a training use each of its batches in `parts` equal parts, and accumulate as many more before a step.

    The last batch of an epoch may be incomplete: its parts then differ by one example, or are fewer, and
    `part_weight` makes each example count as it did.

    Args:
        training: changed in place: its loader, and of its Trainer's keywords `accumulate_grad_batches` (or the
            callback that schedules it) and `limit_train_batches`.
        parts: of each batch, from 2; they divide its number of examples.
        processes: of the training.

    Raises:
        JobError: batches without indices or equal parts, or, in several processes, with a sampler of their own.
    """
    keywords = dict(training.trainer)
    # Lightning would count parts: half of them may end within a batch
    limit = keywords.pop("limit_train_batches", None)
    training.trainer = {**keywords, **_accumulating(keywords, parts)}
    if hasattr(training.data, "train_dataloader"):
        owner = cast("Any", training.data)
        whole = owner.train_dataloader

        def train_dataloader() -> Any:
            return _split_loader(whole(), parts, limit, processes)

        owner.train_dataloader = train_dataloader
    else:
        training.data = _split_loader(training.data, parts, limit, processes)


def part_weight(loader: object, batch_idx: int) -> float:
    """Return how much a batch counts within its step, 1 being what Lightning lets each of them count.

    Lightning divides each loss by the number of batches accumulated. Of a batch of n examples, cut into k parts, one of
    m examples counts k * m / n: 1 where the parts are equal.

    Args:
        loader: of the training; 1 where its batches are not split.
        batch_idx: of the part, within its epoch.
    """
    sampler = getattr(loader, "batch_sampler", None)
    return sampler.weight(batch_idx) if isinstance(sampler, SplitBatches) else 1.0


def loader_batch_size(loader: object) -> int | None:
    """Return the examples in a batch of a training's loader, or in a part of one; None where that is not known."""
    sampler = getattr(loader, "batch_sampler", None)
    if isinstance(sampler, SplitBatches):
        return sampler.batch_size // sampler.parts if sampler.batch_size else None
    return cast("int | None", getattr(loader, "batch_size", None))


class SplitBatches(BatchSampler):
    """The batches that a BatchSampler would make, in parts.

    Lightning makes it anew around a sampler for each process, by the arguments of a BatchSampler: what is ours is of
    the class.

    Attributes:
        parts: of a batch.
        limit: Lightning's `limit_train_batches`, which counts whole batches.
    """

    parts = 1
    limit: float | None = None

    def __iter__(self) -> Iterator[list[int]]:
        """Yield the indices of each part."""
        last = self._whole_batches() - 1
        # not islice where nothing is limited: a sampler that is read to its end may draw random numbers there
        batches = self._batches() if self.limit is None else islice(self._batches(), last + 1)
        for number, batch in enumerate(batches):
            sizes = self._sizes(len(batch), last=number == last)
            rest = iter(batch)
            for size in sizes:
                yield [*islice(rest, size)]

    def __len__(self) -> int:
        """Return the number of parts in an epoch."""
        batches = self._whole_batches()
        return (batches - 1) * self.parts + len(self._sizes(self._last_size(), last=True)) if batches else 0

    def weight(self, batch_idx: int) -> float:
        """Return what `part_weight` does."""
        batch, part = divmod(batch_idx, self.parts)
        size = self._last_size()
        if batch < self._whole_batches() - 1 or size % self.parts == 0:
            return 1.0
        return self.parts * self._sizes(size, last=True)[part] / size

    def _sizes(self, size: int, *, last: bool) -> list[int]:
        """Return the sizes of a batch's parts."""
        if size % self.parts == 0:
            return [size // self.parts] * self.parts
        if not last or size != self._last_size():
            raise JobError(
                f"the training loader makes a batch of {size} examples, which have no {self.parts} equal parts; only "
                "the last batch of an epoch may, by a BatchSampler of torch's own over a sampler that knows its length"
            )
        parts = min(self.parts, size)
        return [size // parts + (i < size % parts) for i in range(parts)]

    def _batches(self) -> Iterator[list[int]]:
        return super().__iter__()

    def _all_batches(self) -> int:
        return super().__len__()

    def _whole_batches(self) -> int:
        """Return how many batches an epoch has, the limit counted in as Lightning does."""
        batches = self._all_batches()
        if self.limit is None:
            return batches
        return min(batches, self.limit) if isinstance(self.limit, int) else int(batches * self.limit)

    def _last_size(self) -> int:
        """Return the examples in the last batch."""
        batches = self._all_batches()
        if self.drop_last or self._whole_batches() < batches:
            return self.batch_size
        return len(cast("Any", self.sampler)) - (batches - 1) * self.batch_size


class _SplitOwn(SplitBatches):
    """The batches of a job's own batch sampler, in parts; each must have equal ones, as their sizes are not known."""

    def __init__(self, batches: Iterable[list[int]]) -> None:
        # Lightning tells samplers the epoch
        self.sampler = cast("Any", getattr(batches, "sampler", None))
        self.batch_size = getattr(batches, "batch_size", None) or 0
        self.drop_last = True
        self._own = batches

    def _batches(self) -> Iterator[list[int]]:
        return iter(self._own)

    def _all_batches(self) -> int:
        return len(cast("Any", self._own))

    def _last_size(self) -> int:
        # any that is equal: the batch says whether it is
        return self.parts


def _accumulating(keywords: Mapping[str, Any], parts: int) -> dict[str, Any]:
    """Return the Trainer's keywords that make it accumulate `parts` times as many batches."""
    callbacks = keywords.get("callbacks") or []
    callbacks = list(callbacks) if isinstance(callbacks, list | tuple) else [callbacks]
    scheduled = False
    for i, callback in enumerate(callbacks):
        # by name: each of Lightning's two packages has its own
        if "GradientAccumulationScheduler" in (c.__name__ for c in type(callback).__mro__):
            callbacks[i] = copy.copy(callback)
            callbacks[i].scheduling = {epoch: parts * n for epoch, n in callback.scheduling.items()}
            scheduled = True
    if scheduled:
        # which does not go with the keyword
        return {"callbacks": callbacks}
    return {"accumulate_grad_batches": parts * (keywords.get("accumulate_grad_batches") or 1)}


def _split_loader(loader: Any, parts: int, limit: float | None, processes: int) -> DataLoader[Any]:
    why = None
    if type(loader) is not DataLoader:
        why = f"the training data comes from a {type(loader).__name__}, not from a plain DataLoader"
    elif isinstance(loader.dataset, IterableDataset):
        why = "the training data is an iterable without indices"
    elif loader.batch_sampler is None:
        why = "the training loader makes no batches (batch_size=None)"
    elif not hasattr(loader.batch_sampler, "__len__"):
        why = f"the training loader's batch sampler ({type(loader.batch_sampler).__name__}) has no length"
    elif (own := type(loader.batch_sampler) is not BatchSampler) and processes > 1:
        name = type(loader.batch_sampler).__name__
        why = f"the training loader of several processes has a batch sampler of its own ({name})"
    elif processes > 1 and type(loader.sampler) not in (RandomSampler, SequentialSampler):
        why = f"the training loader of several processes has a sampler of its own ({type(loader.sampler).__name__})"
    elif not own and not hasattr(loader.sampler, "__len__"):
        why = f"the training loader's sampler ({type(loader.sampler).__name__}) has no length"
    elif loader.batch_size is not None and loader.batch_size % parts:
        why = f"its batches of {loader.batch_size} examples have no {parts} equal parts"
    if why:
        raise JobError(
            f"batches cannot be split into {parts} parts to save memory, because {why}. Give the job smaller batches "
            "and a larger accumulate_grad_batches"
        )
    kind = type("SplitBatches", (_SplitOwn if own else SplitBatches,), {"parts": parts, "limit": limit})
    given = (loader.batch_sampler,) if own else (loader.sampler, loader.batch_size, loader.drop_last)
    return loader_like(loader, loader.dataset, batch_sampler=kind(*given))
