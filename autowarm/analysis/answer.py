"""The answer of a horizon: of the schedules that were trained again, the best one, or a plainer one that ties with it.

The best of many trials on one seed is lucky, so what is trained again is judged by its fresh seeds alone; where nothing
is, and the search itself has several seeds of each schedule, by all of them:

- A schedule that diverged on fewer of them comes before one that diverged on more, whatever their means.
- Those that diverged least are compared by their means in the two-way layout of `autowarm.analysis.two_way`.
- Within one standard error of the best (of the difference of the two means) is a tie: the rule of Breiman, Friedman,
  Olshen & Stone (Classification and Regression Trees, 1984, 3.4.3). Of a tie the shortest warmup wins, in steps, then
  the lowest learning rate. On one fresh seed nothing is known of the noise, and only equal values tie.

The noise is that of the candidates. Today's schedule counts among them where it is one of the best of the
search. Where it is not, its runs are left out: they vary as they please (in studies/diamonds_ft with 4 times the
standard deviation of the tuned ones, which would make a tie of everything).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from autowarm.analysis.best import Horizon, check_one_metric, has_value, ranked, target_horizon
from autowarm.analysis.candidates import alike
from autowarm.analysis.confirmed import Candidate, confirmed, repeated
from autowarm.analysis.two_way import TwoWay, two_way
from autowarm.record import Mode, TrialRecord
from autowarm.words import number

# Equal but for the rounding of a mean.
_ROUNDING = 1e-9


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a horizon's records answer.

    Attributes:
        horizon: (total_steps, dataset_size).
        record: of the answer, in the search; one that repeats it where it was not searched at this horizon.
        candidates: what was trained again, the answer first, then from the best to the worst; empty where nothing was.
        fresh: whether that was on seeds that the search has not seen; else the search itself had several.
        best: the candidate of the best mean, which the answer ties with.
        tied: the candidates within noise of `best`, it and the answer included; from the best to the worst.
        standard_error: the largest of those of the differences in the tie; NaN where nothing is known of the noise, or
            nothing ties.
        noise_is_known: whether there were seeds enough to tell the noise of the candidates.
        leader: the best of the search; None where no search trial ended well.
        place: of the answer in the search, from 1; None where it was not searched at this horizon.
        constant: the value that all trials ended with, where there are several and it is the same one; or None.
    """

    horizon: Horizon
    record: TrialRecord
    candidates: tuple[Candidate, ...] = ()
    fresh: bool = True
    best: Candidate | None = None
    tied: tuple[Candidate, ...] = ()
    standard_error: float = math.nan
    noise_is_known: bool = False
    leader: TrialRecord | None = None
    place: int | None = None
    constant: float | None = None

    @property
    def chosen(self) -> Candidate | None:
        """The answer as a candidate; None where nothing was trained again."""
        return self.candidates[0] if self.candidates else None

    @property
    def is_today(self) -> bool:
        """Whether the answer is what the job has today."""
        return self.chosen is not None and self.chosen.is_today

    @property
    def confirmed_seeds(self) -> tuple[int, ...]:
        """The fresh seeds on which the answer ended well."""
        return tuple(self.chosen.values) if self.chosen is not None and self.fresh else ()

    def sentences(self) -> list[str]:
        """Say how the answer was chosen, and how lucky it was when found; nothing where nothing was trained again."""
        if self.constant is not None:
            return [
                f"{self.record.monitor} was {number(self.constant, 5)} at the end of every trial: it tells no "
                "schedule from "
                "another, so the shortest warmup and the lowest learning rate of those found were taken."
            ]
        return [*self._tie(), *self._winner_of_the_search(), *self._diverged(), *self._luck()]

    def _tie(self) -> list[str]:
        chosen, best, monitor = self.chosen, self.best, self.record.monitor
        compared = [c for c in self.candidates if c.difference is not None]
        if chosen is None or best is None or len(compared) < 2:
            return []
        if len(self.tied) < 2:
            one = "With one fresh seed nothing is known of the noise, so the best value on it was taken."
            return [] if self.noise_is_known else [one]
        noise = (
            f"one standard error of the difference is {number(self.standard_error, 2)}, " if self.noise_is_known else ""
        )
        noise = f"({noise}{_seeds(chosen.values)})"
        if chosen is best:
            others = [c.words for c in self.tied if c is not best]
            verb, have = ("is", "has") if len(others) == 1 else ("are", "have")
            near = f"{verb} within noise of it" if self.noise_is_known else "reached the same"
            why = f"{have} a longer warmup or, at the same warmup, a higher lr"
            return [f"{'; '.join(others)} {near} {noise} and {why}."]
        why = "shorter warmup" if chosen.plainness[0] < best.plainness[0] else "lower lr at the same warmup"
        return [
            f"{chosen.words} and {best.words} are within noise: {monitor} {number(chosen.mean, 5)} and "
            f"{number(best.mean, 5)} "
            f"{noise}. The {why} was taken."
        ]

    def _winner_of_the_search(self) -> list[str]:
        leader, chosen = self.leader, self.chosen
        if leader is None or chosen is None or leader is chosen.record or not self.fresh:
            return []
        value = f"{leader.monitor} {number(leader.value, 5)}"
        again = next((c for c in self.candidates if c.record is leader), None)
        if again is None:
            if any(alike(leader, c.record) for c in self.candidates):
                return []
            said = "was not trained again: run the study to its end to compare it."
            return [f"The best of the search, {leader.schedule} ({value}), {said}"]
        if again.mean is None or again in self.tied:
            return []
        said = f"reached {value} there, and {number(again.mean, 5)} when trained again."
        return [f"The best of the search, {again.words}, {said}"]

    def _diverged(self) -> list[str]:
        least = self.chosen.lost if self.chosen is not None else 0
        seeds = "fresh seeds" if self.fresh else "seeds"
        return [
            f"{c.words} diverged on {c.lost} of {len(c.runs)} {seeds}, which counts before its mean."
            for c in self.candidates
            if c.lost > least
        ]

    def _luck(self) -> list[str]:
        chosen = self.chosen
        if chosen is None or chosen.found is None or chosen.mean is None:
            return []
        said = (
            f"Found at {self.record.monitor} {number(chosen.found, 5)}, it reached {number(chosen.mean, 5)} "
            "when trained again "
            f"({_seeds(chosen.values)})"
        )
        flattered = _signed(chosen.found, self.record.mode) < _signed(chosen.mean, self.record.mode)
        return [f"{said}: what leads a search is lucky, so expect the latter." if flattered else f"{said}."]


