"""autowarm itself: `autowarm.tuning.tune` with a budget, and what it names read off its records."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

from autowarm.errors import StudyError
from autowarm.export import choose
from autowarm.record import TrialRecord
from autowarm.settings import Trunks
from autowarm.space import SearchSpace
from autowarm.tuning import tune
from studies.tuner_race.contestants.run import Run, Trial
from studies.tuner_race.entries import SPACE, Entry, search_seed

WORK = Path(__file__).parents[1] / ".work"
# before the search, the search itself, and what checks it
_CONFIRMING = ("baseline", "confirm")
CONFIRM_SEEDS = 1
# below, everything is for the search: what a schedule costs before it is confirmed
CONFIRMED_FROM = 6


def run_autowarm(
    entry: Entry,
    seed: int,
    budget: float,
    *,
    name: str = "autowarm",
    space: SearchSpace = SPACE,
    trunks: Trunks = True,
) -> Run:
    """Tune with a budget; what is named after a trial is what its records up to there would make autowarm export.

    Args:
        entry: the job.
        seed: number of the search.
        budget: in full-run equivalents; everything is counted.
        name: of the contestant.
        space: that it searches.
        trunks: which steps it trains once, as a study file has it.
    """
    out = WORK / f"{name}-{entry.name}-{seed}-{budget:g}"
    shutil.rmtree(out, ignore_errors=True)  # what a run that was killed has left
    # one core, as for everybody else: it gives its trainings as many threads as there are cores for them
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[os.getpid() % len(cores)]})
    started = time.perf_counter()
    try:
        result = tune(
            {"factory": entry.factory, "args": {"total_steps": entry.total_steps}},
            space,
            seed=search_seed(entry, seed),
            n_jobs=1,
            confirm_seeds=CONFIRM_SEEDS if budget >= CONFIRMED_FROM else 0,
            out=out,
            progress=False,
            budget=budget,
            trunks=trunks,
        )
    finally:
        os.sched_setaffinity(0, cores)
    seconds = time.perf_counter() - started
    return Run(name, entry.name, seed, budget, trials_of(result.records), seconds)


def trials_of(records: tuple[TrialRecord, ...]) -> tuple[Trial, ...]:
    """Return the trials of a study in the order in which they ran, each with what would have been named after it."""
    ordered = sorted(records, key=_order)
    trials = []
    for i, record in enumerate(ordered):
        trial = Trial(
            schedule=record.schedule.to_dict() if record.schedule is not None and record.role == "search" else None,
            outcome=record.outcome,
            value=record.value if record.value is not None else (record.rungs[-1][1] if record.rungs else None),
            steps=record.own_steps,
            val_batches=record.val_batches,
            seconds=record.seconds,
            confirming=record.role in _CONFIRMING,
            total_steps=record.total_steps,
        )
        trials.append(trial.naming(_named(ordered[: i + 1])))
    return tuple(trials)


def _order(record: TrialRecord) -> tuple[int, int, int]:
    """Range test first, then the horizons rising, each with its checks after its search."""
    return 0 if record.role == "range_test" else 1, record.total_steps, record.trial + 10**6 * (record.role != "search")


def _named(records: list[TrialRecord]) -> int | None:
    try:
        best = choose(records, None, None)
    except StudyError:
        return None
    return next(i for i, r in enumerate(records) if r.role == "search" and r.schedule == best.schedule)
