"""Two of the study's trainings: a convolutional net on Fashion-MNIST and an LSTM on Shakespeare.

The images are those of Debian's package `dataset-fashion-mnist` (Xiao et al., Fashion-MNIST: a Novel Image Dataset for
Benchmarking Machine Learning Algorithms, 2017): 28 x 28 grey pixels, ten kinds of clothing. The first ones of each file
are taken; the files are in no order.
"""

from __future__ import annotations

import gzip
from functools import cache
from pathlib import Path

import numpy as np
import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name that everybody knows it by
from torch.utils.data import DataLoader, TensorDataset

from autowarm import Training
from autowarm.demo.char_gpt import VOCAB_SIZE, CharModel, ShakespeareData

FASHION = Path("/usr/share/datasets/fashion-mnist")
# of the files: four numbers before the pixels, two before the labels, each of four bytes
_IMAGES_HEAD, _LABELS_HEAD = 16, 8
_PIXELS = 28 * 28


class FashionConv(LightningModule):
    """Two convolutions with pooling and two linear layers; logs `train_loss` and `val_loss` in nats.

    Args:
        width: channels of the first convolution, at least 1.
        lr: learning rate, greater than 0.
    """

    def __init__(self, width: int, lr: float) -> None:
        super().__init__()
        self.lr = lr
        self.layers = nn.Sequential(
            nn.Conv2d(1, width, 5, stride=2, padding=2),
            nn.ReLU(),
            nn.Conv2d(width, 2 * width, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(49 * 2 * width, 8 * width),
            nn.ReLU(),
            nn.Linear(8 * width, 10),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Return logits of shape (batch, 10) for images of shape (batch, 1, 28, 28)."""
        logits: Tensor = self.layers(images)
        return logits

    def training_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        """Return and log the training loss."""
        images, kinds = batch
        loss = F.cross_entropy(self(images), kinds)
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor]) -> None:
        """Log the validation loss."""
        images, kinds = batch
        self.log("val_loss", F.cross_entropy(self(images), kinds), batch_size=len(kinds))

    def configure_optimizers(self) -> torch.optim.SGD:
        """Return SGD with momentum at a constant learning rate."""
        return torch.optim.SGD(self.parameters(), lr=self.lr, momentum=0.9)


class CharLSTM(CharModel):
    """An LSTM that learns to write Shakespeare letter by letter; logs `train_loss` and `val_loss` in nats.

    Args:
        width: of the embedding and of the hidden state, at least 1.
        layers: LSTM layers, at least 1.
        lr: learning rate, greater than 0.
    """

    def __init__(self, width: int, layers: int, lr: float) -> None:
        super().__init__()
        self.lr = lr
        self.characters = nn.Embedding(VOCAB_SIZE, width)
        self.lstm = nn.LSTM(width, width, layers, batch_first=True)
        self.head = nn.Linear(width, VOCAB_SIZE)

    def forward(self, characters: Tensor) -> Tensor:
        """Return logits of shape (batch, time, 73) for characters of shape (batch, time)."""
        states, _ = self.lstm(self.characters(characters))
        logits: Tensor = self.head(states)
        return logits

    def configure_optimizers(self) -> torch.optim.Adam:
        """Return Adam at a constant learning rate."""
        return torch.optim.Adam(self.parameters(), lr=self.lr)


@cache
def fashion(part: str, n: int) -> TensorDataset:
    """Return the first images of a part and what they show: pixels in [0, 1], shape (n, 1, 28, 28).

    Args:
        part: `train`, of 60,000 images, or `t10k`, of 10,000.
        n: how many, at least 1.

    Raises:
        FileNotFoundError: the package is not installed.
    """
    files = [FASHION / f"{part}-{kind}-ubyte.gz" for kind in ("images-idx3", "labels-idx1")]
    if not all(file.is_file() for file in files):
        raise FileNotFoundError(
            f"there is no Fashion-MNIST in {FASHION}: install Debian's package, `apt-get install dataset-fashion-mnist`"
        )
    with gzip.open(files[0]) as images, gzip.open(files[1]) as labels:
        images.read(_IMAGES_HEAD)
        labels.read(_LABELS_HEAD)
        pixels = np.frombuffer(images.read(n * _PIXELS), dtype=np.uint8)
        kinds = np.frombuffer(labels.read(n), dtype=np.uint8)
    x = torch.as_tensor(pixels.astype(np.float32) / 255).view(-1, 1, 28, 28)
    return TensorDataset(x, torch.as_tensor(kinds.astype(np.int64)))


@cache
def _text(batch_size: int, block_size: int, val_blocks: int) -> ShakespeareData:
    """Return the plays, cut once in a process."""
    return ShakespeareData(batch_size=batch_size, block_size=block_size, val_blocks=val_blocks)


def fashion_conv(
    *,
    lr: float = 1e-2,
    width: int = 8,
    n_train: int = 8000,
    n_val: int = 2000,
    batch_size: int = 32,
    total_steps: int = 300,
    accelerator: str = "cpu",
) -> Training:
    """Build one fresh training of the convolutional net.

    Args:
        lr: learning rate, constant, greater than 0: what a tuned schedule takes the place of.
        width: channels of the first convolution.
        n_train: images to train on, at most 60,000.
        n_val: images to validate on, at most 10,000.
        batch_size: images in a step.
        total_steps: optimizer steps, at least 1.
        accelerator: of the Trainer.
    """
    return Training(
        module=FashionConv(width, lr),
        data=DataLoader(fashion("train", n_train), batch_size=batch_size, shuffle=True),
        val_data=DataLoader(fashion("t10k", n_val), batch_size=n_val),
        trainer={"max_steps": total_steps, "accelerator": accelerator, "devices": 1, "logger": False},
    )


def char_lstm(
    *,
    lr: float = 1e-3,
    width: int = 64,
    layers: int = 1,
    block_size: int = 32,
    batch_size: int = 16,
    val_blocks: int = 128,
    total_steps: int = 300,
    accelerator: str = "cpu",
) -> Training:
    """Build one fresh training of the LSTM.

    Args:
        lr: learning rate, constant, greater than 0: what a tuned schedule takes the place of.
        width: of the hidden state.
        layers: LSTM layers.
        block_size: characters that it reads at once.
        batch_size: blocks of text in a step.
        val_blocks: blocks of text to validate on.
        total_steps: optimizer steps, at least 1.
        accelerator: of the Trainer.
    """
    data = _text(batch_size, block_size, val_blocks)
    return Training(
        module=CharLSTM(width, layers, lr),
        data=data.train_dataloader(),
        val_data=DataLoader(data.val_dataloader().dataset, batch_size=val_blocks),
        trainer={"max_steps": total_steps, "accelerator": accelerator, "devices": 1, "logger": False},
    )
