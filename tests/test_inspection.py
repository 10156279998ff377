from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import sample_jobs as jobs
import torch
from fits import fit
from torch.utils.data import DataLoader, Subset

from autowarm import Schedule, Training
from autowarm.errors import JobError
from autowarm.inspection import inspect_job
from autowarm.specs import JobInfo, JobSpec, TrainingSpec


def look(factory: Callable[..., Training], *, total_steps: int | None = None, **fields: Any) -> JobInfo:
    args = fields.pop("args", {})
    spec = TrainingSpec(job=JobSpec(factory=factory, args=args), monitor="val_loss", total_steps=total_steps)
    return inspect_job(replace(spec, **fields))


def test_a_look_tells_length_data_and_speed() -> None:
    info = look(jobs.build, args={"trainer": {"accumulate_grad_batches": 2}, "adam": True})
    assert (info.total_steps, info.dataset_size, info.batch_size) == (40, 64, 16)
    assert (info.steps_per_epoch, info.val_batches, info.accelerator) == (4, 8, "cpu")
    assert info.beta2 == 0.999
    assert info.step_seconds > 0
    assert info.validation_seconds > 0
    assert info.notices == ()


def test_epochs_become_steps() -> None:
    assert look(jobs.from_datamodule).total_steps == 24


def test_the_study_may_set_the_length() -> None:
    assert look(jobs.unlimited, total_steps=123).total_steps == 123
    assert look(jobs.stream, total_steps=50).steps_per_epoch is None


@pytest.mark.parametrize("factory", [jobs.unlimited, jobs.by_time, jobs.stream])
def test_a_length_that_cannot_be_known_is_asked_for(factory: Any) -> None:
    with pytest.raises(JobError, match="give total_steps"):
        look(factory)


@pytest.mark.parametrize(
    ("scheduler", "expected"),
    [
        ("none", Schedule(initial_lr=0.01, warmup_steps=0)),
        ("cosine", Schedule(initial_lr=0.01, warmup_steps=0, decay="cosine")),
        ("lambda", Schedule(initial_lr=0.01, warmup_steps=4, decay="linear")),
    ],
)
def test_the_learning_rates_of_the_whole_run_are_known_without_training(scheduler: str, expected: Schedule) -> None:
    info = look(jobs.build, args={"scheduler": scheduler})
    np.testing.assert_allclose(info.lrs or (), expected.lrs(total_steps=40), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("scheduler", "name"), [("plateau", "ReduceLROnPlateau"), ("epoch", "StepLR"), ("onecycle", "OneCycleLR")]
)
def test_a_scheduler_is_named(scheduler: str, name: str) -> None:
    info = look(jobs.build, args={"scheduler": scheduler})
    assert info.scheduler == name
    assert (info.lrs is None) == (scheduler == "plateau")
    assert info.notices == (
        f"trials set the job's own scheduler ({name}) aside: the schedules searched take its place",
    )


@pytest.mark.parametrize("batches", [3, 4, 12, 13])
@pytest.mark.parametrize("frequency", [1, 2])
def test_a_scheduler_of_epochs_is_stepped_through_the_run_as_lightning_would(batches: int, frequency: int) -> None:
    class ByEpoch(jobs.Regression):
        def configure_optimizers(self) -> Any:
            optimizer = torch.optim.SGD(self.parameters(), lr=0.02)
            cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=7)
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": cosine, "frequency": frequency}}

    def factory() -> Training:
        data = DataLoader(Subset(jobs.dataset(), range(4 * batches)), batch_size=4)
        return replace(jobs.build(module=ByEpoch()), data=data)

    seen = jobs.Recorder()
    fit(ByEpoch(), seen, data=factory().data, max_steps=40)
    assert look(factory).lrs == tuple(lr for (lr,) in seen.lrs)


def test_a_scheduler_that_waits_for_a_validation_after_each_epoch_is_looked_at_all_the_same() -> None:
    class Plateau(jobs.Regression):
        def configure_optimizers(self) -> Any:
            optimizer = torch.optim.SGD(self.parameters(), lr=0.02)
            plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": plateau, "monitor": "val_loss"}}

    info = look(lambda: jobs.build(module=Plateau()))
    assert (info.scheduler, info.lrs, set(info.seen_lrs)) == ("ReduceLROnPlateau", None, {0.02})
    assert len(info.seen_lrs) > jobs.EXAMPLES // jobs.BATCH_SIZE


def test_a_schedule_of_ours_is_known_as_it_is() -> None:
    info = look(jobs.warmup_module)
    assert info.schedule == Schedule(initial_lr=0.05, warmup_ratio=0.2, decay="cosine")


def test_dropped_callbacks_are_told_in_one_notice() -> None:
    (notice,) = look(jobs.with_early_stopping).notices
    assert "EarlyStopping" in notice
    assert "keep_callbacks" in notice


def test_a_metric_that_is_never_logged_lists_what_is() -> None:
    with pytest.raises(JobError, match=r"monitor 'loss' is never logged by the job; it logs train_loss, val_loss"):
        look(jobs.build, monitor="loss")


@pytest.mark.parametrize(
    ("module", "why"), [(jobs.Manual, "manual optimization"), (jobs.TwoOptimizers, "manual optimization")]
)
def test_what_one_schedule_cannot_steer_is_refused(module: Any, why: str) -> None:
    with pytest.raises(JobError, match=why):
        look(lambda: jobs.build(module=module()))


class Several(jobs.Regression):
    """Has a learning rate that only training can tell: two schedulers, its own stepping, or its own code."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.02)
        schedulers = torch.optim.lr_scheduler
        cosine = {"scheduler": schedulers.CosineAnnealingLR(optimizer, T_max=40), "interval": "step"}
        if self.kind == "code":
            return optimizer
        return [optimizer], [cosine, schedulers.ExponentialLR(optimizer, 0.5)] if self.kind == "two" else [cosine]

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        if self.kind == "code":
            self.trainer.optimizers[0].param_groups[0]["lr"] = 0.02 / (1 + self.global_step)


class EveryOther(Several):
    """Steps its scheduler every other time."""

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        if self.global_step % 2:
            scheduler.step()


@pytest.mark.parametrize(
    ("module", "name"),
    [
        (lambda: Several("two"), "CosineAnnealingLR, ExponentialLR"),
        (lambda: EveryOther("one"), "CosineAnnealingLR"),
        (lambda: Several("code"), "its own code"),
    ],
)
def test_what_only_training_can_tell_is_not_guessed(module: Callable[[], Any], name: str) -> None:
    info = look(lambda: jobs.build(module=module()))
    assert (info.scheduler, info.lrs) == (name, None)
    assert info.seen_lrs


def test_a_size_that_the_job_takes_is_the_size_and_what_came_of_it_is_told() -> None:
    def look_at(factory: Callable[..., Training], size: int, name: str = "n_examples") -> JobInfo:
        spec = TrainingSpec(
            job=JobSpec(factory=factory, dataset_size_arg=name), monitor="val_loss", total_steps=20, dataset_size=size
        )
        return inspect_job(spec)

    streamed = look_at(jobs.sized_stream, 16)
    assert (streamed.dataset_size, streamed.steps_per_epoch, streamed.notices) == (16, None, ())
    drawn = look_at(jobs.weighted, 16)
    assert (drawn.dataset_size, drawn.steps_per_epoch, drawn.notices) == (16, 2.0, ())
    # an argument that does something else
    other = look_at(lambda lr: jobs.build(lr=lr), 1, "lr")
    assert (other.dataset_size, other.notices) == (
        1,
        ("dataset_size 1 goes to the job as lr; its training data then has 64 items",),
    )
