"""An existing LightningCLI project, written without autowarm in mind: tuned, exported and trained in three commands."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from autowarm import Schedule, load_schedule
from autowarm.export import export as export_text

TRAIN = """
import torch
from lightning.pytorch import LightningDataModule, LightningModule
from lightning.pytorch.cli import LightningCLI
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split


class Classifier(LightningModule):
    def __init__(self, hidden: int = 32):
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.Sequential(nn.Linear(16, hidden), nn.ReLU(), nn.Linear(hidden, 3))

    def training_step(self, batch, batch_idx):
        loss = nn.functional.cross_entropy(self.net(batch[0]), batch[1])
        self.log("train/loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch, batch_idx):
        self.log("val/loss", nn.functional.cross_entropy(self.net(batch[0]), batch[1]))


class Blobs(LightningDataModule):
    def __init__(self, batch_size: int = 32):
        super().__init__()
        self.batch_size = batch_size

    def setup(self, stage):
        generator = torch.Generator().manual_seed(0)
        y = torch.randint(3, (800,), generator=generator)
        x = torch.randn(3, 16, generator=generator)[y] + torch.randn(800, 16, generator=generator)
        self.train, self.val = random_split(TensorDataset(x, y), [640, 160], generator=generator)

    def train_dataloader(self):
        return DataLoader(self.train, batch_size=self.batch_size, shuffle=True)

    def val_dataloader(self):
        return DataLoader(self.val, batch_size=160)


if __name__ == "__main__":
    LightningCLI(Classifier, Blobs)
"""
CONFIG = """
seed_everything: 42
trainer:
  max_epochs: 4
  accelerator: cpu
  accumulate_grad_batches: 3
  log_every_n_steps: 1
  logger: {class_path: lightning.pytorch.loggers.CSVLogger, init_args: {save_dir: logs}}
  callbacks:
    - {class_path: lightning.pytorch.callbacks.ModelCheckpoint, init_args: {monitor: val/loss}}
    - {class_path: lightning.pytorch.callbacks.EarlyStopping, init_args: {monitor: val/loss, patience: 1}}
    - {class_path: lightning.pytorch.callbacks.LearningRateMonitor, init_args: {logging_interval: step}}
model: {hidden: 48}
data: {batch_size: 32}
optimizer: {class_path: torch.optim.AdamW, init_args: {lr: 0.003, weight_decay: 0.01}}
lr_scheduler: {class_path: torch.optim.lr_scheduler.CosineAnnealingLR, init_args: {T_max: 4}}
ckpt_path: null
"""
README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
_SECTION = README.partition("## Use it in your training")[2]
# the study file and the commands of the README; fewer trials, since it is the way that is tested
STUDY = _SECTION.partition("```yaml\n")[2].partition("```")[0].replace("n_trials: 20", "n_trials: 3\nconfirm_seeds: 0")
COMMANDS = _SECTION.partition("```bash\n")[2].partition("```")[0].splitlines()
# 20 batches an epoch, three a step, four epochs
STEPS = 28


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "train.py").write_text(TRAIN)
    (tmp_path / "config.yaml").write_text(CONFIG)
    (tmp_path / "study.yaml").write_text(STUDY)
    return tmp_path


def run(project: Path, command: str) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    program, *arguments = shlex.split(command)
    words = [sys.executable, "-m", "autowarm", *arguments] if program == "autowarm" else [sys.executable, *arguments]
    done = subprocess.run(words, cwd=project, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return done.stderr


@pytest.mark.slow
def test_the_three_commands_of_the_readme_tune_export_and_train_with_the_result(project: Path) -> None:
    tune, export, train = COMMANDS
    said = run(project, tune)
    assert "trials run without the job's ModelCheckpoint, EarlyStopping, LearningRateMonitor, CSVLogger" in said
    assert "trials set the job's own scheduler (CosineAnnealingLR) aside" in said
    assert not (project / "logs").exists(), "trials log nothing"
    assert (project / "config.yaml").read_text() == CONFIG
    run(project, export)
    assert "own scheduler (CosineAnnealingLR) is set aside" in run(project, train)
    run(project, "autowarm export studies/mine -o best.yaml")
    expected = load_schedule(project / "best.yaml").lrs(total_steps=STEPS)
    metrics = pd.read_csv(project / "logs/lightning_logs/version_0/metrics.csv")
    # LearningRateMonitor logs the lr of each batch; early stopping may end the run before its time
    lrs = list(dict.fromkeys(metrics["lr-AdamW"].dropna()))
    assert len(lrs) >= STEPS // 4
    assert lrs == pytest.approx(expected[: len(lrs)].tolist(), rel=1e-5)
    run(project, "autowarm show best.yaml --job study.yaml")


@pytest.mark.slow
def test_an_overlay_before_the_users_file_is_lost(project: Path) -> None:
    (project / "tuned.yaml").write_text(export_text(Schedule(initial_lr=0.5), "lightning"))
    said = run(project, "python train.py fit --config tuned.yaml --config config.yaml")
    assert "set aside" not in said, "which is what the overlay and the README warn of"
