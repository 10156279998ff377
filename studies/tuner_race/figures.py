"""From runs and retrainings to the figures of the race. Pure."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from autowarm.schedule import Schedule
from studies.tuner_race.contestants.run import Run, Trial
from studies.tuner_race.entries import (
    CHECKPOINTS,
    EVALUATION_SEEDS,
    FURTHER_SEEDS,
    SELECTION_SEEDS,
    SPACE,
    SWEEP_SEED,
    Entry,
    rule_of_thumb,
)

# A schedule in a word: its plain data as JSON, or `schedulefree`.
Key: TypeAlias = str
# (job, schedule, seed) -> final val_loss; infinite where the training diverged
Worth: TypeAlias = Mapping[tuple[str, Key, int], float]

SWEEP_POINTS = 100
SWEEP_KEPT = 12
CHALLENGERS = 3
# contestants for whom the budget changes the search, so that each has a run of its own
BUDGETED = frozenset({"autowarm"})
NEAR = 0.01


def key_of(schedule: Schedule | dict[str, Any] | str) -> Key:
    """Return the word for a schedule.

    >>> key_of(Schedule(initial_lr=0.1, warmup_ratio=0.0))
    '{"decay": "constant", "initial_lr": 0.1, "warmup_ratio": 0.0}'
    """
    if isinstance(schedule, str):
        return schedule
    data = schedule.to_dict() if isinstance(schedule, Schedule) else schedule
    return json.dumps(data, sort_keys=True)


def sweep() -> list[Key]:
    """Return the schedules of the reference sweep: Sobol points over the space, the same for all jobs."""
    from scipy.stats import qmc

    lr, warmup = SPACE.initial_lr, SPACE.warmup_ratio
    share: Any = SPACE.dimensions("wsd")["wsd.decay_ratio"]
    keys = []
    for x in qmc.Sobol(d=4, seed=0).random_base2(7)[:SWEEP_POINTS].tolist():
        params: dict[str, Any] = {
            "initial_lr": lr.low * (lr.high / lr.low) ** x[0],
            "warmup_ratio": warmup.low + (warmup.high - warmup.low) * x[1],
            "decay": SPACE.decays[int(x[2] * len(SPACE.decays))],
        }
        if params["decay"] == "wsd":
            params["wsd.decay_ratio"] = share.low + (share.high - share.low) * x[3]
        keys.append(key_of(SPACE.schedule(params)))
    return keys


def mean_worth(worth: Worth, entry: Entry, key: Key, seeds: Iterable[int]) -> float:
    """Return the mean `val_loss` of a schedule; a training that diverged, or is worse than useless, counts as useless.

    Raises:
        KeyError: it was not trained on one of the seeds.
    """
    return statistics.fmean(min(worth[entry.name, key, seed], entry.useless) for seed in seeds)


def finalists(worth: Worth, entry: Entry) -> list[Key]:
    """Return the best of the sweep, which more seeds choose from."""
    return sorted(sweep(), key=lambda key: worth[entry.name, key, SWEEP_SEED])[:SWEEP_KEPT]


def best_of_sweep(worth: Worth, entry: Entry) -> Key:
    """Return the finalist that is best over the seeds of the selection."""
    return min(finalists(worth, entry), key=lambda key: mean_worth(worth, entry, key, SELECTION_SEEDS))


def challengers(worth: Worth, entry: Entry, named: Iterable[Key]) -> list[Key]:
    """Return the schedules named that are better than the best of the sweep on the evaluation seeds, at most a few."""
    best = mean_worth(worth, entry, best_of_sweep(worth, entry), EVALUATION_SEEDS)
    means = {key: mean_worth(worth, entry, key, EVALUATION_SEEDS) for key in set(named)}
    return sorted((key for key in means if means[key] < best), key=lambda key: (means[key], key))[:CHALLENGERS]


@dataclass(frozen=True)
class Best:
    """The best that is known of a job.

    Attributes:
        key: the schedule.
        value: its mean `val_loss` over the evaluation seeds.
        sd: standard deviation of `val_loss` over seeds.
        named_by_contestant: whether a contestant found it, not the sweep.
    """

    key: Key
    value: float
    sd: float
    named_by_contestant: bool

    @property
    def initial_lr(self) -> float:
        """Its peak; 0 where it is none of ours."""
        return float(json.loads(self.key)["initial_lr"]) if self.key.startswith("{") else 0.0

    @property
    def words(self) -> str:
        """The schedule in words."""
        return str(Schedule.from_dict(json.loads(self.key))) if self.key.startswith("{") else self.key

    def regret(self, value: float) -> float:
        """Return how far a value is above the best, in percent of it."""
        return 100 * (value - self.value) / abs(self.value)

    @property
    def near(self) -> float:
        """The regret up to which a schedule is near-best: 1 %, or one standard deviation where that is more."""
        return 100 * max(NEAR, self.sd / abs(self.value))


def best_known(worth: Worth, entry: Entry, named: Iterable[Key]) -> Best:
    """Return the best of the sweep, or a challenger that is better on seeds that nothing was chosen by.

    A challenger was chosen for its luck on the evaluation seeds; what it is better by is taken from the further ones.
    """
    key = best_of_sweep(worth, entry)
    value = mean_worth(worth, entry, key, EVALUATION_SEEDS)
    seeds = (*EVALUATION_SEEDS, *FURTHER_SEEDS)
    sd = statistics.stdev(min(worth[entry.name, key, seed], entry.useless) for seed in seeds)
    further = {
        other: mean_worth(worth, entry, other, FURTHER_SEEDS) - mean_worth(worth, entry, key, FURTHER_SEEDS)
        for other in challengers(worth, entry, named)
        if all((entry.name, other, seed) in worth for seed in FURTHER_SEEDS)
    }
    winner = min(further, key=lambda other: further[other], default=None)
    if winner is None or further[winner] >= 0:
        return Best(key, value, sd, named_by_contestant=False)
    return Best(winner, value + further[winner], sd, named_by_contestant=True)


def best_named(worth: Worth, entry: Entry, named: Iterable[Key]) -> Best:
    """Return the best of the schedules that somebody named, where nothing else is known of a job.

    It was chosen for its luck on the evaluation seeds, too, so regrets against it are the larger for it.
    """
    means = {key: mean_worth(worth, entry, key, EVALUATION_SEEDS) for key in named}
    key = min(means, key=lambda key: (means[key], key))
    sd = statistics.stdev(min(worth[entry.name, key, seed], entry.useless) for seed in EVALUATION_SEEDS)
    return Best(key, means[key], sd, named_by_contestant=True)


def named_after(run: Run, entry: Entry, equivalents: float, *, search_only: bool = False) -> Trial | None:
    """Return the trial whose schedule was named when so many full-run equivalents were spent; None: none yet.

    Args:
        run: of a contestant.
        entry: its job.
        equivalents: spent; a trial that was not finished by then does not count.
        search_only: without the trials that confirm.
    """
    spent = 0.0
    named: int | None = None
    for trial in run.trials:
        if search_only and trial.confirming:
            continue
        spent += trial.cost
        if spent > equivalents * entry.run_cost + 1e-6:
            break
        named = trial.named
    return run.trials[named] if named is not None else None


def spent_on_search(run: Run, entry: Entry) -> float:
    """Return the full-run equivalents of a run before anything was confirmed."""
    return sum(t.cost for t in run.trials if not t.confirming) / entry.run_cost


def named_at(runs: Sequence[Run], entry: Entry, checkpoint: float) -> Trial | None:
    """Return what a contestant names for so many equivalents.

    Args:
        runs: of one contestant, job and seed; where the budget changes the search, the run with the largest budget
            that is not above the checkpoint, and it may have cost no more.
        entry: the job.
        checkpoint: full-run equivalents.
    """
    if runs[0].contestant in BUDGETED:
        paid = [run for run in runs if run.budget <= checkpoint]
        return named_after(max(paid, key=lambda run: run.budget), entry, math.inf) if paid else None
    return named_after(runs[0], entry, checkpoint)


def checkpoints_of(runs: Sequence[Run]) -> list[float]:
    """Return the checkpoints that a contestant's runs reach."""
    budget = max(run.budget for run in runs)
    return [c for c in CHECKPOINTS if c <= budget]


