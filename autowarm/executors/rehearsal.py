"""What a trial does first, done once in the forkserver: libraries fill their caches of versions, types and parsers.

Without it every trial would do so again, for tens of milliseconds. There is no backward pass and no CUDA in it: neither
survives a fork.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
from pathlib import Path

import torch
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from torch.utils.data import DataLoader, TensorDataset

from autowarm.job import build
from autowarm.specs import JobSpec

_CONFIG = """
model: {class_path: autowarm.executors.rehearsal.Rehearsal}
data: {class_path: autowarm.executors.rehearsal.RehearsalData}
trainer: {accelerator: cpu, max_steps: 1}
"""


class Rehearsal(LightningModule):
    """The smallest module that validates."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)

    def validation_step(self, batch: list[torch.Tensor]) -> None:
        """Log a loss."""
        self.log("val_loss", self.layer(batch[0]).sum())


class RehearsalData(LightningDataModule):
    """One example."""

    def val_dataloader(self) -> DataLoader[tuple[torch.Tensor, ...]]:
        """Return the example."""
        return DataLoader(TensorDataset(torch.ones(1, 1)))


def rehearse() -> None:
    """Build a job from a LightningCLI file, validate it, and make an optimizer step."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        config = Path(folder) / "job.yaml"
        config.write_text(_CONFIG, encoding="utf-8")
        training = build(JobSpec(config=config), seed=0)
        trainer = Trainer(
            default_root_dir=folder,
            accelerator="cpu",
            devices=1,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.validate(training.module, verbose=False, **training.fit_arguments)
    parameter = torch.nn.Parameter(torch.ones(1))
    parameter.grad = torch.ones(1)
    torch.optim.AdamW([parameter]).step()
