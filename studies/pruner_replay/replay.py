"""Replays pruners on recorded trials, so that a change of a rule is judged in minutes and without a training.

    python studies/pruner_replay/replay.py CURVES.npz... [--orders 200] [-o replay.md]

A pool holds trials that ran to their end, recorded with nobody pruning. A replay shows them to a pruner one after
the other, in a seeded random order, and stops each where the pruner says so. What it would have cost is then known, and
so is what it would have lost. The trials are random ones: a sampler that learns proposes better ones as it goes on. The
rule of autowarm was chosen on the pools below.
"""

from __future__ import annotations

import argparse
import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from autowarm.pruning import MIN_SHARE, PRUNINGS, PhasePruner, Pruning, rungs_of

# trials of a study whose n_trials is left alone
DRAW = 40
# what the rule should reach: (knob, regret in percent, share of orders that lose the best trial)
TARGETS: tuple[tuple[Pruning, float, float], ...] = (("balanced", 0.16, 0.17), ("safe", 0.07, 0.08))


@dataclass(frozen=True)
class Pool:
    """Recorded trials of one job at one horizon; of the metric, less is better.

    Attributes:
        name: of the pool.
        shares: of the schedule at the rungs, rising to 1; shape (rungs,).
        values: validation metric; shape (trials, rungs).
        emas: the same of averaged weights, by the name of the window; each of shape (trials, rungs).
        warmups: share of the warmup; shape (trials,).
    """

    name: str
    shares: tuple[float, ...]
    values: NDArray[np.float64]
    emas: dict[str, NDArray[np.float64]]
    warmups: tuple[float, ...]


class Rule(Protocol):
    """A pruner under replay."""

    def stops(self, trial: int, rung: int, value: float, ema: float | None) -> bool:
        """Take what a trial reached at a rung, and tell whether it stops."""

    def ended(self, trial: int) -> None:
        """Hear of a trial that ran to its end."""


@dataclass(frozen=True)
class Outcome:
    """What a rule did to one order of trials.

    Attributes:
        cost: steps executed over the steps of all trials run to their end.
        regret: final metric of the best trial kept over that of the best trial, less 1; in percent.
        killed: whether the best trial was stopped.
    """

    cost: float
    regret: float
    killed: bool


class Phase:
    """Autowarm's rule."""

    def __init__(self, pool: Pool, pruning: Pruning) -> None:
        self._pool = pool
        self._pruner = PhasePruner(pruning)

    def stops(self, trial: int, rung: int, value: float, ema: float | None) -> bool:
        """See `Rule`."""
        share, warmup = self._pool.shares[rung], self._pool.warmups[trial]
        return self._pruner.report(trial, share=share, value=value, warmup_share=warmup, ema=ema) is not None

    def ended(self, trial: int) -> None:
        """See `Rule`."""


class Median:
    """Optuna's MedianPruner: stops a trial whose best value so far is worse than the median of the finished ones.

    Args:
        pool: the trials.
        start: share of the schedule before which it stops nothing, its `n_warmup_steps`.
        n_startup_trials: finished trials before it stops any; 5 is Optuna's default.
    """

    def __init__(self, pool: Pool, start: float = 0.0, n_startup_trials: int = 5) -> None:
        self._shares = pool.shares
        self._start = start
        self._n_startup_trials = n_startup_trials
        self._told: dict[int, list[float]] = {}
        self._finished: list[list[float]] = []

    def stops(self, trial: int, rung: int, value: float, ema: float | None) -> bool:
        """See `Rule`."""
        told = self._told.setdefault(trial, [])
        told.append(value if ema is None else min(value, ema))
        if len(self._finished) < self._n_startup_trials or self._shares[rung] < self._start:
            return False
        return min(told) > statistics.median(other[rung] for other in self._finished)

    def ended(self, trial: int) -> None:
        """See `Rule`."""
        self._finished.append(self._told[trial])


def load(path: Path) -> Pool:
    """Read a pool from an npz file, thinned to the rungs of a trial.

    It has `val` (trial, rung), `ema` (trial, rung, window; T/40 and T/10), `steps` (rung), the last of them the end of
    the run, and `wr` (trial).

    Raises:
        ValueError: its rungs do not hold those of a trial.
    """
    data = np.load(path)
    steps = data["steps"].tolist()
    total = steps[-1]
    wanted = rungs_of(total)
    if missing := set(wanted) - set(steps):
        raise ValueError(f"{path}: nothing was recorded at the steps {sorted(missing)}")
    at = [steps.index(step) for step in wanted]
    averaged = data["ema"][:, at].astype(float)
    return Pool(
        name=path.stem,
        shares=tuple(step / total for step in wanted),
        values=data["val"][:, at].astype(float),
        emas={"T/40": averaged[:, :, 0], "T/10": averaged[:, :, 1]},
        warmups=tuple(data["wr"].tolist()),
    )


def replay(pool: Pool, order: Sequence[int], rule: Rule, window: str | None) -> Outcome:
    """Show trials to a rule in an order.

    Args:
        pool: the trials.
        order: indices of the trials that are shown.
        rule: a fresh one.
        window: of the averaged weights that the rule is shown beside the raw ones; None: raw ones alone.
    """
    last = len(pool.shares) - 1
    averaged = pool.emas[window] if window is not None else None
    finals: dict[int, float] = {}
    cost = 0.0
    for trial in order:
        for rung in range(last + 1):
            # averages are made where a trial may be judged, and the last word is that of the raw weights
            seen = averaged is not None and MIN_SHARE <= pool.shares[rung] < 1
            ema = float(averaged[trial, rung]) if averaged is not None and seen else None
            stopped = rule.stops(trial, rung, float(pool.values[trial, rung]), ema) and rung < last
            if stopped:
                break
        else:
            finals[trial] = float(pool.values[trial, last])
            rule.ended(trial)
        cost += pool.shares[rung]
    winner = min(order, key=lambda trial: float(pool.values[trial, last]))
    best = float(pool.values[winner, last])
    kept = min(finals.values(), default=math.inf)
    return Outcome(cost / len(order), 100 * (kept - best) / abs(best), winner not in finals)


