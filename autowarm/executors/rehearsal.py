"""A whole trial, run once in the forkserver: what libraries and Python cache on first use, its children then have.

Versions, types, parsers, and the bytecode that Python specialises as it runs: without the rehearsal every trial would
do all that again, for tens of milliseconds. There is no backward pass in it and no CUDA: neither survives a fork.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
from pathlib import Path
from unittest import mock

import torch
from lightning.pytorch import LightningDataModule, LightningModule
from torch.utils.data import DataLoader, TensorDataset

from autowarm.pruning import rungs_of
from autowarm.schedule import Schedule
from autowarm.specs import JobSpec, TrainingSpec, TrialResult
from autowarm.trial import run_trial

_CONFIG = """
model: {class_path: autowarm.executors.rehearsal.Rehearsal}
data: {class_path: autowarm.executors.rehearsal.RehearsalData}
trainer: {accelerator: cpu}
"""
_STEPS = 20


class Rehearsal(LightningModule):
    """The smallest module that goes through all the motions of a training but the backward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)

    def training_step(self, batch: list[torch.Tensor]) -> None:
        """Return no loss, which Lightning takes as a step without a backward pass."""
        with torch.no_grad():
            self.log("train_loss", self.layer(batch[0]).sum())

    def validation_step(self, batch: list[torch.Tensor]) -> None:
        """Log a loss."""
        self.log("val_loss", self.layer(batch[0]).sum())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return an optimizer."""
        return torch.optim.AdamW(self.parameters())


class RehearsalData(LightningDataModule):
    """A few examples."""

    def train_dataloader(self) -> DataLoader[tuple[torch.Tensor, ...]]:
        """Return them, shuffled."""
        return DataLoader(TensorDataset(torch.ones(8, 1)), batch_size=2, shuffle=True)

    def val_dataloader(self) -> DataLoader[tuple[torch.Tensor, ...]]:
        """Return them."""
        return DataLoader(TensorDataset(torch.ones(8, 1)), batch_size=8)


def rehearse() -> TrialResult:
    """Run a trial of a LightningCLI file in this process, and make an optimizer step."""
    # isolating random numbers would initialise CUDA, which no child could use then
    no_cuda = mock.patch("torch.cuda.is_available", return_value=False)
    with no_cuda, tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        config = Path(folder) / "job.yaml"
        config.write_text(_CONFIG, encoding="utf-8")
        spec = TrainingSpec(
            job=JobSpec(config=config),
            monitor="val_loss",
            total_steps=_STEPS,
            schedule=Schedule(initial_lr=1e-3, warmup_ratio=0.1, decay="cosine"),
            rungs=rungs_of(_STEPS),
        )
        result = run_trial(spec)
    for _ in range(_STEPS):
        parameter = torch.nn.Parameter(torch.ones(1))
        parameter.grad = torch.ones(1)
        torch.optim.AdamW([parameter]).step()
    return result
