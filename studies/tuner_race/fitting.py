"""Trains one schedule on one job in this process, in the two ways that the race has."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any, cast

from lightning.pytorch import Callback, LightningModule, Trainer

from autowarm.adapters.lightning import TunedSchedule
from autowarm.job import Training, build
from autowarm.schedule import Schedule
from autowarm.specs import JobSpec
from studies.tuner_race.entries import VALIDATIONS, Entry

QUIET: dict[str, Any] = {
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "enable_checkpointing": False,
    "logger": False,
    "num_sanity_val_steps": 0,
}


class Meter(Callback):
    """Counts what a training costs, also where it is stopped.

    Attributes:
        steps: optimizer steps.
        val_batches: validation batches.
        seconds: wall time since the meter was made.
        value: the last `val_loss`; None before the first.
    """

    def __init__(self) -> None:
        self.steps = 0
        self.val_batches = 0
        self.value: float | None = None
        self._started = time.perf_counter()
        self.seconds = 0.0

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any, **__: Any) -> None:
        """Count a step."""
        self.steps = trainer.global_step

    def on_validation_batch_end(self, *_: Any, **__: Any) -> None:
        """Count a validation batch."""
        self.val_batches += 1

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the metric."""
        self.value = float(trainer.callback_metrics["val_loss"])

    def stop(self) -> None:
        """Stop the clock."""
        self.seconds = time.perf_counter() - self._started


def search_fit(entry: Entry, schedule: Schedule, seed: int, meter: Meter, callbacks: Sequence[Callback] = ()) -> float:
    """Train as a script with epochs does, and return the final `val_loss`.

    A run is VALIDATIONS epochs of equal length (`limit_train_batches`), each with a validation at its end, as in the
    Lightning example of Optuna: its callback reports the epoch, so a run of a part of an epoch would report once.

    Args:
        entry: the job.
        schedule: what the learning rate follows.
        seed: of weights and data order.
        meter: counts the cost.
        callbacks: of the contestant, after the meter.
    """
    keywords = {
        "max_epochs": VALIDATIONS,
        "max_steps": -1,
        "limit_train_batches": entry.total_steps // VALIDATIONS,
    }
    return _fit(entry, TunedSchedule(schedule), seed, meter=meter, keywords=keywords, callbacks=callbacks)


def true_fit(entry: Entry, callback: Callback | None, seed: int, *, training: Training | None = None) -> float:
    """Train the job as it is to its end with one validation there, and return `val_loss`; infinite where it is none.

    Args:
        entry: the job.
        callback: sets the schedule.
        seed: of weights and data order.
        training: what is trained, already built with that seed; default: the job.
    """
    steps = entry.total_steps
    keywords = {"max_steps": steps, "max_epochs": -1, "val_check_interval": steps, "check_val_every_n_epoch": None}
    value = _fit(entry, callback, seed, meter=Meter(), keywords=keywords, training=training)
    return value if math.isfinite(value) else math.inf


def _fit(
    entry: Entry,
    steering: Callback | None,
    seed: int,
    *,
    meter: Meter,
    keywords: dict[str, Any],
    callbacks: Sequence[Callback] = (),
    training: Training | None = None,
) -> float:
    try:
        training = training or build(JobSpec(factory=entry.factory), seed=seed)
        ours = [steering] if steering is not None else []
        trainer = Trainer(**{**training.trainer, **QUIET, **keywords}, callbacks=[*ours, meter, *callbacks])
        trainer.fit(cast("LightningModule", training.module), **training.fit_arguments)
        return float(trainer.callback_metrics["val_loss"])
    finally:
        meter.stop()


def evaluate(entry: Entry, schedule: dict[str, Any] | str, seed: int) -> float:
    """Train what a contestant named (a schedule as plain data, or the word `schedulefree`) on a seed."""
    if schedule == "schedulefree":
        from studies.tuner_race.contestants.schedule_free import schedule_free

        return schedule_free(entry, seed)
    assert not isinstance(schedule, str)  # noqa: S101 - there is one word only
    return true_fit(entry, TunedSchedule(Schedule.from_dict(schedule)), seed)
