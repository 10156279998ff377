"""A small MLP on the prices of 53,917 diamonds: Adam at a constant 1e-3.

The data is the diamonds table that the package `plotnine` ships (the one of ggplot2). The target is the logarithm of
the price in dollars, less its mean, so that `val_loss`, a mean squared error, is about the squared relative error of
the price.
"""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name that everybody knows it by
from torch.utils.data import DataLoader, TensorDataset

from autowarm import Training

# Which diamonds validate, the same for every trial and every seed of a trial.
SPLIT_SEED = 0
VALIDATION = 2000


class PriceMLP(LightningModule):
    """An MLP of three layers; logs `train_loss` and `val_loss`, mean squared errors of the log price.

    Args:
        columns: columns of the table.
        lr: learning rate, greater than 0.
        width: of the two hidden layers, at least 1.
    """

    def __init__(self, columns: int, lr: float, width: int = 64) -> None:
        super().__init__()
        self.lr = lr
        self.layers = nn.Sequential(
            nn.Linear(columns, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1)
        )

    def forward(self, table: Tensor) -> Tensor:
        """Return log prices of shape (batch,) for rows of shape (batch, columns)."""
        prices: Tensor = self.layers(table)
        return prices[:, 0]

    def training_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        """Return and log the training loss."""
        rows, prices = batch
        loss = F.mse_loss(self(rows), prices)
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor]) -> None:
        """Log the validation loss."""
        rows, prices = batch
        self.log("val_loss", F.mse_loss(self(rows), prices), batch_size=len(prices))

    def configure_optimizers(self) -> torch.optim.Adam:
        """Return Adam at a constant learning rate."""
        return torch.optim.Adam(self.parameters(), lr=self.lr)


@cache
def datasets() -> tuple[TensorDataset, TensorDataset]:
    """Return 51,917 diamonds to train on and 2,000 to validate on: numbers scaled, categories one-hot."""
    # not imported: plotnine takes a second, and the table is a file of it
    spec = importlib.util.find_spec("plotnine")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("plotnine is not installed: run `make .venv-race/ready`", name="plotnine")
    table = pd.read_csv(Path(spec.origin).parent / "data" / "diamonds.csv")
    # a few diamonds measure 0 mm or 30 to 60 mm: mistakes that would decide a mean squared error
    table = table[table[["x", "y", "z"]].gt(0).all(axis=1) & table[["x", "y", "z"]].lt(20).all(axis=1)]
    table = table.sample(frac=1.0, random_state=SPLIT_SEED, ignore_index=True)
    log_price = np.log(table.pop("price"))
    numbers = table[["carat", "depth", "table", "x", "y", "z"]]
    numbers = (numbers - numbers.mean()) / numbers.std()
    rows = pd.concat([numbers, pd.get_dummies(table[["cut", "color", "clarity"]])], axis=1)
    x = torch.as_tensor(rows.to_numpy(dtype=np.float32))
    y = torch.as_tensor((log_price - log_price.mean()).to_numpy(dtype=np.float32))
    return TensorDataset(x[VALIDATION:], y[VALIDATION:]), TensorDataset(x[:VALIDATION], y[:VALIDATION])


def build(
    lr: float = 1e-3,
    total_steps: int = 500,
    *,
    width: int = 64,
    batch_size: int = 64,
    accelerator: str = "cpu",
) -> Training:
    """Build one fresh training; the race has it at its defaults.

    Args:
        lr: learning rate, constant, greater than 0: what a tuned schedule takes the place of.
        total_steps: optimizer steps, at least 1.
        width: of the two hidden layers.
        batch_size: diamonds in a step.
        accelerator: of the Trainer.
    """
    train, val = datasets()
    return Training(
        module=PriceMLP(train.tensors[0].shape[1], lr, width),
        data=DataLoader(train, batch_size=batch_size, shuffle=True),
        val_data=DataLoader(val, batch_size=len(val)),
        trainer={"max_steps": total_steps, "accelerator": accelerator, "devices": 1, "logger": False},
    )
