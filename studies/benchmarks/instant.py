"""Trainings that take no time, so that what is left of a study is what autowarm itself takes."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from autowarm.executors.events import Done, Event, Executor, Rung
from autowarm.interrupts import Interrupts
from autowarm.progress import Display
from autowarm.report.files import write_results
from autowarm.schedule import Schedule
from autowarm.search import Search
from autowarm.settings import StudySettings
from autowarm.space import Range, SearchSpace
from autowarm.specs import JobInfo, JobSpec, TrainingSpec, TrialResult
from autowarm.study.database import database, quiet_optuna
from autowarm.tuning import look

INFO = JobInfo(
    total_steps=1000,
    dataset_size=8000,
    batch_size=8,
    steps_per_epoch=1000.0,
    val_batches=10,
    step_seconds=0.01,
    validation_seconds=0.1,
    fixed_seconds=0.1,
    lrs=(1e-3,) * 1000,
    scheduler=None,
    schedule=Schedule(initial_lr=1e-3, warmup_ratio=0.0),
    beta2=0.999,
    accelerator="cpu",
)


class Instant:
    """In the place of an executor: a training ends at once, the worse the further its peak is from 1e-2."""

    def __init__(self) -> None:
        self._left: dict[int, list[Event]] = {}
        self._keys = 0

    def at_once(self, info: JobInfo) -> int:
        """One trial at a time."""
        return 1

    def inspect(self, spec: TrainingSpec) -> JobInfo:
        """Look at a job that has nothing to look at."""
        return INFO

    def start(self, task: str, spec: TrainingSpec) -> int:
        """Start a training."""
        self._keys += 1
        key, schedule = self._keys, spec.schedule or INFO.schedule
        assert schedule is not None  # noqa: S101 - INFO has one
        loss = 1.0 + 0.1 * math.log10(schedule.initial_lr / 1e-2) ** 2
        rungs = tuple((step, loss + 1.0 - step / spec.total_steps) for step in spec.rungs if spec.total_steps)
        curve = tuple((i, loss + 1.0 / i) for i in range(1, 101))
        result = TrialResult(
            outcome="COMPLETE",
            value=loss,
            rungs=rungs,
            train_curve=curve,
            grad_norms=curve,
            steps=spec.total_steps or 0,
            val_batches=10 * len(rungs),
        )
        self._left[key] = [*(Rung(key, step, value) for step, value in rungs), Done(key, result)]
        return key

    def events(self, timeout: float) -> Iterator[Event]:
        """Return what happens next to each training."""
        for key in list(self._left):
            yield self._left[key].pop(0)
            if not self._left[key]:
                del self._left[key]

    def answer(self, key: int, reason: str | None) -> None:
        """Stop a training that is told to."""
        if reason is not None:
            done = self._left[key][-1]
            assert isinstance(done, Done)  # noqa: S101 - the last one
            result = TrialResult(outcome="PRUNED", reason=reason)
            self._left[key] = [Done(key, result)]


def seconds_a_trial(**search: Any) -> float:
    """Return the seconds of sampling, deciding, storing and reporting for each trial of a study.

    Args:
        search: `n_trials`, or `budget`.
    """
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        settings = StudySettings(
            name="instant",
            job=JobSpec(factory="overhead_job:build"),
            monitor="val_loss",
            space=SearchSpace(initial_lr=Range(1e-4, 1.0, log=True)),
            n_jobs=1,
            **search,
        )
        executor = cast("Executor", Instant())
        plans = look(settings, executor, Display())
        with quiet_optuna(), database(None, out) as storage:
            started = time.perf_counter()
            study = Search(
                settings, plans, storage=storage, executor=executor, display=Display(), interrupts=Interrupts()
            )
            study.run()
            records = study.records()
            write_results(records, out, name=settings.name, bounds=settings.space.bounds)
            return (time.perf_counter() - started) / len(records)
