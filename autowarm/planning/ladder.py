"""How a budget is split: short runs that explore, longer ones that carry on what was found, and checks at the end.

A run of an eighth of the steps, with a schedule of that length, costs an eighth and tells much of what the whole run
would: which order of magnitude the peak has, whether a warmup is needed, which decays are behind. So most of the trials
are short, and each level of the ladder hands its best on to the next one (`autowarm.planning.climb`).

    total_steps         half of the search, in whole runs, and one in any case
    total_steps / 8     8 parts of 17 of the rest
    total_steps / 4     6 parts
    total_steps / 2     3 parts

A level that its part does not pay enough trials for is left out, the longest first; the others share what it had. What
is left of a part, as diverging trials end early, goes to the level above. Of the budget, up to a third is for checks on
fresh seeds, as far as two full runs are left for the search.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from autowarm.budget import Budget
from autowarm.errors import SettingsError
from autowarm.planning.price import price_of
from autowarm.planning.range_test import RangeTestPlan
from autowarm.pruning import MIN_TRIALS, Pruning, ema_rungs_of
from autowarm.record import TrialRecord
from autowarm.specs import JobInfo

# (the whole run's steps over those of a level, its weight, trials below which it is left out), longest last
_LEVELS = ((8, 8, 4), (4, 6, 2), (2, 3, 2))
_TARGET = 1 / 2
_CHECKS = 1 / 3
# Below this, a run is nearly all warmup, and its rounding.
MIN_STEPS = 20
# Validations of a whole run, and of a run of a level at least.
RUNGS = 20
_MIN_RUNGS = 2
# What a search is worth before anything is checked, in full runs.
_SEARCHED_FIRST = 2.0
# A budget that is one rounding error short of a run pays for it.
_SLACK = 1e-9


@dataclass(frozen=True, kw_only=True)
class Level:
    """One horizon of a ladder.

    Attributes:
        total_steps: of its trials, and `rungs`, their validations.
        price: of one trial at most, in the unit of the ladder.
        limit: of everything spent by the end of this level.
        trials: that it pays for at least.
        pruning: how readily they are stopped.
        shared: steps that a trial carried on from the level below goes on after; 0: none does
            (`autowarm.planning.growth`).
        step_price: of a training step.
    """

    total_steps: int
    rungs: int
    price: float
    limit: float
    trials: int
    pruning: Pruning
    shared: int = 0
    step_price: float = 0.0

    def price_after(self, steps: int) -> float:
        """Return the price of a trial that goes on after some steps, at most."""
        return self.price - steps * self.step_price


@dataclass(frozen=True, kw_only=True)
class Ladder:
    """What a budget buys at one horizon.

    Attributes:
        levels: the shortest first; the last one is the horizon itself.
        checks: full runs on fresh seeds that are paid for at least.
        price: of one of them, and `total`, of everything, in the unit of the ladder: training steps (a validation
            batch being a third of one), or seconds of wall time.
        in_seconds: whether that is the unit.
        n_jobs: trials at once.
        grown: the decay that trials go on from those of the level below with; None: each begins at its start.
    """

    levels: tuple[Level, ...]
    checks: int
    price: float
    total: float
    in_seconds: bool
    n_jobs: int
    grown: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain data that JSON can hold."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Ladder:
        """Build a ladder from what `to_dict` returned."""
        return cls(**{**data, "levels": tuple(Level(**level) for level in data["levels"])})

    def spent(self, records: Iterable[TrialRecord]) -> float:
        """Return what records took of the budget, in its unit."""
        if self.in_seconds:
            return sum(r.seconds for r in records) / self.n_jobs
        return sum(r.cost for r in records)


def pays(limit: float, spent: float, price: float) -> bool:
    """Tell whether what is left of a limit pays for one more training."""
    return spent + price <= limit * (1 + _SLACK)


def plan_ladder(
    budget: Budget,
    info: JobInfo,
    *,
    n_jobs: int,
    pruning: Pruning,
    range_test: RangeTestPlan | None = None,
    checked: bool = True,
    shortest: int = MIN_STEPS,
    grown: tuple[str, float] | None = None,
) -> Ladder:
    """Split a budget.

    Args:
        budget: for range test, search and checks.
        info: what a look at the job told, at the horizon.
        n_jobs: trials at once.
        pruning: how readily trials are stopped, where there are enough of them to compare.
        range_test: what comes first, if anything does.
        checked: whether a part is for trainings on fresh seeds.
        shortest: steps of the shortest run that there may be.
        grown: the decay that trials go on from shorter ones with, and the share of a run in which it holds its peak;
            None: each begins at its start.

    Raises:
        SettingsError: the budget pays for no trial; names the smallest that does.
    """
    in_seconds, whole = budget.unit == "seconds", info.total_steps

    def price_at(steps: int, ema_rungs: int = 0) -> float:
        here = replace(info, total_steps=steps)
        price = price_of(here, rungs=rungs_at(steps, whole), ema_rungs=ema_rungs, n_trials=1, checks=0, n_jobs=1)
        return price.seconds / n_jobs if in_seconds else price.cost

    full = price_at(whole)
    total = budget.amount * (full if budget.unit == "full_runs" else 1.0)
    first = _range_test_price(range_test, info, n_jobs=n_jobs, in_seconds=in_seconds)
    if not pays(total, first, full):
        raise SettingsError(_too_small(budget, first, full, info, with_test=range_test is not None))
    checks = (
        math.floor(max(0.0, min(total * _CHECKS, total - first - _SEARCHED_FIRST * full)) / full + _SLACK) * checked
    )
    search = total - first - checks * full
    whole_runs = max(1, runs_paid(_TARGET * search, full))
    below = _shares(whole, search - whole_runs * full, price_at, shortest)
    shares = [*below, (whole, search - sum(share for _, share in below))]
    levels: list[Level] = []
    step_price = info.step_seconds / n_jobs if in_seconds else 1.0
    for steps, share in shares:
        first += share
        price, rungs, level_pruning = price_at(steps), rungs_at(steps, whole), pruning
        if runs_paid(share, price) > MIN_TRIALS and rungs >= RUNGS / 2 and pruning != "off":
            # near the best, where the one that is behind may still win
            level_pruning = "safe"
            price = price_at(steps, len(ema_rungs_of(steps, rungs)))
        else:
            level_pruning = "off"
        levels.append(
            Level(
                total_steps=steps,
                rungs=rungs,
                price=price,
                limit=first,
                trials=max(1, runs_paid(share, price)),
                pruning=level_pruning,
                shared=int(grown[1] * levels[-1].total_steps) if grown is not None and levels else 0,
                step_price=step_price,
            )
        )
    return Ladder(
        levels=tuple(levels),
        checks=checks,
        price=full,
        total=total,
        in_seconds=in_seconds,
        n_jobs=n_jobs,
        grown=grown[0] if grown is not None and len(levels) > 1 else None,
    )


def _shares(whole: int, below: float, price_at: Callable[[int], float], shortest: int) -> list[tuple[int, float]]:
    """Return (steps, share of the budget) of the levels below the target that are worth it."""
    kept = [(whole // d, weight, fewest) for d, weight, fewest in _LEVELS if whole // d >= shortest]
    while kept:
        weights = sum(weight for _, weight, _ in kept)
        found = [(steps, below * weight / weights) for steps, weight, _ in kept]
        if all(share >= fewest * price_at(steps) for (steps, share), (_, _, fewest) in zip(found, kept, strict=True)):
            return found
        kept.pop()
    return []


def runs_paid(share: float, price: float) -> int:
    """Return how many trainings of a price a share of a budget pays for."""
    return math.floor(share / price + _SLACK)


def rungs_at(steps: int, whole: int) -> int:
    """Return how many validations a trial of a level has: as dense as those of a whole run, and two at least.

    A short run that validated as often would cost much more than its share.
    """
    return max(_MIN_RUNGS, round(RUNGS * steps / whole))


def _range_test_price(test: RangeTestPlan | None, info: JobInfo, *, n_jobs: int, in_seconds: bool) -> float:
    if test is None:
        return 0.0
    seconds = info.fixed_seconds + test.steps * info.step_seconds + info.validation_seconds
    return -(-len(test.seeds) // n_jobs) * seconds if in_seconds else test.cost


def _too_small(budget: Budget, first: float, full: float, info: JobInfo, *, with_test: bool) -> str:
    least = first + full
    if budget.unit == "full_runs":
        # rounded up, or the number named would not do
        smallest = f"{math.ceil(least / full * 100 - _SLACK) / 100:g}"
    elif budget.unit == "steps":
        smallest = f"{math.ceil(least - _SLACK)} steps"
    else:
        smallest = f"{math.ceil(least)} s"
    test = " and the range test before it (there is none where space.initial_lr has a low and a high)"
    return (
        f"a budget of {budget.words} does not pay for one trial of {info.total_steps:,} steps{test * with_test}: "
        f"the smallest that works is {smallest}"
    )
