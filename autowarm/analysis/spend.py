"""What a study spent: steps, validation batches, time, and how many full runs that amounts to."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from autowarm.analysis.best import Horizon, horizon_order, target_horizon
from autowarm.record import OUTCOMES, ROLES, TrialRecord


@dataclass(frozen=True, kw_only=True)
class Spend:
    """The cost of some records.

    Attributes:
        trials: how many records.
        steps: optimizer steps executed, and `val_batches`, validation batches executed.
        cost: training steps plus a third of the validation batches, in training steps.
        full_runs: `cost` over the cost of one full run at the target horizon.
        seconds: wall time of the trials, added up; trials that ran side by side took less.
        outcomes: trials by outcome, and `roles`, by role; only those that occur, in the usual order.
    """

    trials: int
    steps: int
    val_batches: int
    cost: float
    full_runs: float
    seconds: float
    outcomes: Mapping[str, int]
    roles: Mapping[str, int]


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
    return _spend(records, 1.0 if target is None else full_run_cost(records, target))


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
    return {h: _spend(groups[h], full_run_cost(groups[h], h)) for h in order}


def outcomes_of(records: Iterable[TrialRecord]) -> dict[str, int]:
    """Return trials by outcome; only those that occur, in the usual order."""
    counts = Counter[str](r.outcome for r in records)
    return {name: counts[name] for name in OUTCOMES if counts[name]}


def _spend(records: list[TrialRecord], one_run: float) -> Spend:
    roles = Counter[str](r.role for r in records)
    cost = sum(r.cost for r in records)
    return Spend(
        trials=len(records),
        steps=sum(r.own_steps for r in records),
        val_batches=sum(r.val_batches for r in records),
        cost=cost,
        full_runs=cost / one_run,
        seconds=sum(r.seconds for r in records),
        outcomes=outcomes_of(records),
        roles={name: roles[name] for name in ROLES if roles[name]},
    )
