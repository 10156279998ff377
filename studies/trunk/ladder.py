"""autowarm on a budget, its longer runs going on from shorter ones against each from its start, on the race's jobs.

    python -m studies.trunk.ladder [--seeds 5] [--workers 1] [--report]    # with the python of `.venv-race`

Two spaces: that of the race, where linear and cosine are searched, too (``trunks: explore`` against what a study does
by default, which is nothing there), and one of decays that hold their peak alone (the default against ``trunks:
false``). What is named in the end is trained again on the race's seeds, and its regret is against the best that the
race knows. `ladder.jsonl` gets the runs, `ladder_retrained.jsonl` what was trained again and is not the race's already,
and `ladder.md` what they say; ``--report`` writes that alone. It goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import statistics
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from autowarm.settings import Trunks
from autowarm.space import SearchSpace
from studies.tuner_race import figures, race
from studies.tuner_race.contestants.run import Run
from studies.tuner_race.entries import ENTRIES, EVALUATION_SEEDS, SPACE
from studies.tuner_race.report import table
from studies.tuner_race.standings import standings

HERE = Path(__file__).parent
RUNS, RETRAINED, REPORT = HERE / "ladder.jsonl", HERE / "ladder_retrained.jsonl", HERE / "ladder.md"
BUDGETS = (6.0, 10.0)
HELD = SearchSpace(initial_lr=SPACE.initial_lr, warmup_ratio=SPACE.warmup_ratio, decay=["constant", "wsd"])


@dataclass(frozen=True)
class Pair:
    """Two ways of searching one space.

    Attributes:
        words: which space, and how the trunks are asked for.
        space: that is searched.
        alone: name of the way in which each run begins at its start, and `grown`, of the other one.
        trunks: what asks for that.
    """

    words: str
    space: SearchSpace
    alone: str
    grown: str
    trunks: Trunks


PAIRS = (
    Pair("constant and wsd alone (`trunks: true`)", HELD, "held", "held_trunks", trunks=True),
    Pair("linear and cosine, too (`trunks: explore`)", SPACE, "all", "all_trunks", trunks="explore"),
)


def search(name: str, job: str, seed: int, budget: float) -> dict[str, Any]:
    """Search a job in one of the ways."""
    from studies.tuner_race.contestants.autowarm_tune import run_autowarm

    pair = next(pair for pair in PAIRS if name in (pair.alone, pair.grown))
    trunks = pair.trunks if name == pair.grown else False
    run = run_autowarm(ENTRIES[job], seed, budget, name=name, space=pair.space, trunks=trunks)
    return run.to_dict()


def named(run: Run) -> figures.Key:
    """Return the schedule that a run names in the end; that of the job where it names none."""
    entry = ENTRIES[run.job]
    trial = figures.named_after(run, entry, math.inf)
    return figures.key_of(trial.schedule if trial is not None and trial.schedule is not None else entry.today)


def worth() -> dict[tuple[str, figures.Key, int], float]:
    """Return what schedules ended with that were trained again, here or in the race."""
    return race.worth_in(race.EVALUATIONS) | race.worth_in(RETRAINED)


def main() -> None:
    """Run what is not done yet, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5, help="searches of each job, space and way")
    parser.add_argument("--workers", type=int, default=1, help="processes that train, a thread each")
    parser.add_argument("--report", action="store_true", help="write the page, and train nothing")
    given = parser.parse_args()
    if not given.report:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(given.workers, mp_context=context, initializer=race.quiet) as pool:
            _run(pool, given.seeds)
    REPORT.write_text(report(race.runs_in(RUNS), worth()), encoding="utf-8")


def _run(pool: ProcessPoolExecutor, seeds: int) -> None:
    done = {run.key for run in race.runs_in(RUNS)}
    wanted = [
        (name, job, seed, budget)
        for seed in range(seeds)
        for budget in BUDGETS
        for job in ENTRIES
        for pair in PAIRS
        for name in (pair.alone, pair.grown)
    ]
    racing = race.Race(list(ENTRIES.values()), pool)
    racing.do(race.Task(" ".join(map(str, key)), search, key, RUNS) for key in wanted if key not in done)
    known = worth()
    again = {(run.job, named(run), seed) for run in race.runs_in(RUNS) for seed in EVALUATION_SEEDS}
    left = sorted(key for key in again if key not in known)
    racing.do(race.Task(" ".join(map(str, key)), race.evaluate, key, RETRAINED) for key in left)


