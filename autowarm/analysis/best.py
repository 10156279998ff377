"""The best schedule of each horizon, and the order that decides it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import TypeAlias

from autowarm.errors import RecordError, ScheduleError
from autowarm.record import TrialRecord
from autowarm.schedule import Schedule

# (total_steps, dataset_size)
Horizon: TypeAlias = tuple[int, int | None]


def horizon_order(horizon: Horizon) -> tuple[int, int]:
    """Return a sort key: by `total_steps`, then by `dataset_size`, where an unknown size is the smallest."""
    total_steps, dataset_size = horizon
    return total_steps, -1 if dataset_size is None else dataset_size


def horizons(records: Iterable[TrialRecord]) -> list[Horizon]:
    """Return the horizons that the records are of or lead to, the largest first; the steps of a range test are none."""
    found = {record.target for record in records if record.role != "range_test"}
    return sorted(found, key=horizon_order, reverse=True)


def horizon_words(horizon: Horizon) -> str:
    """Name a horizon in words.

    >>> horizon_words((2000, 50_000))
    'total_steps 2,000, dataset_size 50,000'
    """
    total_steps, dataset_size = horizon
    size = "" if dataset_size is None else f", dataset_size {dataset_size:,}"
    return f"total_steps {total_steps:,}{size}"


def target_horizon(records: Iterable[TrialRecord]) -> Horizon | None:
    """Return the largest horizon searched, or the largest at all where none was; None for no records."""
    records = list(records)
    found = horizons(r for r in records if r.role == "search") or horizons(records)
    return found[0] if found else None


def schedule_in_steps(record: TrialRecord) -> Schedule | None:
    """Return the schedule of a record, a warmup in epochs turned into steps; None where there is none to be told.

    An epoch is what the record's `dataset_size` and `batch_size` make, the last batch included.
    """
    schedule = record.schedule
    if schedule is None or schedule.warmup_epochs is None:
        return schedule
    if not record.dataset_size or not record.batch_size:
        return None
    try:
        return schedule.resolved(steps_per_epoch=math.ceil(record.dataset_size / record.batch_size))
    except ScheduleError:
        return None


def warmup_steps(record: TrialRecord) -> int | None:
    """Return the warmup of a record in optimizer steps; None where it has no schedule or cannot be told."""
    schedule = schedule_in_steps(record)
    try:
        return None if schedule is None else schedule.warmup_steps_of(record.total_steps)
    except ScheduleError:
        # A FAILED record may hold a warmup that does not fit its run: that is why it failed.
        return None


def warmup_share(record: TrialRecord) -> float | None:
    """Return the warmup of a record over its `total_steps`: the ratio as given, or else from the steps."""
    if record.schedule is not None and record.schedule.warmup_ratio is not None:
        return record.schedule.warmup_ratio
    steps = warmup_steps(record)
    return None if steps is None else steps / record.total_steps


def has_value(record: TrialRecord) -> bool:
    """Tell whether a record ended COMPLETE with a finite value."""
    return record.outcome == "COMPLETE" and record.value is not None and math.isfinite(record.value)


def by_schedule(records: Iterable[TrialRecord]) -> list[list[TrialRecord]]:
    """Group records of one and the same schedule, in the order met; a job's own schedulers by their labels."""
    groups: dict[tuple[Schedule | None, str], list[TrialRecord]] = {}
    for record in records:
        groups.setdefault((record.schedule, record.label if record.schedule is None else ""), []).append(record)
    return list(groups.values())


def plainness(record: TrialRecord) -> tuple[float, float]:
    """Return a sort key, the plainest first: by warmup in steps, then by lr, what is unknown last."""
    steps = warmup_steps(record)
    return (
        math.inf if steps is None else steps,
        math.inf if record.schedule is None else record.schedule.initial_lr,
    )


def ranked(records: Iterable[TrialRecord], horizon: Horizon | None = None) -> list[TrialRecord]:
    """Return the COMPLETE `search` records of a horizon, best first.

    A value that is NaN or infinite never ranks.

    Args:
        records: of one study.
        horizon: (total_steps, dataset_size); by default `target_horizon(records)`, since values of different
            horizons do not compare.

    Raises:
        RecordError: the records of the horizon do not watch one and the same metric.
    """
    return best_first(_rankable(records, horizon))


def _rankable(records: Iterable[TrialRecord], horizon: Horizon | None) -> list[TrialRecord]:
    records = list(records)
    horizon = target_horizon(records) if horizon is None else horizon
    found = [r for r in records if r.role == "search" and has_value(r) and r.horizon == horizon]
    check_one_metric(found)
    return found


def best_first(records: Iterable[TrialRecord]) -> list[TrialRecord]:
    """Return records in the order of their values, by mode; of exact ties the shorter warmup first, then the lower lr.

    Args:
        records: for which `has_value` holds, of one metric.
    """
    records = list(records)
    levels = [_signed(r) for r in records]
    order = sorted(range(len(records)), key=levels.__getitem__)
    if len(set(levels)) == len(levels):
        return [records[i] for i in order]
    # a warmup in steps takes longer to tell than a value, and of a hundred thousand few tie
    return [
        r for _, tied in groupby(order, key=levels.__getitem__) for r in _plainest_first([records[i] for i in tied])
    ]


def _signed(record: TrialRecord) -> float:
    assert record.value is not None  # noqa: S101 - it has one
    return record.value if record.mode == "min" else -record.value


def _plainest_first(tied: list[TrialRecord]) -> list[TrialRecord]:
    return sorted(tied, key=plainness) if len(tied) > 1 else tied


def check_one_metric(records: Sequence[TrialRecord]) -> None:
    """Refuse to compare values of different metrics.

    Raises:
        RecordError: the records differ in `monitor` or `mode`.
    """
    found = {(r.monitor, r.mode) for r in records}
    if len(found) > 1:
        metrics = sorted(f"{monitor} ({mode})" for monitor, mode in found)
        raise RecordError(
            f"the records watch different metrics: {', '.join(metrics)}. Their values do not compare: "
            "keep each metric in a study of its own"
        )


def best_record(records: Iterable[TrialRecord], horizon: Horizon | None = None) -> TrialRecord | None:
    """Return the best COMPLETE `search` record of a horizon, or None; see `ranked`."""
    found = _rankable(records, horizon)
    best = min(map(_signed, found), default=None)
    return _plainest_first([r for r in found if _signed(r) == best])[0] if found else None


def best_by_horizon(records: Iterable[TrialRecord]) -> dict[Horizon, TrialRecord]:
    """Return the best record of each horizon that has one, the largest horizon first."""
    records = list(records)
    found = {horizon: best_record(records, horizon) for horizon in horizons(records)}
    return {horizon: best for horizon, best in found.items() if best is not None}
