"""A character GPT on Shakespeare with its layer norms before or after each part, trained by Adam or by SGD.

Layer norm before each part (pre-LN) is what GPT-2 does; after it (post-LN) is the transformer as it was published
(Vaswani et al., Attention Is All You Need, 2017), which is known to need warmup: at the start its gradients are largest
near the output (Xiong et al., On Layer Normalization in the Transformer Architecture, 2020). Weights of the layers are
drawn as there, by Glorot and Bengio's rule.
"""

from __future__ import annotations

from functools import cache
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name that everybody knows it by

from autowarm import Training
from autowarm.demo.char_gpt import Block, CharGPT, ShakespeareData

Norm: TypeAlias = Literal["pre", "post"]
OptimizerName: TypeAlias = Literal["adam", "sgd"]


class PostNormBlock(Block):
    """One transformer layer as it was published: each part is added to its input, and the sum is normalised."""

    def forward(self, x: Tensor) -> Tensor:
        """Map activations of shape (batch, time, n_embd) to the same shape; time t sees times 0 .. t only."""
        x = self.attention_norm(x + self._drop(self.attention_out(self._attend(x))))
        normed: Tensor = self.mlp_norm(x + self._drop(self.mlp_out(F.gelu(self.mlp_in(x)))))
        return normed


class NormGPT(CharGPT):
    """The character GPT of the demo with either place of the layer norms, and either optimizer.

    Args:
        norm: `pre` or `post`.
        optimizer: `adam`, or `sgd` with a momentum of 0.9.
        n_layer: transformer layers, at least 1.
        n_embd: width; a head for each 16 of it.
        block_size: the longest text it reads, in characters.
        lr: learning rate, greater than 0.

    Raises:
        ValueError: another norm or optimizer.
    """

    def __init__(
        self, *, norm: Norm, optimizer: OptimizerName, n_layer: int, n_embd: int, block_size: int, lr: float
    ) -> None:
        for word, known in ((norm, get_args(Norm)), (optimizer, get_args(OptimizerName))):
            if word not in known:
                raise ValueError(f"must be one of {', '.join(known)}, got {word!r}")
        super().__init__(n_layer=n_layer, n_head=n_embd // 16, n_embd=n_embd, block_size=block_size, lr=lr)
        self.optimizer_name = optimizer
        if norm == "post":
            self.blocks = nn.Sequential(*(PostNormBlock(n_embd, n_embd // 16, 0.0) for _ in range(n_layer)))
            # the last layer has normalised already
            self.norm = nn.Identity()  # type: ignore[assignment]
        for parameter in self.blocks.parameters():
            if parameter.ndim == 2:
                nn.init.xavier_uniform_(parameter)

    def configure_optimizers(self) -> torch.optim.Optimizer:  # type: ignore[override] # SGD is an optimizer, too
        """Return the optimizer at a constant learning rate, without weight decay."""
        if self.optimizer_name == "sgd":
            return torch.optim.SGD(self.parameters(), lr=self.lr, momentum=0.9)
        return torch.optim.Adam(self.parameters(), lr=self.lr)


@cache
def _data(batch_size: int, block_size: int, val_blocks: int) -> ShakespeareData:
    """Return the plays, cut once in a process."""
    return ShakespeareData(batch_size=batch_size, block_size=block_size, val_blocks=val_blocks)


def build(
    *,
    norm: Norm = "pre",
    optimizer: OptimizerName = "adam",
    lr: float = 1e-3,
    n_layer: int = 4,
    n_embd: int = 32,
    block_size: int = 32,
    batch_size: int = 16,
    total_steps: int = 250,
    accelerator: str = "cpu",
) -> Training:
    """Build one fresh training.

    Args:
        norm: where the layer norms are, `pre` or `post`.
        optimizer: `adam` or `sgd`.
        lr: learning rate, constant, greater than 0: what a tuned schedule takes the place of.
        n_layer: transformer layers, at least 1.
        n_embd: width, a multiple of 16.
        block_size: characters that the model reads at once.
        batch_size: blocks of text in a step; four such batches validate.
        total_steps: optimizer steps, at least 1.
        accelerator: of the Trainer.
    """
    data = _data(batch_size, block_size, 4 * batch_size)
    return Training(
        module=NormGPT(norm=norm, optimizer=optimizer, n_layer=n_layer, n_embd=n_embd, block_size=block_size, lr=lr),
        data=data.train_dataloader(),
        val_data=data.val_dataloader(),
        trainer={"max_steps": total_steps, "accelerator": accelerator, "devices": 1, "logger": False},
    )
