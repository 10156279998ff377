"""Small jobs that tests train: linear regression in milliseconds, and the ways in which a job can go wrong."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningDataModule, LightningModule
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.cli import LightningCLI
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader, IterableDataset, TensorDataset, WeightedRandomSampler

from autowarm import Schedule, Training, WarmupModule

Batch = list[Tensor]
EXAMPLES = 64
BATCH_SIZE = 8


class Regression(LightningModule):
    """Linear regression; `scheduler` names the module's own scheduler.

    Args:
        lr: learning rate.
        scheduler: `none`, `onecycle`, `plateau`, `epoch`, `cosine` or `lambda`.
        adam: AdamW instead of SGD.
        dropout: draws random numbers in training.
    """

    def __init__(self, lr: float = 0.01, scheduler: str = "none", *, adam: bool = False, dropout: float = 0.0) -> None:
        super().__init__()
        self.network = nn.Sequential(nn.Dropout(dropout), nn.Linear(4, 1))
        self.lr = lr
        self.scheduler = scheduler
        self.adam = adam

    def training_step(self, batch: Batch) -> Tensor:
        x, y = batch
        loss = nn.functional.mse_loss(self.network(x), y)
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: Batch) -> None:
        x, y = batch
        noise = torch.randn(1)  # a validation that draws random numbers, as samplers of text do
        self.log("val_loss", nn.functional.mse_loss(self.network(x), y) + 0.0 * noise.sum())

    def configure_optimizers(self) -> Any:
        kind = torch.optim.AdamW if self.adam else torch.optim.SGD
        optimizer: Optimizer = kind(self.parameters(), lr=self.lr)
        schedulers = torch.optim.lr_scheduler
        if self.scheduler == "none":
            return optimizer
        if self.scheduler == "onecycle":
            one = schedulers.OneCycleLR(optimizer, max_lr=0.3, total_steps=int(self.trainer.estimated_stepping_batches))
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": one, "interval": "step"}}
        if self.scheduler == "plateau":
            plateau = schedulers.ReduceLROnPlateau(optimizer)
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": plateau, "monitor": "train_loss"}}
        if self.scheduler == "epoch":
            return [optimizer], [schedulers.StepLR(optimizer, step_size=1, gamma=0.5)]
        total = int(self.trainer.estimated_stepping_batches)
        if self.scheduler == "cosine":
            cosine = schedulers.CosineAnnealingLR(optimizer, T_max=total)
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": cosine, "interval": "step"}}
        # transformers' get_linear_schedule_with_warmup is such a LambdaLR
        warmup = total // 10
        factor = schedulers.LambdaLR(
            optimizer, lambda s: s / warmup if s < warmup else max(0.0, (total - s) / (total - warmup))
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": factor, "interval": "step"}}


class RegressionData(LightningDataModule):
    """The same 64 examples, from a LightningDataModule."""

    def train_dataloader(self) -> DataLoader[Any]:
        return loader()

    def val_dataloader(self) -> DataLoader[Any]:
        return loader(shuffle=False)


def dataset() -> TensorDataset:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(EXAMPLES, 4, generator=generator)
    return TensorDataset(x, x.sum(dim=1, keepdim=True))


def loader(*, shuffle: bool = True) -> DataLoader[Any]:
    return DataLoader(dataset(), batch_size=BATCH_SIZE, shuffle=shuffle)


def build(**arguments: Any) -> Training:
    """The job that works; keywords are the module's, but `trainer` and `module`."""
    trainer = {"max_steps": 40, "accelerator": "cpu", **arguments.pop("trainer", {})}
    module = arguments.pop("module", None) or Regression(**arguments)
    return Training(module=module, data=loader(), val_data=loader(shuffle=False), trainer=trainer)


def from_datamodule() -> Training:
    return Training(module=Regression(), data=RegressionData(), trainer={"max_epochs": 3, "accelerator": "cpu"})


def warmup_module(warmup_ratio: float = 0.2) -> Training:
    schedule = Schedule(initial_lr=0.05, warmup_ratio=warmup_ratio, decay="cosine")
    return build(module=WarmupModule(nn.Linear(4, 1), nn.functional.mse_loss, schedule, optimizer=torch.optim.SGD))


