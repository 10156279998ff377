"""What the next level of a ladder tries first: the best of the level below, and their peaks a little to either side.

The best peak of a longer run is lower: lr* ~ total_steps^-b, with b between .23 and .32 in published fits and .24 in
runs of a 124M language model at a fixed batch size. Two short horizons do not measure b, and a wrong lr costs little
(half the best one .3 % of the loss, twice .8 %): so a peak is carried with a prior, and then looked for on either side
at the longer horizon itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from autowarm.analysis.best import best_first, has_value, warmup_share
from autowarm.errors import ScheduleError
from autowarm.planning.decay_priors import PREFERENCE, reference_decay, with_decay, with_peak
from autowarm.record import TrialRecord
from autowarm.schedule import Schedule
from autowarm.space import Range, SearchSpace

# The prior of b, towards the low end of what was published: the lower levels of a ladder are short.
EXPONENT = 0.1
# Carried at once; more follow when the sides of the best peak have been seen.
FIRST = 2
MOST = 4
SIDE = 2.0
# Schedules nearer to each other than all of these are one candidate.
_SAME_PEAK = 1.3
_SAME_WARMUP = 0.08


def different(records: Iterable[TrialRecord]) -> list[TrialRecord]:
    """Return records that ended well, best first, each different from those before it in peak, warmup or decay.

    A sampler tries many schedules beside its best one; carried on together they would all be one.

    Args:
        records: search trials of one horizon.
    """
    found: list[TrialRecord] = []
    for record in best_first(r for r in records if has_value(r) and r.schedule is not None):
        if not any(_alike(record, other) for other in found):
            found.append(record)
    return found


def best_of(records: Iterable[TrialRecord]) -> Schedule | None:
    """Return the schedule of the record that ended best, or None."""
    return next((r.schedule for r in different(records)), None)


def carried(schedule: Schedule, *, from_steps: int, to_steps: int, space: SearchSpace) -> Schedule:
    """Return a schedule of one horizon as it is tried at another one: its warmup as the same share, its peak moved.

    The peak is multiplied with (to_steps / from_steps)^-b, and stays in the range that is searched.
    """
    return with_peak(schedule, schedule.initial_lr * (to_steps / from_steps) ** -EXPONENT, space)


def climb(
    below: Iterable[TrialRecord],
    here: Iterable[TrialRecord],
    *,
    from_steps: int,
    to_steps: int,
    space: SearchSpace,
    last: bool,
) -> Iterator[tuple[str, Schedule]]:
    """Yield what a level tries first, by where it comes from, as far as it is known yet.

    Below the target, with one decay (`autowarm.planning.decay_priors`): the two best of the level below; the best so
    far with twice and with half its peak; the best so far with its warmup in as many steps as it had below, where it
    was a share until now: which of the two carries on is for the values to say; the next best two. At the target: the
    two best, the best with the other decays that are searched, the next best two.

    Args:
        below: search trials of the level below.
        here: those of this level that have ended.
        from_steps: total_steps of the level below.
        to_steps: total_steps of this one.
        space: the schedules to search.
        last: whether this level is the target.
    """
    origin, decay = f"carried from {from_steps} steps", reference_decay(space.decays)
    up = [
        carried(r.schedule, from_steps=from_steps, to_steps=to_steps, space=space)
        for r in different(below)[:MOST]
        if r.schedule is not None
    ]
    carry = [(origin, with_decay(schedule, decay, space)) for schedule in up]
    if last:
        yield from carry[:FIRST]
        for other in sorted(space.decays, key=PREFERENCE.index) if up else ():
            # as it was found, where it was found with that decay
            found = next((schedule for schedule in up if schedule.decay == other), None)
            yield f"with {other}", found or with_decay(up[0], other, space)
        yield from carry[FIRST:]
        return
    yield from carry[:FIRST]
    best = best_of(here)
    if best is not None:
        for name, factor in (("twice the best peak", SIDE), ("half the best peak", 1 / SIDE)):
            yield name, with_peak(best, best.initial_lr * factor, space)
        kept = with_warmup_times(best, from_steps / to_steps)
        if kept is not None and kept != best:
            yield "the best warmup in steps", kept
    yield from carry[FIRST:]


def around(here: Iterable[TrialRecord], space: SearchSpace) -> SearchSpace:
    """Return the space with its peak within a factor of 4 of the best so far; the whole space where there is none."""
    best = best_of(here)
    if best is None or not isinstance(space.initial_lr, Range):
        return space
    low, high = max(space.initial_lr.low, best.initial_lr / 4), min(space.initial_lr.high, best.initial_lr * 4)
    return replace(space, initial_lr=replace(space.initial_lr, low=low, high=high)) if low < high else space


def same(a: Schedule, b: Schedule, *, total_steps: int) -> bool:
    """Tell whether two schedules are the same at every step, to 1 % of the peak."""
    top = max(a.initial_lr, b.initial_lr)
    return bool(abs(a.lrs(total_steps=total_steps) - b.lrs(total_steps=total_steps)).max() <= 0.01 * top)


def _alike(a: TrialRecord, b: TrialRecord) -> bool:
    one, two = a.schedule, b.schedule
    assert one is not None  # noqa: S101 - asked for those with one
    assert two is not None  # noqa: S101
    ratio = max(one.initial_lr, two.initial_lr) / min(one.initial_lr, two.initial_lr)
    warmup = abs((warmup_share(a) or 0.0) - (warmup_share(b) or 0.0))
    return one.decay == two.decay and ratio < _SAME_PEAK and warmup < _SAME_WARMUP


def with_warmup_times(schedule: Schedule, factor: float) -> Schedule | None:
    """Return the schedule with its share of warmup times a factor."""
    if not schedule.warmup_ratio:
        return None
    try:
        return replace(schedule, warmup_ratio=schedule.warmup_ratio * factor)
    except ScheduleError:
        return None


def first_new(
    proposals: Iterable[tuple[str, Schedule]], tried: Sequence[Schedule], *, total_steps: int
) -> tuple[str, Schedule] | None:
    """Return the first proposal that is none of the schedules tried or running, or None."""
    for name, schedule in proposals:
        if not any(same(schedule, other, total_steps=total_steps) for other in tried):
            return name, schedule
    return None
