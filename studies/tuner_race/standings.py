"""Everything that the report says of a race, gathered from its runs and retrainings. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from studies.tuner_race import figures
from studies.tuner_race.contestants.run import Run
from studies.tuner_race.entries import BUDGET, ENTRIES, EVALUATION_SEEDS, Entry, search_seed
from studies.tuner_race.figures import Best, Key, Worth


@dataclass(frozen=True, kw_only=True)
class Result:
    """One contestant on one job with one seed.

    Attributes:
        contestant: its name, and `job`, that of the job, and `seed`, that of the search.
        regrets: full-run equivalents -> regret of what is named, in percent.
        before: the same of what is named before confirmation, at what it cost until there; empty where none is.
        after: as `regrets`, where the budget decides whether there is a confirmation without runs that have none.
        near: the regret that is near-best.
        optimism: how much worse the schedule named in the end is than it was when found, in percent of the best.
        wasted: share of the steps in trials that diverged.
        killed: whether the eventual winner was stopped; None: not measured.
        top_stopped: share of the trials that would have ended in the top tenth that were stopped; None: not measured.
        overhead: seconds a trial in which nothing trained.
        trials: how many there were, and `stopped`, how many of them were stopped early.
    """

    contestant: str
    job: str
    seed: int
    regrets: Mapping[float, float]
    before: Mapping[float, float]
    after: Mapping[float, float]
    near: float
    optimism: float | None
    wasted: float
    killed: bool | None
    top_stopped: float | None
    overhead: float
    trials: int
    stopped: int

    @property
    def first(self) -> float:
        """Equivalents after which a near-best schedule is named for the first time; infinite: never."""
        return figures.equivalents_to_near_best(self.after, self.near)[0]

    @property
    def for_good(self) -> float:
        """Equivalents from which on what is named stays near-best."""
        return figures.equivalents_to_near_best(self.after, self.near)[1]

    @property
    def first_before(self) -> float:
        """As `first`, before confirmation."""
        return figures.equivalents_to_near_best(self.before, self.near)[0]

    @property
    def for_good_before(self) -> float:
        """As `for_good`, before confirmation."""
        return figures.equivalents_to_near_best(self.before, self.near)[1]


@dataclass(frozen=True)
class Standings:
    """A race as it stands.

    Attributes:
        best: job -> the best known.
        results: of every run that is judged.
        untuned: (contestant, job) -> regret of what costs nothing to name, in percent.
    """

    best: dict[str, Best] = field(default_factory=dict)
    results: list[Result] = field(default_factory=list)
    untuned: dict[tuple[str, str], float] = field(default_factory=dict)

    @property
    def contestants(self) -> list[str]:
        """Those that search, in the order in which they came."""
        return list(dict.fromkeys(r.contestant for r in self.results))

    def of(self, contestant: str, job: str | None = None) -> list[Result]:
        """Return the results of a contestant, on one job or on all."""
        return [r for r in self.results if r.contestant == contestant and job in (None, r.job)]


def standings(
    runs: Mapping[tuple[str, str, int], Sequence[Run]],
    worth: Worth,
    finished: Mapping[tuple[str, Key, int], float],
    entries: Iterable[Entry] = tuple(ENTRIES.values()),
) -> Standings:
    """Judge what there is; a run whose schedules are not all retrained yet is left out.

    Args:
        runs: by (contestant, job, seed).
        worth: what the retrainings ended with.
        finished: what stopped trials ended with when they were finished.
        entries: the jobs.
    """
    found = Standings()
    for entry in entries:
        here = {key: rs for key, rs in runs.items() if key[1] == entry.name}
        judged = {key: rs for key, rs in here.items() if _retrained(worth, entry, figures.named_keys(rs, entry))}
        untuned = figures.untuned(entry)
        try:
            named = {k for rs in judged.values() for k in figures.named_keys(rs, entry)}
            known = figures.best_known if entry.swept else figures.best_named
            best = known(worth, entry, [*named, *untuned.values()])
            for name, key in untuned.items():
                value = figures.mean_worth(worth, entry, key, EVALUATION_SEEDS)
                found.untuned[name, entry.name] = best.regret(value)
        except KeyError:  # the reference of this job is not there yet
            continue
        found.best[entry.name] = best
        found.results.extend(_result(rs, entry, best, worth, finished) for rs in judged.values())
    return found


def _retrained(worth: Worth, entry: Entry, keys: Iterable[Key]) -> bool:
    return all((entry.name, key, seed) in worth for key in keys for seed in EVALUATION_SEEDS)


def _result(
    runs: Sequence[Run], entry: Entry, best: Best, worth: Worth, finished: Mapping[tuple[str, Key, int], float]
) -> Result:
    runs = sorted(runs, key=lambda run: run.budget)
    last = runs[-1]
    budgeted = last.contestant in figures.BUDGETED
    checkpoints = [run.budget for run in runs] if budgeted else figures.checkpoints_of(runs)

    def regret(key: Key) -> float:
        return best.regret(figures.mean_worth(worth, entry, key, EVALUATION_SEEDS))

    regrets = {c: regret(figures.key_at(runs, entry, c)) for c in checkpoints}
    before = {
        figures.spent_on_search(run, entry): regret(figures.key_before_confirmation(run, entry))
        for run in runs
        if budgeted
    }
    unconfirmed = {run.budget for run in runs if budgeted and not any(t.confirming for t in run.trials)}
    end = figures.named_at(runs, entry, min(BUDGET, last.budget))
    optimism = None
    if end is not None and end.value is not None and end.schedule is not None:
        true = figures.mean_worth(worth, entry, figures.key_of(end.schedule), EVALUATION_SEEDS)
        optimism = 100 * (true - end.value) / abs(best.value)
    paid = figures.within(last, entry, BUDGET)
    ends = figures.ends_of(paid, entry, finished, search_seed(entry, last.seed))
    return Result(
        contestant=last.contestant,
        job=entry.name,
        seed=last.seed,
        regrets=regrets,
        before=before,
        after={c: x for c, x in regrets.items() if c not in unconfirmed},
        near=best.near,
        optimism=optimism,
        wasted=figures.wasted(paid, entry, best),
        killed=min(ends)[1] if ends else None,
        top_stopped=_share_stopped(ends) if ends else None,
        overhead=last.overhead / len(last.trials),
        trials=len(paid.trials),
        stopped=sum(t.outcome == "PRUNED" for t in paid.trials),
    )


def _share_stopped(ends: Sequence[tuple[float, bool]]) -> float:
    top = sorted(ends)[: max(1, len(ends) // 10)]
    return statistics.fmean(stopped for _, stopped in top)


def median(values: Iterable[float]) -> float:
    """Return the median; infinite values are the largest, and with an even number the upper of the middle two counts.

    >>> median([1.0, 2.0, float("inf")])
    2.0
    """
    return statistics.median_high(values)
