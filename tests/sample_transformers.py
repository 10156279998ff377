"""A tiny BERT, random data and a Trainer over them, and what records the learning rates of its steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)


class Words(Dataset[dict[str, torch.Tensor]]):
    """Random token ids, with labels; `size` is in examples."""

    def __init__(self, size: int = 32) -> None:
        generator = torch.Generator().manual_seed(0)
        self.ids = torch.randint(16, (size, 4), generator=generator)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {"input_ids": self.ids[index], "labels": self.ids[index, 0] % 2}


class Lrs(TrainerCallback):
    """Records the learning rates of all param groups at each optimizer step."""

    def __init__(self) -> None:
        self.groups: list[list[float]] = []

    @property
    def first(self) -> list[float]:
        """Of the first param group."""
        return [lrs[0] for lrs in self.groups]

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.groups.append([float(group["lr"]) for group in kwargs["optimizer"].param_groups])


def model() -> BertForSequenceClassification:
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    return BertForSequenceClassification(BertConfig(vocab_size=16, max_position_embeddings=8, **sizes))


def arguments(folder: Path, **keywords: Any) -> TrainingArguments:
    quiet: dict[str, Any] = {
        "output_dir": str(folder),
        "per_device_train_batch_size": 4,
        "report_to": [],
        "disable_tqdm": True,
        "logging_strategy": "no",
        "save_strategy": "no",
        "use_cpu": True,
        "dataloader_pin_memory": False,
    }
    return TrainingArguments(**(quiet | keywords))


def trainer(folder: Path, *callbacks: TrainerCallback, optimizers: Any = (None, None), **keywords: Any) -> Trainer:
    return Trainer(
        model(),
        arguments(folder, **keywords),
        train_dataset=Words(),
        callbacks=list(callbacks),
        optimizers=optimizers,
    )
