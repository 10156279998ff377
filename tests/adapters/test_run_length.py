"""The step is the optimizer step, and the schedule spans exactly the steps that the Trainer takes."""

from __future__ import annotations

from typing import Any

import pytest
import sample_jobs as jobs
import torch
from fits import fit, lrs_of
from lightning.pytorch import LightningDataModule
from lightning.pytorch.callbacks import GradientAccumulationScheduler, Timer
from lightning.pytorch.plugins import MixedPrecision
from torch.utils.data import DataLoader, Subset

from autowarm import Schedule, TunedSchedule
from autowarm.adapters.run_length import epochs_for
from autowarm.errors import JobError

SCHEDULE = Schedule(initial_lr=0.2, warmup_ratio=0.25, decay="linear")
UNLIMITED: dict[str, Any] = {"max_steps": -1}


def check(expected_steps: int, *callbacks: Any, module: Any = None, **keywords: Any) -> None:
    """Train, and see that there were that many optimizer steps, each with the learning rate of its step."""
    seen = jobs.Recorder()
    trainer = fit(module or jobs.Regression(), TunedSchedule(SCHEDULE), *callbacks, seen, **keywords)
    assert trainer.global_step == expected_steps
    assert lrs_of(seen) == SCHEDULE.lrs(total_steps=expected_steps).tolist()


# 64 examples, 8 a batch: 8 batches an epoch
@pytest.mark.parametrize(
    ("expected_steps", "keywords"),
    [
        (20, {"max_steps": 20, "max_epochs": None}),
        (12, {"max_epochs": 4, "accumulate_grad_batches": 3, **UNLIMITED}),  # steps of 3, 3 and 2 batches
        (9, {"max_epochs": 3, "limit_train_batches": 3, **UNLIMITED}),
        (8, {"max_epochs": 2, "limit_train_batches": 0.5, **UNLIMITED}),
        (24, {"max_epochs": 3, "val_check_interval": 3, **UNLIMITED}),
        (6, {"max_epochs": 3, "max_steps": 6}),
        (2, {"max_epochs": 1, "limit_train_batches": 5, "accumulate_grad_batches": 4, **UNLIMITED}),
    ],
)
def test_each_way_to_set_a_length(expected_steps: int, keywords: dict[str, Any]) -> None:
    check(expected_steps, **keywords)


def test_an_accumulation_that_changes_between_epochs_is_counted() -> None:
    # Lightning's own estimate is 5 * 4
    check(4 + 4 + 2 + 2 + 2, GradientAccumulationScheduler({0: 2, 2: 5}), max_epochs=5, **UNLIMITED)


@pytest.mark.parametrize(("total_steps", "epochs"), [(1, 1), (4, 1), (5, 2), (8, 2), (9, 3), (10, 3), (11, 4), (13, 5)])
def test_the_epochs_that_steps_take(total_steps: int, epochs: int) -> None:
    scheduler = GradientAccumulationScheduler({0: 2, 2: 5})
    trainer = fit(jobs.Regression(), scheduler, max_epochs=1, **UNLIMITED)
    assert epochs_for(trainer, total_steps) == epochs


def test_steps_that_mixed_precision_skips_count() -> None:
    class Overflows(jobs.Regression):
        """Has gradients that overflow at steps 2 and 7."""

        def on_after_backward(self) -> None:
            if self.global_step in (2, 7):
                for parameter in self.parameters():
                    assert parameter.grad is not None
                    parameter.grad.fill_(float("inf"))

    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    precision = MixedPrecision("16-mixed", "cpu", scaler=scaler)
    check(20, module=Overflows(), plugins=[precision])
    assert scaler.get_scale() == 256.0, "two steps were skipped"


def stream() -> DataLoader[Any]:
    return DataLoader(jobs.Stream(), batch_size=8)


