"""The job that overhead.py times: steps of a given length, in a Python factory and for a LightningCLI file."""

from __future__ import annotations

import torch
from lightning.pytorch import LightningDataModule, LightningModule
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from autowarm import Training


class Sleeper(LightningModule):
    """A small network whose step takes about as long as it is told to, by multiplying matrices.

    Args:
        width: of the square matrices; 0 for a step of no work.
        repeats: products a step.
    """

    def __init__(self, width: int = 0, repeats: int = 1) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 1)
        self.work = torch.ones(width, width) / max(width, 1)
        self.repeats = repeats

    def training_step(self, batch: list[Tensor]) -> Tensor:
        """Return the loss, after the work."""
        for _ in range(self.repeats if len(self.work) else 0):
            self.work = self.work @ self.work
        loss: Tensor = self.layer(batch[0]).square().mean()
        return loss

    def validation_step(self, batch: list[Tensor]) -> None:
        """Log the validation loss."""
        self.log("val_loss", self.layer(batch[0]).square().mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return AdamW."""
        return torch.optim.AdamW(self.parameters(), lr=1e-3)


def loaders() -> tuple[DataLoader[tuple[Tensor, ...]], DataLoader[tuple[Tensor, ...]]]:
    """Return training data of 100 batches, and validation data of one."""
    data = torch.randn(800, 8)
    return DataLoader(TensorDataset(data), batch_size=8), DataLoader(TensorDataset(data[:8]), batch_size=8)


def build(width: int = 0, repeats: int = 1) -> Training:
    """Build the job, as a Python factory."""
    train, val = loaders()
    return Training(module=Sleeper(width, repeats), data=train, val_data=val)


class SleeperData(LightningDataModule):
    """The same data for a LightningCLI file."""

    def train_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        """Return the training data."""
        return loaders()[0]

    def val_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        """Return the validation data."""
        return loaders()[1]
