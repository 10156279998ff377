"""The trials of one horizon: how each is trained, what its rungs say, and what is stored of it.

A loop runs the trials of one lane; a trunk that it runs may have trials of others, too.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from autowarm.events import EventLog
from autowarm.planning.growth import goes_on_from, left_by
from autowarm.planning.trunks import Held, held_by
from autowarm.progress import Display
from autowarm.pruning import PhasePruner, Pruning, ema_rungs_of, rungs_of
from autowarm.record import Role, TrialRecord
from autowarm.schedule import Schedule
from autowarm.settings import StudySettings
from autowarm.specs import GrowingTrunk, JobInfo, TrainingSpec, TrialResult
from autowarm.study.checks import Check
from autowarm.study.horizon import HorizonStudy, Proposal
from autowarm.unsaved import Unsaved
from autowarm.words import counted, number


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
class Lane:
    """The trials of one horizon.

    Attributes:
        settings: of the study.
        info: what a look at the job told, at this horizon.
        study: proposals and records.
        display: what a person sees.
        threads: CPU threads of each process of a trial.
        dataset_size: what the study asks for; None: all.
        versions: of the libraries, for the records.
        target_steps: of a level of a ladder, the total_steps that it is climbed to; None: this horizon is the target.
        pruning: how readily trials are stopped.
        n_rungs: validations of a trial.
        timeout: seconds that a trial may take; None: as long as it likes.
        checkpoints: folder that trials keep themselves in; None: what is interrupted starts anew.
        split_batches: parts that batches are cut into, as whole ones do not fit into memory.
        grows: whether search trials go on from shorter ones, and leave their state for longer ones, in `checkpoints`.
        below: search trials of the level below; none on the lowest one, or where there are no levels.
        events: where what happens is written down, and `unsaved`, records that the database does not take.
        shown: whether the display is at this horizon; what ends elsewhere is counted when it turns there.
        records: of this horizon, as they come, those of other processes too; those of earlier runs first.
        check_deaths: how often the process of a check has died, by its contents.
    """

    settings: StudySettings
    info: JobInfo
    study: HorizonStudy
    display: Display
    threads: int
    dataset_size: int | None
    versions: Mapping[str, str]
    target_steps: int | None = None
    pruning: Pruning = "off"
    n_rungs: int = 20
    timeout: float | None = None
    checkpoints: Path | None = None
    split_batches: int = 1
    grows: bool = False
    below: Sequence[TrialRecord] = ()
    events: EventLog = field(default_factory=EventLog)
    unsaved: Unsaved = field(default_factory=Unsaved)
    shown: bool = True
    records: list[TrialRecord] = field(default_factory=list)
    check_deaths: Counter[str] = field(default_factory=Counter)
    _known: set[tuple[bool, int]] = field(default_factory=set)
    _running: dict[tuple[bool, int], Task] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Let the pruner know the trials that earlier runs of the study have finished."""
        self._rungs = rungs_of(self.info.total_steps, self.n_rungs)
        self._ema_rungs = ema_rungs_of(self.info.total_steps, self.n_rungs) if self.pruning != "off" else ()
        self._pruner = PhasePruner(
            self.pruning, self.settings.mode, audit=self.settings.prune_audit, seed=self.settings.seed
        )
        self.hear(new=False)

    def hear(self, *, new: bool = True) -> None:
        """Take in the records that are not known here yet.

        Args:
            new: whether to show them: others have trained them meanwhile.
        """
        for record in [r for r in self.study.records() if _number(r) not in self._known]:
            self._add(record)
            if new and self.shown:
                self.display.ended(-1, record)
            ema = dict(record.ema_rungs)
            here = record.role == "search" and record.total_steps == self.info.total_steps
            for step, value in record.rungs if here else ():
                self._judge(record.trial, record.schedule, step, value, ema.get(step))

    def _add(self, record: TrialRecord) -> None:
        self._known.add(_number(record))
        self.records.append(record)

    @property
    def searched(self) -> list[TrialRecord]:
        """The records of search trials."""
        return [r for r in self.records if r.role == "search"]

    @property
    def tried(self) -> list[Schedule]:
        """The schedules of search trials that have ended or run, whoever trains them."""
        schedules: list[Schedule | None] = [*self.study.schedules_of_others()]
        # after what runs: what ends in between would be in neither
        self.hear()
        schedules += [r.schedule for r in self.searched]
        schedules += [task.schedule for task in self._running.values() if task.role == "search"]
        return [schedule for schedule in schedules if schedule is not None]

    def task_of(self, proposal: Proposal) -> Task:
        """Return the search trial that a proposal is."""
        return Task(
            proposal.number,
            "search",
            proposal.schedule,
            str(proposal.schedule),
            proposal.seed if proposal.seed is not None else self.settings.seed,
            deaths=proposal.deaths,
            orphaned=proposal.orphaned,
        )

    def spec_of(self, task: Task) -> TrainingSpec:
        """Return how a task is trained by itself."""
        return TrainingSpec(
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
            trunk=self._trunk(task),
        )

    def shared_by(self, schedule: Schedule) -> int:
        """Return the steps that a search trial would not have to train, as a shorter one has."""
        found = self._goes_on_from(schedule, self.settings.seed)
        return found[1] if found is not None else 0

    def _goes_on_from(self, schedule: Schedule, seed: int) -> tuple[TrialRecord, int] | None:
        if not self.grows:
            return None
        left = [*left_by(self.below), *left_by(self.searched)]
        return goes_on_from(schedule, left, total_steps=self.info.total_steps, seed=seed)

    def _trunk(self, task: Task) -> GrowingTrunk | None:
        """Return what a training goes on from, and what it leaves for others; None for neither."""
        schedule = task.schedule
        if not self.grows or self.checkpoints is None or task.role != "search" or schedule is None:
            return None
        held = held_by(schedule, total_steps=self.info.total_steps)
        if held is None:
            return None
        found = self._goes_on_from(schedule, task.seed)
        warmup = schedule.warmup_steps_of(self.info.total_steps)
        return GrowingTrunk(
            name=f"peak {number(schedule.initial_lr, 6)}, {counted(warmup, 'step')} of warmup, seed {task.seed}",
            key=self._key(held, task.seed),
            step=held.steps,
            begin=self._state(found[0]) if found is not None else None,
            # nothing is longer than the target
            leave=self._state_of(held, task.seed) if self.target_steps is not None else None,
        )

    def _key(self, held: Held, seed: int) -> str:
        """Return what is the same for the trials of a trunk."""
        peak, rise = held.key
        said = f"{self.settings.name} {self.dataset_size} {seed} {peak!r} ".encode()
        return hashlib.sha256(said + rise).hexdigest()[:16]

    def _state_of(self, held: Held, seed: int) -> Path | None:
        if self.checkpoints is None:
            return None
        return self.checkpoints / f"{self._key(held, seed)}-{held.steps}.trunk"

    def _state(self, record: TrialRecord) -> Path | None:
        """Return the file in which a trial has left its state."""
        if record.schedule is None:
            return None
        held = held_by(record.schedule, total_steps=record.total_steps)
        return self._state_of(held, record.seed) if held is not None else None

    def drop_states(self, *, all_of_them: bool = False) -> None:
        """Remove the states that no longer trial will ask for: those of all but the best, or all.

        Args:
            all_of_them: whether those of the best, too.
        """
        mine = [record for record in self.searched if record.trunk is not None]
        best = [] if all_of_them else left_by(mine)
        for record in mine:
            state = self._state(record)
            if record not in best and state is not None:
                state.unlink(missing_ok=True)

    def _checkpoint(self, task: Task) -> Path | None:
        """Return the file that a training keeps itself in: whoever trains the same again finds it."""
        if self.checkpoints is None:
            return None
        said = f"{self.settings.name} {self.info.total_steps} {self.dataset_size} {task.check.key}"
        return self.checkpoints / f"{hashlib.sha256(said.encode()).hexdigest()[:16]}.ckpt"

    def keeps(self, task: Task) -> bool:
        """Tell whether a training by itself has left a checkpoint to go on from."""
        kept = self._checkpoint(task)
        return kept is not None and kept.exists()

    def began(self, task: Task, *, trunk: str | None = None) -> None:
        """Remember and write down that a training of ours runs, by itself or in a trunk."""
        self._running[task.role == "search", task.trial] = task
        self.say("started", task, trunk=trunk)

    def judge(self, task: Task, step: int, value: float, ema: float | None, *, shared: bool = False) -> str | None:
        """Take what a trial reached at a rung, and say why it should stop, or None if it should go on.

        Args:
            task: the trial.
            step: of the rung.
            value: the metric there.
            ema: that of the averaged weights.
            shared: whether other trials need the step, too, so that nothing could be stopped.
        """
        if task.role != "search":
            return None
        return self._judge(task.trial, task.schedule, step, value, ema, shared=shared)

    def _judge(
        self,
        trial: int,
        schedule: Schedule | None,
        step: int,
        value: float,
        ema: float | None,
        *,
        shared: bool = False,
    ) -> str | None:
        total = self.info.total_steps
        warmup_steps = schedule.warmup_steps_of(total) if schedule is not None else 0
        return self._pruner.report(
            trial, share=step / total, value=value, warmup_share=warmup_steps / total, ema=ema, shared=shared
        )

    def keep(self, task: Task, result: TrialResult, key: int = -1, parts: int = 1) -> TrialRecord | None:
        """Store what a training left behind.

        Args:
            task: what was trained.
            result: how it ended.
            key: under which the display shows it; -1: it does not, or still shows others there.
            parts: that its batches were cut into.

        Returns:
            Its record; None where another process has taken this one for dead, and trains it again.
        """
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
        self._running.pop(_number(record), None)
        if not stored:
            self.display.notice(f"{task.label}: another process has taken this one for dead, and trains it again")
            self._forget(task)
            self.display.ended(key, None)
            self.say("lost", task)
            return None
        self._add(record)
        if self.grows:
            self.drop_states()
        self.display.ended(key, record if self.shown else None)
        self.say(
            "ended",
            task,
            outcome=record.outcome,
            value=record.value,
            reason=record.reason,
            steps=record.steps,
            seconds=round(record.seconds, 3),
        )
        return record

    def give_up(self, task: Task, reason: str, *, died: bool = False, alone: bool = False) -> None:
        """Leave a training to be done again.

        Args:
            task: what was trained.
            reason: why it has no result.
            died: its process ended by itself.
            alone: it is to be trained by itself, and not in a trunk.
        """
        self._forget(task)
        self._running.pop((task.role == "search", task.trial), None)
        if task.role == "search":
            self.study.interrupted(task.trial, died=died, alone=alone)
        else:
            self.study.checks.interrupted(task.trial)
            self.check_deaths[task.check.key] += died
        self.say("interrupted", task, reason=reason)

    def _forget(self, task: Task) -> None:
        if task.role == "search":
            self._pruner.forget(task.trial)

    def say(self, event: str, task: Task, **fields: object) -> None:
        """Write down what happened to a training."""
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


def _number(record: TrialRecord) -> tuple[bool, int]:
    """Return what no other record of a horizon has: its trial's number, in the study that it belongs to."""
    return record.role == "search", record.trial
