"""Running the trials of one horizon, several at once, from one thread: ask, start, listen, decide, store, tell."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

from autowarm.errors import StudyError
from autowarm.executors.local import Done, Event, LocalExecutor, Progress, Rung
from autowarm.planning.known_divergence import diverged
from autowarm.progress import Display, Run
from autowarm.pruning import PhasePruner, Pruning, ema_rungs_of, rungs_of
from autowarm.record import Role, TrialRecord
from autowarm.schedule import Schedule
from autowarm.settings import StudySettings
from autowarm.specs import JobInfo, TrainingSpec, TrialResult
from autowarm.study.horizon import HorizonStudy, Proposal

# How long trials may take to end after a first Ctrl-C.
_GRACE_SECONDS = 10.0
# The loop looks for a Ctrl-C that often, at least.
_TICK_SECONDS = 0.2
# The same error that often in a row from the start is the job's, not a schedule's.
_SAME_ERRORS = 3


class Interrupts:
    """Counts Ctrl-C (and SIGTERM) instead of raising in the middle of a write, from `begin` on."""

    def __init__(self) -> None:
        self.count = 0
        self._begun = False
        self._before: dict[int, Any] = {}

    def begin(self) -> None:
        """Count from now on: before there is anything to keep, a Ctrl-C may end everything at once."""
        self._begun = True

    def _seen(self, number: int, frame: FrameType | None) -> None:
        if self._begun:
            self.count += 1
        elif callable(handler := self._before[number]):
            handler(number, frame)
        else:
            signal.signal(number, handler)
            os.kill(os.getpid(), number)


@contextmanager
def interrupts() -> Iterator[Interrupts]:
    """Take Ctrl-C over until everything is put away: a second one must not raise while results are written.

    Outside of the main thread, where that cannot be done, nothing is counted.
    """
    seen = Interrupts()
    if threading.current_thread() is not threading.main_thread():
        yield seen
        return
    seen._before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}  # noqa: SLF001
    for number in seen._before:  # noqa: SLF001
        signal.signal(number, seen._seen)  # noqa: SLF001
    try:
        yield seen
    finally:
        for number, handler in seen._before.items():  # noqa: SLF001
            signal.signal(number, handler)


@dataclass(frozen=True)
class Task:
    """A training to run.

    Attributes:
        trial: its number in its study.
        role: why it runs.
        schedule: what it follows; None: the job's own scheduler.
        label: the schedule in words.
        seed: of the training.
        known: the schedule to put on the record where the job's own scheduler is one.
    """

    trial: int
    role: Role
    schedule: Schedule | None
    label: str
    seed: int
    known: Schedule | None = None


@dataclass
class HorizonLoop:
    """Runs the trials of one horizon.

    Attributes:
        settings: of the study.
        info: what a look at the job told, at this horizon.
        study: proposals and records.
        executor: where trials run.
        display: what a person sees.
        interrupts: Ctrl-C, counted.
        n_jobs: trials at once, and `threads`, CPU threads of each of their processes.
        dataset_size: what the study asks for; None: all.
        versions: of the libraries, for the records.
        target_steps: of a level of a ladder, the total_steps that it is climbed to; None: this horizon is the target.
        pruning: how readily trials are stopped.
        n_rungs: validations of a trial.
        records: of this horizon, as they come; those of earlier runs first.
    """

    settings: StudySettings
    info: JobInfo
    study: HorizonStudy
    executor: LocalExecutor
    display: Display
    interrupts: Interrupts
    n_jobs: int
    threads: int
    dataset_size: int | None
    versions: Mapping[str, str]
    target_steps: int | None = None
    pruning: Pruning = "off"
    n_rungs: int = 20
    records: list[TrialRecord] = field(default_factory=list)
    _running: dict[int, Task] = field(default_factory=dict)
    _early_errors: list[str] | None = field(default_factory=list)

    def __post_init__(self) -> None:
        """Let the pruner know the trials that earlier runs of the study have finished."""
        self._rungs = rungs_of(self.info.total_steps, self.n_rungs)
        self._ema_rungs = ema_rungs_of(self.info.total_steps, self.n_rungs) if self.pruning != "off" else ()
        self._pruner = PhasePruner(
            self.pruning, self.settings.mode, audit=self.settings.prune_audit, seed=self.settings.seed
        )
        self.records = self.study.records()
        for record in self.records:
            if record.outcome != "FAILED":
                self._early_errors = None
            ema = dict(record.ema_rungs)
            here = record.role == "search" and record.total_steps == self.info.total_steps
            for step, value in record.rungs if here else ():
                self._judge(record.trial, record.schedule, step, value, ema.get(step))

    def search(self, more: Callable[[int], bool], propose: Callable[[], Proposal | None] | None = None) -> None:
        """Run search trials.

        Args:
            more: tells whether to start one more, beside a number of trials that run.
            propose: returns the next one, or None where there is none left; default: the study's sampler.

        Raises:
            StudyError: the job fails with the same error from the start.
            KeyboardInterrupt: after a Ctrl-C; everything told so far is kept.
        """
        ask = propose if propose is not None else self._ask

        def next_task() -> Task | None:
            proposal = ask() if more(len(self._running)) else None
            if proposal is None:
                return None
            return Task(proposal.number, "search", proposal.schedule, str(proposal.schedule), self.settings.seed)

        self._drive(next_task)

    def _ask(self) -> Proposal:
        return self.study.ask(diverged(self.records))

    @property
    def searched(self) -> list[TrialRecord]:
        """The records of search trials."""
        return [r for r in self.records if r.role == "search"]

    @property
    def tried(self) -> list[Schedule]:
        """The schedules of search trials that have ended or run."""
        schedules = [r.schedule for r in self.searched]
        schedules += [task.schedule for task in self._running.values() if task.role == "search"]
        return [schedule for schedule in schedules if schedule is not None]

    def check(self, tasks: list[Task]) -> None:
        """Run trainings that the sampler is not told.

        Raises:
            KeyboardInterrupt: after a Ctrl-C; everything told so far is kept.
        """
        left = list(reversed(tasks))
        self._drive(lambda: left.pop() if left else None)

    def _drive(self, next_task: Callable[[], Task | None]) -> None:
        deadline: float | None = None
        while True:
            stopping = self.interrupts.count > 0
            while not stopping and len(self._running) < self.n_jobs and (task := next_task()) is not None:
                self._start(task)
            if not self._running:
                break
            if stopping:
                deadline = self._stop(deadline)
            for event in self.executor.events(_TICK_SECONDS):
                self._handle(event)
        if self.interrupts.count:
            raise KeyboardInterrupt

    def _start(self, task: Task) -> None:
        spec = TrainingSpec(
            job=self.settings.job,
            monitor=self.settings.monitor,
            total_steps=self.info.total_steps,
            dataset_size=self.dataset_size,
            schedule=task.schedule,
            seed=task.seed,
            # a range test is read off its training losses
            rungs=self._rungs if task.role != "range_test" else self._rungs[-1:],
            # what nobody is judged by is not validated
            ema_rungs=self._ema_rungs if task.role == "search" else (),
            processes=self.info.processes,
            threads=self.threads,
            keep_callbacks=self.settings.keep_callbacks,
        )
        key = self.executor.start("trial", spec)
        self._running[key] = task
        self.display.started(key, Run(task.label, task.role, self.info.total_steps))

    def _stop(self, deadline: float | None) -> float:
        """Ask the trials to end; those that do not in time, or a second Ctrl-C, ends them."""
        now = time.monotonic()
        if deadline is None:
            self.display.notice("stopping: finished trials are kept (Ctrl-C again: at once)")
            for key in self._running:
                self.executor.stop(key)
            deadline = now + _GRACE_SECONDS
        if self.interrupts.count > 1 or now > deadline:
            for key in list(self._running):
                self.executor.kill(key)
                self._give_up(key)
        return deadline

    def _handle(self, event: Event) -> None:
        task = self._running.get(event.key)
        if task is None:
            return
        if isinstance(event, Progress):
            self.display.moved(event.key, event.step, event.loss)
        elif isinstance(event, Rung):
            reason = None
            if task.role == "search":
                reason = self._judge(task.trial, task.schedule, event.step, event.value, event.ema)
            self.executor.answer(event.key, reason)
        else:
            self._ended(event, task)

    def _judge(self, trial: int, schedule: Schedule | None, step: int, value: float, ema: float | None) -> str | None:
        total = self.info.total_steps
        warmup_steps = schedule.warmup_steps_of(total) if schedule is not None else 0
        return self._pruner.report(trial, share=step / total, value=value, warmup_share=warmup_steps / total, ema=ema)

    def _ended(self, event: Done, task: Task) -> None:
        result = event.result
        if not isinstance(result, TrialResult):
            result = TrialResult(outcome="FAILED", reason=event.error, error=event.detail)
        killed = self.interrupts.count > 0 and not isinstance(event.result, TrialResult)
        if result.outcome is None or killed:
            self._give_up(event.key)
            return
        record = self._record(task, result)
        del self._running[event.key]
        self.records.append(record)
        if task.role == "search":
            self.study.tell(record)
        else:
            self.study.add(record)
        self.display.ended(event.key, record)
        self._watch_errors(record)

    def _give_up(self, key: int) -> None:
        task = self._running.pop(key)
        if task.role == "search":
            self.study.interrupted(task.trial)
        self.display.ended(key, None)

    def _record(self, task: Task, result: TrialResult) -> TrialRecord:
        assert result.outcome is not None  # noqa: S101 - the caller has seen it
        audit = self._pruner.audit_of(task.trial) if task.role == "search" else None
        return TrialRecord(
            study=self.settings.name,
            trial=task.trial,
            role=task.role,
            schedule=task.schedule or task.known,
            label=task.label,
            total_steps=self.info.total_steps,
            dataset_size=self.info.dataset_size,
            batch_size=self.info.batch_size,
            seed=task.seed,
            monitor=self.settings.monitor,
            mode=self.settings.mode,
            outcome=result.outcome,
            value=result.value,
            reason=result.reason,
            rungs=result.rungs,
            ema_rungs=result.ema_rungs,
            train_curve=result.train_curve,
            grad_norms=result.grad_norms,
            steps=result.steps,
            val_batches=result.val_batches,
            seconds=result.seconds,
            error=result.error,
            versions=self.versions,
            audit_step=round(audit.share * self.info.total_steps) if audit is not None else None,
            audit_reason=audit.reason if audit is not None else None,
            target_steps=self.target_steps,
        )

    def _watch_errors(self, record: TrialRecord) -> None:
        """Stop a study whose first trainings all fail in the same way."""
        if self._early_errors is None:
            return
        if record.outcome != "FAILED" or set(self._early_errors) - {record.reason}:
            self._early_errors = None
            return
        self._early_errors.append(record.reason or "")
        if len(self._early_errors) >= _SAME_ERRORS:
            for key in list(self._running):
                self.executor.kill(key)
                self._give_up(key)
            detail = f"\n\n{record.error.rstrip()}" if record.error else ""
            raise StudyError(f"the first {_SAME_ERRORS} trials failed in the same way: {record.reason}{detail}")
