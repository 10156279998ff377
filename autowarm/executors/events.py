"""What an executor is: it starts tasks and tells what they tell, whatever they run on. Plain data and one protocol."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol, Self, TypeAlias

import cloudpickle

from autowarm.errors import JobError, OutOfMemoryError
from autowarm.specs import Branching, JobInfo, Spec, TrainingSpec, TrialResult, TrunkResult, training_of

# a training; trials that share their first steps; a look at a job; whether its trials can share steps
Task: TypeAlias = Literal["trial", "trunk", "inspect", "branching"]
Result: TypeAlias = TrialResult | TrunkResult | JobInfo | Branching


@dataclass(frozen=True)
class Progress:
    """A training is at `step`, with training loss `loss`; `trial` is its number where the task is a trunk."""

    key: int
    step: int
    loss: float
    trial: int = 0


@dataclass(frozen=True)
class Rung:
    """A training has validated and waits for `Executor.answer`; `ema` is the metric of the averaged weights."""

    key: int
    step: int
    value: float
    ema: float | None = None
    trial: int = 0


@dataclass(frozen=True)
class Finished:
    """A trial of a trunk has its result, while the task goes on with the others."""

    key: int
    trial: int
    result: TrialResult


@dataclass(frozen=True)
class Done:
    """A task has ended: with a result, or with an error of one line and, where there is one, its traceback.

    Or with nothing, where it must be started anew with several `processes`. `died` where its process, or the machine
    that it was on, ended without a report: the same task may well succeed elsewhere, or later.
    `out_of_memory` where it reported that it ran out of memory.
    """

    key: int
    result: Result | None
    error: str | None = None
    detail: str | None = None
    processes: int = 1
    died: bool = False
    out_of_memory: bool = False


Event: TypeAlias = Progress | Rung | Finished | Done


class Executor(Protocol):
    """Runs tasks in processes of their own; a context manager that leaves none behind."""

    def __enter__(self) -> Self:
        """Return itself."""

    def __exit__(self, *_: object) -> None:
        """End what still runs."""

    @property
    def keys(self) -> tuple[int, ...]:
        """The tasks that run, or wait to."""

    def at_once(self, info: JobInfo) -> int:
        """Return how many trials of a job there is room for, at least 1."""

    def start(self, task: Task, spec: Spec) -> int:
        """Start a task and return its key; a `TrunkSpec` goes with "trunk", a `TrainingSpec` with the others.

        Raises:
            JobError: the job cannot be sent to a process of its own.
        """

    def events(self, timeout: float) -> Iterator[Event]:
        """Yield what the tasks have told, waiting at most `timeout` seconds for the first word."""

    def answer(self, key: int, reason: str | None) -> None:
        """Let a training that reported a rung go on (None), or end it as pruned for a reason."""

    def stop(self, key: int) -> None:
        """Ask a task to end at its next step; it still reports, without an outcome."""

    def kill(self, key: int) -> None:
        """End a task at once; it reports nothing more."""

    def inspect(self, spec: TrainingSpec) -> JobInfo:
        """Look at a job in a process of its own.

        Raises:
            OutOfMemoryError: the job's batches do not fit into memory; a spec with more `split_batches` may.
            JobError: the job cannot be built or tuned; says why.
        """


def pickled(task: Task, spec: Spec) -> bytes:
    """Pack a task for `autowarm.executors.child`.

    Raises:
        JobError: the job cannot be pickled.
    """
    try:
        return bytes(cloudpickle.dumps((task, spec)))
    except Exception as e:  # noqa: BLE001 - pickle raises many kinds
        raise JobError(
            f"the job {training_of(spec).job} cannot be sent to a process of its own ({e}): "
            "build models and data inside the factory, not around it"
        ) from None


def event_of(key: int, message: tuple[Any, ...]) -> Event:
    """Read a message of `autowarm.executors.child`."""
    kind, *payload = message
    if kind == "progress":
        return Progress(key, *payload)
    if kind == "rung":
        return Rung(key, *payload)
    if kind == "finished":
        return Finished(key, *payload)
    if kind == "done":
        (result,) = payload
        return Done(key, result, out_of_memory=isinstance(result, TrialResult) and result.out_of_memory)
    if kind == "processes":
        return Done(key, None, processes=payload[0])
    error, detail, out_of_memory = payload
    return Done(key, None, error, detail, out_of_memory=out_of_memory)


def look(executor: Executor, spec: TrainingSpec) -> JobInfo:
    """Run a look at a job to its end, anew where the job turns out to take several processes.

    Raises:
        OutOfMemoryError: its batches do not fit into memory.
        JobError: the job cannot be built or tuned; says why.
    """
    key = executor.start("inspect", spec)
    while True:
        for event in executor.events(timeout=1.0):
            if isinstance(event, Done) and event.key == key:
                if event.processes > 1:
                    return look(executor, replace(spec, processes=event.processes))
                if isinstance(event.result, JobInfo):
                    return event.result
                detail = f"\n\n{event.detail.rstrip()}" if event.detail else ""
                raise (OutOfMemoryError if event.out_of_memory else JobError)(f"{event.error}{detail}")


def why_not_branching(executor: Executor, spec: TrainingSpec, *, stopping: Callable[[], bool]) -> str | None:
    """Return why the trials of a job cannot share a trunk, None where they can: a few steps in a process of its own.

    Args:
        executor: where.
        spec: of any of the trials.
        stopping: tells whether to end it.

    Raises:
        InterruptedError: it was ended.
        JobError: the job cannot be sent to a process of its own.
    """
    key = executor.start("branching", spec)
    while not stopping():
        for event in executor.events(timeout=0.2):
            if isinstance(event, Done) and event.key == key:
                if isinstance(event.result, Branching):
                    return event.result.refused
                return event.error or f"the job trains in {event.processes} processes"
    executor.kill(key)
    raise InterruptedError
