from __future__ import annotations

from typing import Any

import pytest
import sample_jobs as jobs
import torch
from torch.utils.data import DataLoader, WeightedRandomSampler

from autowarm import Training
from autowarm.errors import JobError
from autowarm.specs import JobSpec, TrainingSpec
from autowarm.subset import take_subset
from autowarm.trial import prepare


def examples(training: Training) -> set[float]:
    source: Any = training.data
    loader = source.train_dataloader() if hasattr(source, "train_dataloader") else source
    return {float(y) for _, ys in loader for y in ys}


@pytest.mark.parametrize("factory", [jobs.build, jobs.from_datamodule])
def test_a_subset_is_the_same_examples_for_the_same_size_and_part_of_a_larger_one(factory: Any) -> None:
    def of(size: int) -> set[float]:
        training = factory()
        take_subset(training, size)
        return examples(training)

    assert len(of(20)) == 20
    assert of(20) == of(20)
    assert of(20) < of(40) < examples(factory())


def test_a_subset_keeps_the_loader_as_it_is() -> None:
    training = jobs.build()
    training.data = DataLoader(jobs.dataset(), batch_size=4, shuffle=False, drop_last=True)
    take_subset(training, 22)
    loader: Any = training.data
    assert (loader.batch_size, loader.drop_last, len(loader)) == (4, True, 5)
    assert isinstance(loader.sampler, torch.utils.data.SequentialSampler)


@pytest.mark.parametrize(
    ("loader", "why"),
    [
        (lambda: DataLoader(jobs.dataset(), sampler=WeightedRandomSampler([1.0] * 64, 64)), "WeightedRandomSampler"),
        (lambda: DataLoader(jobs.Stream()), "iterable"),
        (lambda: [1, 2, 3], "list"),
        (
            lambda: DataLoader(
                jobs.dataset(), sampler=torch.utils.data.RandomSampler(jobs.dataset(), replacement=True)
            ),
            "with replacement",
        ),
    ],
)
def test_a_subset_is_refused_where_it_would_change_how_examples_are_drawn(loader: Any, why: str) -> None:
    training = jobs.build()
    training.data = loader()
    with pytest.raises(JobError, match=why) as e:
        take_subset(training, 20)
    assert "Give the job an argument for its number of examples, and name it in the study: job: {" in str(e.value)
    assert "dataset_size_arg: n_examples" in str(e.value)


@pytest.mark.parametrize("factory", [jobs.sized_stream, jobs.weighted])
def test_a_job_with_an_argument_for_its_size_is_given_it_and_nothing_is_taken_by_index(factory: Any) -> None:
    def of(size: int | None) -> set[float]:
        job = JobSpec(factory=factory, dataset_size_arg="n_examples")
        training = prepare(TrainingSpec(job=job, monitor=None, total_steps=10, dataset_size=size))
        found: set[float] = set().union(*(examples(training) for _ in range(20)))
        return found

    first = {float(y) for y in jobs.dataset().tensors[1][:20]}
    assert of(20) == first
    assert len(of(None)) == jobs.EXAMPLES


def test_a_subset_larger_than_the_data_is_refused() -> None:
    with pytest.raises(JobError, match="more than the job's 64 training examples"):
        take_subset(jobs.build(), 65)
