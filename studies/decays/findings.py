"""Which decay is best, each at its own best learning rate, and how those learning rates compare."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from matplotlib.figure import Figure

from autowarm.analysis.decay_choice import DecayBest, DecayChoice, decay_choice
from autowarm.analysis.decay_peaks import relative_peak
from autowarm.analysis.estimate import Estimate, ratio
from autowarm.analysis.runs import Runs, decay_of, runs_of
from autowarm.errors import RecordError
from autowarm.record import TrialRecord
from autowarm.report.cells import table
from autowarm.report.palette import colour
from autowarm.report.picture import new_figure
from autowarm.report.words import interval, lr_interval
from autowarm.words import counted, listed, number, percent
from studies.claims.findings import Findings

# What was changed once first results were known.
_AFTERWARDS = (
    "At first there was char_gpt alone, at fewer learning rates; that told little, so more of them and the "
    "second job were added."
)

# What the theory tells the best learning rate of, over that of cosine.
_TOLD = ("constant", "linear", "wsd")
_REFERENCE = "cosine"


@dataclass(frozen=True)
class Job:
    """The decays of one job.

    Attributes:
        name: of the arm.
        runs: all of it.
        choice: each decay at its own best learning rate.
        ratios: of those over cosine's, the largest first.
    """

    name: str
    runs: Runs
    choice: DecayChoice
    ratios: Mapping[str, Estimate]


def findings(records: Mapping[str, Sequence[TrialRecord]]) -> Findings:
    """Return what the arms say, a job each.

    Raises:
        RecordError: the runs of a job do not tell the best learning rate of cosine.
    """
    jobs = [_job(name, of) for name, of in records.items()]
    return Findings(
        title="Decays, each at its own best learning rate",
        claim="The best peak of a decay is not that of another: constant's is a third of cosine's, as the theory of "
        "convex losses has it; and judged at their own best peaks, decays that end near zero are alike.",
        found=" ".join(_found(job) for job in jobs),
        afterwards=_AFTERWARDS,
        body=_body(jobs),
        pictures={job.name: partial(picture, job) for job in jobs},
    )


def _job(name: str, records: Sequence[TrialRecord]) -> Job:
    runs = runs_of(records)
    choice = decay_choice(runs)
    if choice is None or _REFERENCE not in {d.decay for d in choice.decays}:
        raise RecordError(f"too few runs of {name} ended to tell the best learning rate of cosine: run it to its end")
    return Job(name, runs, choice, ratios_of(choice))


def ratios_of(choice: DecayChoice) -> dict[str, Estimate]:
    """Return each decay's best learning rate over that of cosine, the largest first."""
    reference = next(d for d in choice.decays if d.decay == _REFERENCE)
    found = {d.decay: ratio(d.lr, reference.lr) for d in choice.decays if d.decay != _REFERENCE}
    return dict(sorted(found.items(), key=lambda pair: -pair[1].value))


def told(decay: str) -> float | None:
    """Return what the theory says of a decay's best learning rate over that of cosine; None where nothing."""
    name, share = decay_of(decay)
    return relative_peak(name, share) if name in _TOLD else None


def _agreement(ratios: Mapping[str, Estimate]) -> tuple[list[str], list[str]]:
    """Return the decays whose interval holds what the theory says, and those whose does not."""
    known = {decay: value for decay in ratios if (value := told(decay)) is not None}
    inside = [decay for decay, value in known.items() if value in ratios[decay]]
    return inside, [decay for decay in known if decay not in inside]


def _apart(job: Job) -> list[str]:
    """Return the decays whose best learning rate is told apart from cosine's."""
    return [decay for decay, found in job.ratios.items() if 1.0 not in found]


def _order(ratios: Mapping[str, Estimate]) -> tuple[int, int]:
    """Return how many pairs of decays are in the theory's order by the estimates, and of how many pairs."""
    known = [(value, found.value) for decay, found in ratios.items() if (value := told(decay)) is not None]
    # cosine's own
    pairs = list(itertools.combinations([*known, (1.0, 1.0)], 2))
    return sum((a - b) * (x - y) > 0 for (a, x), (b, y) in pairs), len(pairs)


