"""Which trials of a ladder leave their trunk for longer ones to go on from, and how the search keeps to them.

A longer run goes on from a shorter one where both have the same peak and as many steps of warmup, and the peak is held
(`autowarm.growing`). A search of real numbers meets no peak twice. So what explores with a decay that holds its peak
has peaks and warmups on a grid, and what is carried on to a longer run keeps both as they are: no shift of the peak, no
longer warmup.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from autowarm.analysis.best import best_first, has_value
from autowarm.planning.climb import FIRST, MOST, SIDE, best_of, carried, different, with_warmup_times
from autowarm.planning.decay_priors import PREFERENCE, with_decay, with_peak
from autowarm.planning.spread import nearest, usual_warmup
from autowarm.planning.trunks import held_by
from autowarm.record import TrialRecord
from autowarm.schedule import Schedule
from autowarm.space import Choice, Range, SearchSpace, ends

# Peaks of the grid in a factor of two.
PEAKS = 2
# A warmup is a multiple of that share of the whole run, and at most that share of what a level has before its cooldown.
WARMUP_STEP = 1 / 16
LONGEST_WARMUP = 0.9
# Of each level, states that are kept: as many candidates as are carried on, and some for what lies beside them.
MOST_KEPT = 6
# Of a run below the target, as the shorter it is the more is shared; and of one at the target: in 50k steps of a 124M
# language model the loss after the longer one was .5 % lower. Its best peak is 1.4 times as high, by the theory that
# `autowarm.analysis.decay_peaks` has, and that of four times the steps .7 times: so the peak stays.
COOLDOWN = 0.2
LAST_COOLDOWN = 0.6


def grown_decay(space: SearchSpace, *, explore: bool = False) -> str | None:
    """Return the decay to search with where trials go on from shorter ones; None where they do not.

    A constant learning rate tells little of a cooldown, so it is taken where there is nothing else. Warmups that are
    listed are shares of each run, and are searched as they are listed.

    Args:
        space: that is searched.
        explore: whether they do also where a decay is searched that does not hold its peak: what short runs find is
            then carried over to it at the target alone.

    >>> spaces = [SearchSpace(decay=decays) for decays in (["constant", "wsd"], "constant", ["cosine", "wsd"])]
    >>> [grown_decay(space) for space in spaces], grown_decay(spaces[2], explore=True)
    (['wsd', 'constant', None], 'wsd')
    """
    held = [decay for decay in ("wsd", "constant") if decay in space.decays]
    if isinstance(space.warmup_ratio, Choice) or not held:
        return None
    if set(space.decays) <= set(held):
        return held[0]
    return "wsd" if explore and "wsd" in held else None


def held_share(space: SearchSpace, decay: str) -> float:
    """Return the share of a run in which a decay that holds its peak holds it, as `exploration` has it."""
    return 1.0 if decay == "constant" else 1.0 - _cooldown(space, COOLDOWN)


def _cooldown(space: SearchSpace, wanted: float) -> float:
    """Return the cooldown nearest to a wanted one, among those that are searched."""
    return nearest(space.dimensions("wsd")["wsd.decay_ratio"], wanted)


@dataclass(frozen=True)
class Exploration:
    """What a level below the target searches: one decay with one cooldown, peaks and warmups on a grid.

    Attributes:
        space: that the level searches.
        warmups: of the grid, as shares of the level, rising.
    """

    space: SearchSpace
    warmups: tuple[float, ...]

    def place(self, schedule: Schedule, *, total_steps: int) -> Schedule:
        """Return a schedule of the level with its peak and warmup on the grid, as far as a range of peaks is searched.

        >>> space = SearchSpace(initial_lr=Range(1e-4, 1.0), warmup_ratio=Range(0.0, 0.3))
        >>> level = exploration(space, "wsd", total_steps=100, whole=800, lowest=False)
        >>> found = level.place(Schedule(initial_lr=0.13, warmup_ratio=0.4), total_steps=100)
        >>> found.initial_lr, found.warmup_steps_of(100)
        (0.125, 50)
        """
        peak = self.space.initial_lr
        if isinstance(peak, Range):
            # twice and half of one are exactly others
            lr = 2.0 ** (round(PEAKS * math.log2(schedule.initial_lr)) / PEAKS)
            schedule = replace(schedule, initial_lr=lr) if peak.holds(lr) else schedule
        ratio = schedule.warmup_steps_of(total_steps) / schedule.span_of(total_steps)
        return replace(schedule, warmup_ratio=min(self.warmups, key=lambda known: abs(known - ratio)))

    def beside(self, schedule: Schedule, *, total_steps: int) -> Iterator[Schedule]:
        """Yield a schedule with the other peaks of the grid, the nearest first, and of two the lower one."""
        peak = self.space.initial_lr
        if not isinstance(peak, Range):
            return
        for k in range(1, math.ceil(PEAKS * math.log2(peak.high / peak.low)) + 1):
            for away in (-k, k):
                lr = schedule.initial_lr * 2.0 ** (away / PEAKS)
                if peak.holds(lr):
                    yield self.place(replace(schedule, initial_lr=lr), total_steps=total_steps)


def exploration(space: SearchSpace, decay: str, *, total_steps: int, whole: int, lowest: bool) -> Exploration:
    """Return what a level below the target searches.

    A warmup is meant for the whole run, and has as many steps in a short one, of which they are a larger share.

    Args:
        space: that is searched.
        decay: one of its decays that holds the peak.
        total_steps: of the level.
        whole: total_steps of the horizon that the ladder leads to.
        lowest: whether it is the lowest level, where the peak is looked for with one warmup.
    """
    ratios = _warmups(space, total_steps=total_steps, whole=whole, longest=LONGEST_WARMUP * held_share(space, decay))
    if lowest:
        ratios = [min(ratios, key=lambda ratio: abs(ratio * total_steps / whole - WARMUP_STEP))]
    warmup = Range(ratios[0], ratios[-1]) if len(ratios) > 1 else ratios[0]
    cooldown = {"decay_ratio": _cooldown(space, COOLDOWN)} if decay == "wsd" else {}
    return Exploration(replace(space.only(decay), warmup_ratio=warmup, **cooldown), tuple(ratios))


def _warmups(space: SearchSpace, *, total_steps: int, whole: int, longest: float) -> list[float]:
    """Return the warmups of the grid as shares of a level, rising; those that do not fit into it are left out."""
    dimension = space.warmup_ratio
    known = [float(value) for value in ends(dimension)]
    if isinstance(dimension, Range):
        grid = [k * WARMUP_STEP for k in range(math.ceil(1 / WARMUP_STEP))]
        known = [ratio for ratio in grid if dimension.holds(ratio)] or known
    # what a ratio is a share of depends on how schedules count their steps
    any_schedule = Schedule(initial_lr=1.0, warmup_ratio=0.0, **space.options)
    span, whole_span = any_schedule.span_of(total_steps), any_schedule.span_of(whole)
    steps = sorted({round(ratio * whole_span) for ratio in known})
    return [n / span for n in steps if n <= longest * span] or [longest]


def left_by(records: Iterable[TrialRecord]) -> list[TrialRecord]:
    """Return the trials of a level whose states are kept, the best first.

    Args:
        records: search trials of the level.
    """
    return best_first(r for r in records if r.trunk is not None and r.schedule is not None and has_value(r))[:MOST_KEPT]


def goes_on_from(
    schedule: Schedule, left: Iterable[TrialRecord], *, total_steps: int, seed: int
) -> tuple[TrialRecord, int] | None:
    """Return the trial from whose state a schedule goes on, the furthest one, and the steps that it saves; or None.

    Args:
        schedule: of the longer run.
        left: trials of the same data that have left their states.
        total_steps: of the longer run.
        seed: of the longer run.
    """
    held = held_by(schedule, total_steps=total_steps)
    best: tuple[TrialRecord, int] | None = None
    for record in left if held is not None else ():
        assert record.schedule is not None  # noqa: S101 - it has a trunk
        theirs = held_by(record.schedule, total_steps=record.total_steps)
        if theirs is None or held is None or theirs.key != held.key or record.seed != seed:
            continue
        if theirs.steps <= held.steps and (best is None or theirs.steps > best[1]):
            best = record, theirs.steps
    return best


def carry_on(
    below: Iterable[TrialRecord],
    here: Iterable[TrialRecord],
    *,
    from_steps: int,
    to_steps: int,
    space: SearchSpace,
    last: bool,
) -> Iterator[tuple[str, Schedule]]:
    """Yield what a level tries first, by where it comes from; as `autowarm.planning.climb.climb` where nothing goes on.

    What is carried keeps its peak and its warmup in steps, as only such a run goes on. Below the target: the two best
    of the level below; the best so far with half and with twice its peak, and with a warmup that is the share that it
    was below; the next best two. At the target first what begins at its start: a short run has no room for a warmup as
    long as the whole run's may be, and a peak that a short warmup bears, a long one bears, too. So the best, the best
    with half its peak, and with the other decays that are searched, each with the usual warmup; then what goes on.

    Args:
        below: search trials of the level below.
        here: those of this level that have ended.
        from_steps: total_steps of the level below.
        to_steps: total_steps of this one.
        space: that this level searches.
        last: whether this level is the target.
    """
    found = [r.schedule for r in different(below)[:MOST] if r.schedule is not None]
    up = [in_as_many_steps(schedule, from_steps=from_steps, to_steps=to_steps) for schedule in found]
    origin = f"carried from {from_steps} steps"
    if last:
        if up:
            yield from _at_target(up[0], from_steps=from_steps, to_steps=to_steps, space=space)
        for schedule in up:
            yield origin, _with_last_cooldown(schedule, space)
        return
    carry = [(origin, schedule) for schedule in up]
    yield from carry[:FIRST]
    best_here = best_of(here)
    if best_here is not None:
        # that of a longer run is lower
        for name, factor in (("half the best peak", 1 / SIDE), ("twice the best peak", SIDE)):
            yield name, with_peak(best_here, best_here.initial_lr * factor, space)
        longer = with_warmup_times(best_here, to_steps / from_steps)
        if longer is not None:
            yield "the best warmup as a share", longer
    yield from carry[FIRST:]


def _at_target(best: Schedule, *, from_steps: int, to_steps: int, space: SearchSpace) -> Iterator[tuple[str, Schedule]]:
    """Yield what the best of the level below becomes with the usual warmup; a longer one stays."""
    best = replace(best, warmup_ratio=max(usual_warmup(space), best.warmup_ratio or 0.0))
    longer = _with_last_cooldown(best, space)
    yield "the best with a longer warmup", longer
    # what is best in a short run is too high in a long one, if anything
    yield "half the best peak", with_peak(longer, longer.initial_lr / SIDE, space)
    moved = carried(best, from_steps=from_steps, to_steps=to_steps, space=space)
    for other in sorted(set(space.decays) - {best.decay}, key=PREFERENCE.index):
        yield f"with {other}", with_decay(moved, other, space)


def _with_last_cooldown(schedule: Schedule, space: SearchSpace) -> Schedule:
    """Return a schedule with the cooldown of the target: it begins after what was shared all the same."""
    if schedule.decay != "wsd":
        return schedule
    longest = 1.0 - (schedule.warmup_ratio or 0.0)
    return replace(schedule, decay_ratio=min(_cooldown(space, LAST_COOLDOWN), longest))


def in_as_many_steps(schedule: Schedule, *, from_steps: int, to_steps: int) -> Schedule:
    """Return a schedule of one length as a longer run goes on with it: the same peak, as many steps of warmup."""
    steps = schedule.warmup_steps_of(from_steps)
    return replace(schedule, warmup_ratio=steps / schedule.span_of(to_steps))
