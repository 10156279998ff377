"""One horizon's Optuna study: proposals out, records in, and what interrupted runs left behind put right.

Two ordinary studies a horizon share the database: search trials in one, which the sampler learns from; range tests,
baselines and confirmations in the other (named `... checks`), which it never sees.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import optuna
from optuna.trial import FrozenTrial, TrialState

from autowarm.errors import StudyError
from autowarm.planning.known_divergence import Diverged, bound_to_diverge
from autowarm.record import TrialRecord
from autowarm.schedule import Schedule
from autowarm.space import Choice, Range, SearchSpace
from autowarm.study.database import RECORD, records_of
from autowarm.study.sampling import Sampler, distribution_of, sampler_for, suggest

_INTERRUPTED = "interrupted"
# A proposal that was not trained, since what had diverged before it would make it diverge.
_PASSED_OVER = "passed over"
# In a row: a space in which nothing else is left is trained all the same.
_MOST_PASSED_OVER = 20
_IDENTITY = "autowarm"
# What a range test found, on the study that keeps its records: [low, high].
_RANGE = "initial_lr"
_ENDED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)


@dataclass(frozen=True)
class Proposal:
    """A schedule to train.

    Attributes:
        number: of the trial in its study.
        schedule: what to train.
        origin: what proposed it: `sampler`, or the name of a starting guess.
    """

    number: int
    schedule: Schedule
    origin: str


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

    Raises:
        StudyError: the database holds a study of that name with another identity, or with other choices.
    """

    def __init__(
        self,
        storage: optuna.storages.BaseStorage,
        *,
        identity: Mapping[str, str],
        space: SearchSpace,
        total_steps: int,
        dataset_size: int | None,
        seed: int,
        target_steps: int | None = None,
        sampler: Sampler = "tpe",
    ) -> None:
        self.space = space
        self.total_steps = total_steps
        self.mode = identity["mode"]
        self._seed = seed
        self._sampler: Sampler = sampler
        self._running: dict[int, optuna.Trial] = {}
        size = f" examples={dataset_size}" if dataset_size is not None else ""
        level = f" level={total_steps}" if target_steps is not None else ""
        name = f"{identity['name']} steps={target_steps or total_steps}{size}{level}"
        self._search = self._open(storage, name, identity)
        self._checks = self._open(storage, f"{name} checks", identity)
        self._check_choices()

    def _open(self, storage: optuna.storages.BaseStorage, name: str, identity: Mapping[str, str]) -> optuna.Study:
        direction: Literal["minimize", "maximize"] = "minimize" if self.mode == "min" else "maximize"
        try:
            study = optuna.create_study(storage=storage, study_name=name, direction=direction, load_if_exists=True)
        except ValueError as e:
            raise StudyError(f"the study {name!r} cannot be continued: {e}") from None
        known = study.user_attrs.get(_IDENTITY)
        if known is None:
            study.set_user_attr(_IDENTITY, dict(identity))
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

    def reap(self) -> int:
        """Fail the trials that a killed run left RUNNING, and propose them again; returns how many."""
        zombies = [t for t in self._search.get_trials(deepcopy=False) if t.state == TrialState.RUNNING]
        for zombie in zombies:
            if RECORD in zombie.user_attrs:
                # killed between storing the record and telling it
                self._running[zombie.number] = optuna.Trial(self._search, zombie._trial_id)  # noqa: SLF001
                self.tell(TrialRecord.from_dict(zombie.user_attrs[RECORD]))
                continue
            self._give_up(zombie)
        return len(zombies)

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
        """
        for _ in range(_MOST_PASSED_OVER):
            proposal = self._ask()
            reason = bound_to_diverge(proposal.schedule, self.total_steps, diverged)
            if reason is None or proposal.origin != "sampler":
                return proposal
            self._pass_over(proposal, reason)
        return self._ask()

    def _ask(self) -> Proposal:
        self._search.sampler = sampler_for(self._sampler, seed=self._seed, trial=self._proposed())
        trial = self._search.ask()
        trial.set_user_attr("role", "search")
        schedule = self.space.schedule(suggest(trial, self.space))
        self._running[trial.number] = trial
        return Proposal(trial.number, schedule, trial.user_attrs.get("origin", "sampler"))

    def ask_for(self, schedule: Schedule, origin: str) -> Proposal | None:
        """Return a proposal of that schedule, or None where it lies outside of the space; first what is waiting."""
        params = self.space.params_of(schedule, total_steps=self.total_steps)
        if params is None:
            return None
        if not self.waiting:
            self._search.enqueue_trial(params, user_attrs={"origin": origin})
        return self._ask()

    def _pass_over(self, proposal: Proposal, reason: str) -> None:
        trial = self._running.pop(proposal.number)
        trial.set_user_attr(_PASSED_OVER, reason)
        trial.set_constraint("diverged", 1.0)
        self._search.tell(trial, self._worst_value(None))

    def _proposed(self) -> int:
        """Count the trials that were proposed, each once however often it was interrupted."""
        trials = self._search.get_trials(deepcopy=False)
        return sum(t.state != TrialState.WAITING and _INTERRUPTED not in t.user_attrs for t in trials)

    def tell(self, record: TrialRecord) -> None:
        """Store a search record with its trial, then tell the sampler what it means.

        A diverged trial is told as a completed one with the worst feasible value so far and a violated constraint, so
        that the sampler learns to stay away; a failed one says nothing about its schedule.
        """
        trial = self._running.pop(record.trial)
        _annotate(trial, record)
        if record.outcome != "FAILED":
            trial.set_constraint("diverged", float(record.outcome == "DIVERGED"))
        if record.outcome == "PRUNED":
            for step, value in record.rungs:
                trial.report(value, step)
            self._search.tell(trial, state=TrialState.PRUNED)
        elif record.outcome == "FAILED":
            self._search.tell(trial, state=TrialState.FAIL)
        else:
            self._search.tell(trial, record.value if record.value is not None else self._worst_value(record))

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

    def interrupted(self, number: int) -> None:
        """Give up a trial that was stopped from outside, and propose it again."""
        del self._running[number]
        self._give_up(self._search.get_trials(deepcopy=False)[number])

    def _give_up(self, trial: FrozenTrial) -> None:
        self._search._storage.set_trial_user_attr(trial._trial_id, _INTERRUPTED, True)  # noqa: SLF001 - a zombie has no Trial
        self._search.tell(trial.number, state=TrialState.FAIL)
        # of a starting guess also what it was killed too early to be asked for
        params = {**trial.system_attrs.get("fixed_params", {}), **trial.params}
        if params:
            self._search.enqueue_trial(params, user_attrs={"origin": trial.user_attrs.get("origin", "sampler")})

    def add(self, record: TrialRecord) -> None:
        """Store a record that the sampler is not told: a baseline, a confirmation, a range test."""
        complete = record.outcome == "COMPLETE"
        self._checks.add_trial(
            optuna.create_trial(
                state=TrialState.COMPLETE if complete else TrialState.FAIL,
                value=record.value if complete else None,
                user_attrs=_attributes(record),
            )
        )

    def keep_range(self, low: float, high: float) -> None:
        """Store the range of `initial_lr` that a range test found: the study must not change it afterwards."""
        self._checks.set_user_attr(_RANGE, [low, high])

    def records(self) -> list[TrialRecord]:
        """Return every record of this horizon, search trials first.

        Raises:
            StudyError: a record in the database cannot be read.
        """
        return [
            record
            for study in (self._search, self._checks)
            for record in records_of(study.get_trials(deepcopy=False), where=f"study {study.study_name!r}")
        ]

    def checks(self) -> int:
        """Return how many records the sampler was not told."""
        return len(self._checks.get_trials(deepcopy=False))


def known_range(storage: optuna.storages.BaseStorage, identity: Mapping[str, str]) -> tuple[float, float] | None:
    """Return the (low, high) of `initial_lr` that a study's range test found, at whichever horizon it ran."""
    for study in optuna.get_all_study_summaries(storage, include_best_trial=False):
        found = study.user_attrs.get(_RANGE)
        if found is not None and study.user_attrs.get(_IDENTITY) == dict(identity):
            return float(found[0]), float(found[1])
    return None


def _attributes(record: TrialRecord) -> dict[str, Any]:
    return {
        "role": record.role,
        "seed": record.seed,
        "outcome": record.outcome,
        "schedule": record.label,
        RECORD: record.to_dict(),
    }


def _annotate(trial: optuna.Trial, record: TrialRecord) -> None:
    for name, value in _attributes(record).items():
        if name != "role":
            trial.set_user_attr(name, value)
