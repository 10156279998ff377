from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import sample_jobs as jobs
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import GradientAccumulationScheduler, ModelCheckpoint
from torch import nn
from torch.utils.data import DataLoader

from autowarm import Schedule, TunedSchedule, WarmupModule
from autowarm.errors import JobError, ScheduleError
from autowarm.export import export

SCHEDULE = Schedule(initial_lr=0.2, warmup_ratio=0.25, decay="linear")


def fit(module: LightningModule, *callbacks: Any, ckpt_path: Any = None, data: Any = None, **keywords: Any) -> Trainer:
    settings: dict[str, Any] = {
        "max_steps": 20,
        "max_epochs": -1,
        "accelerator": "cpu",
        "logger": False,
        "enable_progress_bar": False,
    }
    settings |= {"enable_model_summary": False, "enable_checkpointing": False, "num_sanity_val_steps": 0, **keywords}
    trainer = Trainer(callbacks=list(callbacks), **settings)
    train = data if data is not None else jobs.loader()
    trainer.fit(module, train, jobs.loader(shuffle=False), ckpt_path=ckpt_path, weights_only=True)
    return trainer


def lrs_of(recorder: jobs.Recorder) -> list[float]:
    return [lrs[0] for lrs in recorder.lrs]


@pytest.mark.parametrize("source", ["object", "mapping", "file"])
def test_any_module_trains_with_exactly_the_lrs_of_the_schedule(source: str, tmp_path: Path) -> None:
    SCHEDULE.save(tmp_path / "best.yaml")
    given: Any = {"object": SCHEDULE, "mapping": SCHEDULE.to_dict(), "file": tmp_path / "best.yaml"}[source]
    seen = jobs.Recorder()
    fit(jobs.Regression(), TunedSchedule(given), seen)
    assert lrs_of(seen) == SCHEDULE.lrs(total_steps=20).tolist()


def test_a_step_is_an_optimizer_step_under_accumulation_with_a_remainder_over_epochs() -> None:
    seen = jobs.Recorder()
    # 8 batches an epoch, 3 a step: two steps of 3 and one of 2
    trainer = fit(
        jobs.Regression(), TunedSchedule(SCHEDULE), seen, accumulate_grad_batches=3, max_epochs=4, max_steps=-1
    )
    assert trainer.global_step == 12
    assert lrs_of(seen) == SCHEDULE.lrs(total_steps=12).tolist()


def test_a_warmup_in_epochs_is_resolved_by_the_training() -> None:
    seen = jobs.Recorder()
    fit(jobs.Regression(), TunedSchedule({"initial_lr": 0.2, "warmup_epochs": 0.5}), seen)
    assert lrs_of(seen) == Schedule(initial_lr=0.2, warmup_steps=4).lrs(total_steps=20).tolist()


@pytest.mark.parametrize("scheduler", ["onecycle", "plateau", "epoch", "cosine"])
def test_a_modules_own_scheduler_is_set_aside_with_one_warning(scheduler: str) -> None:
    seen = jobs.Recorder()
    with pytest.warns(UserWarning, match="set aside") as caught:
        trainer = fit(jobs.Regression(scheduler=scheduler, adam=True), TunedSchedule(SCHEDULE), seen)
    assert sum("set aside" in str(w.message) for w in caught) == 1
    assert lrs_of(seen) == SCHEDULE.lrs(total_steps=20).tolist()
    # OneCycleLR had put beta1 to .95
    assert trainer.optimizers[0].param_groups[0]["betas"] == (0.9, 0.999)


def test_manual_optimization_is_refused() -> None:
    with pytest.raises(JobError, match="manual optimization"):
        fit(jobs.Manual(), TunedSchedule(SCHEDULE))


def test_a_length_that_cannot_be_known_is_asked_for() -> None:
    data: DataLoader[Any] = DataLoader(jobs.Stream(), batch_size=8)
    keywords = {"max_epochs": 2, "max_steps": -1, "val_check_interval": 1.0}
    with pytest.raises(JobError, match="give total_steps"):
        fit(jobs.Regression(), TunedSchedule(SCHEDULE), data=data, **keywords)
    with pytest.raises(JobError, match="GradientAccumulationScheduler"):
        fit(
            jobs.Regression(),
            TunedSchedule(SCHEDULE),
            GradientAccumulationScheduler({0: 2, 1: 4}),
            max_epochs=2,
            max_steps=-1,
        )
    seen = jobs.Recorder()
    fit(jobs.Regression(), TunedSchedule(SCHEDULE, total_steps=16), seen, data=data, **keywords)
    assert lrs_of(seen) == SCHEDULE.lrs(total_steps=16).tolist()


def saver(folder: Path) -> ModelCheckpoint:
    return ModelCheckpoint(folder, every_n_train_steps=3, save_top_k=-1, filename="{step}")


@pytest.mark.filterwarnings("ignore:Checkpoint directory", "ignore:.*resuming from a checkpoint that ended before")
def test_a_fit_resumed_in_mid_warmup_sees_the_lrs_of_the_uninterrupted_one(tmp_path: Path) -> None:
    fit(jobs.Regression(), TunedSchedule(SCHEDULE), saver(tmp_path), enable_checkpointing=True)
    seen = jobs.Recorder()
    resumed = [TunedSchedule(SCHEDULE), saver(tmp_path), seen]
    fit(jobs.Regression(), *resumed, ckpt_path=tmp_path / "step=3.ckpt", enable_checkpointing=True)
    assert lrs_of(seen) == SCHEDULE.lrs(total_steps=20).tolist()[3:]


@pytest.mark.filterwarnings("ignore:Checkpoint directory")
def test_a_checkpoint_without_our_state_is_refused(tmp_path: Path) -> None:
    fit(jobs.Regression(), saver(tmp_path), enable_checkpointing=True)
    resumed = [TunedSchedule(SCHEDULE), saver(tmp_path)]
    with pytest.raises(ScheduleError, match="resumes at step 3"):
        fit(jobs.Regression(), *resumed, ckpt_path=tmp_path / "step=3.ckpt", enable_checkpointing=True)


@pytest.mark.filterwarnings("ignore:Checkpoint directory", "ignore:.*set aside")
def test_a_checkpoint_of_another_scheduler_is_refused(tmp_path: Path) -> None:
    fit(jobs.Regression(scheduler="cosine"), saver(tmp_path), enable_checkpointing=True)
    resumed = [TunedSchedule(SCHEDULE), saver(tmp_path)]
    with pytest.raises(ScheduleError, match="another scheduler"):
        fit(
            jobs.Regression(scheduler="cosine"),
            *resumed,
            ckpt_path=tmp_path / "step=3.ckpt",
            enable_checkpointing=True,
        )


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
