"""Resuming: exact where nothing has changed, and otherwise an error or a stated policy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import sample_jobs as jobs
import torch
from fits import fit, lrs_of
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint, StochasticWeightAveraging
from torch import nn

from autowarm import Schedule, TunedSchedule, WarmupModule
from autowarm.errors import ScheduleError

SCHEDULE = Schedule(initial_lr=0.2, warmup_ratio=0.25, decay="linear")
OTHER = Schedule(initial_lr=0.1, warmup_ratio=0.25, decay="cosine")
# The warmup ends at step 5 of 20.
SAVED_AT = 3
pytestmark = pytest.mark.filterwarnings(
    "ignore:Checkpoint directory", "ignore:.*resuming from a checkpoint that ended before", "ignore:.*set aside"
)


def saver(folder: Path) -> ModelCheckpoint:
    return ModelCheckpoint(folder, every_n_train_steps=SAVED_AT, save_top_k=-1, filename="{step}")


def save(folder: Path, *callbacks: Any, scheduler: str = "none", **keywords: Any) -> Path:
    fit(jobs.Regression(scheduler=scheduler), *callbacks, saver(folder), enable_checkpointing=True, **keywords)
    return folder / f"step={SAVED_AT}.ckpt"


def resume(
    checkpoint: Path, schedule: Schedule, *, on_resume: Any = None, scheduler: str = "none", **keywords: Any
) -> tuple[list[float], Trainer]:
    seen = jobs.Recorder()
    callbacks = [TunedSchedule(schedule, on_resume=on_resume), saver(checkpoint.parent), seen]
    module = jobs.Regression(scheduler=scheduler)
    trainer = fit(module, *callbacks, ckpt_path=checkpoint, enable_checkpointing=True, **keywords)
    return lrs_of(seen), trainer


@pytest.mark.parametrize("on_resume", [None, "continue", "rehorizon", "restart"])
def test_a_fit_resumed_in_mid_warmup_sees_the_lrs_of_the_uninterrupted_one(on_resume: Any, tmp_path: Path) -> None:
    checkpoint = save(tmp_path, TunedSchedule(SCHEDULE))
    lrs, _ = resume(checkpoint, SCHEDULE, on_resume=on_resume)
    assert lrs == SCHEDULE.lrs(total_steps=20).tolist()[SAVED_AT:]


def test_the_state_in_a_checkpoint_is_plain_data(tmp_path: Path) -> None:
    checkpoint = save(tmp_path, TunedSchedule(SCHEDULE))
    (state,) = torch.load(checkpoint, weights_only=True)["lr_schedulers"]
    assert state["last_epoch"] == SAVED_AT
    assert state["schedule"] == SCHEDULE.to_dict()


# what has changed -> (schedule, steps of the run) of the resumed training
CHANGES: dict[str, tuple[Schedule, int]] = {"a longer horizon": (SCHEDULE, 40), "another peak": (OTHER, 20)}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_training_is_refused_and_the_choices_are_named(change: str, tmp_path: Path) -> None:
    schedule, steps = CHANGES[change]
    checkpoint = save(tmp_path, TunedSchedule(SCHEDULE))
    with pytest.raises(ScheduleError, match=r"say on_resume='continue'.*'rehorizon'.*'restart'"):
        resume(checkpoint, schedule, max_steps=steps)


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.filterwarnings("ignore:.*beyond the schedule's")
def test_continue_follows_what_the_checkpoint_was_saved_with(change: str, tmp_path: Path) -> None:
    schedule, steps = CHANGES[change]
    lrs, _ = resume(save(tmp_path, TunedSchedule(SCHEDULE)), schedule, on_resume="continue", max_steps=steps)
    assert lrs == [*SCHEDULE.lrs(total_steps=20).tolist()[SAVED_AT:], *[0.0] * (steps - 20)]


@pytest.mark.parametrize("change", CHANGES)
def test_rehorizon_follows_the_new_schedule_at_the_step_reached(change: str, tmp_path: Path) -> None:
    schedule, steps = CHANGES[change]
    lrs, trainer = resume(save(tmp_path, TunedSchedule(SCHEDULE)), schedule, on_resume="rehorizon", max_steps=steps)
    assert lrs == schedule.lrs(total_steps=steps).tolist()[SAVED_AT:]
    assert trainer.optimizers[0].param_groups[0]["initial_lr"] == schedule.initial_lr


@pytest.mark.parametrize("change", CHANGES)
def test_restart_follows_the_new_schedule_anew_over_the_steps_left(change: str, tmp_path: Path) -> None:
    schedule, steps = CHANGES[change]
    lrs, _ = resume(save(tmp_path, TunedSchedule(SCHEDULE)), schedule, on_resume="restart", max_steps=steps)
    assert lrs == schedule.lrs(total_steps=steps - SAVED_AT).tolist()


def test_a_training_that_was_restarted_and_is_resumed_once_more_does_not_restart_again(tmp_path: Path) -> None:
    first = save(tmp_path, TunedSchedule(SCHEDULE))
    (tmp_path / "step=9.ckpt").unlink()
    resume(first, OTHER, on_resume="restart")
    lrs, _ = resume(tmp_path / "step=9.ckpt", OTHER, on_resume="restart")
    assert lrs == OTHER.lrs(total_steps=20 - SAVED_AT).tolist()[9 - SAVED_AT :]


def test_a_restart_without_steps_left_says_so(tmp_path: Path) -> None:
    save(tmp_path, TunedSchedule(SCHEDULE))
    with pytest.raises(ScheduleError, match="no step is left"):
        resume(tmp_path / "step=18.ckpt", OTHER, on_resume="restart", max_steps=18)


# a checkpoint without our state: no scheduler at all, or another one
@pytest.mark.parametrize("scheduler", ["none", "cosine"])
@pytest.mark.parametrize(
    ("on_resume", "message"),
    [(None, "resume with the scheduler"), ("continue", "resume with the scheduler")],
)
def test_a_checkpoint_without_our_state_is_refused(
    scheduler: str, on_resume: Any, message: str, tmp_path: Path
) -> None:
    checkpoint = save(tmp_path, scheduler=scheduler)
    with pytest.raises(ScheduleError, match=message):
        resume(checkpoint, SCHEDULE, on_resume=on_resume, scheduler=scheduler)


@pytest.mark.parametrize("scheduler", ["none", "cosine"])
def test_a_checkpoint_without_our_state_can_be_taken_over(scheduler: str, tmp_path: Path) -> None:
    checkpoint = save(tmp_path, scheduler=scheduler)
    lrs, _ = resume(checkpoint, SCHEDULE, on_resume="rehorizon", scheduler=scheduler)
    assert lrs == SCHEDULE.lrs(total_steps=20).tolist()[SAVED_AT:]
    lrs, _ = resume(checkpoint, SCHEDULE, on_resume="restart", scheduler=scheduler)
    assert lrs == SCHEDULE.lrs(total_steps=20 - SAVED_AT).tolist()


def test_a_second_fit_of_a_trainer_goes_on_where_the_first_ended() -> None:
    seen = jobs.Recorder()
    module = jobs.Regression()
    trainer = fit(module, TunedSchedule(SCHEDULE, total_steps=32), seen, max_epochs=2, max_steps=-1)
    trainer.fit_loop.max_epochs = 4
    trainer.fit(module, jobs.loader(), jobs.loader(shuffle=False))
    assert lrs_of(seen) == SCHEDULE.lrs(total_steps=32).tolist()


def test_an_unknown_policy_is_refused_when_the_callback_is_made() -> None:
    with pytest.raises(ScheduleError, match="unknown on_resume 'rehorizn': did you mean 'rehorizon'"):
        TunedSchedule(SCHEDULE, on_resume="rehorizn")


@pytest.mark.parametrize("on_resume", ["rehorizon", "restart"])
def test_a_beta_that_was_cycled_does_not_come_back_from_the_checkpoint(on_resume: Any, tmp_path: Path) -> None:
    checkpoint = tmp_path / "step=3.ckpt"
    fit(jobs.Regression(scheduler="onecycle", adam=True), saver(tmp_path), enable_checkpointing=True)
    callbacks = [TunedSchedule(SCHEDULE, on_resume=on_resume), saver(tmp_path)]
    trainer = fit(jobs.Regression(adam=True), *callbacks, ckpt_path=checkpoint, enable_checkpointing=True)
    assert trainer.optimizers[0].param_groups[0]["betas"] == (0.9, 0.999)


class SavesAtOnce(Callback):
    """Saves before the first step."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        trainer.save_checkpoint(self.path)