def answer_of(records: Iterable[TrialRecord], horizon: Horizon | None = None) -> Answer | None:
    """Return the answer of a horizon, or None where no search trial ended well and nothing was trained again.

    Where nothing was trained again it is the best of the search, by `autowarm.analysis.best.ranked`.

    Args:
        records: of one study.
        horizon: (total_steps, dataset_size); by default `target_horizon(records)`.

    Raises:
        RecordError: the records of the horizon do not watch one and the same metric.
    """
    records = list(records)
    horizon = target_horizon(records) if horizon is None else horizon
    if horizon is None:
        return None
    here = [r for r in records if r.horizon == horizon]
    order = ranked(here, horizon)
    found = confirmed(here, order)
    fresh = bool(found)
    if not fresh:
        found = repeated(order, here)
    # the lower levels of a ladder tell, too
    constant = _constant(r for r in records if r.target == horizon and r.role in ("search", "confirm"))
    if not found:
        if not order:
            return None
        return Answer(horizon=horizon, record=order[0], leader=order[0], place=1, constant=constant)
    check_one_metric([*order, *(run for c in found for run in c.runs)])
    return replace(_chosen(found, order, horizon), constant=constant, fresh=fresh)


def _chosen(found: Sequence[Candidate], order: Sequence[TrialRecord], horizon: Horizon) -> Answer:
    mode = found[0].record.mode
    fewest = min(c.lost for c in found)
    able = [c for c in found if c.lost == fewest and c.values]
    if not able:
        # none ended well on any fresh seed
        able = sorted((c for c in found if c.lost == fewest), key=lambda c: c.plainness)
        behind = [c for c in found if c not in able]
        return _answer(horizon, order, [*able, *behind])
    most = max(able, key=lambda c: len(c.values))
    able = [c for c in able if c.values.keys() & most.values.keys()]
    layout = two_way([c.values for c in able])
    levels = [_signed(mean, mode) for mean in layout.means]
    # of equal ones the plainest is the best
    equal = [i for i in range(len(able)) if math.isclose(levels[i], min(levels), rel_tol=_ROUNDING)]
    first = min(equal, key=lambda i: able[i].plainness)
    tied = [i for i in range(len(able)) if _ties(layout, i, first)]
    taken = min(tied, key=lambda i: (*able[i].plainness, levels[i]))
    told = [
        replace(c, difference=layout.means[i] - layout.means[taken], half_width=layout.half_width(i, taken))
        for i, c in enumerate(able)
    ]
    by_level = sorted(range(len(able)), key=lambda i: levels[i])
    # more runs lost, or no seed shared: not compared
    apart = [c for c in found if c not in able]
    apart.sort(key=lambda c: (c.lost, math.inf if c.mean is None else _signed(c.mean, mode)))
    return _answer(
        horizon,
        order,
        [told[taken], *(told[i] for i in by_level if i != taken), *apart],
        best=told[first],
        tied=tuple(told[i] for i in by_level if i in tied),
        standard_error=max((layout.standard_error(i, first) for i in tied if i != first), default=math.nan),
        noise_is_known=layout.degrees > 0,
    )


