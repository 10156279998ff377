"""Running the trials of one horizon, several at once, from one thread: ask, start, listen, decide, store, tell."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from autowarm.errors import StudyError
from autowarm.events import EventLog
from autowarm.executors.events import Done, Event, Executor, Progress, Rung
from autowarm.interrupts import Interrupts
from autowarm.planning.known_divergence import diverged
from autowarm.planning.smaller_parts import next_split
from autowarm.progress import Display, Run
from autowarm.pruning import PhasePruner, Pruning, ema_rungs_of, rungs_of
from autowarm.record import Role, TrialRecord
from autowarm.schedule import Schedule
from autowarm.settings import StudySettings
from autowarm.specs import JobInfo, TrainingSpec, TrialResult
from autowarm.study.checks import Check
from autowarm.study.horizon import HorizonStudy, Proposal
from autowarm.study.lease import BEAT_SECONDS
from autowarm.study.mutex import TurnLostError
from autowarm.unsaved import Unsaved
from autowarm.words import duration

# How long trials may take to end after a first Ctrl-C, or when their time is over.
_GRACE_SECONDS = 10.0
# How often a process that has nothing to train looks whether another one has left it something.
_IDLE_SECONDS = 1.0
# A trial that has died with its owner that often is taken for the reason.
_MOST_ORPHANED = 10
# The loop looks for a Ctrl-C that often, at least.
_TICK_SECONDS = 0.2
# The same error that often in a row from the start is the job's, not a schedule's.
_SAME_ERRORS = 3


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
        deaths: how often its process has died by itself, and `orphaned`, how often with its owner.
    """

    trial: int
    role: Role
    schedule: Schedule | None
    label: str
    seed: int
    known: Schedule | None = None
    deaths: int = 0
    orphaned: int = 0

    @property
    def check(self) -> Check:
        """What the study knows of it, if it is no search trial."""
        return Check(self.role, self.seed, self.schedule or self.known)


