"""Races tuners at equal cost, on the same jobs with the same seeds; goes on where it was stopped.

    python studies/tuner_race/race.py [--jobs ...] [--contestants ...] [--seeds N] [--workers 2]
    python studies/tuner_race/race.py --extra    # a real pretrained model, beside the race: two contestants, two seeds

Cost is training steps and a third of the validation batches; the unit is one full run with its 20 validations. What a
contestant names after so many units is trained again on seeds that no search has seen, and its regret is against the
best schedule known, from a dense sweep of its own.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import multiprocessing
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))

from studies.tuner_race import figures, store  # noqa: E402 - found by the line above
from studies.tuner_race.contestants.run import Run  # noqa: E402
from studies.tuner_race.entries import (  # noqa: E402
    ALL,
    BUDGET,
    ENTRIES,
    EVALUATION_SEEDS,
    EXTRAS,
    FURTHER_SEEDS,
    SELECTION_SEEDS,
    SWEEP_SEED,
    Entry,
    search_seed,
)

RUNS, EVALUATIONS, FINISHED = HERE / "runs.jsonl", HERE / "evaluations.jsonl", HERE / "finished.jsonl"
# name -> budgets; median pruning goes on until it has got where others are
CONTESTANTS: dict[str, tuple[float, ...]] = {
    "tpe_median": (32,),
    "random": (BUDGET,),
    "tpe_hyperband": (BUDGET,),
    "gp": (BUDGET,),
    "asha": (BUDGET,),
    "autowarm": (1.5, 2, 3, 4, 6, 10, BUDGET),
}
# of the jobs beside the race, and how many seeds those have
EXTRA_CONTESTANTS: dict[str, tuple[float, ...]] = {"tpe_median": (BUDGET,), "autowarm": (2, 6)}
EXTRA_SEEDS = 2
# trials of at most so many equivalents are finished to see what was stopped
FINISHED_BUDGET = BUDGET


@dataclass(frozen=True)
class Task:
    """Something to do in a process of its own, and where what it returns is kept."""

    words: str
    call: Callable[..., dict[str, Any]]
    arguments: tuple[Any, ...]
    path: Path


def quiet() -> None:
    """Set a worker up: one thread, no chatter."""
    import torch

    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    logging.getLogger("lightning.fabric").setLevel(logging.ERROR)


def run(contestant: str, job: str, seed: int, budget: float) -> dict[str, Any]:
    """Let a contestant search."""
    entry = ALL[job]
    if contestant == "autowarm":
        from studies.tuner_race.contestants.autowarm_tune import run_autowarm

        return run_autowarm(entry, seed, budget).to_dict()
    if contestant == "asha":
        from studies.tuner_race.contestants.ray_asha import run_asha

        return run_asha(entry, seed, budget).to_dict()
    from studies.tuner_race.contestants.optuna_samplers import run_optuna

    return run_optuna(contestant, entry, seed, budget).to_dict()


def evaluate(job: str, key: figures.Key, seed: int) -> dict[str, Any]:
    """Train a schedule as the job would be trained with it."""
    from studies.tuner_race.fitting import evaluate as evaluated

    schedule = key if key == "schedulefree" else json.loads(key)
    return _kept(job, key, seed, evaluated(ALL[job], schedule, seed))


def finish(job: str, key: figures.Key, seed: int, contestant: str) -> dict[str, Any]:
    """Train a schedule that a search stopped to its end, in the way of the search."""
    from autowarm.schedule import Schedule
    from studies.tuner_race.fitting import Meter, search_fit

    if contestant == "autowarm":  # trains the job as it is
        return evaluate(job, key, seed)
    return _kept(job, key, seed, search_fit(ALL[job], Schedule.from_dict(json.loads(key)), seed, Meter()))


def _kept(job: str, key: figures.Key, seed: int, value: float) -> dict[str, Any]:
    return {"job": job, "schedule": key, "seed": seed, "value": value if math.isfinite(value) else None}


def worth_in(path: Path) -> dict[tuple[str, figures.Key, int], float]:
    """Return what is kept of trainings: (job, schedule, seed) -> `val_loss`."""
    return {
        (d["job"], d["schedule"], d["seed"]): math.inf if d["value"] is None else d["value"] for d in store.read(path)
    }


def runs_in(path: Path) -> list[Run]:
    """Return the runs that are done, each once."""
    runs = [Run.from_dict(d) for d in store.read(path)]
    return list({run.key: run for run in reversed(runs)}.values())[::-1]


class Race:
    """What there is to do, done in a pool of workers.

    Args:
        entries: the jobs.
        pool: of workers.
    """

    def __init__(self, entries: Sequence[Entry], pool: ProcessPoolExecutor) -> None:
        self.entries = entries
        self._pool = pool

    def do(self, tasks: Iterable[Task]) -> None:
        """Do tasks in order, and keep each as soon as it is done."""
        futures = {self._pool.submit(task.call, *task.arguments): (task, time.perf_counter()) for task in tasks}
        for i, future in enumerate(as_completed(futures), start=1):
            task, _ = futures[future]
            store.append(task.path, future.result())
            print(f"{time.strftime('%H:%M:%S')} {i}/{len(futures)} {task.words}", flush=True)

    def evaluate(self, wanted: Iterable[tuple[str, figures.Key, int]]) -> None:
        """Train schedules on seeds where that is not done yet."""
        done = worth_in(EVALUATIONS)
        todo = sorted({w for w in wanted if w not in done}, key=lambda w: (w[2], w[0], w[1]))
        self.do(
            Task(f"evaluate {job} seed {seed} {key}", evaluate, (job, key, seed), EVALUATIONS)
            for job, key, seed in todo
        )

    def reference(self) -> None:
        """Sweep the space, and train what costs nothing to name."""
        self.evaluate((e.name, key, SWEEP_SEED) for e in self.entries for key in figures.sweep())
        worth = worth_in(EVALUATIONS)
        self.evaluate(
            (e.name, key, seed) for e in self.entries for key in figures.finalists(worth, e) for seed in SELECTION_SEEDS
        )
        worth = worth_in(EVALUATIONS)
        self.evaluate(
            (e.name, figures.best_of_sweep(worth, e), seed)
            for e in self.entries
            for seed in (*EVALUATION_SEEDS, *FURTHER_SEEDS)
        )
        self.untuned()

    def untuned(self) -> None:
        """Train what costs nothing to name."""
        self.evaluate(
            (e.name, key, seed)
            for e in self.entries
            for key in figures.untuned(e).values()
            for seed in EVALUATION_SEEDS
        )

    def search(self, contestants: Mapping[str, Sequence[float]], seed: int) -> None:
        """Let every contestant search with a seed, and with each of its budgets."""
        done = {r.key for r in runs_in(RUNS)}
        todo = [
            (contestant, e.name, seed, budget)
            for contestant, budgets in contestants.items()
            for e in self.entries
            for budget in budgets
        ]
        self.do(
            Task(f"run {' '.join(map(str, key))}", run, key, RUNS)
            for key in todo
            if (*key[:3], float(key[3])) not in done
        )

    def judge(self) -> None:
        """Train again what was named, and on further seeds what seems better than the best known."""
        runs = grouped(runs_in(RUNS))
        named = {
            e.name: {k for (_, job, _), rs in runs.items() if job == e.name for k in figures.named_keys(rs, e)}
            for e in self.entries
        }
        self.evaluate((e.name, key, seed) for e in self.entries for key in named[e.name] for seed in EVALUATION_SEEDS)
        worth = worth_in(EVALUATIONS)
        self.evaluate(
            (e.name, key, seed)
            for e in self.entries
            if e.swept
            for key in figures.challengers(worth, e, named[e.name])
            for seed in FURTHER_SEEDS
        )

    def finish(self, contestants: Sequence[str], seed: int) -> None:
        """Finish the trials that contestants have stopped."""
        done = worth_in(FINISHED)
        todo = []
        for r in runs_in(RUNS):
            entry = ALL[r.job]
            if r.contestant not in contestants or r.seed != seed or entry not in self.entries:
                continue
            todo += [
                (r.job, figures.key_of(trial.schedule or {}), search_seed(entry, seed), r.contestant)
                for trial in figures.within(r, entry, FINISHED_BUDGET).trials
                if trial.outcome == "PRUNED" and trial.total_steps in (None, entry.total_steps)
            ]
        self.do(
            Task(f"finish {key[0]} {key[1]}", finish, key, FINISHED)
            for key in dict.fromkeys(todo)
            if key[:3] not in done
        )


def grouped(runs: Iterable[Run]) -> dict[tuple[str, str, int], list[Run]]:
    """Return runs by (contestant, job, seed)."""
    found: dict[tuple[str, str, int], list[Run]] = {}
    for r in runs:
        found.setdefault((r.contestant, r.job, r.seed), []).append(r)
    return found


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", nargs="+", default=list(ENTRIES), choices=ENTRIES)
    parser.add_argument("--contestants", nargs="+", default=list(CONTESTANTS), choices=CONTESTANTS)
    parser.add_argument("--seeds", type=int, default=5, help="searches of each contestant on each job")
    parser.add_argument("--workers", type=int, default=1, help="processes that train, a thread each")
    parser.add_argument(
        "--finish", type=int, default=1, help="seeds whose stopped trials are finished to judge pruning"
    )
    parser.add_argument("--extra", action="store_true", help="race on what is beside the race instead")
    parser.add_argument("--table", action="store_true", help="write the table and the picture, and train nothing")
    args = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    # set for the workers, which are started anew
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(HERE.parents[1]), os.environ.get("PYTHONPATH")]))
    if not args.table:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(args.workers, mp_context=context, initializer=quiet) as pool:
            if args.extra:
                _race_extras(Race(list(EXTRAS.values()), pool))
            else:
                _race(Race([ENTRIES[name] for name in args.jobs], pool), args)
    _write()


def _race(race: Race, args: argparse.Namespace) -> None:
    race.reference()
    for seed in range(args.seeds):
        race.search({name: CONTESTANTS[name] for name in args.contestants}, seed)
        race.judge()
        _write()
    for seed in range(args.finish):
        race.finish(args.contestants, seed)
        _write()


def _race_extras(race: Race) -> None:
    race.untuned()
    for seed in range(EXTRA_SEEDS):
        race.search(EXTRA_CONTESTANTS, seed)
        race.judge()
        _write()


def _write() -> None:
    from studies.tuner_race.report import write

    write(HERE, grouped(runs_in(RUNS)), worth_in(EVALUATIONS), worth_in(FINISHED))


if __name__ == "__main__":
    main()
