from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import sample_jobs as jobs
import torch
from fits import fit, lrs_of
from torch import nn

from autowarm import Schedule, TunedSchedule, WarmupModule
from autowarm.errors import ScheduleError
from autowarm.export import export

SCHEDULE = Schedule(initial_lr=0.2, warmup_ratio=0.25, decay="linear")


@pytest.mark.parametrize("source", ["object", "mapping", "file"])
def test_any_module_trains_with_exactly_the_lrs_of_the_schedule(source: str, tmp_path: Path) -> None:
    SCHEDULE.save(tmp_path / "best.yaml")
    given: Any = {"object": SCHEDULE, "mapping": SCHEDULE.to_dict(), "file": tmp_path / "best.yaml"}[source]
    seen = jobs.Recorder()
    fit(jobs.Regression(), TunedSchedule(given), seen)
    assert lrs_of(seen) == SCHEDULE.lrs(total_steps=20).tolist()


def test_a_warmup_in_epochs_is_resolved_by_the_training() -> None:
    seen = jobs.Recorder()
    fit(jobs.Regression(), TunedSchedule({"initial_lr": 0.2, "warmup_epochs": 0.5}), seen)
    assert lrs_of(seen) == Schedule(initial_lr=0.2, warmup_steps=4).lrs(total_steps=20).tolist()


def test_a_bad_schedule_is_refused_when_the_callback_is_made() -> None:
    with pytest.raises(ScheduleError, match=r"warmup_ratio must be in \[0, 1\), got 1.2"):
        TunedSchedule({"initial_lr": 0.1, "warmup_ratio": 1.2})


def accuracy(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return (output - target).abs().mean()


def test_a_warmup_module_is_ready_to_train() -> None:
    module = WarmupModule(
        nn.Linear(4, 1), nn.functional.mse_loss, SCHEDULE, optimizer=torch.optim.SGD, metrics={"error": accuracy}
    )
    seen = jobs.Recorder()
    trainer = fit(module, seen)
    assert lrs_of(seen) == SCHEDULE.lrs(total_steps=20).tolist()
    assert {"train_loss", "val_loss", "val_error"} <= set(trainer.callback_metrics)
    assert trainer.callback_metrics["val_loss"] < 1.0


def test_a_tuned_schedule_replaces_that_of_a_warmup_module_without_a_warning() -> None:
    module = WarmupModule(nn.Linear(4, 1), nn.functional.mse_loss, Schedule(initial_lr=1.0), optimizer=torch.optim.SGD)
    seen = jobs.Recorder()
    fit(module, TunedSchedule(SCHEDULE), seen)
    assert lrs_of(seen) == SCHEDULE.lrs(total_steps=20).tolist()


SCRIPT = """
from lightning.pytorch.cli import LightningCLI
import sample_jobs
LightningCLI(sample_jobs.Regression, sample_jobs.RegressionData, save_config_callback=None)
"""
USER_YAML = """
trainer:
  max_steps: 20
  accelerator: cpu
  logger: false
  enable_checkpointing: false
  enable_progress_bar: false
  enable_model_summary: false
  callbacks:
    - class_path: sample_jobs.PrintLrs
"""


def run_cli(folder: Path, *configs: str) -> subprocess.CompletedProcess[str]:
    (folder / "train.py").write_text(SCRIPT)
    (folder / "user.yaml").write_text(USER_YAML)
    command = [sys.executable, "train.py", "fit", *(word for config in configs for word in ("--config", config))]
    paths = {"PYTHONPATH": str(Path(__file__).parents[1]), "OMP_NUM_THREADS": "1", "PATH": "/usr/bin"}
    return subprocess.run(command, cwd=folder, env=paths, capture_output=True, text=True, timeout=120, check=False)


def test_an_exported_overlay_steers_a_lightning_cli_project(tmp_path: Path) -> None:
    (tmp_path / "best.yaml").write_text(export(SCHEDULE, "lightning"))
    done = run_cli(tmp_path, "user.yaml", "best.yaml")
    assert done.returncode == 0, done.stderr
    seen = [float(word) for word in re.findall(r"lr=(\S+)", done.stdout)]
    assert seen == SCHEDULE.lrs(total_steps=20).tolist()


def test_a_bad_overlay_says_why_near_its_end(tmp_path: Path) -> None:
    text = export(SCHEDULE, "lightning").replace("warmup_ratio: 0.25", "warmup_ratio: 1.25")
    (tmp_path / "best.yaml").write_text(text)
    done = run_cli(tmp_path, "user.yaml", "best.yaml")
    assert done.returncode != 0
    # jsonargparse lists the reasons after its traceback
    assert "warmup_ratio must be in [0, 1), got 1.25" in "\n".join(done.stderr.strip().splitlines()[-15:])
