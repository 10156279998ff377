"""What to change before the next study: plain sentences, from records alone."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from autowarm.analysis.answer import answer_of
from autowarm.analysis.best import Horizon, best_record, horizon_words, horizons, warmup_share
from autowarm.record import TrialRecord

# The best this near to a bound, as a share of the range, might lie beyond it.
EDGE = 0.05
# Of n random trials the best is the outermost with a chance of 2 / n: with fewer, an edge says nothing.
_ENOUGH_TRIALS = 5
_MANY_FAILED = 0.1

Bounds = Mapping[str, tuple[float, float]]


def advise(records: Iterable[TrialRecord], bounds: Bounds | None = None) -> list[str]:
    """Say what to change about the search, a sentence each; an empty list where nothing stands out.

    Args:
        records: of one study.
        bounds: (low, high) of `initial_lr` and of `warmup_ratio` as they were searched; by default the lowest
            and the highest value tried.
    """
    records = list(records)
    searched = [r for r in records if r.role == "search"]
    several = len(horizons(searched)) > 1
    said: list[str] = []
    for horizon in horizons(searched):
        here = [r for r in records if r.target == horizon]
        found = (
            _nothing_complete([r for r in here if r.role == "search"]) or _constant(here) or _edges(here, bounds or {})
        )
        said += [f"At {horizon_words(horizon)}: {sentence}" if several else _capital(sentence) for sentence in found]
    return said + _failures(searched) + _one_seed(records)


def _nothing_complete(records: Sequence[TrialRecord]) -> list[str]:
    if best_record(records, records[0].target) is not None:
        return []
    lrs = [r.schedule.initial_lr for r in records if r.schedule is not None]
    count = f"all {len(records)} trials" if len(records) > 1 else "the only trial"
    if all(r.outcome == "DIVERGED" for r in records) and lrs:
        tried = f"the lowest initial_lr tried was {min(lrs):.3g}"
        return [f"{count} diverged; {tried}: lower space.initial_lr.low."]
    if all(r.outcome == "FAILED" for r in records):
        return [f"{count} failed: run the job on its own, outside of autowarm, until it trains."]
    return ["no trial reached the end with a value: give the study more trials, or lower space.initial_lr.low."]


def _constant(records: Sequence[TrialRecord]) -> list[str]:
    answer = answer_of(records, records[0].target)
    if answer is None or answer.constant is None:
        return []
    monitor = answer.record.monitor
    return [
        f"all trials ended with {monitor} {answer.constant:.5g}, which tells no schedule from another: look at "
        "`monitor`, and at what the job logs by that name."
    ]


def _edges(records: Sequence[TrialRecord], bounds: Bounds) -> list[str]:
    answer = answer_of(records, records[0].target)
    best = answer.record if answer is not None else None
    if best is None or best.schedule is None:
        return []
    records = [r for r in records if r.role == "search"]
    lrs = [r.schedule.initial_lr for r in records if r.schedule is not None]
    shares = [share for r in records if (share := warmup_share(r)) is not None]
    said = []
    lr_range = _range(lrs, bounds.get("initial_lr"))
    if lr_range:
        # a learning rate is searched in factors, so nearness is measured in factors too
        low, high = (math.log(bound) for bound in lr_range)
        place = (math.log(best.schedule.initial_lr) - low) / (high - low)
        said += _move("initial_lr", best.schedule.initial_lr, lr_range, place)
    share, share_range = warmup_share(best), _range(shares, bounds.get("warmup_ratio"))
    if share_range and share is not None:
        low, high = share_range
        place = (share - low) / (high - low)
        # below no warmup there is nothing
        said += _move("warmup_ratio", share, share_range, place if low > 0 or place > 0.5 else 0.5)
    return said


def _range(tried: Sequence[float], bounds: tuple[float, float] | None) -> tuple[float, float] | None:
    """Return (low, high), or None where they are one value or too few were tried to tell an edge by."""
    if bounds is None:
        if len(tried) < _ENOUGH_TRIALS:
            return None
        bounds = min(tried), max(tried)
    return bounds if bounds[0] < bounds[1] else None


def _move(name: str, value: float, bounds: tuple[float, float], place: float) -> list[str]:
    span = f"{bounds[0]:.3g} to {bounds[1]:.3g}"
    if place <= EDGE:
        return [f"the best {name}, {value:.3g}, is at the low end of {span}: lower space.{name}.low."]
    if place >= 1 - EDGE:
        return [f"the best {name}, {value:.3g}, is at the high end of {span}: raise space.{name}.high."]
    return []


def _failures(records: Sequence[TrialRecord]) -> list[str]:
    failed = sum(r.outcome == "FAILED" for r in records)
    if failed == 0 or failed == len(records) or failed < _MANY_FAILED * len(records):
        return []
    share = 100 * failed / len(records)
    return [f"{failed} of {len(records)} trials ({share:.0f} %) failed, whatever their schedule: see the errors."]


def _one_seed(records: Sequence[TrialRecord]) -> list[str]:
    answer = next((a for h in _largest_first(records) if (a := answer_of(records, h)) is not None), None)
    if answer is None:
        return []
    best = answer.record
    seeds = {
        r.seed for r in records if r.schedule == best.schedule and r.horizon == best.horizon and r.value is not None
    }
    if len(seeds | set(answer.confirmed_seeds)) > 1:
        return []
    return ["The best schedule was trained with one seed only: repeat it before you trust small differences."]


def _largest_first(records: Sequence[TrialRecord]) -> list[Horizon]:
    return horizons(r for r in records if r.role == "search")


def _capital(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]
