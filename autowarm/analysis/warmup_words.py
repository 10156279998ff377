"""What the runs tell of the warmup, in sentences."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from autowarm.analysis.estimate import Estimate
from autowarm.words import number, percent

if TYPE_CHECKING:
    from autowarm.analysis.warmup_need import Cell, WarmupNeed

# Cells with fewer runs are no example.
_ENOUGH = 5
# By such a factor, and by a hundredth of the run, another share is clearly another one.
_CLEARLY, _HUNDREDTH = 2.0, 0.01


def share_words(low: float, high: float) -> str:
    """Name a range of warmup.

    >>> share_words(0.0, 0.05), share_words(0.05, 0.15), share_words(0.3, 1.0)
    ('below 5 %', '5 to 15 %', '30 % or more')
    """
    if low <= 0:
        return f"below {100 * high:.0f} %"
    return f"{100 * low:.0f} % or more" if high >= 1 else f"{100 * low:.0f} to {100 * high:.0f} %"


def need_sentences(need: WarmupNeed) -> list[str]:
    """Return the verdict first, then what it rests on."""
    verdict = {True: _it_does, False: _it_does_not, None: _cannot_tell}[need.matters](need)
    return [*verdict, *_shortest(need), *_costs(need), *_stable(need), *_sensitivity(need)]


def _it_does(need: WarmupNeed) -> list[str]:
    said = []
    factor = need.lr_factor
    if factor is not None and factor.low > 1:
        known = "at least " if math.isinf(factor.high) else ""
        said.append(
            f"Warmup matters here: with 5 % of the steps or more, the learning rate at which half of the runs fail is "
            f"{known}{number(factor.value, 2)} times higher than with less ({_interval(factor)})."
        )
        said += _example(need)
    better = [g for g in need.gains if g.gain.low > 0]
    if better:
        best = max(better, key=lambda g: g.gain.value)
        also = "It also makes" if said else "Warmup matters here: it makes"
        said.append(
            f"{also} the best {need.metric} better by {number(best.gain.value)} ({_interval(best.gain)}) at "
            f"{share_words(best.share_low, best.share_high)} of warmup than below 5 %, each at its own best lr."
        )
    return said


def _example(need: WarmupNeed) -> list[str]:
    """Show the failures where the shortest and some longer warmup differ most."""
    pairs = [
        (row[0], cell) for row in need.cells for cell in row[1:] if row[0].runs >= _ENOUGH and cell.runs >= _ENOUGH
    ]
    if not pairs:
        return []
    short, long = max(pairs, key=lambda p: p[0].failure.value - p[1].failure.value)
    lrs = f"lr {number(short.lr_low, 1)} to {number(short.lr_high, 1)}"
    return [
        f"At {lrs}, {_failures(short)} failed with warmup {_share(short)}, and {_failures(long)} with {_share(long)}."
    ]


def _it_does_not(need: WarmupNeed) -> list[str]:
    if need.lr_factor is not None and need.lr_factor.high < math.inf:
        stable = f"it moves the learning rate at which half of the runs fail by a factor of {_full(need.lr_factor)}"
    else:
        stable = f"{100 * need.short.value:.0f} % of the runs with less than 5 % fail ({_percent(need.short)})"
    most = max(g.most for g in need.gains)
    better = f"better by at most {number(most, 2)} with more" if most > 0 else "no better with more"
    return [
        f"Warmup does not matter here: {stable}, and the best {need.metric} is {better}, within what a run varies by "
        f"when repeated ({number(need.noise, 2)})."
    ]


def _cannot_tell(need: WarmupNeed) -> list[str]:
    columns = list(zip(*need.cells, strict=True))
    short = sum(cell.runs for cell in columns[0])
    rest = need.runs - short
    if short == 0 or rest == 0:
        tried, missing = ("at least", "less") if short == 0 else ("less than", "more")
        return [f"Nothing is known of whether warmup matters: all runs had {tried} 5 % of it; try {missing}."]
    known = []
    if need.lr_factor is not None:
        factor = _ends(need.lr_factor)
        known.append(f"the learning rate at which half of the runs fail may change by a factor of {factor}")
    if need.gains:
        most = max(need.gains, key=lambda g: g.gain.high)
        ends = f"{number(most.gain.low, 2)} to {number(most.gain.high, 2)}"
        known.append(f"the best {need.metric} may change by {ends} with more warmup")
    said = f": {', and '.join(known)}" if known else ""
    count = f"{short} of {need.runs} runs had less than 5 % of it"
    return [f"The runs cannot tell whether warmup matters here{said}. {count}; try more with and without."]


def _shortest(need: WarmupNeed) -> list[str]:
    if need.shortest is None or need.matters is False:
        return []
    noise = "seeds" if need.noise_is_repeats else "the residuals of a local fit"
    if need.choice is not None and need.choice.raised:
        used = percent(need.shortest.value)
        return [
            f"The shortest warmup to use is {used} of the steps. For a {need.metric} within noise of the best "
            f"{percent(need.choice.by_metric)} would do ({_percent(need.shortest)}; noise is {number(need.noise, 2)}, "
            f"from {noise}), but with less than {used} more runs fail, or too few near the best learning rate had less "
            "to know that they train."
        ]
    return [
        f"The shortest warmup within noise of the best {need.metric} is {percent(need.shortest.value)} of the steps "
        f"({_percent(need.shortest)}); noise is {number(need.noise, 2)}, from {noise}."
    ]


def by_length_sentences(need: WarmupNeed, by_length: Sequence[tuple[int, float]]) -> list[str]:
    """Say why the shortest warmup of some length is another one than that of all; nothing where none is clearly.

    Args:
        need: of runs of several lengths.
        by_length: of each length, how many runs there are, and the share of its shortest warmup; NaN where unknown.
    """
    known = [(runs, share) for runs, share in by_length if math.isfinite(share)]
    if len(known) < 2 or need.shortest is None or need.total_steps is None or need.matters is False:
        return []
    shares, runs = sorted(share for _, share in known), sorted(runs for runs, _ in known)
    together = need.shortest.value
    lower = together > max(shares[0] * _CLEARLY, shares[0] + _HUNDREDTH)
    higher = shares[-1] > max(together * _CLEARLY, together + _HUNDREDTH)
    shortest_run, longest_run = need.total_steps
    if not (lower or higher) or shortest_run == longest_run:
        return []
    steps = f"{shortest_run:,.0f} to {longest_run:,.0f}"
    within = need.shortest.low <= shares[0] and shares[-1] <= need.shortest.high
    return [
        f"By length of run the shortest warmup is {percent(shares[0])} to {percent(shares[-1])}: each of these rests "
        f"on the {runs[0]:,} to {runs[-1]:,} runs of about that length, the {percent(together)} on all runs of {steps} "
        f"steps together, where the same share of a longer run is more steps"
        f"{'; all of them lie within its interval' * within}."
    ]


def _costs(need: WarmupNeed) -> list[str]:
    return [
        f"A warmup of {share_words(g.share_low, g.share_high)} costs {number(-g.gain.value, 2)} of {need.metric} "
        f"({number(-g.gain.high, 2)} to {number(-g.gain.low, 2)}) over one below 5 %."
        for g in need.gains
        if g.gain.high < 0
    ]


def _stable(need: WarmupNeed) -> list[str]:
    told = [s for s in need.stable if s.failed and s.runs >= _ENOUGH]
    if not told:
        return []
    each = "; ".join(
        f"{number(s.lr.value, 2)} ({_interval(s.lr)}) at {share_words(s.share_low, s.share_high)}" for s in told
    )
    return [f"The largest learning rate at which at most one run in ten fails, by warmup: {each}."]


def _sensitivity(need: WarmupNeed) -> list[str]:
    if not need.sensitivity:
        return []
    first = need.sensitivity[0]
    each = "; ".join(f"{_with_interval(s.value)} with {s.words}" for s in need.sensitivity)
    return [
        f"A learning rate drawn from {number(first.lr_low, 2)} to {number(first.lr_high, 2)} costs on "
        f"average, in {need.metric} "
        f"against the best one: {each}."
    ]


def _failures(cell: Cell) -> str:
    return f"{cell.failed} of {cell.runs} runs"


def _share(cell: Cell) -> str:
    return share_words(cell.share_low, cell.share_high)


def _with_interval(e: Estimate) -> str:
    return f"{number(e.value, 2)} ({_interval(e)})"


def _interval(e: Estimate) -> str:
    return f"90 % interval {_ends(e)}"


def _ends(e: Estimate) -> str:
    if math.isinf(e.high):
        return f"{number(e.low, 2)} or more"
    if e.low <= 0 < e.high:
        return f"at most {number(e.high, 2)}"
    return f"{number(e.low, 2)} to {number(e.high, 2)}"


def _full(e: Estimate) -> str:
    return f"{number(e.value, 2)} ({_ends(e)})"


def _percent(e: Estimate) -> str:
    return f"90 % interval {number(100 * e.low, 2)} to {number(100 * e.high, 2)} %"
