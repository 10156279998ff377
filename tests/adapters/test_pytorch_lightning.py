"""Modules of the `pytorch_lightning` package are tuned and steered as those of `lightning.pytorch` are."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sample_pl_jobs as pl_jobs
from pytorch_lightning import Callback, Trainer

from autowarm import Schedule, tune
from autowarm.adapters.pytorch_lightning import TunedSchedule
from autowarm.errors import JobError
from autowarm.inspection import inspect_job
from autowarm.job import build
from autowarm.pruning import ema_rungs_of, rungs_of
from autowarm.specs import JobSpec, TrainingSpec
from autowarm.trial import run_trial

SCHEDULE = Schedule(initial_lr=0.2, warmup_ratio=0.25, decay="linear")
WITH_CLASS_PATHS = """
model: {class_path: sample_pl_jobs.Regression, init_args: {lr: 0.5}}
data: {class_path: sample_pl_jobs.Data}
trainer:
  max_epochs: 5
  accelerator: cpu
  callbacks:
    - class_path: pytorch_lightning.callbacks.GradientAccumulationScheduler
      init_args: {scheduling: {0: 1, 2: 4}}
"""
WITHOUT_CLASS_PATHS = "{model: {lr: 0.5}, trainer: {max_epochs: 5, accelerator: cpu}}"


@pytest.fixture(autouse=True)
def _no_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["pytest"])


def job(kind: str, folder: Path) -> JobSpec:
    path = folder / "user.yaml"
    path.write_text(WITH_CLASS_PATHS if kind == "class paths" else WITHOUT_CLASS_PATHS)
    return {
        "factory": JobSpec(factory=pl_jobs.build),
        "class paths": JobSpec(config=path),
        "classes beside": JobSpec(
            config=path, model_class="sample_pl_jobs.Regression", data_class="sample_pl_jobs.Data"
        ),
        "cli": JobSpec(config=path, cli_class="sample_pl_jobs.OwnCLI"),
    }[kind]


@pytest.mark.filterwarnings("ignore:.*set aside")
@pytest.mark.parametrize(
    ("kind", "steps"), [("factory", 40), ("class paths", 8 + 8 + 2 + 2 + 2), ("classes beside", 40), ("cli", 40)]
)
def test_a_job_is_looked_at_and_trained(kind: str, steps: int, tmp_path: Path) -> None:
    spec = TrainingSpec(job=job(kind, tmp_path), monitor="val_loss", total_steps=None)
    info = inspect_job(spec)
    assert (info.total_steps, info.scheduler) == (steps, "StepLR")
    spec = replace(spec, total_steps=steps, schedule=SCHEDULE, rungs=rungs_of(steps))
    result = run_trial(spec)
    assert (result.outcome, result.steps) == ("COMPLETE", steps), result


@pytest.mark.filterwarnings("ignore:.*set aside")
def test_averaged_weights_are_validated_and_leave_the_training_as_it_is() -> None:
    spec = TrainingSpec(
        job=JobSpec(factory=pl_jobs.build),
        monitor="val_loss",
        total_steps=80,
        schedule=SCHEDULE,
        rungs=rungs_of(80),
        ema_rungs=ema_rungs_of(80),
    )
    result = run_trial(spec)
    assert [step for step, _ in result.ema_rungs] == list(ema_rungs_of(80)), result
    assert run_trial(replace(spec, ema_rungs=())).rungs == result.rungs


def test_a_model_that_does_not_import_is_named(tmp_path: Path) -> None:
    path = tmp_path / "user.yaml"
    path.write_text("model: {class_path: sample_pl_jobs.Regresion}\n")
    with pytest.raises(JobError, match=r"user.yaml: the class_path of model.*did you mean 'Regression'"):
        build(JobSpec(config=path), seed=0)


class Recorder(Callback):
    """Keeps the learning rates that the optimizer steps use."""

    def __init__(self) -> None:
        self.lrs: list[float] = []

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        self.lrs.append(float(optimizer.param_groups[0]["lr"]))


def test_the_callback_steers_a_trainer_of_that_package() -> None:
    seen = Recorder()
    trainer = Trainer(
        max_epochs=3,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        accumulate_grad_batches=3,
        callbacks=[TunedSchedule(SCHEDULE), seen],
    )
    with pytest.warns(UserWarning, match=r"own scheduler \(StepLR\) is set aside"):
        trainer.fit(pl_jobs.Regression(), pl_jobs.Data())
    assert seen.lrs == SCHEDULE.lrs(total_steps=9).tolist()


def test_a_study_of_such_a_file_runs_in_processes_of_its_own(tmp_path: Path) -> None:
    result = tune(
        job("class paths", tmp_path).config or "",
        {"decay": "cosine"},
        n_trials=2,
        confirm_seeds=0,
        out=tmp_path / "out",
    )
    assert [r.outcome for r in result.records if r.role == "search"] == ["COMPLETE", "COMPLETE"]
