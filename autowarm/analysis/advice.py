"""What to change before the next study: plain sentences, from records alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from autowarm.analysis.answer import Answer, answer_of
from autowarm.analysis.best import Horizon, has_value, horizon_words, horizons, warmup_share
from autowarm.analysis.doubt import Bounds, Doubt, edges
from autowarm.record import TrialRecord
from autowarm.words import number

_MANY_FAILED = 0.1


def advise(records: Iterable[TrialRecord], bounds: Bounds | None = None) -> list[str]:
    """Say what to change about the search, a sentence each; an empty list where nothing stands out.

    Args:
        records: of one study.
        bounds: (low, high) of `initial_lr` and of `warmup_ratio` as they were searched; by default the lowest
            and the highest value tried.
    """
    return [doubt.words for doubt in advised(records, bounds)]


def advised(
    records: Iterable[TrialRecord], bounds: Bounds | None = None, answers: Mapping[Horizon, Answer | None] | None = None
) -> list[Doubt]:
    """Say the same, each sentence with its kind: see `advise`.

    Args:
        records: of one study.
        bounds: of its search.
        answers: `answer_of` of its horizons, where they are known already.
    """
    records = list(records)
    searched = [r for r in records if r.role == "search"]
    found_at = horizons(searched)
    several = len(found_at) > 1
    if answers is None:
        answers = {h: answer_of([r for r in records if r.target == h], h) for h in found_at}
    by_target: dict[Horizon, list[TrialRecord]] = {h: [] for h in found_at}
    for record in searched:
        by_target[record.target].append(record)
    said: list[Doubt] = []
    for horizon, here in by_target.items():
        answer = answers[horizon]
        found = _nothing_complete(here) or _constant(answer) or _edges(answer, here, bounds or {})
        where = f"At {horizon_words(horizon)}: " if several else ""
        said += [replace(doubt, words=where + (doubt.words if where else capital(doubt.words))) for doubt in found]
    return said + _failures(searched) + _one_seed(records, [answers[h] for h in found_at])


def _nothing_complete(records: Sequence[TrialRecord]) -> list[Doubt]:
    if any(has_value(r) and r.horizon == r.target for r in records):
        return []
    lrs = [r.schedule.initial_lr for r in records if r.schedule is not None]
    count = f"all {len(records)} trials" if len(records) > 1 else "the only trial"
    if all(r.outcome == "DIVERGED" for r in records) and lrs:
        tried = f"the lowest initial_lr tried was {number(min(lrs))}"
        return [Doubt("diverged", f"{count} diverged; {tried}: lower space.initial_lr.low.")]
    if all(r.outcome == "FAILED" for r in records):
        return [Doubt("failed", f"{count} failed: run the job on its own, outside of autowarm, until it trains.")]
    words = "no trial reached the end with a value: give the study more trials, or lower space.initial_lr.low."
    return [Doubt("diverged", words)]


def _constant(answer: Answer | None) -> list[Doubt]:
    if answer is None or answer.constant is None:
        return []
    monitor = answer.record.monitor
    words = f"all trials ended with {monitor} {number(answer.constant, 5)}, which tells no schedule from another"
    return [Doubt("constant", f"{words}: look at `monitor`, and at what the job logs by that name.")]


def _edges(answer: Answer | None, searched: Sequence[TrialRecord], bounds: Bounds) -> list[Doubt]:
    best = answer.record if answer is not None else None
    if best is None or best.schedule is None:
        return []
    found = edges(
        best.schedule.initial_lr,
        warmup_share(best),
        lrs=[r.schedule.initial_lr for r in searched if r.schedule is not None],
        ratios=[share for r in searched if (share := warmup_share(r)) is not None],
        bounds=bounds,
    )
    verbs = {"low": "lower", "high": "raise"}
    return [Doubt("edge", f"{edge.words}: {verbs[edge.end]} space.{edge.name}.{edge.end}.") for edge in found]


def _failures(records: Sequence[TrialRecord]) -> list[Doubt]:
    failed = sum(r.outcome == "FAILED" for r in records)
    if failed == 0 or failed == len(records) or failed < _MANY_FAILED * len(records):
        return []
    share = 100 * failed / len(records)
    words = f"{failed} of {len(records)} trials ({share:.0f} %) failed, whatever their schedule: see the errors."
    return [Doubt("failed", words)]


def _one_seed(records: Sequence[TrialRecord], largest_first: Iterable[Answer | None]) -> list[Doubt]:
    answer = next((answer for answer in largest_first if answer is not None), None)
    if answer is None:
        return []
    best = answer.record
    # in the order of what is quick to tell: schedules take long to compare
    seeds = {
        r.seed for r in records if r.value is not None and r.horizon == best.horizon and r.schedule == best.schedule
    }
    if len(seeds | set(answer.confirmed_seeds)) > 1:
        return []
    words = "The best schedule was trained with one seed only: repeat it before you trust small differences."
    return [Doubt("seeds", words)]


def capital(sentence: str) -> str:
    """Begin a sentence with a capital."""
    return sentence[:1].upper() + sentence[1:]
