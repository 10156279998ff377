"""The running trials of one Optuna study: which are ours, and which nobody trains any more."""

from __future__ import annotations

from collections.abc import Mapping

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from autowarm.study.lease import Watch

# The user attribute of a running trial that says who trains it.
LEASE = "lease"


class Claims:
    """Leases on the running trials of a study.

    Args:
        study: Optuna's.
        watch: who we are, and what we have seen of others.
    """

    def __init__(self, study: optuna.Study, watch: Watch) -> None:
        self._study = study
        self._watch = watch
        self._held: dict[int, optuna.Trial] = {}
        self._beats = 0

    def take(self, trial: optuna.Trial) -> None:
        """Take a lease on a trial that was asked for just now, under the lock of the study."""
        self._held[trial.number] = trial
        trial.set_user_attr(LEASE, self._watch.owner.lease(self._beats))

    def take_over(self, trial: FrozenTrial) -> None:
        """Own a trial that nobody trains any more, to end it."""
        self._held[trial.number] = optuna.Trial(self._study, trial._trial_id)  # noqa: SLF001 - Optuna has no other way

    def drop(self, number: int) -> optuna.Trial:
        """Own a trial no longer, and return it."""
        return self._held.pop(number)

    def beat(self, steps: Mapping[int, int]) -> None:
        """Renew our leases.

        Args:
            steps: where the trainings are, by trial.
        """
        self._beats += 1
        for number, trial in self._held.items():
            try:
                trial.set_user_attr(LEASE, self._watch.owner.lease(self._beats, steps.get(number, 0)))
            except UpdateFinishedTrialError:
                # taken for dead and given to another one: told when it ends
                continue

    def running(self) -> list[FrozenTrial]:
        """Return all that run, whoever trains them."""
        return self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))

    def others(self) -> list[FrozenTrial]:
        """Return those that run and are not ours."""
        return [t for t in self.running() if t.number not in self._held]

    def dead(self) -> list[FrozenTrial]:
        """Return those whose owner is gone; called in a turn, or leases that are being taken look like none."""
        return [t for t in self.others() if self._watch.dead(t._trial_id, t.user_attrs.get(LEASE))]  # noqa: SLF001