def orders_of(pool: Pool, n: int, size: int | None) -> list[list[int]]:
    """Return `n` seeded random orders of a pool, or of `size` of its trials, drawn anew for each.

    The whole pool has one best trial, and so a luck of its own; draws have others, too.
    """
    generator = np.random.default_rng(0)
    return [generator.permutation(len(pool.values))[:size].tolist() for _ in range(n)]


def rules() -> dict[tuple[str, str], tuple[Callable[[Pool], Rule], str | None]]:
    """Return what is compared: (name, weights) -> (how a rule is made, window)."""
    found: dict[tuple[str, str], tuple[Callable[[Pool], Rule], str | None]] = {}
    for window in (None, "T/40"):
        weights = "raw" if window is None else f"raw, EMA {window}"
        found["Optuna MedianPruner, default", weights] = (Median, window)
        found[f"Optuna MedianPruner, from {MIN_SHARE:.0%}", weights] = (lambda pool: Median(pool, MIN_SHARE), window)
    for pruning in reversed(PRUNINGS):
        for window in (None, "T/40", "T/10") if pruning != "off" else (None,):
            weights = "raw" if window is None else f"raw, EMA {window}"
            found[f"autowarm, {pruning}", weights] = (_phase(pruning), window)
    return found


def _phase(pruning: str) -> Callable[[Pool], Rule]:
    return lambda pool: Phase(pool, pruning)  # type: ignore[arg-type] # PRUNINGS holds nothing else


def mean(outcomes: Iterable[Outcome]) -> tuple[float, float, float]:
    """Return the means of cost, regret and killed."""
    rows = [(o.cost, o.regret, float(o.killed)) for o in outcomes]
    return tuple(np.mean(rows, axis=0).tolist())


def table(pools: Sequence[Pool], orders: int) -> str:
    """Return the report: for the whole pools and for draws of them, what each rule costs and loses."""
    parts = []
    verdicts = []
    for size in (None, DRAW):
        # (name, weights) -> per pool (cost, regret, killed)
        found = {
            key: [
                mean(replay(pool, order, make(pool), window) for order in orders_of(pool, orders, size))
                for pool in pools
            ]
            for key, (make, window) in rules().items()
        }
        words = "the whole pool" if size is None else f"{size} trials drawn from the pool"
        parts += [f"## {orders} orders of {words}", "\n".join(_rows(pools, found))]
        verdicts += [_verdict(found, knob, regret, killed, words) for knob, regret, killed in TARGETS]
    trials = " and ".join(f"{pool.name} ({len(pool.values)} trials)" for pool in pools)
    head = (
        f"# Pruners on recorded trials\n\n{_intro()}\n\n"
        f"Pools: {trials}. Cost is the share of the steps of all trials run to their end; validations are not in it. "
        "Regret is the final metric of the best trial kept over that of the best trial, in percent; killed is the "
        "share of the orders in which the best trial was stopped. All are means over the orders; the first three "
        "columns are means over the pools. EMA: the better of the raw weights and of an average of them counts, with "
        "the window named."
    )
    return "\n\n".join([head, "## Targets", "\n".join(verdicts), *parts]) + "\n"


def _intro() -> str:
    _, command, *words = (__doc__ or "").strip().split("\n\n")
    return "\n\n".join([f"```bash\n{command.strip()}\n```", *(" ".join(text.split()) for text in words)])


def _rows(pools: Sequence[Pool], found: dict[tuple[str, str], list[tuple[float, float, float]]]) -> list[str]:
    names = ["pruner", "judged by", "cost", "regret %", "killed"]
    names += [f"{pool.name}: {column}" for pool in pools for column in ("cost", "regret %", "killed")]
    lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    for (name, weights), by_pool in found.items():
        cells = [
            f"{x:.{digits}f}" for row in (_over(by_pool), *by_pool) for x, digits in zip(row, (2, 2, 3), strict=True)
        ]
        lines.append("| " + " | ".join([name, weights, *cells]) + " |")
    return lines


def _over(by_pool: list[tuple[float, float, float]]) -> tuple[float, float, float]:
    return tuple(np.mean(by_pool, axis=0).tolist())


def _verdict(
    found: dict[tuple[str, str], list[tuple[float, float, float]]],
    knob: str,
    regret: float,
    killed: float,
    words: str,
) -> str:
    cost, reached, lost = _over(found[f"autowarm, {knob}", "raw, EMA T/40"])
    said = "reached" if reached <= regret and lost <= killed else "NOT reached"
    return (
        f"- {knob}, {words}: {said}. Regret {reached:.3f} % (at most {regret} %), killed {lost:.3f} "
        f"(at most {killed}), at a cost of {cost:.2f}."
    )


def main() -> None:
    """Replay the pools named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("curves", type=Path, nargs="+", help="npz files of recorded trials")
    parser.add_argument("--orders", type=int, default=200, help="random orders of each pool")
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).with_name("replay.md"))
    args = parser.parse_args()
    args.output.write_text(table([load(path) for path in args.curves], args.orders), encoding="utf-8")
    print(args.output)


if __name__ == "__main__":
    main()
