"""Which executor a study's trials run on."""

from __future__ import annotations

from autowarm.executors.events import Executor
from autowarm.executors.local import LocalExecutor
from autowarm.settings import StudySettings


def executor_for(settings: StudySettings) -> Executor:
    """Return the executor that a study asks for, a context manager.

    Raises:
        SettingsError: Ray is asked for, and not installed.
        StudyError: its cluster cannot be reached.
    """
    if settings.executor == "ray":
        from autowarm.executors.ray import RayExecutor

        return RayExecutor([settings.job], n_jobs=settings.n_jobs, gpus_per_trial=settings.gpus_per_trial)
    return LocalExecutor([settings.job], gpus_per_trial=settings.gpus_per_trial)
