"""The schedules of a search that were trained again on other seeds, and what became of them."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace

from autowarm.analysis.best import by_schedule, has_value, plainness
from autowarm.analysis.candidates import candidates, same_lrs
from autowarm.record import TrialRecord
from autowarm.schedule import Schedule

# Schedules that are compared where the search itself repeats all of them.
_BEST_REPEATED = 10


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A schedule that was trained again on other seeds.

    Attributes:
        record: of the search; of `runs`, where it was not searched at this horizon, the first that ended well.
        found: value in the search; None where it was not searched, and where the search itself is what repeats it.
        runs: on fresh seeds, or on those of such a search; one a seed, the seeds growing; those that FAILED say
            nothing of it and are left out.
        is_today: whether it is the schedule that the job has today.
        difference: its mean less that of the answer, over the same seeds; None where the two do not compare.
        half_width: half the 95 % interval of `difference`; infinite where nothing is known of the noise.
    """

    record: TrialRecord
    found: float | None
    runs: tuple[TrialRecord, ...]
    is_today: bool = False
    difference: float | None = None
    half_width: float = math.inf

    @property
    def values(self) -> dict[int, float]:
        """The value reached with each seed that ended well."""
        return {r.seed: r.value for r in self.runs if has_value(r) and r.value is not None}

    @property
    def lost(self) -> int:
        """Runs that diverged."""
        return sum(not has_value(r) for r in self.runs)

    @property
    def mean(self) -> float | None:
        """Mean of the values; None where there is none."""
        return statistics.fmean(self.values.values()) if self.values else None

    @property
    def spread(self) -> float | None:
        """Standard deviation of the values; None below two."""
        return statistics.stdev(self.values.values()) if len(self.values) > 1 else None

    @property
    def words(self) -> str:
        """The schedule in words."""
        return str(self.record.schedule)

    @property
    def plainness(self) -> tuple[float, float]:
        """A sort key: of a tie the first one wins."""
        return plainness(self.record)


def confirmed(here: Sequence[TrialRecord], order: Sequence[TrialRecord]) -> list[Candidate]:
    """Return the schedules that were trained again, in the order of the search.

    Those that `confirm` records repeat; and today's by its `baseline` records, where the search has it next to them, or
    before one of them.

    Args:
        here: records of one horizon.
        order: its search records, best first, as `autowarm.analysis.best.ranked` returns them.
    """
    total_steps = here[0].total_steps if here else 0
    baselines = [r for r in here if r.role == "baseline" and r.schedule is not None]
    again = by_schedule(r for r in here if r.role == "confirm")
    wanted = {group[0].schedule for group in again}
    # of several records of one schedule the best, which comes last from the worst on
    in_search = {r.schedule: r for r in reversed(order) if r.schedule in wanted} if wanted else {}
    found = []
    for group in again:
        schedule = group[0].schedule
        today = _repeats(baselines, schedule, total_steps)
        found.append(_candidate(in_search.get(schedule), [*today, *group], is_today=bool(today)))
    places = {id(r): place for place, r in enumerate(order)}
    if baselines and not any(c.is_today for c in found):
        # where today's was one of the best itself, it was not trained a second time as a candidate
        best = candidates(order, len(found) + 1)
        searched = next((r for r in best if same_lrs(r.schedule, baselines[-1].schedule, total_steps)), None)
        if searched is not None:
            today = _repeats(baselines, searched.schedule, total_steps)
            found.append(_candidate(searched, today, is_today=True))
    # what was neither found here nor ended well once says nothing
    found = [c for c in found if c.runs and has_value(c.record)]
    return sorted(found, key=lambda c: places.get(id(c.record), len(order)))


def repeated(order: Sequence[TrialRecord], here: Sequence[TrialRecord]) -> list[Candidate]:
    """Return the best schedules that the search itself trained on several seeds; empty where it did not.

    Those that diverged least come first, then the better mean. Those that had fewer seeds than the others, as a search
    that is not done has, are left out, and all but the ten best: far from them a training varies more, and the noise
    of all would be taken for theirs.

    Args:
        order: search records of one horizon, best first.
        here: records of the horizon.
    """
    places = {id(r): place for place, r in enumerate(order)}
    groups = by_schedule(r for r in here if r.role == "search" and r.schedule is not None)
    # the best of each is what it is known by
    groups = [sorted(group, key=lambda r: places.get(id(r), len(order))) for group in groups]
    found = [replace(_candidate(group[0], group, is_today=False), found=None) for group in groups]
    most = max((len(c.runs) for c in found), default=0)
    if most < 2:
        return []
    found = [c for c in found if len(c.runs) == most and c.mean is not None]
    return sorted(found, key=_fewest_lost_first)[:_BEST_REPEATED]


def _fewest_lost_first(candidate: Candidate) -> tuple[int, float]:
    mean = candidate.mean
    assert mean is not None  # noqa: S101 - those without are left out
    return candidate.lost, mean if candidate.record.mode == "min" else -mean


def _repeats(records: Sequence[TrialRecord], schedule: Schedule | None, total_steps: int) -> list[TrialRecord]:
    """Return the records of the same learning rates, their order kept."""
    same = {s for s in dict.fromkeys(r.schedule for r in records) if same_lrs(s, schedule, total_steps)}
    return [r for r in records if r.schedule in same]


def _candidate(searched: TrialRecord | None, runs: Sequence[TrialRecord], *, is_today: bool) -> Candidate:
    # a repeated seed is a rerun of the same thing: the last one counts
    by_seed = {r.seed: r for r in runs if r.outcome != "FAILED"}
    return Candidate(
        record=searched if searched is not None else next((r for r in runs if has_value(r)), runs[0]),
        found=searched.value if searched is not None else None,
        runs=tuple(by_seed[seed] for seed in sorted(by_seed)),
        is_today=is_today,
    )