def with_early_stopping() -> Training:
    return build(trainer={"callbacks": [EarlyStopping("val_loss", patience=1, mode="max")]})


def unlimited() -> Training:
    return build(trainer={"max_steps": -1})


def by_time() -> Training:
    return build(trainer={"max_steps": -1, "max_time": "00:00:10:00"})


class Stream(IterableDataset[Any]):
    """The first examples, without a length."""

    def __init__(self, n_examples: int = EXAMPLES) -> None:
        self.n_examples = n_examples

    def __iter__(self) -> Iterator[Any]:
        data = dataset()
        yield from (data[i] for i in range(self.n_examples))


def stream(max_steps: int = -1) -> Training:
    data = DataLoader(Stream(), batch_size=BATCH_SIZE)
    trainer = {"accelerator": "cpu", "max_steps": max_steps, "max_epochs": 2 if max_steps == -1 else None}
    return Training(module=Regression(), data=data, val_data=loader(shuffle=False), trainer=trainer)


def sized_stream(n_examples: int = EXAMPLES) -> Training:
    """A job whose examples have no indices, and whose number is an argument."""
    data = DataLoader(Stream(n_examples), batch_size=BATCH_SIZE)
    trainer = {"accelerator": "cpu", "max_steps": 40}
    return Training(module=Regression(), data=data, val_data=loader(shuffle=False), trainer=trainer)


class WeightedData(RegressionData):
    """The first `n_examples`, drawn by a sampler of its own."""

    def __init__(self, n_examples: int = EXAMPLES) -> None:
        super().__init__()
        self.n_examples = n_examples

    def train_dataloader(self) -> DataLoader[Any]:
        data = TensorDataset(*dataset()[: self.n_examples])
        sampler = WeightedRandomSampler([1.0] * self.n_examples, self.n_examples)
        return DataLoader(data, batch_size=BATCH_SIZE, sampler=sampler)


def weighted(n_examples: int = EXAMPLES) -> Training:
    return Training(module=Regression(), data=WeightedData(n_examples), trainer={"accelerator": "cpu", "max_steps": 40})


class Raises(Regression):
    """Raises in its third step."""

    def training_step(self, batch: Batch) -> Tensor:
        if self.global_step == 2:
            raise ValueError("the third step is cursed\nand has more to say")
        return super().training_step(batch)


def raises() -> Training:
    return build(module=Raises())


def raises_when_built() -> Training:
    raise FileNotFoundError("data.csv is not here")


class Killed(Regression):
    """Is killed in its third step, as by the kernel when memory is out."""

    def training_step(self, batch: Batch) -> Tensor:
        if self.global_step == 2 and self.trainer.max_steps != 7:
            print("last words")
            os.kill(os.getpid(), signal.SIGKILL)
        return super().training_step(batch)


def killed() -> Training:
    return build(module=Killed())


class Slow(Regression):
    """Takes 50 ms a step."""

    def training_step(self, batch: Batch) -> Tensor:
        time.sleep(0.05)
        return super().training_step(batch)


def slow() -> Training:
    return build(module=Slow(), trainer={"max_steps": 400})


class Deaf(Regression):
    """Takes a minute in its fifth step, and hears nothing meanwhile."""

    def training_step(self, batch: Batch) -> Tensor:
        if self.global_step == 4:
            time.sleep(60)
        return super().training_step(batch)