@dataclass
class _Running:
    task: Task
    spec: TrainingSpec
    began: float
    step: int = 0
    # since when it has been told to end, its time being over
    late: float | None = None


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
        timeout: seconds that a trial may take; None: as long as it likes.
        checkpoints: folder that trials keep themselves in; None: what is interrupted starts anew.
        split_batches: parts that batches are cut into, as whole ones do not fit into memory.
        events: where what happens is written down, and `unsaved`, records that the database does not take.
        records: of this horizon, as they come, those of other processes too; those of earlier runs first.
    """

    settings: StudySettings
    info: JobInfo
    study: HorizonStudy
    executor: Executor
    display: Display
    interrupts: Interrupts
    n_jobs: int
    threads: int
    dataset_size: int | None
    versions: Mapping[str, str]
    target_steps: int | None = None
    pruning: Pruning = "off"
    n_rungs: int = 20
    timeout: float | None = None
    checkpoints: Path | None = None
    split_batches: int = 1
    events: EventLog = field(default_factory=EventLog)
    unsaved: Unsaved = field(default_factory=Unsaved)
    records: list[TrialRecord] = field(default_factory=list)
    _running: dict[int, _Running] = field(default_factory=dict)
    _known: set[tuple[bool, int]] = field(default_factory=set)
    _check_deaths: Counter[str] = field(default_factory=Counter)
    _beaten: float = 0.0
    # when to look for something to train again
    _look_at: float = 0.0
    _early_errors: list[str] | None = field(default_factory=list)

    def __post_init__(self) -> None:
        """Let the pruner know the trials that earlier runs of the study have finished."""
        self._rungs = rungs_of(self.info.total_steps, self.n_rungs)
        self._ema_rungs = ema_rungs_of(self.info.total_steps, self.n_rungs) if self.pruning != "off" else ()
        self._pruner = PhasePruner(
            self.pruning, self.settings.mode, audit=self.settings.prune_audit, seed=self.settings.seed
        )
        self._hear(self.study.records())

    def _hear(self, records: Sequence[TrialRecord]) -> list[TrialRecord]:
        """Take in those of the records that are new, and return them."""
        new = [record for record in records if _number(record) not in self._known]
        for record in new:
            self._add(record)
            if record.outcome != "FAILED":
                self._early_errors = None
            ema = dict(record.ema_rungs)
            here = record.role == "search" and record.total_steps == self.info.total_steps
            for step, value in record.rungs if here else ():
                self._judge(record.trial, record.schedule, step, value, ema.get(step))
        return new

    def _add(self, record: TrialRecord) -> None:
        self._known.add(_number(record))
        self.records.append(record)

    def search(self, more: Callable[[int], bool], propose: Callable[[], Proposal | None] | None = None) -> None:
        """Run search trials.

        Args:
            more: tells whether to start one more, beside a number of trials that run, whoever trains them.
            propose: returns the next one, or None where there is none left; default: the study's sampler.

        Raises:
            StudyError: the job fails with the same error from the start.
            KeyboardInterrupt: after a Ctrl-C; everything told so far is kept.
        """
        ask = propose if propose is not None else self._ask

        def next_task() -> Task | None:
            proposal = ask() if more(self.study.running) else None
            if proposal is None:
                return None
            return Task(
                proposal.number,
                "search",
                proposal.schedule,
                str(proposal.schedule),
                proposal.seed if proposal.seed is not None else self.settings.seed,
                deaths=proposal.deaths,
                orphaned=proposal.orphaned,
            )

        self._drive(next_task)

    def _ask(self) -> Proposal:
        return self.study.ask(diverged(self.records))

    @property
    def searched(self) -> list[TrialRecord]:
        """The records of search trials."""
        return [r for r in self.records if r.role == "search"]

    @property
    def tried(self) -> list[Schedule]:
        """The schedules of search trials that have ended or run, whoever trains them."""
        schedules = [r.schedule for r in self.searched]
        schedules += [run.task.schedule for run in self._running.values() if run.task.role == "search"]
        schedules += self.study.schedules_of_others()
        return [schedule for schedule in schedules if schedule is not None]

    def check(self, tasks: Sequence[Task]) -> None:
        """Run trainings that the sampler is not told, as far as no other process runs them.

        Args:
            tasks: their numbers are given when they begin.

        Raises:
            KeyboardInterrupt: after a Ctrl-C; everything told so far is kept.
        """
        left = list(tasks)
        # what had failed before is tried again, once
        before = {r.trial for r in self.records if r.role != "search" and r.outcome == "FAILED"}

        def next_task() -> Task | None:
            done = {
                Check.of(r).key
                for r in self.records
                if r.role != "search" and (r.outcome != "FAILED" or r.trial not in before)
            }
            # what others run may be left by them, so it stays in the list
            left[:] = [task for task in left if task.check.key not in done]
            running = self.study.checks.claimed()
            task = next((task for task in left if task.check.key not in running), None)
            if task is None:
                return None
            deaths = self._check_deaths[task.check.key]
            return replace(task, trial=self.study.checks.claim(task.check), deaths=deaths)

        self._drive(next_task)

    def _drive(self, next_task: Callable[[], Task | None]) -> None:
        deadline: float | None = None
        while True:
            stopping, over = self._stopping(), False
            if not stopping and len(self._running) < self.n_jobs and time.monotonic() >= self._look_at:
                over = self._fill(next_task)
            if not self._running:
                if over or self._stopping():
                    break
                # what others train may be left by them
                time.sleep(_IDLE_SECONDS)
                continue
            if stopping:
                deadline = self._stop(deadline)
            for event in self.executor.events(_TICK_SECONDS):
                self._handle(event)
            self._end_late()
            self._beat()
        if self.interrupts.count:
            raise KeyboardInterrupt

    def _stopping(self) -> bool:
        return self.interrupts.count > 0

    def _fill(self, next_task: Callable[[], Task | None]) -> bool:
        """Start what there is to start, in a turn in which no other process decides.

        Returns:
            Whether nothing runs and nothing is left, here or elsewhere.
        """
        before, over, lost = set(self._running), False, False
        try:
            with self.study.exclusive(self._stopping) as turn:
                self._catch_up()
                while len(self._running) < self.n_jobs and (task := next_task()) is not None:
                    self._start(task)
                over = not self._running and not self.study.others
                if set(self._running) == before:
                    # only what ends here, or what others leave, changes that: a turn at each tick would hold them up
                    self._look_at = time.monotonic() + _IDLE_SECONDS
        except InterruptedError:
            return False
        except TurnLostError:
            lost = True
        if not (lost or turn.lost):
            return over
        # another process may have decided the same
        for key in set(self._running) - before:
            self.executor.kill(key)
            self._give_up(key, "the database ended the turn in which it began")
        return False

    def _catch_up(self) -> None:
        """Take in what other processes have done, and what those that died have left."""
        if reaped := self.study.reap():
            self.events.write("reaped", study=self.settings.name, total_steps=self.info.total_steps, trials=reaped)
        for record in self._hear(self.study.records()):
            self.display.ended(-1, record)

    def _beat(self) -> None:
        """Renew the leases of what runs."""
        now = time.monotonic()
        if not self._running or now - self._beaten < BEAT_SECONDS:
            return
        self._beaten = now
        steps: dict[bool, dict[int, int]] = {True: {}, False: {}}
        for run in self._running.values():
            steps[run.task.role == "search"][run.task.trial] = run.step
        self.study.beat(steps[True], steps[False])

    def _start(self, task: Task) -> None:
        if task.orphaned >= _MOST_ORPHANED:
            died = f"its owner has died {task.orphaned} times while it ran: does it end the machine?"
            self._keep(task, TrialResult(outcome="FAILED", reason=died))
            return
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
            split_batches=self.split_batches,
            checkpoint=self._checkpoint(task),
            checkpoint_seconds=self.settings.checkpoint_every,
        )
        key = self.executor.start("trial", spec)
        self._running[key] = _Running(task, spec, time.monotonic())
        self.display.started(key, Run(task.label, task.role, self.info.total_steps))
        self._say("started", task)

    def _checkpoint(self, task: Task) -> Path | None:
        """Return the file that a training keeps itself in: whoever trains the same again finds it."""
        if self.checkpoints is None:
            return None
        said = f"{self.settings.name} {self.info.total_steps} {self.dataset_size} {task.check.key}"
        return self.checkpoints / f"{hashlib.sha256(said.encode()).hexdigest()[:16]}.ckpt"

    def _say(self, event: str, task: Task, **fields: object) -> None:
        self.events.write(
            event,
            study=self.settings.name,
            total_steps=self.info.total_steps,
            dataset_size=self.dataset_size,
            role=task.role,
            trial=task.trial,
            seed=task.seed,
            schedule=task.label,
            **fields,
        )

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
                self._give_up(key, "stopped")
        return deadline

    def _end_late(self) -> None:
        """End the trials whose time is over: first they are asked to."""
        if self.timeout is None:
            return
        now = time.monotonic()
        for key, run in list(self._running.items()):
            if run.late is None and now - run.began > self.timeout:
                run.late = now
                self.executor.stop(key)
            elif run.late is not None and now - run.late > _GRACE_SECONDS:
                self._look_at = 0.0
                self.executor.kill(key)
                late = self._too_late(TrialResult(outcome=None, steps=run.step))
                self._keep(self._running.pop(key).task, late, key, run.spec.split_batches)

    def _too_late(self, result: TrialResult) -> TrialResult:
        assert self.timeout is not None  # noqa: S101 - it is over
        reason = f"it took longer than {duration(self.timeout)}: see trial_timeout"
        return replace(result, outcome="FAILED", reason=reason)

    def _handle(self, event: Event) -> None:
        run = self._running.get(event.key)
        if run is None:
            return
        if isinstance(event, Progress):
            run.step = event.step
            self.display.moved(event.key, event.step, event.loss)
        elif isinstance(event, Rung):
            run.step = event.step
            reason = None
            if run.task.role == "search":
                reason = self._judge(run.task.trial, run.task.schedule, event.step, event.value, event.ema)
            self.executor.answer(event.key, reason)
        else:
            self._ended(event, run)

    def _judge(self, trial: int, schedule: Schedule | None, step: int, value: float, ema: float | None) -> str | None:
        total = self.info.total_steps
        warmup_steps = schedule.warmup_steps_of(total) if schedule is not None else 0
        return self._pruner.report(trial, share=step / total, value=value, warmup_share=warmup_steps / total, ema=ema)

    def _ended(self, event: Done, run: _Running) -> None:
        self._look_at = 0.0
        result, task = event.result, run.task
        if self._stopping() and not isinstance(result, TrialResult):
            self._give_up(event.key, "stopped")
            return
        if event.died and task.deaths < self.settings.retries:
            self.display.notice(f"{task.label}: {event.error}; it is trained again")
            self._give_up(event.key, event.error or "its process died", died=True)
            return
        if event.out_of_memory and self.settings.oom_retry and self._in_smaller_parts(event.key, run):
            return
        if not isinstance(result, TrialResult):
            reason = event.error
            if event.died and task.deaths:
                reason = f"{reason} ({task.deaths + 1} times)"
            result = TrialResult(outcome="FAILED", reason=reason, error=event.detail)
        if result.outcome is None and run.late is not None:
            result = self._too_late(result)
        if result.outcome is None:
            self._give_up(event.key, "stopped")
            return
        del self._running[event.key]
        self._keep(task, result, event.key, run.spec.split_batches)

    def _in_smaller_parts(self, key: int, run: _Running) -> bool:
        """Train again what has run out of memory, in smaller parts of its batches; False where there are none."""
        parts = next_split(run.spec.split_batches, self.info.loader_batch_size or 1)
        if parts is None:
            return False
        # those to come would only run out of it, too
        self.split_batches = max(self.split_batches, parts)
        self.display.notice(f"{run.task.label}: out of memory; it is trained again with batches in {parts} parts")
        self._say("out_of_memory", run.task, split_batches=parts)
        del self._running[key]
        self.display.ended(key, None)
        self._start(run.task)
        return True

    def _keep(self, task: Task, result: TrialResult, key: int = -1, parts: int = 1) -> None:
        """Store what a training left behind."""
        for notice in result.notices:
            self.display.notice(f"{task.label}: {notice}")
        if (kept := self._checkpoint(task)) is not None:
            # of one that was ended, it is there still
            kept.unlink(missing_ok=True)
        record = self._record(task, result, parts)
        try:
            stored = self.study.tell(record) if task.role == "search" else self.study.checks.add(record)
        except Exception:
            # whatever the database has, the training is paid for
            if self.unsaved.keep(self.study.name, record):
                self.display.notice(f"{task.label}: the database did not take its result, which is kept for a next run")
            raise
        if not stored:
            self.display.notice(f"{task.label}: another process has taken this one for dead, and trains it again")
            if task.role == "search":
                self._pruner.forget(task.trial)
            self.display.ended(key, None)
            self._say("lost", task)
            return
        self._add(record)
        self.display.ended(key, record)
        self._say(
            "ended",
            task,
            outcome=record.outcome,
            value=record.value,
            reason=record.reason,
            steps=record.steps,
            seconds=round(record.seconds, 3),
        )
        self._watch_errors(record)

    def _give_up(self, key: int, reason: str, *, died: bool = False) -> None:
        """Leave a training to be done again."""
        task = self._running.pop(key).task
        if task.role == "search":
            self._pruner.forget(task.trial)
            self.study.interrupted(task.trial, died=died)
        else:
            self.study.checks.interrupted(task.trial)
            self._check_deaths[task.check.key] += died
        self.display.ended(key, None)
        self._say("interrupted", task, reason=reason)

    def _record(self, task: Task, result: TrialResult, parts: int) -> TrialRecord:
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
            versions=self.versions,
            audit_step=round(audit.share * self.info.total_steps) if audit is not None else None,
            audit_reason=audit.reason if audit is not None else None,
            target_steps=self.target_steps,
            split_batches=parts if parts > 1 else None,
            **result.recorded,
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
                self._give_up(key, "the study ends")
            detail = f"\n\n{record.error.rstrip()}" if record.error else ""
            raise StudyError(f"the first {_SAME_ERRORS} trials failed in the same way: {record.reason}{detail}")


def _number(record: TrialRecord) -> tuple[bool, int]:
    """Return what no other record of a horizon has: its trial's number, in the study that it belongs to."""
    return record.role == "search", record.trial
