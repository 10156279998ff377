"""What one level of a ladder tries, trial by trial: told from the records alone, so that it goes on where it was."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from autowarm.analysis.best import has_value
from autowarm.lane import Lane
from autowarm.planning.climb import around, carried, climb, first_new
from autowarm.planning.decay_priors import reference_decay
from autowarm.planning.horizon_plan import HorizonPlan
from autowarm.planning.known_divergence import Diverged, bound_to_diverge, diverged
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


@dataclass
class LevelSearch:
    """Proposes the trials of one level.

    Attributes:
        plan: of the horizon that the ladder leads to.
        lane: of this level: its study, and the records of its trials.
        space: the schedules to search.
        below: search trials of the level below; none on the lowest one.
        bad: what diverged on the levels below.
        sampler: what proposes when the first ideas are spent.
    """

    plan: HorizonPlan
    lane: Lane
    space: SearchSpace
    below: Sequence[TrialRecord]
    bad: Sequence[Diverged]
    sampler: Sampler

    def propose(self) -> Proposal | None:
        """Return the next trial, or None where everything there is has been tried."""
        study = self.lane.study
        if study.waiting:
            return study.ask()
        tried, steps = self.lane.tried, self.lane.info.total_steps
        while (found := first_new(self._first(), tried, total_steps=steps)) is not None:
            name, schedule = found
            proposal = study.ask_for(schedule, name)
            if proposal is not None:
                return proposal
            tried = [*tried, schedule]
        sampled = self._sampled()
        return study.ask_for(sampled, "sampler") if sampled is not None else None

    def _first(self) -> Iterator[tuple[str, Schedule]]:
        """Yield what is tried before the sampler has its say, as far as it is known yet."""
        whole, steps, space = self.plan.info.total_steps, self.lane.info.total_steps, self.space
        if any(has_value(r) for r in self.below):
            below, last = self.below[0].total_steps, steps == whole
            yield from climb(self.below, self.lane.searched, from_steps=below, to_steps=steps, space=space, last=last)
            return
        today = self.plan.guesses.get("today")
        if today is not None:
            yield "today", carried(today, from_steps=whole, to_steps=steps, space=space)
        bad = [*self.bad, *diverged(self.lane.searched)]
        for schedule in spread(space, decay=reference_decay(space.decays)):
            if bound_to_diverge(schedule, steps, bad) is None:
                yield "spread", schedule

    def _sampled(self) -> Schedule | None:
        """Return a schedule that the sampler proposes near the best: below the target, with one decay alone."""
        here, steps, settings = self.lane.searched, self.lane.info.total_steps, self.lane.settings
        space = self.space
        if steps < self.plan.info.total_steps:
            space = space.only(reference_decay(space.decays))
        if not self.below:
            # a short run prefers no warmup, as it prefers no decay
            space = replace(space, warmup_ratio=usual_warmup(space))
        known = [point for r in here if (point := _known(r, space, steps)) is not None]
        enough = sum(has_value(r) for r in here) >= _ENOUGH
        space = around(here, space)
        bad = [*self.bad, *diverged(here)]
        tried, last = self.lane.tried, None
        for attempt in range(_ATTEMPTS):
            number = len(tried) * _ATTEMPTS + attempt
            params = proposed(space, known if enough else [], self.sampler, seed=settings.seed, trial=number)
            schedule = self.space.schedule(params)
            last = schedule if bound_to_diverge(schedule, steps, bad) is None else None
            if last is not None and first_new([("sampler", last)], tried, total_steps=steps) is not None:
                break
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
