"""A job of the `pytorch_lightning` package, whose classes are not those of `lightning.pytorch`."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
import sample_jobs as jobs
import torch
from pytorch_lightning.callbacks import EarlyStopping
from pytorch_lightning.cli import LightningCLI
from torch import Tensor, nn
from torch.utils.data import DataLoader

from autowarm import Training


class Regression(pl.LightningModule):
    """Linear regression with an epoch scheduler of its own."""

    def __init__(self, lr: float = 0.01) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 1)
        self.lr = lr

    def training_step(self, batch: jobs.Batch) -> Tensor:
        x, y = batch
        return nn.functional.mse_loss(self.layer(x), y)

    def validation_step(self, batch: jobs.Batch) -> None:
        x, y = batch
        self.log("val_loss", nn.functional.mse_loss(self.layer(x), y))
        # as modules that draw pictures do
        if self.logger is not None:
            self.logger.experiment.add_scalar("x", 0.0)  # type: ignore[attr-defined]

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(self.parameters(), lr=self.lr)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.5)]


class Data(pl.LightningDataModule):
    """The examples of the sample jobs."""

    def train_dataloader(self) -> DataLoader[Any]:
        return jobs.loader()

    def val_dataloader(self) -> DataLoader[Any]:
        return jobs.loader(shuffle=False)


class OwnCLI(LightningCLI):
    """A project's own command line."""

    def __init__(self, **keywords: Any) -> None:
        super().__init__(Regression, Data, **keywords)


def build() -> Training:
    """A factory's job."""
    trainer = {"max_epochs": 5, "accelerator": "cpu", "callbacks": [EarlyStopping("val_loss", patience=1)]}
    return Training(module=Regression(), data=Data(), trainer=trainer)
