"""A convolutional net without normalisation on scikit-learn's handwritten digits: SGD with momentum, constant .01.

Of 1437 images of 8 x 8 pixels, three in ten get a label drawn at random: otherwise every sensible learning rate ends
with next to no loss. The 360 images that validate are labelled well. Too high a learning rate diverges.
"""

from __future__ import annotations

from functools import cache

import torch
from lightning.pytorch import LightningModule
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name that everybody knows it by
from torch.utils.data import DataLoader, TensorDataset

from autowarm import Training

# Which images validate and which labels are wrong, the same for every trial and every seed of a trial.
SPLIT_SEED = 0
WRONG = 0.3


class DigitsConv(LightningModule):
    """Two convolutions, pooling, two more, and a linear layer; logs `train_loss` and `val_loss` in nats.

    Args:
        lr: learning rate, greater than 0.
    """

    def __init__(self, lr: float) -> None:
        super().__init__()
        self.lr = lr
        self.layers = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(8, 16, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 16, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, 16, 3, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(256, 10),
        )
        for layer in self.layers:
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        """Return logits of shape (batch, 10) for images of shape (batch, 1, 8, 8)."""
        logits: Tensor = self.layers(images)
        return logits

    def training_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        """Return and log the training loss."""
        images, digits = batch
        loss = F.cross_entropy(self(images), digits)
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor]) -> None:
        """Log the validation loss."""
        images, digits = batch
        self.log("val_loss", F.cross_entropy(self(images), digits), batch_size=len(digits))

    def configure_optimizers(self) -> torch.optim.SGD:
        """Return SGD with momentum at a constant learning rate."""
        return torch.optim.SGD(self.parameters(), lr=self.lr, momentum=0.9)


@cache
def datasets() -> tuple[TensorDataset, TensorDataset]:
    """Return 1437 images to train on and 360 to validate on, with the same share of each digit in both."""
    pixels, digits = load_digits(return_X_y=True)
    train, val = train_test_split(range(len(digits)), test_size=0.2, stratify=digits, random_state=SPLIT_SEED)
    # grey levels are 0 .. 16
    x = torch.as_tensor(pixels / 16.0, dtype=torch.float32).view(-1, 1, 8, 8)
    y = torch.as_tensor(digits, dtype=torch.int64)
    generator = torch.Generator().manual_seed(SPLIT_SEED)
    labels = y[train]
    wrong = torch.rand(len(labels), generator=generator) < WRONG
    labels[wrong] = torch.randint(10, (int(wrong.sum()),), generator=generator)
    return TensorDataset(x[train], labels), TensorDataset(x[val], y[val])


def build(lr: float = 1e-2, total_steps: int = 300) -> Training:
    """Build one fresh training.

    Args:
        lr: learning rate, constant, greater than 0: what a tuned schedule takes the place of.
        total_steps: optimizer steps, at least 1.
    """
    train, val = datasets()
    return Training(
        module=DigitsConv(lr),
        data=DataLoader(train, batch_size=64, shuffle=True),
        val_data=DataLoader(val, batch_size=len(val)),
        trainer={"max_steps": total_steps, "accelerator": "cpu", "devices": 1, "logger": False},
    )