class Manual(Regression):
    """Optimizes by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False


def manual() -> Training:
    return build(module=Manual())


class TwoOptimizers(Manual):
    """Has two optimizers, which Lightning allows with manual optimization only."""

    def configure_optimizers(self) -> Any:
        return [torch.optim.SGD(self.parameters(), lr=0.1), torch.optim.SGD(self.parameters(), lr=0.1)]


class StopsItself(Regression):
    """Ends its training in the middle."""

    def on_train_batch_end(self, *_: Any) -> None:
        if self.global_step == 5:
            self.trainer.should_stop = True


def stops_itself() -> Training:
    return build(module=StopsItself())


def not_a_training() -> str:
    return "oops"


class Recorder(Callback):
    """Keeps the learning rates that the optimizer steps use: shape (steps, param groups)."""

    def __init__(self) -> None:
        self.lrs: list[list[float]] = []

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Optimizer) -> None:
        self.lrs.append([float(group["lr"]) for group in optimizer.param_groups])


class PrintLrs(Callback):
    """Prints the learning rate of each optimizer step."""

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Optimizer) -> None:
        print(f"lr={optimizer.param_groups[0]['lr']!r}")


class OwnCLI(LightningCLI):
    """A project's own command line, which knows its model and data."""

    def __init__(self, **keywords: Any) -> None:
        super().__init__(Regression, RegressionData, **keywords)


class Ranked(Regression):
    """Writes the learning rates it uses to a file a process; `trouble` befalls the second process in its tenth step."""

    def __init__(self, folder: str, trouble: str | None = None) -> None:
        super().__init__()
        self.folder = folder
        self.trouble = trouble

    def training_step(self, batch: Batch) -> Tensor:
        loss = super().training_step(batch)
        if self.trouble == "slow":
            time.sleep(0.05)
        if self.global_rank == 1 and self.global_step == 9:
            if self.trouble == "raises":
                raise ValueError("only here")
            if self.trouble == "diverges":
                return loss * float("nan")
        return loss

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        with open(f"{self.folder}/{self.global_rank}.lrs", "a") as file:  # noqa: PTH123
            file.write(f"{os.getpid()} {optimizer.param_groups[0]['lr']!r}\n")


def ddp(folder: str, trouble: str | None = None) -> Training:
    return build(module=Ranked(folder, trouble), trainer={"devices": 2, "strategy": "ddp", "max_steps": 20})


class Scored(Regression):
    """Logs `score`, of which more is better, and `still`, which never changes."""

    def validation_step(self, batch: Batch) -> None:
        x, y = batch
        self.log("score", -nn.functional.mse_loss(self.network(x), y))
        self.log("still", 1.0)


def scored() -> Training:
    return build(module=Scored())


def warmed_up(warmup_steps: int = 64) -> Training:
    schedule = Schedule(initial_lr=0.05, warmup_steps=warmup_steps, decay="linear")
    return build(module=WarmupModule(nn.Linear(4, 1), nn.functional.mse_loss, schedule, optimizer=torch.optim.SGD))


class Signed(TensorDataset):
    """The same 64 examples; each process that loads one leaves a file named by its id in a folder.

    Args:
        folder: where.
        stuck: loading an example of the second half takes an hour; a file `stuck` says that it has begun.
    """

    def __init__(self, folder: str, *, stuck: bool) -> None:
        super().__init__(*dataset().tensors)
        self.folder = folder
        self.stuck = stuck

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        Path(self.folder, str(os.getpid())).touch()
        if self.stuck and index >= EXAMPLES // 2:
            Path(self.folder, "stuck").touch()
            time.sleep(3600)
        return tuple(tensor[index] for tensor in self.tensors)


def with_workers(folder: str, *, stuck: bool = False, killed: bool = False) -> Training:
    """A job whose data is loaded by two processes."""
    data = DataLoader(Signed(folder, stuck=stuck), batch_size=BATCH_SIZE, num_workers=2, persistent_workers=True)
    module = Killed() if killed else Regression()
    return Training(module=module, data=data, val_data=loader(shuffle=False), trainer={"accelerator": "cpu"})


class NoMemory(Regression):
    """Has memory for batches of 2 examples."""

    def training_step(self, batch: Batch) -> Tensor:
        if len(batch[0]) > 2:
            # as torch does where the GPU has no room
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has 3 bytes free")
        return super().training_step(batch)


def no_memory() -> Training:
    return build(module=NoMemory())


def sees(file: str) -> Training:
    """A job that writes down which GPUs it sees."""
    with open(file, "a", encoding="utf-8") as out:  # noqa: PTH123
        out.write(f"{os.environ.get('CUDA_VISIBLE_DEVICES')}\n")
    return build()