def _found(job: Job) -> str:
    inside, outside = _agreement(job.ratios)
    right, pairs = _order(job.ratios)
    said = (
        f"{job.name}: {len(inside)} of {counted(len(inside) + len(outside), 'ratio')} of best peaks hold the theory's "
        f"value, in its order are {right} of {counted(pairs, 'pair')}"
    )
    if "constant" in job.ratios:
        said += f", constant's is {interval(job.ratios['constant'], 2)} of cosine's"
    apart = _apart(job)
    said += f"; told apart from cosine's: {listed(apart) if apart else 'none'}"
    worse = [d.decay for d in job.choice.decays if not d.tied]
    return f"{said}; worse than {job.choice.decays[0].decay} beyond noise: {listed(worse) if worse else 'none'}."


def _body(jobs: Sequence[Job]) -> str:
    lines = [
        "Every decay was trained at the same learning rates and seeds. The best peak of each and the metric there are "
        "estimated from its runs alone (`autowarm.analysis.decay_choice`). *Theory*: what a bound for convex losses "
        "says, which runs of a 124-million-weight language model agree with (`autowarm/analysis/decay_peaks.py`); it "
        "says nothing of the decays with a dash. exponential falls to a tenth of the peak, step to a hundredth in two "
        "drops; inverse_sqrt is Noam's, with the warmup as its timescale. The diamonds are in the environment of "
        "`make examples`.",
    ]
    for job in jobs:
        lines += ["", *_section(job)]
    lines += ["", "## Conclusion", "", " ".join(_conclusion(job) for job in jobs), _LIMITS]
    return "\n".join(lines)


_LIMITS = (
    "What stands behind this: small models, short runs and one share of warmup each, which the theory leaves out and "
    "which is a part of the run that no decay can use. An interval that holds the theory's value and 1 as well "
    "tells neither from the other."
)


def _section(job: Job) -> list[str]:
    runs, choice = job.runs, job.choice
    lrs, seeds = np.unique(runs.initial_lr), len(np.unique(runs.seed))
    shared = _shared(job)
    return [
        f"## {job.name}",
        "",
        f"{int(runs.total_steps[0]):,} steps, {len(lrs)} learning rates from {number(lrs[0])} to {number(lrs[-1])}, "
        f"{counted(seeds, 'seed')}, a warmup of {percent(float(runs.warmup_ratio[0]))} of the steps.",
        "",
        *table(
            (
                "decay",
                "best lr (90 %)",
                "over cosine's (90 %)",
                "theory",
                f"{choice.metric} at its best (90 %)",
                "against the best",
                f"{choice.metric} at lr {number(shared)}",
            ),
            [_row(job, d, shared) for d in choice.decays],
        ),
        "",
        f"![{choice.metric} by learning rate for each decay, and best learning rates over cosine's]({job.name}.png)",
    ]


def _conclusion(job: Job) -> str:
    runs, choice, shared = job.runs, job.choice, _shared(job)
    inside, outside = _agreement(job.ratios)
    off = [f"{decay}, {interval(job.ratios[decay], 2)} where the theory has {told(decay):.2f}" for decay in outside]
    apart = _apart(job)
    at_shared = sorted((_mean(runs, d.decay, shared), d.decay) for d in choice.decays)
    costs = {d.decay: _mean(runs, d.decay, shared) - d.value.value for d in choice.decays}
    dearest = max(costs, key=lambda decay: costs[decay] if math.isfinite(costs[decay]) else -math.inf)
    last = choice.decays[-1]
    others = (
        f"Beyond noise another best peak than cosine has {listed(apart)}"
        if apart
        else "No best peak differs from that of cosine beyond noise"
    )
    right, pairs = _order(job.ratios)
    return (
        f"On {job.name}, of {counted(len(inside) + len(outside), 'ratio')} that the theory tells, {len(inside)} lie in "
        f"the 90 % interval of the runs{f' ({listed(inside)})' if inside else ''}"
        f"{f'; not so: {listed(off)}' if off else ''}. "
        f"{right} of {counted(pairs, 'pair')} of them, cosine included, are in the theory's order. {others}. At the "
        f"one learning rate of {number(shared)}, the trained one nearest to cosine's best, "
        f"{at_shared[0][1]} leads, {at_shared[-1][1]} is last, and {dearest} loses {number(costs[dearest], 2)} to what "
        f"it reaches at its own best; at their own best, {last.decay} is last, "
        f"{number(last.value.value - choice.decays[0].value.value, 2)} behind {choice.decays[0].decay}."
    )