@pytest.mark.parametrize(
    ("why", "keywords"),
    [
        ("no length", {"data": stream, "max_epochs": 2, "max_steps": -1, "val_check_interval": 1.0}),
        ("max_time", {"max_time": "00:00:10:00", "max_epochs": 2, "max_steps": -1}),
        ("max_time", {"max_time": "00:00:10:00", "max_steps": 20}),
        ("neither max_steps nor max_epochs", {"max_epochs": -1, "max_steps": -1}),
    ],
)
def test_a_length_that_cannot_be_known_is_asked_for(why: str, keywords: dict[str, Any]) -> None:
    data = keywords.pop("data", jobs.loader)
    with pytest.raises(JobError, match=f"{why}.*: give total_steps"):
        fit(jobs.Regression(), TunedSchedule(SCHEDULE), data=data(), **keywords)


def test_a_timer_that_only_measures_ends_nothing() -> None:
    check(20, Timer())


def test_a_length_that_is_given_is_not_asked_for() -> None:
    seen = jobs.Recorder()
    keywords = {"max_epochs": 2, "max_steps": -1, "val_check_interval": 1.0}
    fit(jobs.Regression(), TunedSchedule(SCHEDULE, total_steps=16), seen, data=stream(), **keywords)
    assert lrs_of(seen) == SCHEDULE.lrs(total_steps=16).tolist()


@pytest.mark.parametrize("keywords", [{"max_steps": 0}, {"max_epochs": 0, "max_steps": -1}])
def test_a_training_of_no_steps_is_refused(keywords: dict[str, Any]) -> None:
    with pytest.raises(JobError, match="no steps: max_steps or max_epochs is 0"):
        fit(jobs.Regression(), TunedSchedule(SCHEDULE), **keywords)


@pytest.mark.filterwarnings("ignore:Total length of")
def test_a_training_on_no_data_is_refused() -> None:
    empty: DataLoader[Any] = DataLoader(Subset(jobs.dataset(), []), batch_size=8)
    with pytest.raises(JobError, match="no steps: the training data is empty"):
        fit(jobs.Regression(), TunedSchedule(SCHEDULE), data=empty, max_epochs=2, max_steps=-1)


def test_a_schedule_for_fewer_steps_than_the_run_says_so_at_its_start() -> None:
    seen = jobs.Recorder()
    with pytest.warns(UserWarning, match="spans total_steps=10, and the training runs 20"):
        fit(jobs.Regression(), TunedSchedule(SCHEDULE, total_steps=10), seen)
    assert lrs_of(seen) == [*SCHEDULE.lrs(total_steps=10).tolist(), *[0.0] * 10]


@pytest.mark.filterwarnings("ignore:.max_epochs. was not set", "ignore:Detected call of `lr_scheduler.step")
def test_lightnings_thousand_epochs_are_named() -> None:
    class Stops(jobs.Regression):
        def on_train_batch_start(self, batch: Any, batch_idx: int) -> int:
            self.trainer.should_stop = True
            return -1

    with pytest.warns(UserWarning, match="spans 1000 epochs"):
        fit(Stops(), TunedSchedule(SCHEDULE), max_epochs=None, max_steps=-1)


class Shrinking(LightningDataModule):
    """Has 8 batches in the first epoch and 4 in the others."""

    def __init__(self) -> None:
        super().__init__()
        self.made = 0

    def train_dataloader(self) -> DataLoader[Any]:
        self.made += 1
        return jobs.loader() if self.made == 1 else DataLoader(Subset(jobs.dataset(), range(32)), batch_size=8)

    def val_dataloader(self) -> DataLoader[Any]:
        return jobs.loader(shuffle=False)


def test_a_loader_that_shrinks_when_it_is_loaded_again_is_told_of() -> None:
    from lightning.pytorch import Trainer

    trainer = Trainer(
        max_epochs=3,
        reload_dataloaders_every_n_epochs=1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[TunedSchedule(SCHEDULE)],
    )
    with pytest.warns(UserWarning, match="epoch 1 has 4 batches.*laid out for 8 an epoch, 24 steps"):
        trainer.fit(jobs.Regression(), Shrinking())
    assert trainer.global_step == 16