def report(runs: Iterable[Run], known: Mapping[tuple[str, figures.Key, int], float]) -> str:
    """Return the page.

    Args:
        runs: of both ways.
        known: what was trained again; runs whose schedule was not, on all seeds, are left out.
    """
    regrets: dict[tuple[str, str, int, float], float] = {}
    trials: dict[tuple[str, float], list[int]] = {}
    best = standings(race.grouped(race.runs_in(race.RUNS)), race.worth_in(race.EVALUATIONS), {}).best
    for run in runs:
        key, entry = named(run), ENTRIES[run.job]
        if all((run.job, key, seed) in known for seed in EVALUATION_SEEDS):
            value = figures.mean_worth(known, entry, key, EVALUATION_SEEDS)
            regrets[run.key] = best[run.job].regret(value)
            searched = [t for t in run.trials if not t.confirming]
            trials.setdefault((run.contestant, run.budget), []).append(len(searched))
    parts = [
        "# A budget whose longer runs go on from shorter ones",
        "```bash\npython -m studies.trunk.ladder    # with the python of `make .venv-race/ready`\n```",
        _METHOD,
        table(
            [
                "decays searched",
                "budget",
                "pairs",
                "regret without",
                "with",
                "difference",
                "better in",
                "trials",
            ],
            [_row(pair, budget, regrets, trials) for pair in PAIRS for budget in BUDGETS],
        ),
        _verdict(regrets),
        _NOTES,
        "## Job by job",
        "Regret in percent, seed by seed, without and with.",
        table(
            ["decays searched", "budget", *ENTRIES],
            [_by_job(pair, budget, regrets) for pair in PAIRS for budget in BUDGETS],
        ),
    ]
    return "\n\n".join(parts) + "\n"


_METHOD = """\
The jobs, the budgets (in full-run equivalents), the seeds and the way of judging are those of [the
race](../tuner_race/race.md). Without: each run begins at its start. With: the short runs have peaks and warmups on a
grid and a wsd, and a longer run with the same peak and as many steps of warmup goes on from the shorter one; at the
full length the best comes with a longer warmup first, and other decays at the peaks that the theory's ratios give."""
_NOTES = """\
Regret is the median, in percent above the best that the race knows. *Difference*: the median of with minus without,
over jobs and seeds, in points, and its 95 % interval (by order statistics); less than 0 is better with. *Trials*: how
many a search has on average, without and with, of all lengths and before confirmation. The rules of both ways were
chosen while looking at these jobs."""


def _pairs(
    pair: Pair, budget: float, regrets: Mapping[tuple[str, str, int, float], float]
) -> dict[tuple[str, int], tuple[float, float]]:
    """Return (job, seed) -> regret without and with, where both are there."""
    found = {}
    for (name, job, seed, at), regret in regrets.items():
        other = regrets.get((pair.grown, job, seed, at))
        if name == pair.alone and at == budget and other is not None:
            found[job, seed] = regret, other
    return found


def difference(pairs: Iterable[tuple[float, float]]) -> tuple[float, float, float]:
    """Return the median of the second minus the first of each pair, and its 95 % interval by order statistics.

    >>> difference([(1.0, 0.0)] * 6)
    (-1.0, -1.0, -1.0)
    """
    off = np.array([second - first for first, second in pairs])
    interval = stats.quantile_test(off, q=0, p=0.5).confidence_interval(0.95)
    return float(np.median(off)), float(interval.low), float(interval.high)


def _verdict(regrets: Mapping[tuple[str, str, int, float], float]) -> str:
    """Say which differences are beyond chance."""
    told = []
    for pair in PAIRS:
        for budget in BUDGETS:
            pairs = list(_pairs(pair, budget, regrets).values())
            _, low, high = difference(pairs) if pairs else (0.0, -math.inf, math.inf)
            if not low <= 0 <= high:
                told.append(f"{'better' if high < 0 else 'worse'} with {pair.words} at {budget:g}")
    return f"**{'; '.join(told).capitalize() if told else 'No difference is shown: each interval holds 0'}.**"


def _row(
    pair: Pair,
    budget: float,
    regrets: Mapping[tuple[str, str, int, float], float],
    trials: Mapping[tuple[str, float], Sequence[int]],
) -> list[str]:
    pairs = list(_pairs(pair, budget, regrets).values())
    if not pairs:
        return [pair.words, f"{budget:g}", "0", *["-"] * 5]
    middle, low, high = difference(pairs)
    means = " and ".join(f"{statistics.fmean(trials[name, budget]):.1f}" for name in (pair.alone, pair.grown))
    return [
        pair.words,
        f"{budget:g}",
        str(len(pairs)),
        *(f"{statistics.median(column):.2f}" for column in zip(*pairs, strict=True)),
        f"{middle:+.2f} ({low:+.2f} to {high:+.2f})",
        f"{sum(second < first for first, second in pairs)}",
        means,
    ]


def _by_job(pair: Pair, budget: float, regrets: Mapping[tuple[str, str, int, float], float]) -> list[str]:
    pairs = _pairs(pair, budget, regrets)
    cells = []
    for job in ENTRIES:
        here = [pairs[key] for key in sorted(pairs) if key[0] == job]
        columns = [" ".join(f"{value:.1f}" for value in column) for column in zip(*here, strict=True)]
        cells.append("; ".join(columns))
    return [pair.words, f"{budget:g}", *cells]


if __name__ == "__main__":
    main()
