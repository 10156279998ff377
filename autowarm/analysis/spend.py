"""What a study spent: steps, validation batches, time, and how many full runs that amounts to."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from autowarm.analysis.best import Horizon, horizon_order, target_horizon
from autowarm.record import OUTCOMES, ROLES, VALIDATION_BATCH_COST, TrialRecord


@dataclass(frozen=True)
class Part:
    """What some records come to.

    Attributes:
        trials: how many.
        steps: optimizer steps executed, and `val_batches`, validation batches executed.
        seconds: wall time of the trials, added up; trials that ran side by side took less.
        represented: optimizer steps of the trials, each counted from its start: those that trials share, once for each.
    """

    trials: int = 0
    steps: int = 0
    val_batches: int = 0
    seconds: float = 0.0
    represented: int = 0

    @property
    def cost(self) -> float:
        """Training steps plus a third of the validation batches, in training steps."""
        return self.steps + self.val_batches * VALIDATION_BATCH_COST

    def __add__(self, other: Part) -> Part:
        return Part(
            self.trials + other.trials,
            self.steps + other.steps,
            self.val_batches + other.val_batches,
            self.seconds + other.seconds,
            self.represented + other.represented,
        )


@dataclass(frozen=True)
class Spend:
    """The cost of some records.

    Attributes:
        parts: what those of each (role, outcome) come to.
        one_run: cost of one full run at the target horizon, in training steps.
    """

    parts: Mapping[tuple[str, str], Part]
    one_run: float

    @cached_property
    def total(self) -> Part:
        """What all of them come to."""
        return sum(self.parts.values(), Part())

    @property
    def full_runs(self) -> float:
        """Their cost over that of one full run."""
        return self.total.cost / self.one_run

    @property
    def outcomes(self) -> dict[str, int]:
        """Trials by outcome; only those that occur, in the usual order."""
        counts = {name: sum(p.trials for (_, of), p in self.parts.items() if of == name) for name in OUTCOMES}
        return {name: count for name, count in counts.items() if count}

    @property
    def roles(self) -> list[str]:
        """The roles that occur, in the usual order."""
        return [name for name in ROLES if any(role == name for role, _ in self.parts)]

    def of(self, role: str, outcome: str | None = None) -> Spend:
        """Return the cost of those of a role, and where one is given, of an outcome."""
        parts = {p: found for p, found in self.parts.items() if p[0] == role and outcome in (None, p[1])}
        return Spend(parts, self.one_run)


def full_run_cost(records: Iterable[TrialRecord], horizon: Horizon) -> float:
    """Return the cost of one full run at a horizon, in training steps.

    It is `total_steps` plus the median validation cost of COMPLETE records there, without that of averaged weights;
    where there is none, `total_steps`.
    """
    complete = [r for r in records if r.outcome == "COMPLETE" and r.horizon == horizon]
    # the trial whose training is a trunk validates at the rungs of others, too, and what ends on one not at all
    by_itself = [r for r in complete if r.trunk is None or 0 < (r.shared_steps or 0) < r.steps]
    validation = [_plain_validation(r) for r in by_itself or complete if r.val_batches]
    return horizon[0] + (statistics.median(validation) if validation else 0.0)


def _plain_validation(record: TrialRecord) -> float:
    """Return what a record's validations would cost by themselves and without averaged weights; all are as long."""
    spent, shared = record.cost - record.own_steps, record.shared_steps
    executed = len(record.rungs) + len(record.ema_rungs)
    if shared:
        executed = sum(step > shared for step, _ in (*record.rungs, *record.ema_rungs))
    return spent * (len(record.rungs) / executed) if executed else spent


def spend(records: Iterable[TrialRecord], target: Horizon | None = None) -> Spend:
    """Add up what records cost.

    Args:
        records: of one study, any horizons and roles.
        target: the horizon whose full run is the unit; by default the largest that was searched.
    """
    records = list(records)
    target = target_horizon(records) if target is None else target
    return Spend(_parts(records), 1.0 if target is None else full_run_cost(records, target))


def spend_by_horizon(records: Iterable[TrialRecord]) -> dict[Horizon, Spend]:
    """Return the cost of each horizon's records, in full runs at that horizon, the largest horizon first.

    A range test belongs to the largest horizon, whose study it was run for; a level of a ladder, to what it leads to.
    """
    records = list(records)
    target = target_horizon(records)
    groups: dict[Horizon, list[TrialRecord]] = {}
    for record in records:
        horizon = record.target if record.role != "range_test" or target is None else target
        groups.setdefault(horizon, []).append(record)
    order = sorted(groups, key=horizon_order, reverse=True)
    return {h: Spend(_parts(groups[h]), full_run_cost(groups[h], h)) for h in order}


def together(spent: Iterable[Spend], one_run: float) -> Spend:
    """Return the cost of what several come to, in runs of such a cost."""
    parts: dict[tuple[str, str], Part] = {}
    for each in spent:
        for part, found in each.parts.items():
            parts[part] = parts.get(part, Part()) + found
    return Spend(parts, one_run)


def outcomes_of(records: Iterable[TrialRecord]) -> dict[str, int]:
    """Return trials by outcome; only those that occur, in the usual order."""
    counts = Counter[str](r.outcome for r in records)
    return {name: counts[name] for name in OUTCOMES if counts[name]}


def _parts(records: Iterable[TrialRecord]) -> dict[tuple[str, str], Part]:
    groups: dict[tuple[str, str], list[TrialRecord]] = {}
    for record in records:
        groups.setdefault((record.role, record.outcome), []).append(record)
    return {
        part: Part(
            len(found),
            sum(r.own_steps for r in found),
            sum(r.val_batches for r in found),
            sum(r.seconds for r in found),
            sum(r.steps for r in found),
        )
        for part, found in groups.items()
    }
