"""The learning rates that a job would train with, before it trains: from a schedule, or from its own scheduler."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from autowarm.decays import Array
from autowarm.errors import JobError, SettingsError
from autowarm.executors.local import LocalExecutor
from autowarm.planning.guesses import incumbent_of
from autowarm.schedule import Schedule
from autowarm.settings import load_study, read_job
from autowarm.specs import TrainingSpec
from autowarm.yaml_files import read_yaml


@dataclass(frozen=True)
class Preview:
    """The learning rates of a run.

    Attributes:
        title: what they are, in words.
        lrs: of optimizer steps 0 .. total_steps - 1; shape (total_steps,).
        schedule: what they follow; None where it is no Schedule.
    """

    title: str
    lrs: Array
    schedule: Schedule | None


def preview(job: str, schedule: Schedule | None = None, total_steps: int | None = None) -> Preview:
    """Build a job, train it for a few steps to see how many it takes, and return the learning rates of the whole run.

    Args:
        job: a study file, a LightningCLI file, or ``package.module:function``.
        schedule: what the run would follow; None: what the job follows today.
        total_steps: of the run; None: as many as the study's first horizon or the job itself takes.

    Raises:
        SettingsError: no such job.
        JobError: the job cannot be built or steered, or follows something today that only training can tell.
        ScheduleError: the schedule does not fit into the run.
    """
    spec = _spec_of(job, total_steps)
    with LocalExecutor([spec.job]) as executor:
        info = executor.inspect(spec)
    where = f"{info.total_steps:,} steps of {spec.job}"
    if schedule is None:
        schedule = incumbent_of(info)
        if schedule is None and info.lrs is not None:
            return Preview(f"{info.scheduler} over {where}", np.array(info.lrs), None)
    if schedule is None:
        raise JobError(
            f"the job follows {info.scheduler} today, and only training can tell its learning rates: "
            "name a schedule file to see that one over the job's steps"
        )
    if info.steps_per_epoch is not None:
        schedule = schedule.resolved(steps_per_epoch=info.steps_per_epoch)
    return Preview(f"{schedule} over {where}", schedule.lrs(total_steps=info.total_steps), schedule)


def _spec_of(job: str, total_steps: int | None) -> TrainingSpec:
    path = Path(job)
    if path.suffix in (".yaml", ".yml") and "job" in read_yaml(path, SettingsError):
        settings = load_study(path)
        steps, size = settings.horizons[0]
        return TrainingSpec(job=settings.job, monitor=None, total_steps=total_steps or steps, dataset_size=size)
    return TrainingSpec(job=read_job(job, root=Path.cwd()), monitor=None, total_steps=total_steps)