def _ties(layout: TwoWay, i: int, first: int) -> bool:
    a, b = layout.means[i], layout.means[first]
    return math.isclose(a, b, rel_tol=_ROUNDING) or abs(a - b) <= layout.standard_error(i, first)


def _answer(
    horizon: Horizon,
    order: Sequence[TrialRecord],
    candidates: Sequence[Candidate],
    *,
    best: Candidate | None = None,
    tied: tuple[Candidate, ...] = (),
    standard_error: float = math.nan,
    noise_is_known: bool = False,
) -> Answer:
    record = candidates[0].record
    return Answer(
        horizon=horizon,
        record=record,
        candidates=tuple(candidates),
        best=best,
        tied=tied,
        standard_error=standard_error,
        noise_is_known=noise_is_known,
        leader=order[0] if order else None,
        place=next((place for place, r in enumerate(order, start=1) if r is record), None),
    )


def _constant(records: Iterable[TrialRecord]) -> float | None:
    """Return the value that all records ended with, where they are of several schedules; two may agree by chance."""
    ended: list[TrialRecord] = []
    for record in filter(has_value, records):
        # mostly the second one tells
        if ended and record.value != ended[0].value:
            return None
        ended.append(record)
    return ended[0].value if len({r.schedule for r in ended}) >= 3 else None


def _signed(value: float | None, mode: Mode) -> float:
    """Return a value so that less is better."""
    assert value is not None  # noqa: S101 - the caller has seen it
    return value if mode == "min" else -value


def _seeds(values: Iterable[int]) -> str:
    """Name seeds, growing ones.

    >>> _seeds([1]), _seeds([1, 2]), _seeds([1, 2, 3]), _seeds([1, 2, 4])
    ('seed 1', 'seeds 1, 2', 'seeds 1 to 3', 'seeds 1, 2, 4')
    """
    seeds = list(values)
    if len(seeds) > 2 and seeds[-1] - seeds[0] == len(seeds) - 1:
        return f"seeds {seeds[0]} to {seeds[-1]}"
    return f"seed{'' if len(seeds) == 1 else 's'} {', '.join(map(str, seeds))}"
