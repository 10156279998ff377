"""A character GPT that has learnt Shakespeare is fine-tuned on the reference manual of Python: AdamW at 3e-4.

The text is the standard library's `pydoc_data.topics`, which holds sections of the reference manual (and differs a
little between versions of Python). Characters that Shakespeare does not have are left out. What is fine-tuned is
trained once, with a seed of its own, and kept in `.cache` beside the race:

    python -m studies.tuner_race.jobs.finetune_gpt
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from pydoc_data.topics import topics

import numpy as np
import torch
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from autowarm import Training
from autowarm.demo.char_gpt import CharGPT, ShakespeareData, cut, read_text, vocabulary
from studies.tuner_race.jobs.char_gpt import BATCH_SIZE, BLOCK_SIZE, VAL_BLOCKS, model

PRETRAINING_STEPS = 3000
PRETRAINING_LR = 3e-3
CACHE = Path(__file__).parents[1] / ".cache" / f"pretrained_{PRETRAINING_STEPS}.pt"


def pretrain() -> dict[str, Tensor]:
    """Train the model on Shakespeare: AdamW, 100 steps of warmup, then linearly to 0; the same weights every time."""
    with isolate_rng():  # a job that has to make its weights trains as one that finds them
        torch.manual_seed(0)
        gpt = model(PRETRAINING_LR)
        optimizer = gpt.configure_optimizers()
        scheduler = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: min((step + 1) / 100, (PRETRAINING_STEPS - step) / (PRETRAINING_STEPS - 100))
        )
        blocks = ShakespeareData(block_size=BLOCK_SIZE).train_blocks
        generator = torch.Generator().manual_seed(0)
        for _ in range(PRETRAINING_STEPS):
            batch = blocks[torch.randint(len(blocks), (BATCH_SIZE,), generator=generator)]
            optimizer.zero_grad()
            loss = gpt.loss((batch[:, :-1], batch[:, 1:]))
            torch.autograd.backward(loss)
            optimizer.step()
            scheduler.step()
    return gpt.state_dict()


@cache
def pretrained() -> dict[str, Tensor]:
    """Return the weights that are fine-tuned, made first where they are missing."""
    if not CACHE.exists():
        CACHE.parent.mkdir(exist_ok=True)
        part = CACHE.with_suffix(f".{os.getpid()}")
        torch.save(pretrain(), part)
        part.replace(CACHE)
    weights: dict[str, Tensor] = torch.load(CACHE, weights_only=True)
    return weights


@cache
def datasets() -> tuple[TensorDataset, TensorDataset]:
    """Return nine tenths of the manual to train on, and blocks spread over the last tenth to validate on."""
    known = vocabulary(read_text())
    number_of = {character: number for number, character in enumerate(known)}
    text = "\n".join(topics[name] for name in sorted(topics))
    numbers = torch.from_numpy(np.array([number_of[c] for c in text if c in number_of], dtype=np.int64))
    split = len(numbers) * 9 // 10
    rest = cut(numbers[split:], BLOCK_SIZE)
    rest = rest[torch.arange(VAL_BLOCKS) * len(rest) // VAL_BLOCKS]
    train = cut(numbers[:split], BLOCK_SIZE)
    return TensorDataset(train[:, :-1], train[:, 1:]), TensorDataset(rest[:, :-1], rest[:, 1:])


def build(lr: float = 3e-4, total_steps: int = 300) -> Training:
    """Build one fresh training.

    Args:
        lr: learning rate, constant, greater than 0: what a tuned schedule takes the place of.
        total_steps: optimizer steps, at least 1.
    """
    train, val = datasets()
    module: CharGPT = model(lr)
    module.load_state_dict(pretrained())
    return Training(
        module=module,
        data=DataLoader(train, batch_size=BATCH_SIZE, shuffle=True),
        val_data=DataLoader(val, batch_size=BATCH_SIZE),
        trainer={"max_steps": total_steps, "accelerator": "cpu", "devices": 1, "logger": False},
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    pretrained()
    print(CACHE)
