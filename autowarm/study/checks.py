"""The trainings of a horizon that the sampler is not told of, in a study of their own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import TrialState

from autowarm.record import Role, TrialRecord
from autowarm.schedule import Schedule
from autowarm.study.claims import Claims
from autowarm.study.lease import Watch
from autowarm.study.mutex import whole_turn
from autowarm.study.stored import annotate, is_stored, read_once, record_of

# The user attribute that says what a check trains, while there is no record of it.
_TRAINS = "trains"


@dataclass(frozen=True)
class Check:
    """A training that the sampler is not told of: a range test, a baseline, a confirmation.

    Attributes:
        role: why it runs.
        seed: of the training.
        schedule: what it follows, or what the job's own scheduler is; None where that is no Schedule.
    """

    role: Role
    seed: int
    schedule: Schedule | None

    @property
    def key(self) -> str:
        """Its contents in a word: the same training has the same."""
        schedule = self.schedule.to_dict() if self.schedule is not None else None
        return json.dumps([self.role, self.seed, schedule], sort_keys=True)

    @classmethod
    def of(cls, record: TrialRecord) -> Check:
        """Return what a record is of."""
        return cls(record.role, record.seed, record.schedule)


class Checks:
    """Checks of a horizon: begun by one process each, and stored.

    Args:
        study: Optuna's.
        watch: who we are to the other processes, and what we have seen of them.

    Attributes:
        claims: on those that run.
    """

    def __init__(self, study: optuna.Study, watch: Watch) -> None:
        self.study = study
        self.claims = Claims(study, watch)
        self._read: dict[int, TrialRecord] = {}

    def claim(self, check: Check) -> int:
        """Begin a check, in a turn of ours; returns its number.

        Raises:
            TurnLostError: another process has had a turn meanwhile.
        """
        with whole_turn():
            return self._claim(check)

    def _claim(self, check: Check) -> int:
        self.study.add_trial(
            optuna.create_trial(state=TrialState.RUNNING, user_attrs={"role": check.role, _TRAINS: check.key})
        )
        # in a turn of ours nobody else adds one
        begun = self.study.get_trials(deepcopy=False)[-1]
        self.claims.take(optuna.Trial(self.study, begun._trial_id))  # noqa: SLF001 - add_trial returns nothing
        return begun.number

    def claimed(self) -> set[str]:
        """Return the keys of the checks that run, whoever trains them."""
        return {str(t.user_attrs.get(_TRAINS)) for t in self.claims.running()}

    def add(self, record: TrialRecord) -> bool:
        """Store the record of a check.

        Returns:
            Whether it was stored; not where the check was given to another process, which took this one for dead.
        """
        trial = self.claims.drop(record.trial)
        try:
            annotate(trial, record)
            if record.outcome == "COMPLETE":
                self.study.tell(trial, record.value)
            else:
                self.study.tell(trial, state=TrialState.FAIL)
        except UpdateFinishedTrialError:
            return is_stored(self.study, trial.number, record)
        return True

    def interrupted(self, number: int) -> None:
        """Give up a check that was stopped from outside: without a record, it is still to do."""
        # it may be given up already: by another process, or by this one, which then lost the connection
        with suppress(UpdateFinishedTrialError):
            self.study.tell(self.claims.drop(number), state=TrialState.FAIL, skip_if_finished=True)

    def beat(self, steps: Mapping[int, int]) -> None:
        """Renew our leases; see `Claims.beat`."""
        self.claims.beat(steps)

    @property
    def others(self) -> int:
        """Checks that other processes train."""
        return len(self.claims.others())

    def reap(self) -> int:
        """End the checks whose owner is gone, with their record where they have one; returns how many. In a turn."""
        dead = self.claims.dead()
        for zombie in dead:
            self.claims.take_over(zombie)
            if (record := record_of(zombie, where=f"study {self.study.study_name!r}")) is not None:
                self.add(record)
            else:
                self.interrupted(zombie.number)
        return len(dead)

    def records(self) -> list[TrialRecord]:
        """Return the records of all checks.

        Raises:
            StudyError: one cannot be read.
        """
        return read_once(self.study, self._read)
