"""Training on a part of the examples: the same ones for the same number, and a smaller part within every larger one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from autowarm.errors import JobError
from autowarm.job import Training

if TYPE_CHECKING:
    from torch.utils.data import DataLoader, Dataset

# The examples of a subset are drawn with this seed, whatever the trial's: the same size is the same examples.
SUBSET_SEED = 0


def take_subset(training: Training, dataset_size: int) -> None:
    """Make a training use only `dataset_size` of its examples, the same ones for the same number.

    A smaller subset is part of every larger one.

    Args:
        training: changed in place.
        dataset_size: examples to train on, at least 1 and at most those there are.

    Raises:
        JobError: the training data has no indices or a sampler of its own, or has fewer examples.
    """
    if hasattr(training.data, "train_dataloader"):
        owner = cast("Any", training.data)
        whole = owner.train_dataloader

        def train_dataloader() -> Any:
            return _subset_loader(whole(), dataset_size)

        owner.train_dataloader = train_dataloader
    else:
        training.data = _subset_loader(training.data, dataset_size)


def _subset_loader(loader: Any, dataset_size: int) -> DataLoader[Any]:
    import torch
    from torch.utils.data import BatchSampler, DataLoader, RandomSampler, SequentialSampler, Subset

    why = None
    size = len(loader.dataset) if hasattr(getattr(loader, "dataset", None), "__len__") else 0
    if type(loader) is not DataLoader:
        why = f"the training data comes from a {type(loader).__name__}, not from a plain DataLoader"
    elif isinstance(loader.dataset, torch.utils.data.IterableDataset):
        why = "the training data is an iterable without indices"
    elif type(loader.batch_sampler) is not BatchSampler:
        why = f"the training loader has a batch sampler of its own ({type(loader.batch_sampler).__name__})"
    elif type(loader.sampler) not in (RandomSampler, SequentialSampler):
        why = f"the training loader has a sampler of its own ({type(loader.sampler).__name__})"
    elif isinstance(loader.sampler, RandomSampler) and (
        loader.sampler.replacement or loader.sampler.num_samples != size
    ):
        why = "the training loader draws its samples with replacement or a number of its own"
    if why:
        raise JobError(
            f"dataset_size={dataset_size} cannot be taken from this job, because {why}. Give the job an argument for "
            "its number of examples, and name it in the study: job: {factory: ..., dataset_size_arg: n_examples}, or "
            "job: {config: ..., dataset_size_arg: data.init_args.n_examples}"
        )
    if dataset_size > size:
        raise JobError(f"dataset_size={dataset_size} is more than the job's {size} training examples")
    order = torch.randperm(size, generator=torch.Generator().manual_seed(SUBSET_SEED))
    # sorted, so that a loader that does not shuffle keeps the order of its data
    indices = sorted(order[:dataset_size].tolist())
    return loader_like(
        loader,
        Subset(loader.dataset, indices),
        batch_size=loader.batch_size,
        shuffle=isinstance(loader.sampler, RandomSampler),
        drop_last=loader.drop_last,
    )


def loader_like(loader: DataLoader[Any], dataset: Dataset[Any], **batches: Any) -> DataLoader[Any]:
    """Return a plain DataLoader that loads as another does.

    Args:
        loader: the other.
        dataset: what it loads from.
        batches: keywords that say how examples are drawn and put into batches.
    """
    from torch.utils.data import DataLoader

    names = ["num_workers", "collate_fn", "pin_memory", "timeout", "worker_init_fn", "multiprocessing_context"]
    # torch refuses the first two without workers, and has the last one from 2.7 on
    names += ["prefetch_factor", "persistent_workers"] if loader.num_workers > 0 else []
    names += ["in_order"] if hasattr(loader, "in_order") else []
    return DataLoader(dataset, generator=loader.generator, **{n: getattr(loader, n) for n in names}, **batches)
