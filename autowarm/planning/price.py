"""What a study costs, before it is spent."""

from __future__ import annotations

from dataclasses import dataclass

from autowarm.record import VALIDATION_BATCH_COST
from autowarm.specs import JobInfo


@dataclass(frozen=True)
class Price:
    """The price of one horizon, at most: every trial run to its end.

    Attributes:
        runs: full runs, searches and confirmations.
        run_cost: of one run: training steps plus a third of its validation batches, in training steps.
        run_seconds: wall time of one run by itself, building the job included.
        n_jobs: runs at once.
        ema_runs: those of the runs that validate with averaged weights, too, for the pruner: the searches.
        ema_cost: of that for one run, in training steps, and `ema_seconds`, its wall time.
    """

    runs: int
    run_cost: float
    run_seconds: float
    n_jobs: int
    ema_runs: int = 0
    ema_cost: float = 0.0
    ema_seconds: float = 0.0

    @property
    def cost(self) -> float:
        """Of all runs, in training steps."""
        return self.runs * self.run_cost + self.ema_runs * self.ema_cost

    @property
    def full_runs(self) -> float:
        """Cost of all runs over the cost of one without averaged weights."""
        return self.cost / self.run_cost

    @property
    def seconds(self) -> float:
        """Wall time of all runs, `n_jobs` at once."""
        runs, with_ema = -(-self.runs // self.n_jobs), -(-self.ema_runs // self.n_jobs)
        return runs * self.run_seconds + with_ema * self.ema_seconds


def price_of(info: JobInfo, *, rungs: int, n_trials: int, checks: int, n_jobs: int, ema_rungs: int = 0) -> Price:
    """Return the price of one horizon.

    Args:
        info: what a look at the job told.
        rungs: validations of a run.
        n_trials: search trials.
        checks: runs beside the search: baseline and confirmations.
        n_jobs: runs at once.
        ema_rungs: validations of a search trial with averaged weights; 0 where nothing is pruned.
    """
    return Price(
        runs=n_trials + checks,
        run_cost=info.total_steps + rungs * info.val_batches * VALIDATION_BATCH_COST,
        run_seconds=info.fixed_seconds + info.total_steps * info.step_seconds + rungs * info.validation_seconds,
        n_jobs=n_jobs,
        ema_runs=n_trials if ema_rungs else 0,
        ema_cost=ema_rungs * info.val_batches * VALIDATION_BATCH_COST,
        ema_seconds=ema_rungs * info.validation_seconds,
    )
