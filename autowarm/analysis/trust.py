"""Whether an answer can be trusted: what speaks against it, a sentence each that ends with what to do.

Of a study, its records tell most, and `autowarm.analysis.advice` what to change about its search. Of a table of
somebody else's runs the columns must do.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from autowarm.analysis.advice import advised, capital
from autowarm.analysis.answer import Answer
from autowarm.analysis.audit import pruning_audit
from autowarm.analysis.best import Horizon, horizons
from autowarm.analysis.doubt import Bounds, Doubt, edges
from autowarm.analysis.repeat_noise import pooled, schedules
from autowarm.analysis.runs import Runs
from autowarm.record import TrialRecord
from autowarm.words import counted, number

__all__ = ["Doubt", "doubts"]

# With fewer runs the best is the luck of the draw.
_FEW_RUNS = 10
# Runs within this factor of the best lr are its neighbours; as many, and this share of them failed, is a doubt.
_NEAR, _NEIGHBOURS, _MANY_FAILED = 1.5, 5, 0.1
# Repetitions beyond the first, over all schedules, from which the noise is known.
_REPETITIONS = 3
# Pruned trials of which one at least should have been finished as an audit.
_MANY_PRUNED = 10


def doubts(
    runs: Runs,
    records: Iterable[TrialRecord] | None = None,
    bounds: Bounds | None = None,
    answers: Mapping[Horizon, Answer | None] | None = None,
) -> list[Doubt]:
    """Return what speaks against the answer, the gravest first; an empty list where nothing does.

    Args:
        runs: of a study (`runs_of`) or of a table.
        records: of the same study; None for a table.
        bounds: (low, high) of `initial_lr` and of `warmup_ratio` as they were searched; by default the lowest and the
            highest value tried.
        answers: of the study's horizons, where they are known already; see `autowarm.analysis.advice.advised`.
    """
    records = list(records or ())
    told = [*advised(records, bounds, answers), *_pruning(records)]
    found = told if records else list(_of_table(runs, bounds or {}))
    if any(doubt.kind in ("diverged", "constant", "none") for doubt in found):
        return found
    return [*found, *_few(runs, "trial" if records else "run"), *_neighbours(runs), *_noise(runs), *_one_horizon(runs)]


def _of_table(runs: Runs, bounds: Bounds) -> Iterator[Doubt]:
    """Yield what `autowarm.analysis.advice` says of a study, as far as columns tell it."""
    best = runs.best()
    if not len(runs):
        yield Doubt("none", "There are no runs: nothing can be said.")
    elif best is None:
        lowest = f"the lowest initial_lr tried was {number(runs.initial_lr.min())}: try lower ones"
        count = f"all {len(runs):,} runs" if len(runs) > 1 else "the only run"
        if runs.failed.all():
            yield Doubt("diverged", f"{capital(count)} failed; {lowest}.")
        else:
            yield Doubt("diverged", f"No run ended with a {runs.metric}; {lowest}, and let some runs end.")
    elif runs.ended.sum() > 2 and np.ptp(runs.value[runs.ended]) == 0:
        words = f"All runs that ended have {runs.metric} {number(runs.value[best], 5)}"
        yield Doubt("constant", f"{words}, which tells no schedule from another: look at the column that holds it.")
    else:
        yield from _table_edges(runs, best, bounds)
        yield from _table_seeds(runs, best)


def _table_edges(runs: Runs, best: int, bounds: Bounds) -> Iterator[Doubt]:
    ratio = float(runs.warmup_ratio[best])
    ratios = runs.warmup_ratio[runs.searched & np.isfinite(runs.warmup_ratio)]
    told = edges(
        float(runs.initial_lr[best]),
        None if math.isnan(ratio) else ratio,
        lrs=runs.initial_lr[runs.searched].tolist(),
        ratios=ratios.tolist(),
        bounds=bounds,
    )
    for edge in told:
        words = f"{capital(edge.words)}: try {'lower' if edge.end == 'low' else 'higher'} ones."
        yield Doubt("edge", words)


def _table_seeds(runs: Runs, best: int) -> Iterator[Doubt]:
    schedule = schedules(runs)
    if (schedule[runs.ended] == schedule[best]).sum() < 2:
        words = "The best schedule was trained once: repeat it with other seeds before you trust small differences."
        yield Doubt("seeds", words)


def _pruning(records: Sequence[TrialRecord]) -> Iterator[Doubt]:
    searched = [r for r in records if r.role == "search"]
    by_horizon: dict[Horizon, list[TrialRecord]] = {}
    for record in searched:
        by_horizon.setdefault(record.horizon, []).append(record)
    for horizon in horizons(searched):
        audit = pruning_audit(by_horizon.get(horizon, ()))
        if audit.best:
            words = (
                f"Of {counted(audit.audited, 'trial')} that pruning would have stopped and that ended all the same, "
                f"{audit.best} would have been the best: set pruning: safe"
            )
            yield Doubt("pruning", f"{words}.")
        elif not audit.audited and audit.pruned >= _MANY_PRUNED:
            words = f"None of the {audit.pruned} trials that pruning stopped was finished as an audit"
            yield Doubt("pruning", f"{words}: nobody knows what was lost; set prune_audit.")


def _few(runs: Runs, word: str) -> Iterator[Doubt]:
    searched = int(runs.searched.sum())
    if 0 < searched < _FEW_RUNS:
        yield Doubt("few", f"Only {counted(searched, word)} tried a schedule: the best of so few is luck; try more.")


def _neighbours(runs: Runs) -> Iterator[Doubt]:
    """Doubt a best beside which others fail."""
    best = runs.best()
    if best is None:
        return
    apart = np.abs(np.log(runs.initial_lr / runs.initial_lr[best]))
    near = (apart <= math.log(_NEAR)) & ~runs.stopped & (runs.total_steps == runs.total_steps[best])
    failed, count = int(runs.failed[near].sum()), int(near.sum())
    if count >= _NEIGHBOURS and failed >= _MANY_FAILED * count:
        words = f"Of {count:,} runs within a factor of {_NEAR:g} of the best initial_lr {failed:,} failed"
        yield Doubt("failures", f"{words}: take a lower one, or a longer warmup.")


def _noise(runs: Runs) -> Iterator[Doubt]:
    """Doubt differences that seeds alone would make."""
    runs = runs.where(runs.ended)
    schedule = schedules(runs)
    if len(np.unique(schedule)) < 3:
        return
    noise, repetitions = pooled(runs.value, schedule)
    if repetitions < _REPETITIONS:
        return
    means = np.bincount(schedule, weights=runs.value) / np.bincount(schedule)
    first = np.unique(schedule, return_index=True)[1]
    # the better half: that bad schedules are bad is no news
    level = means if runs.mode == "min" else -means
    comparable = runs.total_steps[first] == runs.total_steps[first][np.argmin(level)]
    better = np.sort(level[comparable])[: (int(comparable.sum()) + 1) // 2]
    spread = float(better.std(ddof=1)) if len(better) > 2 else math.inf
    if noise >= spread:
        words = (
            f"Seeds alone move {runs.metric} by {number(noise, 2)} (one standard deviation), the better half "
            "of the schedules "
            f"differ by {number(spread, 2)}"
        )
        yield Doubt("noise", f"{words}: any of them may be the best; repeat them with more seeds.")


def _one_horizon(runs: Runs) -> Iterator[Doubt]:
    steps, sizes = np.unique(runs.total_steps), np.unique(runs.dataset_size[np.isfinite(runs.dataset_size)])
    if len(steps) == 1 and len(sizes) < 2:
        words = f"All runs have total_steps {steps[0]:,.0f}: nothing here tells what another length needs"
        yield Doubt("horizon", f"{words}; for that, tune at two or more.")
