"""Running the trials of one horizon, several at once, from one thread: ask, start, listen, decide, store, tell."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from autowarm.errors import StudyError
from autowarm.executors.events import Done, Event, Executor, Finished, Progress
from autowarm.grouping import Group, Room, Sharing, group_of, trunk_of
from autowarm.interrupts import Interrupts
from autowarm.lane import Lane, Task
from autowarm.planning.known_divergence import diverged
from autowarm.planning.smaller_parts import next_split
from autowarm.progress import Run
from autowarm.record import TrialRecord
from autowarm.specs import TrainingSpec, TrialResult, TrunkResult
from autowarm.study.checks import Check
from autowarm.study.horizon import Proposal
from autowarm.study.lease import BEAT_SECONDS
from autowarm.study.mutex import TurnLostError
from autowarm.words import counted, duration

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


@dataclass
class _Trial:
    """A trial that runs.

    Attributes:
        lane: its horizon, and `task`, what is trained.
        spec: how.
        step: where it is.
        shared: steps of it that others of its trunk need, too.
    """

    lane: Lane
    task: Task
    spec: TrainingSpec
    step: int = 0
    shared: int = 0


@dataclass
class _Running:
    """A task of the executor.

    Attributes:
        trials: that have no result yet, by their number in the trunk; 0 where it is none.
        trunk: whether it is one.
        began: when, and `late`, since when it has been told to end, its time being over.
        timeout: seconds that it may take.
    """

    trials: dict[int, _Trial]
    trunk: bool
    began: float
    timeout: float | None
    late: float | None = None

    @property
    def one(self) -> _Trial:
        """The trial, where there is no trunk."""
        return self.trials[0]


@dataclass
class HorizonLoop:
    """Runs the trials of one horizon.

    Attributes:
        lane: that horizon.
        executor: where trials run.
        interrupts: Ctrl-C, counted.
        n_jobs: trials at once.
        sharing: whether trials that wait are trained as trunks.
        beside: other horizons whose waiting trials may branch from trunks of this one, each with its room.
    """

    lane: Lane
    executor: Executor
    interrupts: Interrupts
    n_jobs: int
    sharing: Sharing = field(default_factory=Sharing)
    beside: Sequence[tuple[Lane, Room]] = ()
    _running: dict[int, _Running] = field(default_factory=dict)
    _beaten: float = 0.0
    # when to look for something to train again
    _look_at: float = 0.0
    _early_errors: list[str] | None = field(default_factory=list)

    def __post_init__(self) -> None:
        """Note what is known."""
        self.settings, self.study, self.display = self.lane.settings, self.lane.study, self.lane.display
        self._hear()

    def _hear(self) -> None:
        """Take in what others, and earlier runs, have trained."""
        self.lane.hear()
        if self._early_errors is not None and any(record.outcome != "FAILED" for record in self.lane.records):
            self._early_errors = None

    def search(self, room: Room, propose: Callable[[], Proposal | None] | None = None) -> None:
        """Run search trials.

        Args:
            room: tells whether to start one more, beside a number of trials that run, whoever trains them.
            propose: returns the next one, or None where there is none left; default: the study's sampler.

        Raises:
            StudyError: the job fails with the same error from the start.
            KeyboardInterrupt: after a Ctrl-C; everything told so far is kept.
        """
        ask = propose if propose is not None else self._ask

        def next_group() -> Group:
            running = self.study.running
            # after what runs, as in `_fill`
            self._hear()
            proposal = ask() if room(running) else None
            if proposal is None:
                return []
            if self.sharing.on:
                return group_of(proposal, [(self.lane, room), *self.beside], n_jobs=self.n_jobs)
            return [(self.lane, self.lane.task_of(proposal))]

        self._drive(next_group)

    def _ask(self) -> Proposal:
        return self.study.ask(diverged(self.lane.records))

    def check(self, tasks: Sequence[Task]) -> None:
        """Run trainings that the sampler is not told, as far as no other process runs them.

        Args:
            tasks: their numbers are given when they begin.

        Raises:
            KeyboardInterrupt: after a Ctrl-C; everything told so far is kept.
        """
        left, records = list(tasks), self.lane.records
        # what had failed before is tried again, once
        before = {r.trial for r in records if r.role != "search" and r.outcome == "FAILED"}

        def next_group() -> Group:
            running = self.study.checks.claimed()
            # after what runs, as in `_fill`
            self._hear()
            checks = [r for r in records if r.role != "search"]
            done = {Check.of(r).key for r in checks if r.outcome != "FAILED" or r.trial not in before}
            # what others run may be left by them, so it stays in the list
            left[:] = [task for task in left if task.check.key not in done]
            task = next((task for task in left if task.check.key not in running), None)
            if task is None:
                return []
            deaths = self.lane.check_deaths[task.check.key]
            return [(self.lane, replace(task, trial=self.study.checks.claim(task.check), deaths=deaths))]

        self._drive(next_group)

    def _drive(self, next_group: Callable[[], Group]) -> None:
        deadline: float | None = None
        while True:
            stopping, over = self._stopping(), False
            if not stopping and len(self._running) < self.n_jobs and time.monotonic() >= self._look_at:
                over = self._fill(next_group)
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

    def _fill(self, next_group: Callable[[], Group]) -> bool:
        """Start what there is to start, in a turn in which no other process decides.

        Returns:
            Whether nothing runs and nothing is left, here or elsewhere.
        """
        before, over, lost = set(self._running), False, False
        try:
            with self.study.exclusive(self._stopping) as turn:
                # What others train may end at any time, also in a turn of ours. So what runs is always read before what
                # has ended: the other way round, what ends in between would be neither, and trained again.
                others = self.study.others
                self._reap()
                while len(self._running) < self.n_jobs and (group := next_group()):
                    self._start(group)
                over = not self._running and not others
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

    def _reap(self) -> None:
        """Put right what processes that died have left."""
        if reaped := self.study.reap():
            name, total_steps = self.settings.name, self.lane.info.total_steps
            self.lane.events.write("reaped", study=name, total_steps=total_steps, trials=reaped)

    def _beat(self) -> None:
        """Renew the leases of what runs."""
        now = time.monotonic()
        if not self._running or now - self._beaten < BEAT_SECONDS:
            return
        self._beaten = now
        running = [trial for run in self._running.values() for trial in run.trials.values()]
        for study in {id(trial.lane.study): trial.lane.study for trial in running}.values():
            steps: dict[bool, dict[int, int]] = {True: {}, False: {}}
            for trial in (t for t in running if t.lane.study is study):
                steps[trial.task.role == "search"][trial.task.trial] = trial.step
            study.beat(steps[True], steps[False])

    def _start(self, group: Group) -> None:
        """Start a trial, or several that share their first steps."""
        left = []
        for lane, task in group:
            if task.orphaned >= _MOST_ORPHANED:
                died = f"its owner has died {task.orphaned} times while it ran: does it end the machine?"
                self._keep(_Trial(lane, task, lane.spec_of(task)), TrialResult(outcome="FAILED", reason=died))
            else:
                left.append((lane, task))
        if len(left) > 1:
            self._start_trunk(left)
        for lane, task in left if len(left) == 1 else ():
            spec = lane.spec_of(task)
            key = self.executor.start("trial", spec)
            self._running[key] = _Running({0: _Trial(lane, task, spec)}, False, time.monotonic(), lane.timeout)
            self.display.started(key, Run(task.label, task.role, lane.info.total_steps))
            lane.began(task)

    def _start_trunk(self, group: Group) -> None:
        spec = trunk_of(group)
        trials = {
            i: _Trial(lane, task, trial, shared=spec.shared(i))
            for i, ((lane, task), trial) in enumerate(zip(group, spec.trials, strict=True))
        }
        # what each of them might take by itself
        limits = [lane.timeout for lane, _ in group]
        timeout = sum(limit for limit in limits if limit is not None) if None not in limits else None
        key = self.executor.start("trunk", spec)
        self._running[key] = _Running(trials, True, time.monotonic(), timeout)
        carrier = spec.trials[spec.carrier]
        label = f"trunk of {counted(len(trials), 'trial')}: {carrier.schedule}"
        self.display.started(key, Run(label, "search", carrier.total_steps or 0))
        for trial in trials.values():
            trial.lane.began(trial.task, trunk=spec.name)

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
        now = time.monotonic()
        for key, run in list(self._running.items()):
            if run.timeout is None:
                continue
            if run.late is None and now - run.began > run.timeout:
                run.late = now
                self.executor.stop(key)
            elif run.late is not None and now - run.late > _GRACE_SECONDS:
                self._look_at = 0.0
                self.executor.kill(key)
                if run.trunk:
                    self._leave_alone(key, run, f"a trunk took longer than {duration(run.timeout)}")
                    continue
                del self._running[key]
                self._keep(run.one, _too_late(TrialResult(outcome=None, steps=run.one.step), run), key)

    def _handle(self, event: Event) -> None:
        run = self._running.get(event.key)
        if run is None:
            return
        if isinstance(event, Done):
            self._look_at = 0.0
            if run.trunk:
                self._trunk_ended(event, run)
            else:
                self._ended(event, run)
            return
        trial = run.trials[event.trial]
        if isinstance(event, Finished):
            self._finished(event, run)
            return
        trial.step = event.step
        if isinstance(event, Progress):
            self.display.moved(event.key, event.step, event.loss)
        else:
            shared = event.step <= trial.shared
            self.executor.answer(
                event.key, trial.lane.judge(trial.task, event.step, event.value, event.ema, shared=shared)
            )

    def _ended(self, event: Done, run: _Running) -> None:
        """Do what follows of the end of a trial by itself."""
        result, trial, task = event.result, run.one, run.one.task
        if self._stopping() and not isinstance(result, TrialResult):
            self._give_up(event.key, "stopped")
            return
        if event.died and task.deaths < self.settings.retries:
            self.display.notice(f"{task.label}: {event.error}; it is trained again")
            self._give_up(event.key, event.error or "its process died", died=True)
            return
        if event.out_of_memory and self.settings.oom_retry and self._in_smaller_parts(event.key, trial):
            return
        if not isinstance(result, TrialResult):
            reason = event.error
            if event.died and task.deaths:
                reason = f"{reason} ({task.deaths + 1} times)"
            result = TrialResult(outcome="FAILED", reason=reason, error=event.detail)
        if result.outcome is None and run.late is not None:
            result = _too_late(result, run)
        if result.outcome is None:
            self._give_up(event.key, "stopped")
            return
        del self._running[event.key]
        self._keep(trial, result, event.key)

    def _finished(self, event: Finished, run: _Running) -> None:
        """Do what follows of the end of a trial of a trunk, which goes on."""
        result = event.result
        if result.outcome is None or result.out_of_memory:
            # of the trials that are told to stop there is nothing; and by itself, one takes less memory
            return
        self._keep(run.trials.pop(event.trial), result)

    def _trunk_ended(self, event: Done, run: _Running) -> None:
        """Do what follows of the end of a trunk: what it has left is trained by itself."""
        if self._stopping():
            self._give_up(event.key, "stopped")
            return
        reason = event.error
        if isinstance(event.result, TrunkResult):
            reason = event.result.refused
            # what is true of one trunk is of the next
            self.sharing.refused = self.sharing.refused or reason
        if run.late is not None:
            reason = f"a trunk took longer than {duration(run.timeout or 0.0)}"
        self._leave_alone(event.key, run, reason or "it ran out of memory beside others")

    def _leave_alone(self, key: int, run: _Running, reason: str) -> None:
        """Let the trials that a trunk has left without a result be trained by themselves."""
        if run.trials:
            trials = counted(len(run.trials), "trial")
            self.display.notice(f"{trials} of a trunk will be trained without sharing steps: {reason}")
        self._give_up(key, reason, alone=True)

    def _in_smaller_parts(self, key: int, trial: _Trial) -> bool:
        """Train again what has run out of memory, in smaller parts of its batches; False where there are none."""
        lane, task = trial.lane, trial.task
        parts = next_split(trial.spec.split_batches, lane.info.loader_batch_size or 1)
        if parts is None:
            return False
        # those to come would only run out of it, too
        lane.split_batches = max(lane.split_batches, parts)
        self.display.notice(f"{task.label}: out of memory; it is trained again with batches in {parts} parts")
        lane.say("out_of_memory", task, split_batches=parts)
        del self._running[key]
        self.display.ended(key, None)
        self._start([(lane, task)])
        return True

    def _keep(self, trial: _Trial, result: TrialResult, key: int = -1) -> None:
        record = trial.lane.keep(trial.task, result, key, trial.spec.split_batches)
        # of a trunk, what happens to all that share it has happened once
        if record is not None and not record.shared_steps:
            self._watch_errors(record)

    def _give_up(self, key: int, reason: str, *, died: bool = False, alone: bool = False) -> None:
        """Leave what a task has not finished to be done again."""
        for trial in self._running.pop(key).trials.values():
            trial.lane.give_up(trial.task, reason, died=died, alone=alone)
        self.display.ended(key, None)

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


def _too_late(result: TrialResult, run: _Running) -> TrialResult:
    assert run.timeout is not None  # noqa: S101 - it is over
    reason = f"it took longer than {duration(run.timeout)}: see trial_timeout"
    return replace(result, outcome="FAILED", reason=reason)
