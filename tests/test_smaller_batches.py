"""Batches in parts: the training is the one with whole batches, step by step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, cast

import pytest
import sample_jobs as jobs
import sample_pl_jobs as pl_jobs
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import GradientAccumulationScheduler
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    RandomSampler,
    SequentialSampler,
    Subset,
    TensorDataset,
    WeightedRandomSampler,
)

from autowarm import Schedule, Training
from autowarm.errors import JobError
from autowarm.pruning import rungs_of
from autowarm.smaller_batches import SplitBatches, loader_batch_size, part_weight, split_batches
from autowarm.specs import JobSpec, Link, TrainingSpec
from autowarm.trial import fit, prepare, run_trial
from autowarm.watcher import Watcher

pytestmark = pytest.mark.usefixtures("one_thread")
SCHEDULE = Schedule(initial_lr=0.05, warmup_ratio=0.2, decay="cosine")
STEPS = 30


@dataclass
class Seen:
    """What a training did: weights after each step, (steps, weights); lr of each step; batches of each step."""

    weights: torch.Tensor
    lrs: list[float]
    epochs: list[int]
    sizes: list[int]
    watcher: Watcher


class Watched(Callback):
    def __init__(self) -> None:
        self.weights: list[torch.Tensor] = []
        self.epochs: list[int] = []
        self.sizes: list[int] = []
        self.step = 0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, *_: Any
    ) -> None:
        self.sizes.append(len(batch[0]))
        if trainer.global_step > self.step:
            self.step = trainer.global_step
            self.weights.append(torch.cat([p.detach().flatten().clone() for p in pl_module.parameters()]))
            self.epochs.append(trainer.current_epoch)


def train(job: Callable[..., Training], parts: int, args: dict[str, Any] | None = None, **fields: Any) -> Seen:
    given: dict[str, Any] = {"schedule": SCHEDULE, "rungs": rungs_of(STEPS), "total_steps": STEPS, **fields}
    spec = TrainingSpec(job=JobSpec(factory=job, args=args or {}), monitor="val_loss", split_batches=parts, **given)
    seen, recorder, watcher = Watched(), jobs.Recorder(), Watcher(spec, Link())
    fit(prepare(spec), spec, [watcher, seen, recorder])
    lrs = [lrs[0] for lrs in recorder.lrs]
    return Seen(torch.stack(seen.weights), lrs, seen.epochs, seen.sizes, watcher)


def assert_same(parts: Seen, whole: Seen) -> None:
    """See that two trainings did the same but for float round-off."""
    assert parts.lrs == whole.lrs
    assert parts.epochs == whole.epochs
    # float32 sums in another order; the weights move by about 1
    torch.testing.assert_close(parts.weights, whole.weights, rtol=1e-5, atol=1e-6)
    for name in ("rungs", "train_curve", "grad_norms"):
        found, expected = (getattr(seen.watcher, name) for seen in (parts, whole))
        assert [step for step, _ in found] == [step for step, _ in expected], name
        # the losses become as small as 1e-3
        assert [y for _, y in found] == pytest.approx([y for _, y in expected], rel=1e-3, abs=1e-5), name
    assert parts.watcher.val_batches == whole.watcher.val_batches


def examples(count: int, size: int = jobs.BATCH_SIZE, *, workers: int = 0, **keywords: Any) -> Training:
    """A job of the first `count` examples in batches of `size`."""
    trainer = {"accelerator": "cpu", **keywords.pop("trainer", {})}
    if "batch_sampler" not in keywords:
        keywords |= {"batch_size": size, "shuffle": "sampler" not in keywords}
    data = DataLoader(Subset(jobs.dataset(), range(count)), num_workers=workers, **keywords)
    return Training(module=jobs.Regression(adam=True), data=data, val_data=jobs.loader(shuffle=False), trainer=trainer)


@pytest.mark.parametrize("parts", [2, 4, 8])
@pytest.mark.parametrize("job", [jobs.build, jobs.from_datamodule, pl_jobs.build])
# of the one in pl_jobs
@pytest.mark.filterwarnings("ignore:the module's own scheduler")
def test_a_training_in_parts_is_the_one_in_whole_batches(job: Any, parts: int) -> None:
    """Of a loader, a data module, and of the other package of Lightning; several epochs of 8 steps."""
    found = train(job, parts)
    assert set(found.sizes) == {jobs.BATCH_SIZE // parts}
    assert_same(found, train(job, 1))


class OwnLoaders(jobs.Regression):
    def train_dataloader(self) -> Any:
        return jobs.loader()

    def val_dataloader(self) -> Any:
        return jobs.loader(shuffle=False)


def own_loaders() -> Training:
    module = OwnLoaders()
    return Training(module=module, data=module, trainer={"accelerator": "cpu"})


def test_a_module_with_loaders_of_its_own_trains_in_parts() -> None:
    assert_same(train(own_loaders, 2), train(own_loaders, 1))


# of 61 examples in batches of 8 the last one has 5, of 63 it has 7, of 60, 4, of 57, 1
@pytest.mark.parametrize(
    ("count", "parts", "accumulated"),
    [(57, 8, 1), (57, 2, 2), (60, 8, 3), (60, 4, 2), (61, 2, 1), (61, 4, 3), (61, 8, 2), (63, 4, 1)],
)
def test_an_incomplete_last_batch_counts_as_it_did_and_ends_the_same_epoch(
    count: int, parts: int, accumulated: int
) -> None:
    args = {"count": count, "trainer": {"accumulate_grad_batches": accumulated}}
    found, whole = train(examples, parts, args), train(examples, 1, args)
    # the schedule and the steps of an epoch are the same
    assert_same(found, whole)
    assert max(found.sizes) == jobs.BATCH_SIZE // parts
    assert max(whole.epochs) >= 3


def test_a_dropped_last_batch_stays_dropped() -> None:
    args = {"count": 63, "drop_last": True}
    found = train(examples, 2, args)
    assert_same(found, train(examples, 1, args))
    assert set(found.sizes) == {4}


@pytest.mark.parametrize("limit", [3, 100, 0.3, 1.0])
@pytest.mark.parametrize("count", [61, 64])
def test_a_limit_in_batches_counts_whole_ones(limit: float, count: int) -> None:
    args = {"count": count, "trainer": {"limit_train_batches": limit, "accumulate_grad_batches": 2}}
    assert_same(train(examples, 4, args), train(examples, 1, args))


def scheduled() -> Training:
    callbacks = [GradientAccumulationScheduler({0: 1, 1: 3})]
    return jobs.build(trainer={"callbacks": callbacks})


def test_an_accumulation_that_is_scheduled_is_kept() -> None:
    assert_same(train(scheduled, 4), train(scheduled, 1))


def weighted_61() -> Training:
    return examples(61, sampler=WeightedRandomSampler([1.0 + i for i in range(61)], 61))


class ByLength:
    """A batch sampler of a project's own, whose batches have 8 examples or 4."""

    def __iter__(self) -> Iterator[list[int]]:
        order = torch.randperm(60).tolist()
        sizes = [8, 4] * 5
        for end, size in zip(torch.tensor(sizes).cumsum(0).tolist(), sizes, strict=True):
            yield order[end - size : end]

    def __len__(self) -> int:
        return 10


