"""An executor in the place of `LocalExecutor`, whose trainings take no time and end as a script says."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TypeAlias

import sample_info

from autowarm.executors.events import Done, Event, Finished, Progress, Rung
from autowarm.schedule import Schedule
from autowarm.specs import Branching, JobInfo, Spec, TrainingSpec, TrialResult, TrunkResult, TrunkSpec

INFO = replace(
    sample_info.INFO,
    total_steps=100,
    dataset_size=800,
    steps_per_epoch=100.0,
    val_batches=10,
    step_seconds=0.001,
    validation_seconds=0.01,
    fixed_seconds=0.1,
    lrs=(1e-3,) * 100,
    schedule=Schedule(initial_lr=1e-3, warmup_ratio=0.0),
    beta2=0.999,
    loader_batch_size=8,
)
# What happens to a training, after its key is known; and to a trunk.
Script: TypeAlias = Callable[[int, TrainingSpec], list[Event]]
TrunkScript: TypeAlias = Callable[[int, TrunkSpec], list[Event]]


def well(key: int, spec: TrainingSpec) -> list[Event]:
    """Let a training end well, the worse the further its peak is from 1e-2, with a little noise by seed."""
    schedule = spec.schedule or INFO.schedule
    assert schedule is not None
    loss = 1.0 + 0.1 * math.log10(schedule.initial_lr / 1e-2) ** 2 + 0.001 * spec.seed
    rungs = tuple((step, loss + 1.0 - step / INFO.total_steps) for step in spec.rungs)
    if len(spec.rungs) == 1:
        return [Done(key, _range_tested(schedule, spec.total_steps or 0))]
    result = TrialResult(
        outcome="COMPLETE", value=loss, rungs=rungs, steps=spec.total_steps or 0, val_batches=10 * len(rungs)
    )
    return [*(Rung(key, step, value) for step, value in rungs), Done(key, result)]


def trunk_well(key: int, spec: TrunkSpec) -> list[Event]:
    """Let the trials of a trunk end as `well` lets them by themselves, one after the other."""
    events: list[Event] = []
    results = []
    for number, trial in enumerate(spec.trials):
        *rungs, done = well(key, trial)
        events += [replace(rung, trial=number) for rung in rungs if isinstance(rung, Rung)]
        assert isinstance(done, Done)
        assert isinstance(done.result, TrialResult)
        shared = spec.branch_steps[number] if number != spec.carrier else 0
        result = replace(done.result, trunk=spec.name, shared_steps=shared, exact=True)
        results.append(result)
        events.append(Finished(key, number, result))
    return [*events, Done(key, TrunkResult(results=tuple(results)))]


def _range_tested(schedule: Schedule, steps: int) -> TrialResult:
    """Return what a range test finds: a loss that falls as the lr rises, and breaks above .3."""
    lrs = [float(lr) for lr in schedule.lrs(total_steps=steps)]
    curve = tuple((i, 3.0 - 2.0 / (1 + 1e-3 / max(lr, 1e-12)) if lr < 0.3 else 10.0) for i, lr in enumerate(lrs, 1))
    return TrialResult(outcome="DIVERGED", reason="the loss exploded", train_curve=curve, steps=steps)


def died(key: int, spec: TrainingSpec) -> list[Event]:  # noqa: ARG001 - a script has both
    """Let the process of a training die."""
    error = "the training's process died by signal SIGKILL (out of memory?)"
    return [Progress(key, 3, 1.0), Done(key, None, error, died=True)]


def hangs(key: int, spec: TrainingSpec) -> list[Event]:  # noqa: ARG001 - a script has both
    """Let nothing happen any more."""
    return [Progress(key, 3, 1.0)]


class Scripted:
    """Runs trainings by a script.

    Args:
        script: of each training, and `trunk_script`, of each trunk.
        refused: why the job cannot branch; None: it can.
        seconds: that an event takes.
        deaf: whether what is told to stop does not.

    Attributes:
        specs: the trainings that were started, and `trunks`, the trunks.
        checks: how often it was asked whether the job can branch.
        ended: keys of what was killed.
    """

    def __init__(
        self,
        script: Script = well,
        *,
        trunk_script: TrunkScript = trunk_well,
        refused: str | None = None,
        seconds: float = 0.0,
        deaf: bool = False,
    ) -> None:
        self.script = script
        self.trunk_script = trunk_script
        self.refused = refused
        self.trunks: list[TrunkSpec] = []
        self.checks = 0
        self._started = 0
        self.seconds = seconds
        self.deaf = deaf
        self.specs: list[TrainingSpec] = []
        self.ended: list[int] = []
        self._left: dict[int, list[Event]] = {}

    def at_once(self, info: JobInfo) -> int:
        """Return how many trials there is room for."""
        return 1

    def inspect(self, spec: TrainingSpec) -> JobInfo:
        """Look at a job that has nothing to look at."""
        return INFO

    def start(self, task: str, spec: Spec) -> int:
        """Start a training, a trunk, or the look whether the job can branch."""
        self._started += 1
        key = self._started
        if isinstance(spec, TrunkSpec):
            self.trunks.append(spec)
            self._left[key] = self.trunk_script(key, spec)
        elif task == "branching":
            self.checks += 1
            self._left[key] = [Done(key, Branching(refused=self.refused))]
        else:
            self.specs.append(spec)
            self._left[key] = self.script(key, spec)
        return key

    def events(self, timeout: float) -> Iterator[Event]:
        """Return what happens next to each training."""
        time.sleep(self.seconds)
        for key in list(self._left):
            if self._left[key]:
                event = self._left[key].pop(0)
                if isinstance(event, Done):
                    del self._left[key]
                yield event

    def answer(self, key: int, reason: str | None) -> None:
        """Stop a training that is told to."""
        if reason is not None:
            self._left[key] = [Done(key, TrialResult(outcome="PRUNED", reason=reason))]

    def stop(self, key: int) -> None:
        """End a training without an outcome, unless it is deaf."""
        if not self.deaf:
            self._left[key] = [Done(key, TrialResult(outcome=None, reason="told to stop", steps=3))]

    def kill(self, key: int) -> None:
        """End a training at once."""
        self.ended.append(key)
        del self._left[key]


class Resized(Scripted):
    """A job that runs for as many steps as it is asked to."""

    def inspect(self, spec: TrainingSpec) -> JobInfo:
        """Look at it."""
        return replace(INFO, total_steps=spec.total_steps or INFO.total_steps)
