"""The demo's character GPT on Shakespeare, smaller: AdamW at a constant 1e-3."""

from __future__ import annotations

from functools import cache

from autowarm import Training
from autowarm.demo.char_gpt import CharGPT, ShakespeareData

# validation blocks in batches of BATCH_SIZE: four batches a validation
BATCH_SIZE = 16
VAL_BLOCKS = 64
BLOCK_SIZE = 32
N_EMBD = 32


@cache
def _data(batch_size: int, block_size: int, val_blocks: int) -> ShakespeareData:
    """Return the plays, cut once in a process."""
    return ShakespeareData(batch_size=batch_size, block_size=block_size, val_blocks=val_blocks)


def model(lr: float) -> CharGPT:
    """Return a fresh model, the one that `finetune_gpt` starts from, too."""
    return CharGPT(n_layer=2, n_head=2, n_embd=N_EMBD, block_size=BLOCK_SIZE, lr=lr)


def build(
    lr: float = 1e-3,
    total_steps: int = 300,
    *,
    n_layer: int = 2,
    n_head: int = 2,
    n_embd: int = N_EMBD,
    block_size: int = BLOCK_SIZE,
    batch_size: int = BATCH_SIZE,
    val_blocks: int = VAL_BLOCKS,
    accelerator: str = "cpu",
) -> Training:
    """Build one fresh training; the race has it at its defaults.

    Args:
        lr: learning rate, constant, greater than 0: what a tuned schedule takes the place of.
        total_steps: optimizer steps, at least 1.
        n_layer: transformer layers, at least 1.
        n_head: attention heads, at least 1.
        n_embd: width, a multiple of `n_head`.
        block_size: characters that the model reads at once.
        batch_size: blocks of text in a step.
        val_blocks: blocks of text to validate on.
        accelerator: of the Trainer.
    """
    data = _data(batch_size, block_size, val_blocks)
    return Training(
        module=CharGPT(n_layer=n_layer, n_head=n_head, n_embd=n_embd, block_size=block_size, lr=lr),
        data=data.train_dataloader(),
        val_data=data.val_dataloader(),
        trainer={"max_steps": total_steps, "accelerator": accelerator, "devices": 1, "logger": False},
    )
