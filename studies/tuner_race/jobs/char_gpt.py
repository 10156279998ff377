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
def _data() -> ShakespeareData:
    """Return the plays, cut once in a process."""
    return ShakespeareData(batch_size=BATCH_SIZE, block_size=BLOCK_SIZE, val_blocks=VAL_BLOCKS)


def model(lr: float) -> CharGPT:
    """Return a fresh model, the one that `finetune_gpt` starts from, too."""
    return CharGPT(n_layer=2, n_head=2, n_embd=N_EMBD, block_size=BLOCK_SIZE, lr=lr)


def build(lr: float = 1e-3, total_steps: int = 300) -> Training:
    """Build one fresh training.

    Args:
        lr: learning rate, constant, greater than 0: what a tuned schedule takes the place of.
        total_steps: optimizer steps, at least 1.
    """
    data = _data()
    return Training(
        module=model(lr),
        data=data.train_dataloader(),
        val_data=data.val_dataloader(),
        trainer={"max_steps": total_steps, "accelerator": "cpu", "devices": 1, "logger": False},
    )