def _shared(job: Job) -> float:
    """Return the trained learning rate that is nearest to cosine's best."""
    lrs = np.unique(job.runs.initial_lr)
    best = next(d for d in job.choice.decays if d.decay == _REFERENCE).lr.value
    return float(lrs[np.argmin(np.abs(np.log(lrs / best)))])


def _row(job: Job, d: DecayBest, shared: float) -> tuple[str, ...]:
    theory = told(d.decay)
    edge = {None: "", "low": ", the lowest tried", "high": ", the highest tried"}[d.bound]
    return (
        d.decay,
        lr_interval(d.lr, 2) + edge,
        interval(job.ratios[d.decay], 2) if d.decay in job.ratios else "1",
        "1" if d.decay == _REFERENCE else "-" if theory is None else f"{theory:.2f}",
        interval(d.value, 4),
        "tie" if d.tied else "worse",
        number(_mean(job.runs, d.decay, shared), 4),
    )


def _mean(runs: Runs, decay: str, lr: float) -> float:
    """Return the mean metric of a decay at a learning rate over its seeds; NaN where one failed."""
    mine = (runs.decay == decay) & (runs.initial_lr == lr)
    return math.nan if runs.failed[mine].any() or not mine.any() else float(runs.value[mine].mean())


def picture(job: Job) -> Figure:
    """Draw the metric by learning rate for each decay, and the best learning rates over cosine's."""
    runs, choice, ratios = job.runs, job.choice, job.ratios
    figure = new_figure(width=12.0, height=4.6)
    left, right = figure.subplots(1, 2)
    names = ("first", "second", "third", "fourth", "best")
    for i, d in enumerate(choice.decays):
        lrs = np.unique(runs.initial_lr[runs.decay == d.decay])
        style = {"color": colour(names[i % len(names)]), "linestyle": "-" if i < len(names) else "--"}
        left.plot(lrs, [_mean(runs, d.decay, lr) for lr in lrs], marker=".", label=d.decay, **style)
    left.set_xscale("log")
    # a decay at four times its best lr must not flatten the rest
    ended = np.sort(runs.value[runs.ended])
    high = float(np.quantile(ended, 0.8))
    left.set_ylim(ended[0] - 0.1 * (high - ended[0]), high)
    left.set_xlabel("initial_lr (log)")
    left.set_ylabel(f"{choice.metric}, mean over seeds")
    left.legend(fontsize=8, ncols=5, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    places = np.arange(len(ratios))[::-1]
    for place, (decay, found) in zip(places, ratios.items(), strict=True):
        right.plot([found.low, found.high], [place, place], color=colour("complete"), linewidth=2)
        right.plot(found.value, place, "o", color=colour("complete"))
        theory = told(decay)
        if theory is not None:
            right.plot(theory, place, "D", color=colour("best"), markersize=7, fillstyle="none")
    right.axvline(1.0, color=colour("muted"), linewidth=0.8)
    left.set_xticks(np.unique(runs.initial_lr), [number(lr) for lr in np.unique(runs.initial_lr)], rotation=45)
    left.minorticks_off()
    right.set_xscale("log", base=2)
    right.set_yticks(places, list(ratios))
    right.set_xlabel("best lr over cosine's (lines: 90 %; diamonds: theory)")
    for axes in (left, right):
        axes.grid(alpha=0.25)
    return figure
