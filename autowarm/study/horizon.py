"""One horizon's Optuna study: proposals out, records in, and what killed processes left behind put right.

Two ordinary studies a horizon share the database: search trials in one, which the sampler learns from; range tests,
baselines and confirmations in the other (named `... checks`), which it never sees.

Several processes may work on one. What decides what is trained next (`ask`, `claim`, `reap`) is done in a turn
(`exclusive`), by one of them at a time; each running trial carries a lease that its owner renews (`beat`), and whose
owner is gone is trained again, by whoever has the next turn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from autowarm.errors import StudyError
from autowarm.planning.known_divergence import Diverged, bound_to_diverge
from autowarm.record import TrialRecord
from autowarm.schedule import Schedule
from autowarm.space import Choice, Range, SearchSpace
from autowarm.study.checks import Checks
from autowarm.study.claims import Claims
from autowarm.study.database import Storage
from autowarm.study.lease import Watch
from autowarm.study.mutex import Heard, Mutex, Turn, TurnLostError, whole_turn
from autowarm.study.sampling import Sampler, distribution_of, sampler_for, suggest
from autowarm.study.stored import annotate, is_stored, read_once, record_of

_INTERRUPTED = "interrupted"
# The trial that one is proposed again of, how often its process died by itself, and how often with its owner.
_AGAIN_OF = "again_of"
_DEATHS = "deaths"
_ORPHANED = "orphaned"
# The seed that a trial is to be trained on, where it is not the study's.
_SEED = "wanted seed"
# A trial that a trunk has left without a result: it is trained by itself.
_ALONE = "alone"
# A proposal that was not trained, since what had diverged before it would make it diverge.
_PASSED_OVER = "passed over"
# In a row: a space in which nothing else is left is trained all the same.
_MOST_PASSED_OVER = 20
# What the studies of autowarm have in a database: the identity that their records share.
IDENTITY = "autowarm"
# What a range test found, on the study that keeps its records: [low, high].
_RANGE = "initial_lr"
# How many runs a horizon was planned to take at most, on the study of its checks.
PLANNED = "planned"
_ENDED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)


@dataclass(frozen=True)
class Proposal:
    """A schedule to train.

    Attributes:
        number: of the trial in its study.
        schedule: what to train.
        origin: what proposed it: `sampler`, or the name of a starting guess.
        seed: of the training; None: that of the study.
        deaths: how often its process has died by itself, and `orphaned`, how often with its owner.
        alone: whether it is to be trained by itself, and not in a trunk.
    """

    number: int
    schedule: Schedule
    origin: str
    seed: int | None = None
    deaths: int = 0
    orphaned: int = 0
    alone: bool = False


class HorizonStudy:
    """The trials of one horizon.

    Args:
        storage: the database.
        identity: what must be the same for records to belong together (name, job, monitor, mode).
        space: the schedules to search.
        total_steps: of the horizon, and `dataset_size`, None for all examples.
        seed: of the sampler.
        target_steps: of a level of a ladder, the horizon that it is climbed to; None: this one.
        sampler: what proposes.
        watch: who we are to the other processes, and what we have seen of them.

    Attributes:
        name: of the study of its search trials.
        checks: what the sampler is not told of.

    Raises:
        StudyError: the database holds a study of that name with another identity, or with other choices.
    """

    def __init__(
        self,
        storage: Storage,
        *,
        identity: Mapping[str, str],
        space: SearchSpace,
        total_steps: int,
        dataset_size: int | None,
        seed: int,
        target_steps: int | None = None,
        sampler: Sampler = "tpe",
        watch: Watch | None = None,
    ) -> None:
        self.space = space
        self.total_steps = total_steps
        self.mode = identity["mode"]
        self._seed = seed
        self._sampler: Sampler = sampler
        self._mutex = Mutex(storage, identity["name"])
        size = f" examples={dataset_size}" if dataset_size is not None else ""
        level = f" level={total_steps}" if target_steps is not None else ""
        self.name = name = f"{identity['name']} steps={target_steps or total_steps}{size}{level}"
        watch = watch if watch is not None else Watch()
        with self.exclusive():
            self._search = self._open(storage, name, identity)
            self.checks = Checks(self._open(storage, f"{name} checks", identity), watch)
        self._claims = Claims(self._search, watch)
        self._read: dict[int, TrialRecord] = {}
        self._check_choices()

    def exclusive(self, stopping: Heard = lambda: False) -> AbstractContextManager[Turn]:
        """Return the turn in which this process alone decides what is trained next; see `Mutex.held`."""
        return self._mutex.held(stopping)

    def _open(self, storage: Storage, name: str, identity: Mapping[str, str]) -> optuna.Study:
        direction: Literal["minimize", "maximize"] = "minimize" if self.mode == "min" else "maximize"
        try:
            study = optuna.create_study(storage=storage, study_name=name, direction=direction, load_if_exists=True)
        except ValueError as e:
            raise StudyError(f"the study {name!r} cannot be continued: {e}") from None
        known = study.user_attrs.get(IDENTITY)
        if known is None:
            study.set_user_attr(IDENTITY, dict(identity))
        elif known != dict(identity):
            changed = ", ".join(
                f"{k} {known.get(k)!r} there, {identity.get(k)!r} here"
                for k in known | dict(identity)
                if known.get(k) != identity.get(k)
            )
            raise StudyError(
                f"this folder or database holds another study ({changed}): "
                "choose another --out, or give the study another name"
            )
        return study

    def _check_choices(self) -> None:
        """Refuse early what Optuna refuses in mid-study: a list of choices that has changed."""
        before: dict[str, Any] = {}
        for trial in self._search.get_trials(deepcopy=False):
            before |= trial.distributions
        dimensions = {"decay": self.space.decay}
        for decay in self.space.decays:
            dimensions |= self.space.dimensions(decay)
        for name, dimension in dimensions.items():
            if isinstance(dimension, Choice | Range) and name in before:
                try:
                    optuna.distributions.check_distribution_compatibility(before[name], distribution_of(dimension))
                except ValueError:
                    raise StudyError(
                        f"space.{name.rpartition('.')[2]} has changed since this study began, in a way that its "
                        "trials cannot be compared: choose another --out, or put it back"
                    ) from None

    def enqueue(self, guesses: Mapping[str, Schedule], *, total_steps: int) -> list[str]:
        """Let starting guesses be proposed first; those outside of the space, or known already, are left out.

        Returns:
            The names of those that lie outside of the space.
        """
        outside = []
        for origin, schedule in guesses.items():
            params = self.space.params_of(schedule, total_steps=total_steps)
            if params is None:
                outside.append(origin)
            else:
                self._search.enqueue_trial(params, user_attrs={"origin": origin}, skip_if_exists=True)
        return outside

    def enqueue_grid(self, grid: Sequence[Schedule], seeds: Sequence[int]) -> None:
        """Let each schedule be proposed on each seed, seed by seed, those left out that are known already.

        Raises:
            StudyError: one lies outside of the space.
        """
        known = {_wanted(trial) for trial in self._search.get_trials(deepcopy=False)}
        for seed in seeds:
            for schedule in grid:
                params = self.space.params_of(schedule, total_steps=self.total_steps)
                if params is None:
                    raise StudyError(f"{schedule} is not of the space of this study")
                if _key(params, seed) not in known:
                    self._search.enqueue_trial(params, user_attrs={"origin": "grid", _SEED: seed})

    def reap(self) -> int:
        """Put right what processes that are gone have left RUNNING; returns how many trials that were.

        What they had a record of is told; the others have failed, and search trials among them are proposed again.
        """
        with self.exclusive(), whole_turn():
            search = self._claims.dead()
            for zombie in search:
                if (record := record_of(zombie, where=f"study {self.name!r}")) is not None:
                    # killed between storing the record and telling it
                    self._claims.take_over(zombie)
                    self.tell(record)
                else:
                    self._give_up(zombie, orphaned=True)
            return len(search) + self.checks.reap()

    def beat(self, steps: Mapping[int, int], check_steps: Mapping[int, int]) -> None:
        """Renew the leases of our trials, and say at which step each is: search trials, and the others."""
        self._claims.beat(steps)
        self.checks.beat(check_steps)

    @property
    def running(self) -> int:
        """Search trials that run, whoever trains them."""
        return len(self._claims.running())

    @property
    def others(self) -> int:
        """Trials that other processes train."""
        return len(self._claims.others()) + self.checks.others

    def schedules_of_others(self) -> list[Schedule]:
        """Return what other processes train in search trials."""
        found = [self._schedule_of(t.params) for t in self._claims.others()]
        return [schedule for schedule in found if schedule is not None]

    @property
    def finished(self) -> int:
        """Search trials that have ended by themselves, whatever the outcome."""
        left_out = (_INTERRUPTED, _PASSED_OVER)
        return sum(
            t.state in _ENDED and not any(name in t.user_attrs for name in left_out)
            for t in self._search.get_trials(deepcopy=False)
        )

    @property
    def waiting(self) -> int:
        """Proposals that come before those of the sampler: guesses, and trials that were interrupted."""
        return len(self._search.get_trials(deepcopy=False, states=(TrialState.WAITING,)))

    def ask(self, diverged: Sequence[Diverged] = ()) -> Proposal:
        """Return the next schedule to train.

        Args:
            diverged: schedules that diverged; what they say would diverge, too, is not proposed: the sampler is told
                that it did, and asked again.

        Raises:
            TurnLostError: another process has had a turn meanwhile.
        """
        with whole_turn():
            return self._ask_anew(diverged)

    def _ask_anew(self, diverged: Sequence[Diverged]) -> Proposal:
        for _ in range(_MOST_PASSED_OVER):
            proposal = self._ask()
            reason = bound_to_diverge(proposal.schedule, self.total_steps, diverged)
            if reason is None or proposal.origin != "sampler":
                return proposal
            self._pass_over(proposal, reason)
        return self._ask()

    def _ask(self) -> Proposal:
        self._search.sampler = sampler_for(self._sampler, seed=self._seed, trial=self._proposed())
        return self._taken(self._search.ask())

    def _taken(self, trial: optuna.Trial) -> Proposal:
        self._claims.take(trial)
        return _proposal(trial.number, self.space.schedule(suggest(trial, self.space)), trial.user_attrs)

    def peek(self) -> list[Proposal]:
        """Return what waits, in its order, as far as it is known what each is of; nothing is asked for by this."""
        return [
            _proposal(trial.number, schedule, trial.user_attrs)
            for trial in self._search.get_trials(deepcopy=False, states=(TrialState.WAITING,))
            if (schedule := self._schedule_of(_params_of(trial))) is not None
        ]

    def _schedule_of(self, params: Mapping[str, Any]) -> Schedule | None:
        """Return the schedule of a trial; None where not all of it has been drawn."""
        # of the only decay, Optuna is not told
        only = {"decay": self.space.decays[0]} if len(self.space.decays) == 1 else {}
        try:
            return self.space.schedule({**only, **params})
        except KeyError:
            return None

    def claim(self, number: int) -> Proposal:
        """Return one of those that wait, to be trained; in a turn of ours.

        Raises:
            TurnLostError: another process has had a turn meanwhile.
        """
        with whole_turn():
            waiting = self._search.get_trials(deepcopy=False)[number]
            if not self._search._storage.set_trial_state_values(waiting._trial_id, TrialState.RUNNING):  # noqa: SLF001 - Optuna takes the first that waits
                raise TurnLostError
            self._search.sampler = sampler_for(self._sampler, seed=self._seed, trial=self._proposed())
            return self._taken(optuna.Trial(self._search, waiting._trial_id))  # noqa: SLF001

    def ask_for(self, schedule: Schedule, origin: str) -> Proposal | None:
        """Return a proposal of that schedule, or None where it lies outside of the space; first what is waiting."""
        params = self.space.params_of(schedule, total_steps=self.total_steps)
        if params is None:
            return None
        if not self.waiting:
            self._search.enqueue_trial(params, user_attrs={"origin": origin})
        with whole_turn():
            return self._ask()

    def _pass_over(self, proposal: Proposal, reason: str) -> None:
        trial = self._claims.drop(proposal.number)
        trial.set_user_attr(_PASSED_OVER, reason)
        trial.set_constraint("diverged", 1.0)
        self._search.tell(trial, self._worst_value(None))

    def _proposed(self) -> int:
        """Count the trials that were proposed, each once however often it was interrupted."""
        trials = self._search.get_trials(deepcopy=False)
        return sum(t.state != TrialState.WAITING and _INTERRUPTED not in t.user_attrs for t in trials)

    def tell(self, record: TrialRecord) -> bool:
        """Store a search record with its trial, then tell the sampler what it means.

        A diverged trial is told as a completed one with the worst feasible value so far and a violated constraint, so
        that the sampler learns to stay away; a failed one says nothing about its schedule.

        Returns:
            Whether it was stored; not where the trial was given to another process, which took this one for dead.
        """
        trial = self._claims.drop(record.trial)
        try:
            self._tell(trial, record)
        except UpdateFinishedTrialError:
            return is_stored(self._search, record.trial, record)
        return True

    def _tell(self, trial: optuna.Trial, record: TrialRecord) -> None:
        annotate(trial, record)
        if record.outcome != "FAILED":
            trial.set_constraint("diverged", float(record.outcome == "DIVERGED"))
        state, value = TrialState.COMPLETE, record.value
        if record.outcome == "PRUNED":
            for step, seen in record.rungs:
                trial.report(seen, step)
            state, value = TrialState.PRUNED, None
        elif record.outcome == "FAILED":
            state, value = TrialState.FAIL, None
        elif value is None:
            value = self._worst_value(record)
        self._search.tell(trial, value, state)

    def _worst_value(self, diverged: TrialRecord | None) -> float:
        feasible = [
            t.value
            for t in self._search.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
            if t.value is not None and not any(v > 0 for v in t.constraints.values())
        ]
        # before the first one that trained, what this one had reached before it diverged
        values = feasible
        if diverged is not None and not values:
            seen = (*diverged.rungs, *(diverged.train_curve if self.mode == "min" else ()))
            values = [v for _, v in seen if abs(v) < float("inf")]
        return (max if self.mode == "min" else min)(values, default=0.0)

    def interrupted(self, number: int, *, died: bool = False, alone: bool = False) -> None:
        """Give up a search trial that was stopped from outside, and propose it again.

        Args:
            number: of the trial.
            died: its process ended by itself, without a result.
            alone: it is to be trained by itself, and not in a trunk.
        """
        with self.exclusive():
            self._claims.drop(number)
            self._give_up(self._search.get_trials(deepcopy=False)[number], died=died, alone=alone)

    def _give_up(self, trial: FrozenTrial, *, died: bool = False, orphaned: bool = False, alone: bool = False) -> None:
        """Propose a trial again, then fail it: killed in between, the first is not done twice."""
        known, params = trial.user_attrs, _params_of(trial)
        others = [t for t in self._search.get_trials(deepcopy=False) if t.number != trial.number]
        # the same: two processes whose turns were lost at once had the same proposed, or it is proposed again already
        if params and not any(
            t.user_attrs.get(_AGAIN_OF) == trial.number or (t.state != TrialState.FAIL and _wanted(t) == _wanted(trial))
            for t in others
        ):
            told = {
                "origin": known.get("origin", "sampler"),
                _AGAIN_OF: trial.number,
                _DEATHS: known.get(_DEATHS, 0) + died,
                _ORPHANED: known.get(_ORPHANED, 0) + orphaned,
                _ALONE: known.get(_ALONE, False) or alone,
            }
            attrs = {k: v for k, v in told.items() if v != 0 or k == _AGAIN_OF}
            if _SEED in known:
                attrs[_SEED] = known[_SEED]
            self._search.enqueue_trial(params, user_attrs=attrs)
        try:
            self._search._storage.set_trial_user_attr(trial._trial_id, _INTERRUPTED, True)  # noqa: SLF001 - a zombie has no Trial
            self._search.tell(trial.number, state=TrialState.FAIL)
        except (UpdateFinishedTrialError, ValueError):
            # another process took this one for dead, and has done all this
            return

    def agree(self, name: str, on: str, value: Any) -> Any:
        """Return what all processes on this horizon go by: the value of the one that was asked first.

        Args:
            name: of what is agreed.
            on: what it depends on: another one is a new agreement.
            value: ours, as plain data; not None.
        """
        with self.exclusive():
            known = self.agreed(name, on)
            if known is not None:
                return known
            self.checks.study.set_user_attr(name, {"on": on, "value": value})
        return value

    def agreed(self, name: str, on: str) -> Any:
        """Return what was agreed, as in `agree`; None where nothing is yet."""
        known = self.checks.study.user_attrs.get(name)
        return known.get("value") if isinstance(known, Mapping) and known.get("on") == on else None

    def restore(self, record: TrialRecord) -> bool:
        """Store a record that could not be stored when its training ended.

        Returns:
            Whether its trial still waits for one; not where it was given to another process.
        """
        search = record.role == "search"
        with self.exclusive():
            study, claims = (self._search, self._claims) if search else (self.checks.study, self.checks.claims)
            trials = study.get_trials(deepcopy=False)
            waits = record.trial < len(trials) and trials[record.trial].state == TrialState.RUNNING
            if waits:
                claims.take_over(trials[record.trial])
                return self.tell(record) if search else self.checks.add(record)
        return False

    def keep_plan(self, runs: int) -> None:
        """Store how many runs this horizon takes at most, for who asks what a study is at."""
        self.checks.study.set_user_attr(PLANNED, runs)

    def keep_range(self, low: float, high: float) -> None:
        """Store the range of `initial_lr` that a range test found: the study must not change it afterwards."""
        self.checks.study.set_user_attr(_RANGE, [low, high])

    def records(self) -> list[TrialRecord]:
        """Return every record of this horizon, search trials first.

        Raises:
            StudyError: a record in the database cannot be read.
        """
        return [*read_once(self._search, self._read), *self.checks.records()]


def _proposal(number: int, schedule: Schedule, known: Mapping[str, Any]) -> Proposal:
    return Proposal(
        number,
        schedule,
        known.get("origin", "sampler"),
        known.get(_SEED),
        known.get(_DEATHS, 0),
        known.get(_ORPHANED, 0),
        known.get(_ALONE, False),
    )


def _params_of(trial: FrozenTrial) -> dict[str, Any]:
    """Return what a trial trains; of a starting guess also what it was killed too early to be asked for."""
    return {**trial.system_attrs.get("fixed_params", {}), **trial.params}


def _wanted(trial: FrozenTrial) -> tuple[frozenset[tuple[str, Any]], int | None]:
    """Return what a trial trains and on which seed: another one that does the same is the same again."""
    return _key(_params_of(trial), trial.user_attrs.get(_SEED))


def _key(params: Mapping[str, Any], seed: int | None) -> tuple[frozenset[tuple[str, Any]], int | None]:
    return frozenset(params.items()), seed


def known_range(storage: Storage, identity: Mapping[str, str]) -> tuple[float, float] | None:
    """Return the (low, high) of `initial_lr` that a study's range test found, at whichever horizon it ran."""
    for study in optuna.get_all_study_summaries(storage, include_best_trial=False):
        found = study.user_attrs.get(_RANGE)
        if found is not None and study.user_attrs.get(IDENTITY) == dict(identity):
            return float(found[0]), float(found[1])
    return None