def by_length() -> Training:
    return examples(60, batch_sampler=ByLength())


def with_generator() -> Training:
    generator = torch.Generator().manual_seed(5)
    return examples(64, generator=generator, workers=1)


def with_workers() -> Training:
    return examples(61, workers=1, persistent_workers=True)


def not_shuffled() -> Training:
    return examples(61, sampler=SequentialSampler(range(61)))


@pytest.mark.parametrize("job", [weighted_61, by_length, with_generator, with_workers, not_shuffled])
def test_examples_are_drawn_as_they_were(job: Callable[[], Training]) -> None:
    """By samplers and batch samplers of the job's own, a generator of its own, in workers, in order."""
    assert_same(train(job, 4), train(job, 1))


def test_a_part_of_the_data_trains_in_parts() -> None:
    found = train(jobs.build, 2, dataset_size=21)
    assert_same(found, train(jobs.build, 1, dataset_size=21))
    assert found.sizes[:6] == [4, 4, 4, 4, 3, 2]


def test_averaged_weights_are_validated_at_the_same_steps() -> None:
    """What the pruner sees is the same, too."""
    found, whole = (
        train(jobs.build, parts, total_steps=80, rungs=rungs_of(80), ema_rungs=(40, 60)) for parts in (2, 1)
    )
    assert [step for step, _ in found.watcher.ema_rungs] == [40, 60]
    expected = [y for _, y in whole.watcher.ema_rungs]
    assert [y for _, y in found.watcher.ema_rungs] == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("scheduler", ["onecycle", "plateau", "epoch", "lambda"])