def key_at(runs: Sequence[Run], entry: Entry, checkpoint: float) -> Key:
    """Return the schedule named, today's where there is none yet."""
    trial = named_at(runs, entry, checkpoint)
    return key_of(trial.schedule if trial is not None and trial.schedule is not None else entry.today)


def named_keys(runs: Sequence[Run], entry: Entry) -> set[Key]:
    """Return all schedules that a contestant named on a job with a seed."""
    keys = {key_at(runs, entry, checkpoint) for checkpoint in checkpoints_of(runs)}
    if runs[0].contestant in BUDGETED:
        keys |= {key_before_confirmation(run, entry) for run in runs}
    return keys


def key_before_confirmation(run: Run, entry: Entry) -> Key:
    """Return the schedule that a search ends with."""
    trial = named_after(run, entry, math.inf, search_only=True)
    return key_of(trial.schedule if trial is not None and trial.schedule is not None else entry.today)


def untuned(entry: Entry) -> dict[str, Key]:
    """Return what costs nothing to name: contestant -> schedule."""
    return {
        "today": key_of(entry.today),
        "rule_of_thumb": key_of(rule_of_thumb(entry)),
        **({"schedulefree": "schedulefree"} if entry.swept else {}),
    }


def equivalents_to_near_best(regrets: Mapping[float, float], near: float) -> tuple[float, float]:
    """Return after how many equivalents a near-best schedule is named: the first time, and for good.

    Args:
        regrets: equivalents -> regret in percent.
        near: the regret that is near-best.

    Returns:
        Infinite where that never happens.

    >>> equivalents_to_near_best({1: 9.0, 2: 0.5, 3: 2.0, 4: 0.0}, near=1.0)
    (2, 4)
    """
    first = next((c for c in sorted(regrets) if regrets[c] <= near), math.inf)
    for_good = math.inf
    for c in sorted(regrets, reverse=True):
        if regrets[c] > near:
            break
        for_good = c
    return first, for_good


