"""A job as a Python factory: an MLP on scikit-learn's handwritten digits, seconds of training on a CPU.

The data (1797 images of 8 x 8 pixels, 10 classes) comes with scikit-learn: the test part of the UCI set
"Optical Recognition of Handwritten Digits".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import torch
from lightning.pytorch import LightningModule
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name that everybody knows it by
from torch.utils.data import DataLoader, TensorDataset

from autowarm import Training

if TYPE_CHECKING:
    from collections.abc import Sequence

# Which images validate, the same for every trial and every seed of a trial.
SPLIT_SEED = 0

# (pixels in [0, 1], shape (batch, 64), float32; digits, shape (batch,), int64)
Batch: TypeAlias = tuple[Tensor, Tensor]


class DigitsMLP(LightningModule):
    """An MLP with ReLUs, trained with AdamW at a constant learning rate.

    Logs `train_loss` and `val_loss`, mean cross-entropies in nats, and `val_acc`, the share of right answers.

    Args:
        hidden: widths of the hidden layers, each at least 1.
        lr: learning rate, greater than 0.
    """

    def __init__(self, *, hidden: Sequence[int], lr: float) -> None:
        super().__init__()
        self.lr = lr
        layers: list[nn.Module] = []
        width = 64
        for next_width in hidden:
            layers += [nn.Linear(width, next_width), nn.ReLU()]
            width = next_width
        self.layers = nn.Sequential(*layers, nn.Linear(width, 10))

    def forward(self, pixels: Tensor) -> Tensor:
        """Return logits of shape (batch, 10) for pixels of shape (batch, 64)."""
        logits: Tensor = self.layers(pixels)
        return logits

    def training_step(self, batch: Batch) -> Tensor:
        """Return and log the training loss."""
        pixels, digits = batch
        loss = F.cross_entropy(self(pixels), digits)
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: Batch) -> None:
        """Log the validation loss and accuracy."""
        pixels, digits = batch
        logits = self(pixels)
        right = (logits.argmax(dim=1) == digits).float().mean()
        metrics = {"val_loss": F.cross_entropy(logits, digits), "val_acc": right}
        self.log_dict(metrics, batch_size=len(digits))

    def configure_optimizers(self) -> torch.optim.AdamW:
        """Return AdamW at a constant learning rate."""
        return torch.optim.AdamW(self.parameters(), lr=self.lr)


def build(
    batch_size: int = 64, hidden: Sequence[int] = (128, 128), lr: float = 1e-3, total_steps: int = 300
) -> Training:
    """Build one fresh training.

    Args:
        batch_size: images in a batch, at least 1.
        hidden: widths of the hidden layers.
        lr: learning rate, constant, greater than 0: what a tuned schedule takes the place of.
        total_steps: optimizer steps, at least 1.
    """
    train, val = datasets()
    return Training(
        module=DigitsMLP(hidden=hidden, lr=lr),
        data=DataLoader(train, batch_size=batch_size, shuffle=True),
        # one batch: a validation then costs a third of a training step or so
        val_data=DataLoader(val, batch_size=len(val)),
        trainer={
            "max_steps": total_steps,
            "accelerator": "cpu",
            "devices": 1,
            "logger": False,
            "enable_checkpointing": False,
        },
    )


def datasets() -> tuple[TensorDataset, TensorDataset]:
    """Return 1437 images to train on and 360 to validate on, with the same share of each digit in both."""
    pixels, digits = load_digits(return_X_y=True)
    train, val = train_test_split(range(len(digits)), test_size=0.2, stratify=digits, random_state=SPLIT_SEED)
    # grey levels are 0 .. 16
    x = torch.as_tensor(pixels / 16.0, dtype=torch.float32)
    y = torch.as_tensor(digits, dtype=torch.int64)
    return TensorDataset(x[train], y[train]), TensorDataset(x[val], y[val])
