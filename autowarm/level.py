"""What one level of a ladder tries, trial by trial: told from the records alone, so that it goes on where it was."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from autowarm.analysis.best import has_value
from autowarm.lane import Lane
from autowarm.planning.climb import around, best_of, carried, climb, first_new
from autowarm.planning.decay_priors import reference_decay
from autowarm.planning.growth import Exploration, carry_on
from autowarm.planning.horizon_plan import HorizonPlan
from autowarm.planning.known_divergence import Diverged, bound_to_diverge, diverged
from autowarm.planning.ladder import Ladder, Level, pays
from autowarm.planning.spread import spread, usual_warmup
from autowarm.record import TrialRecord
from autowarm.schedule import Schedule
from autowarm.space import SearchSpace
from autowarm.study.horizon import Proposal
from autowarm.study.sampling import Known, Sampler, proposed

# Trials that ended well before a model of them is worth asking.
_ENOUGH = 4
# It is asked that often for something that is not known to diverge and was not tried.
_ATTEMPTS = 20
# Of a grid it soon knows all that it would ask for.
_ATTEMPTS_ON_GRID = 3


@dataclass(frozen=True)
class Allowance:
    """Tells what a level's limit pays for.

    Attributes:
        ladder: of the level.
        level: that is searched, and `lane`, its trials.
        before: what was spent before it.
    """

    ladder: Ladder
    level: Level
    lane: Lane
    before: float

    def room(self, running: int) -> bool:
        """Tell whether the cheapest trial there may be is paid for, beside a number of them that run."""
        return self._pays(self.level.shared if self.lane.grows else 0, running)

    def affords(self, steps: int) -> bool:
        """Tell whether a trial is paid for that goes on after some steps, beside those that run."""
        return self._pays(steps, self.lane.study.running)

    def _pays(self, steps: int, running: int) -> bool:
        level, here = self.level, self.lane.searched
        if level is self.ladder.levels[-1] and not here and not running:
            # whatever the levels below have taken: times are foreseen, and not always right
            return True
        spent = self.before + self.ladder.spent(here)
        return pays(level.limit, spent + running * level.price, level.price_after(steps))


@dataclass
class LevelSearch:
    """Proposes the trials of one level.

    Attributes:
        plan: of the horizon that the ladder leads to.
        lane: of this level: its study, and the records of its trials.
        allowance: what is paid for.
        bad: what diverged on the levels below.
        sampler: what proposes when the first ideas are spent.
        exploration: what a level below the target searches, where trials go on from shorter ones.
    """

    plan: HorizonPlan
    lane: Lane
    allowance: Allowance
    bad: Sequence[Diverged]
    sampler: Sampler
    exploration: Exploration | None = None

    def propose(self) -> Proposal | None:
        """Return the next trial, or None where everything there is has been tried, or nothing else is paid for."""
        study = self.lane.study
        if study.waiting:
            return study.ask() if not self.lane.grows or self.allowance.affords(0) else None
        tried, steps, first = self.lane.tried, self.lane.info.total_steps, self._first()
        while (found := first_new(first, tried, total_steps=steps)) is not None:
            name, schedule = found
            proposal = study.ask_for(schedule, name) if self._affords(schedule) else None
            if proposal is not None:
                return proposal
            tried = [*tried, schedule]
        sampled = self._sampled()
        return study.ask_for(sampled, "sampler") if sampled is not None and self._affords(sampled) else None

    def _affords(self, schedule: Schedule) -> bool:
        """Tell whether a trial is paid for: where none goes on, all cost what there was room for."""
        return not self.lane.grows or self.allowance.affords(self.lane.shared_by(schedule))

    @property
    def _last(self) -> bool:
        """Whether this level is the target."""
        return self.lane.info.total_steps == self.plan.info.total_steps

    def _placed(self, schedule: Schedule) -> Schedule:
        """Return a schedule where longer ones will look for it."""
        if self.exploration is None:
            return schedule
        return self.exploration.place(schedule, total_steps=self.lane.info.total_steps)

    def _first(self) -> Iterator[tuple[str, Schedule]]:
        """Yield what is tried before the sampler has its say, as far as it is known yet."""
        whole, steps, space = self.plan.info.total_steps, self.lane.info.total_steps, self.lane.study.space
        if any(has_value(r) for r in self.lane.below):
            up = carry_on if self.lane.grows else climb
            for name, schedule in up(
                self.lane.below,
                self.lane.searched,
                from_steps=self.lane.below[0].total_steps,
                to_steps=steps,
                space=space,
                last=self._last,
            ):
                yield name, self._placed(schedule)
            return
        today = self.plan.guesses.get("today")
        if today is not None:
            yield "today", carried(today, from_steps=whole, to_steps=steps, space=space)
        bad = [*self.bad, *diverged(self.lane.searched)]
        for schedule in map(self._placed, spread(space, decay=reference_decay(space.decays))):
            if bound_to_diverge(schedule, steps, bad) is None:
                yield "spread", schedule

    def _sampled(self) -> Schedule | None:
        """Return a schedule that the sampler proposes near the best: below the target, with one decay alone."""
        here, steps, settings = self.lane.searched, self.lane.info.total_steps, self.lane.settings
        space = self.lane.study.space
        if not self._last:
            space = space.only(reference_decay(space.decays))
        if not self.lane.below and self.exploration is None:
            # a short run prefers no warmup, as it prefers no decay
            space = replace(space, warmup_ratio=usual_warmup(space))
        known = [point for r in here if (point := _known(r, space, steps)) is not None]
        enough = sum(has_value(r) for r in here) >= _ENOUGH
        space = around(here, space)
        bad = [*self.bad, *diverged(here)]
        tried, last = self.lane.tried, None
        for attempt in range(_ATTEMPTS if self.exploration is None else _ATTEMPTS_ON_GRID):
            number = len(tried) * _ATTEMPTS + attempt
            params = proposed(space, known if enough else [], self.sampler, seed=settings.seed, trial=number)
            schedule = self._placed(self.lane.study.space.schedule(params))
            last = schedule if bound_to_diverge(schedule, steps, bad) is None else None
            if last is not None and first_new([("sampler", last)], tried, total_steps=steps) is not None:
                return last
        if self.exploration is not None:
            # of a grid, all that a model asks for may be known: then the nearest peaks that are not
            best = best_of(here) or last
            beside = self.exploration.beside(best, total_steps=steps) if best is not None else ()
            new = first_new((("grid", schedule) for schedule in beside), tried, total_steps=steps)
            return new[1] if new is not None else None
        # where everything was tried already, once more
        return last


def _known(record: TrialRecord, space: SearchSpace, total_steps: int) -> Known | None:
    """Return what a sampler learns of a trial; of one that was pruned, the last value that it reached."""
    params = space.params_of(record.schedule, total_steps=total_steps) if record.schedule is not None else None
    if params is None or record.outcome == "FAILED":
        return None
    if record.outcome == "DIVERGED":
        return Known(params, 0.0, diverged=True)
    value = record.value if has_value(record) else (record.rungs[-1][1] if record.rungs else None)
    if value is None or not math.isfinite(value):
        return None
    return Known(params, value if record.mode == "min" else -value)