def wasted(run: Run, entry: Entry, best: Best) -> float:
    """Return the share of a run's steps that went into trials that diverged.

    Such a trial was stopped for it, ended with a metric that is no number, or ran to its end and is useless.
    """
    steps = sum(t.steps for t in run.trials)
    return sum(t.steps for t in run.trials if diverged(t, entry, best)) / steps


def diverged(trial: Trial, entry: Entry, best: Best) -> bool:
    """Tell whether a trial diverged: not one that is useless since its peak is too low to get anywhere."""
    if trial.outcome == "DIVERGED" or trial.value is None:
        return trial.outcome != "FAILED"
    too_high = trial.schedule is not None and trial.schedule["initial_lr"] > best.initial_lr
    return trial.outcome == "COMPLETE" and trial.value >= entry.useless and too_high


def within(run: Run, entry: Entry, equivalents: float) -> Run:
    """Return the part of a run that so many equivalents pay."""
    spent, kept = 0.0, []
    for trial in run.trials:
        spent += trial.cost
        if spent > equivalents * entry.run_cost + 1e-6:
            break
        kept.append(trial)
    return Run(run.contestant, run.job, run.seed, run.budget, tuple(kept), run.seconds)


def ends_of(
    run: Run, entry: Entry, finished: Mapping[tuple[str, Key, int], float], seed: int
) -> list[tuple[float, bool]]:
    """Return what the trials of a run would have ended with, had nobody stopped any: (`val_loss`, whether stopped).

    Args:
        run: of a contestant; trials of another horizon than the job's, and those that confirm, are left out.
        entry: its job.
        finished: what stopped trials end with on the seed of the search: (job, schedule, seed) -> `val_loss`.
        seed: of the search.

    Returns:
        Nothing where one that was stopped has not been finished.
    """
    ends = []
    for trial in run.trials:
        if trial.total_steps not in (None, entry.total_steps) or trial.confirming or trial.schedule is None:
            continue
        if trial.outcome == "PRUNED":
            key = entry.name, key_of(trial.schedule), seed
            if key not in finished:
                return []
            ends.append((finished[key], True))
        elif trial.outcome == "COMPLETE" and trial.value is not None:
            ends.append((trial.value, False))
    return ends
