from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from autowarm import Schedule
from autowarm.errors import JobError, ScheduleError, SettingsError
from autowarm.preview import preview

USER_YAML = """
model: {{class_path: sample_jobs.Regression, init_args: {{lr: 0.5, scheduler: {scheduler}}}}}
data: {{class_path: sample_jobs.RegressionData}}
trainer: {{max_epochs: 3, accelerator: cpu, accumulate_grad_batches: 3}}
"""
# 8 batches an epoch, 3 a step
STEPS = 9


def user_yaml(folder: Path, scheduler: str = "cosine") -> str:
    path = folder / "user.yaml"
    path.write_text(USER_YAML.format(scheduler=scheduler))
    return str(path)


def test_a_schedule_is_laid_out_over_the_steps_that_a_job_takes(tmp_path: Path) -> None:
    schedule = Schedule(initial_lr=0.2, warmup_epochs=1, decay="linear")
    shown = preview(user_yaml(tmp_path), schedule)
    assert (
        shown.lrs.tolist() == Schedule(initial_lr=0.2, warmup_steps=3, decay="linear").lrs(total_steps=STEPS).tolist()
    )
    assert shown.title == "lr 0.2, warmup 3 steps, linear over 9 steps of user.yaml"


def test_without_a_schedule_what_the_job_follows_today_is_shown(tmp_path: Path) -> None:
    shown = preview(user_yaml(tmp_path))
    assert shown.schedule == Schedule(initial_lr=0.5, warmup_steps=0, decay="cosine")
    one = preview(user_yaml(tmp_path, "onecycle"))
    assert (one.schedule, one.title) == (None, "OneCycleLR over 9 steps of user.yaml")
    assert one.lrs.max() > one.lrs[0]
    np.testing.assert_allclose(one.lrs[0], 0.3 / 25)


def test_what_only_training_can_tell_is_said(tmp_path: Path) -> None:
    with pytest.raises(JobError, match="follows ReduceLROnPlateau today, and only training"):
        preview(user_yaml(tmp_path, "plateau"))


def test_a_study_file_names_its_job_and_its_first_horizon(tmp_path: Path) -> None:
    user_yaml(tmp_path)
    study = tmp_path / "study.yaml"
    study.write_text("{job: user.yaml, total_steps: [30, 60], monitor: never_logged}")
    assert len(preview(str(study)).lrs) == 30
    assert len(preview(str(study), total_steps=12).lrs) == 12


def test_a_factory_is_a_job_too() -> None:
    assert len(preview("sample_jobs:build").lrs) == 40


def test_what_cannot_be_shown_says_why(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"there is no such file"):
        preview(str(tmp_path / "none.yaml"))
    with pytest.raises(ScheduleError, match="warmup_steps=9 must be less than total_steps=9"):
        preview(user_yaml(tmp_path), Schedule(initial_lr=0.1, warmup_steps=9))
