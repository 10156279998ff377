"""Jobs of trainings that are interrupted: they draw random numbers wherever a training can."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import sample_jobs as jobs
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, RandomSampler, WeightedRandomSampler
from torchmetrics import MeanMetric

from autowarm import Training

# Builds a job that adds to a list what it ends with.
Factory: TypeAlias = Callable[[list[Any]], Training]


class Drawn(Dataset[list[Tensor]]):
    """Examples with noise of numpy's global generator and of torch's; keeps the indices it was asked for.

    The examples are 60, so that the last batch of an epoch is a small one.
    """

    def __init__(self) -> None:
        self.asked: list[int] = []

    def __len__(self) -> int:
        return 60

    def __getitem__(self, index: int) -> list[Tensor]:
        self.asked.append(index)
        x = torch.randn(4, generator=torch.Generator().manual_seed(index))
        noise = 0.1 * float(np.random.randn()) + 0.1 * torch.randn(1)  # noqa: NPY002
        return [x + noise, x.sum().view(1)]


class Network(jobs.Regression):
    """Dropout and batch normalisation; keeps its weights and the optimizer's state at the end.

    Args:
        ends: takes them.
        momentum: SGD with momentum instead of AdamW.
    """

    def __init__(self, ends: list[Any], *, momentum: bool = False) -> None:
        super().__init__(adam=True)
        self.network = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.2), nn.Linear(8, 1))
        self.ends = ends
        self.momentum = momentum

    def configure_optimizers(self) -> Any:
        if self.momentum:
            return torch.optim.SGD(self.parameters(), lr=0.01, momentum=0.9)
        return torch.optim.AdamW(self.parameters(), lr=0.01)

    def on_train_end(self) -> None:
        states = list(self.trainer.optimizers[0].state.values())
        tensors = [*self.state_dict().values(), *(x for state in states for x in state.values() if x is not None)]
        self.ends.append(torch.cat([x.detach().double().flatten() for x in tensors]))


class Epochs(Network):
    """Logs means over the training epoch: a sum of Lightning's, and a torchmetric of its own."""

    def __init__(self, ends: list[Any]) -> None:
        super().__init__(ends)
        self.metric = MeanMetric()

    def training_step(self, batch: jobs.Batch) -> Tensor:
        loss = super().training_step(batch)
        self.metric.update(loss.detach())
        self.log("mean", loss, on_step=False, on_epoch=True)
        self.log("metric", self.metric, on_step=False, on_epoch=True)
        return loss


class OwnLoader(Network):
    """Has its loaders itself."""

    def train_dataloader(self) -> Any:
        return jobs.loader()

    def val_dataloader(self) -> Any:
        return jobs.loader(shuffle=False)


def _job(train: DataLoader[Any], module: Network, **trainer: Any) -> Training:
    # validation draws from a generator of its own
    validation = DataLoader(
        jobs.dataset(), batch_size=8, sampler=RandomSampler(jobs.dataset(), generator=torch.Generator().manual_seed(5))
    )
    return replace(jobs.build(module=module, trainer=trainer), data=train, val_data=validation)


def _loader(data: Any = None, **keywords: Any) -> DataLoader[Any]:
    keywords = {"shuffle": True, **keywords}
    return DataLoader(data if data is not None else jobs.dataset(), batch_size=8, **keywords)


def _module_as_data(ends: list[Any]) -> Training:
    module = OwnLoader(ends)
    return Training(module=module, data=module, trainer={"accelerator": "cpu"})


def _weighted(ends: list[Any]) -> Training:
    sampler = WeightedRandomSampler([1.0] * jobs.EXAMPLES, jobs.EXAMPLES)
    return _job(_loader(sampler=sampler, shuffle=False), Network(ends))


def _generator(ends: list[Any]) -> Training:
    return _job(_loader(generator=torch.Generator().manual_seed(3)), Network(ends))


def plainly_validated(factory: Factory) -> Factory:
    """Give a job validation data in a fixed order."""

    def build(ends: list[Any]) -> Training:
        training = factory(ends)
        return replace(training, val_data=jobs.loader(shuffle=False)) if training.val_data is not None else training

    return build


# What goes on exactly without data workers.
EXACT: dict[str, Factory] = {
    "AdamW": lambda ends: _job(_loader(), Network(ends)),
    "momentum": lambda ends: _job(_loader(), Network(ends, momentum=True)),
    "accumulation": lambda ends: _job(_loader(), Network(ends), accumulate_grad_batches=3),
    "numpy": lambda ends: _job(_loader(Drawn()), Network(ends)),
    "one batch an epoch": lambda ends: _job(_loader(), Network(ends), limit_train_batches=1),
    "no shuffling": lambda ends: _job(_loader(shuffle=False), Network(ends)),
    "weighted": _weighted,
    "generator": _generator,
    "data module": lambda ends: Training(
        module=Network(ends), data=jobs.RegressionData(), trainer={"accelerator": "cpu"}
    ),
    "module": _module_as_data,
    "reloaded": lambda ends: Training(
        module=Network(ends),
        data=jobs.RegressionData(),
        trainer={"accelerator": "cpu", "reload_dataloaders_every_n_epochs": 2},
    ),
}

# With two data workers.
WORKERS: dict[str, Factory] = {
    "plain": lambda ends: _job(_loader(num_workers=2), Network(ends)),
    "generator": lambda ends: _job(_loader(num_workers=2, generator=torch.Generator().manual_seed(3)), Network(ends)),
    "persistent": lambda ends: _job(_loader(num_workers=2, persistent_workers=True), Network(ends)),
    "that draw": lambda ends: _job(_loader(Drawn(), num_workers=2), Network(ends)),
}


def persistent_that_draw(ends: list[Any]) -> Training:
    return _job(_loader(Drawn(), num_workers=2, persistent_workers=True), Network(ends))


def epochs(ends: list[Any]) -> Training:
    return _job(_loader(), Epochs(ends))


def stream(ends: list[Any]) -> Training:
    return _job(DataLoader(jobs.Stream(), batch_size=8), Network(ends))


class Shuffled(RandomSampler):
    """A sampler of the job's own."""


def own_sampler(ends: list[Any]) -> Training:
    return _job(_loader(sampler=Shuffled(jobs.dataset()), shuffle=False), Network(ends))


class KilledOnce(Network):
    """Is killed in the step after `step`, unless a file says that it was."""

    def __init__(self, folder: str, step: int) -> None:
        super().__init__([])
        self.flag = Path(folder) / "killed"
        self.step = step

    def training_step(self, batch: jobs.Batch) -> Tensor:
        if self.global_step == self.step and not self.flag.exists():
            self.flag.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().training_step(batch)


def killed_once(folder: str, step: int = 21) -> Training:
    return _job(_loader(), KilledOnce(folder, step))


class Long(jobs.Regression):
    """Takes three seconds, and draws random numbers."""

    def __init__(self) -> None:
        super().__init__(adam=True, dropout=0.2)

    def on_train_batch_start(self, batch: jobs.Batch, batch_idx: int) -> None:
        time.sleep(0.025)


def long() -> Training:
    return jobs.build(module=Long())