def test_a_jobs_own_scheduler_is_stepped_as_it_was(scheduler: str) -> None:
    fields = {"schedule": None, "args": {"scheduler": scheduler}}
    found, whole = (train(jobs.build, parts, **cast("Any", fields)) for parts in (4, 1))
    assert_same(found, whole)


class EveryOther(jobs.Regression):
    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
        decay = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": decay, "interval": "step", "frequency": 2}}


def every_other() -> Training:
    return jobs.build(module=EveryOther())


def test_a_scheduler_stepped_every_other_batch_is_refused() -> None:
    spec = TrainingSpec(
        job=JobSpec(factory=every_other), monitor="val_loss", total_steps=10, rungs=(10,), split_batches=2
    )
    result = run_trial(spec)
    assert result.outcome == "FAILED"
    assert "frequency in batches" in str(result.reason)


def odd() -> BatchSampler:
    class Odd(BatchSampler):
        """Makes batches of its own, which have no equal parts."""

    return Odd(RandomSampler(jobs.dataset()), batch_size=3, drop_last=False)


@pytest.mark.parametrize(
    ("loader", "why"),
    [
        (lambda: DataLoader(jobs.Stream(), batch_size=8), "an iterable without indices"),
        (lambda: [1, 2], "comes from a list"),
        (lambda: DataLoader(jobs.dataset(), batch_size=None), "makes no batches"),
        (lambda: DataLoader(jobs.dataset(), batch_size=6), "batches of 6 examples have no 4 equal parts"),
        (lambda: DataLoader(jobs.dataset(), sampler=iter(range(64)), batch_size=8), "no length"),
    ],
)
def test_what_has_no_equal_parts_is_refused_with_what_to_do(loader: Any, why: str) -> None:
    training = jobs.build()
    training.data = loader()
    with pytest.raises(JobError, match=why) as e:
        split_batches(training, 4)
    assert "Give the job smaller batches and a larger accumulate_grad_batches" in str(e.value)


@pytest.mark.parametrize(
    ("loader", "why"),
    [
        (lambda: DataLoader(jobs.dataset(), batch_sampler=ByLength()), r"batch sampler of its own \(ByLength\)"),
        (
            lambda: DataLoader(jobs.dataset(), batch_size=8, sampler=WeightedRandomSampler([1.0] * 64, 64)),
            "sampler of its own",
        ),
    ],
)
def test_several_processes_share_plain_samplers_alone(loader: Any, why: str) -> None:
    training = jobs.build()
    training.data = loader()
    with pytest.raises(JobError, match=why):
        split_batches(training, 2, processes=2)


def test_a_batch_that_has_no_equal_parts_ends_the_trial_with_its_size() -> None:
    spec = TrainingSpec(
        job=JobSpec(factory=lambda: examples(64, batch_sampler=odd())),
        monitor="val_loss",
        total_steps=10,
        rungs=(10,),
        split_batches=2,
    )
    result = run_trial(spec)
    assert result.outcome == "FAILED"
    assert "makes a batch of 3 examples, which have no 2 equal parts" in str(result.reason)


def test_the_weights_of_parts_are_shares_of_their_batch() -> None:
    training = jobs.build()
    training.data = DataLoader(TensorDataset(torch.arange(13)), batch_size=8)
    split_batches(training, 4)
    loader = cast("Any", training.data)
    assert [len(batch[0]) for batch in loader] == [2, 2, 2, 2, 2, 1, 1, 1]
    assert [part_weight(loader, i) for i in range(8)] == [1.0] * 4 + [4 * 2 / 5] + [4 / 5] * 3
    assert (len(loader), loader_batch_size(loader), training.trainer["accumulate_grad_batches"]) == (8, 2, 4)
    assert part_weight(jobs.loader(), 3) == 1.0
    assert isinstance(loader.batch_sampler, SplitBatches)
