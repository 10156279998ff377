"""What a contestant leaves behind: its trials in order, and which schedule it would have named after each. Pure."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol

from autowarm.schedule import Schedule
from studies.tuner_race.entries import cost


class Counted(Protocol):
    """What a training has cost."""

    steps: int
    val_batches: int
    seconds: float
    value: float | None


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One training of a search.

    Attributes:
        schedule: as plain data; None for one that is no schedule to name (a range test, today's own scheduler).
        outcome: COMPLETE, PRUNED, DIVERGED (stopped for it) or FAILED.
        value: the last metric it reported; None where that is no number.
        steps: optimizer steps, and `val_batches`, validation batches.
        seconds: wall time of the training.
        named: place in the run of the trial whose schedule the contestant would name after this one; None: none yet.
        confirming: whether it checks what a search has found.
        total_steps: its horizon, where that is not the job's.
    """

    schedule: dict[str, Any] | None
    outcome: str
    value: float | None
    steps: int
    val_batches: int
    seconds: float
    named: int | None = None
    confirming: bool = False
    total_steps: int | None = None

    @property
    def cost(self) -> float:
        """In training steps."""
        return cost(self.steps, self.val_batches)

    def naming(self, named: int | None) -> Trial:
        """Return the same trial with what was named after it."""
        return replace(self, named=named)


@dataclass(frozen=True)
class Run:
    """One contestant on one job with one seed and one budget.

    Attributes:
        contestant: its name, and `job`, that of the job.
        seed: number of the search.
        budget: full-run equivalents it was given.
        trials: in the order in which they ran.
        seconds: wall time of all of it.
    """

    contestant: str
    job: str
    seed: int
    budget: float
    trials: tuple[Trial, ...]
    seconds: float

    @property
    def key(self) -> tuple[str, str, int, float]:
        """What tells runs apart."""
        return self.contestant, self.job, self.seed, self.budget

    @property
    def overhead(self) -> float:
        """Seconds in which no training ran."""
        return self.seconds - sum(t.seconds for t in self.trials)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Run:
        """Build a run from what `to_dict` returned."""
        return cls(**{**data, "trials": tuple(Trial(**t) for t in data["trials"])})


def trial_of(meter: Counted, schedule: Schedule, outcome: str) -> Trial:
    """Return the trial of a training that has ended."""
    value = meter.value if meter.value is not None and math.isfinite(meter.value) else None
    return Trial(
        schedule=schedule.to_dict(),
        outcome=outcome,
        value=value,
        steps=meter.steps,
        val_batches=meter.val_batches,
        seconds=meter.seconds,
    )