def test_a_checkpoint_of_step_0_without_our_state_is_one_without_our_state(tmp_path: Path) -> None:
    checkpoint = tmp_path / "begun.ckpt"
    fit(jobs.Regression(lr=0.5), SavesAtOnce(checkpoint))
    with pytest.raises(ScheduleError, match="resumes at step 0, but its checkpoint holds no state"):
        resume(checkpoint, SCHEDULE)
    lrs, _ = resume(checkpoint, SCHEDULE, on_resume="rehorizon")
    assert lrs == SCHEDULE.lrs(total_steps=20).tolist()


@pytest.mark.filterwarnings("ignore:.*Swapping scheduler", "ignore:SWA is currently only", "ignore:.*ckpt")
@pytest.mark.parametrize("on_resume", [None, "rehorizon"])
def test_a_training_that_a_callback_has_taken_over_is_its_to_resume(on_resume: Any, tmp_path: Path) -> None:
    def run(ckpt_path: Path | None) -> list[float]:
        seen = jobs.Recorder()
        averaging = StochasticWeightAveraging(swa_lrs=0.05, swa_epoch_start=2)
        saving = ModelCheckpoint(tmp_path, save_top_k=-1, filename="{epoch}")
        callbacks = [TunedSchedule(SCHEDULE, on_resume=on_resume), averaging, saving, seen]
        limits = {"max_epochs": 6, "max_steps": -1, "enable_checkpointing": True}
        fit(jobs.Regression(), *callbacks, ckpt_path=ckpt_path, **limits)
        return lrs_of(seen)

    whole = run(None)
    assert run(tmp_path / "epoch=2.ckpt") == whole[24:]


def test_a_warmup_module_takes_a_policy_too(tmp_path: Path) -> None:
    def module(**keywords: Any) -> WarmupModule:
        return WarmupModule(nn.Linear(4, 1), nn.functional.mse_loss, SCHEDULE, optimizer=torch.optim.SGD, **keywords)

    fit(module(), saver(tmp_path), enable_checkpointing=True)
    seen = jobs.Recorder()
    checkpoint = tmp_path / f"step={SAVED_AT}.ckpt"
    limits = {"max_steps": 40, "enable_checkpointing": True}
    fit(module(on_resume="rehorizon"), saver(tmp_path), seen, ckpt_path=checkpoint, **limits)
    assert lrs_of(seen) == SCHEDULE.lrs(total_steps=40).tolist()[SAVED_AT:]


def test_lightning_warns_of_a_resume_without_the_callback(tmp_path: Path) -> None:
    checkpoint = save(tmp_path, TunedSchedule(SCHEDULE))
    callbacks = [saver(tmp_path)]
    with pytest.warns(UserWarning, match="add the following callbacks.*TunedSchedule"):
        fit(jobs.Regression(), *callbacks, ckpt_path=checkpoint, enable_checkpointing=True)
