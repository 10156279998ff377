"""Whether 6 to 10 % of warmup is right for fine-tuning, and what none of it costs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import numpy as np
from matplotlib.figure import Figure

from autowarm.analysis.estimate import Estimate
from autowarm.analysis.two_way import two_way
from autowarm.errors import RecordError
from autowarm.report.cells import table
from autowarm.report.picture import new_figure
from autowarm.report.words import interval, lr_interval
from autowarm.words import counted, listed, number, percent
from studies.claims.findings import Findings, Records
from studies.claims.warmups import Warmups, effect, warmup_colour, warmup_words, warmups_of

# What was changed once first results were known.
_AFTERWARDS = "Nothing was changed after that."

# What is recommended for fine-tuning, as shares of the steps: 6 % by RoBERTa, 10 % by BERT.
HABIT = (0.06, 0.10)
# Seeds that tell a difference at one learning rate.
_SEEDS = 2

_BODY = """\
MiniLM, a transformer of six layers that was pretrained by others ([study.yaml](study.yaml) says how many of them stay
as they are), learns the five sections of BBC news from {examples:,} headlines: {steps:,} steps of AdamW with clipped
gradients and a linear decay to 0, {lrs} learning rates, each with {warmups}, on {seeds}. *At its best lr* is what a
curve through the runs of a warmup near its best learning rate says of its lowest point; intervals of gains hold for
all warmups together. Model and headlines are in the environment of `make examples`.

{rows}

What no warmup costs at one and the same learning rate, against {middle} and paired by seed (95 %):

{costs}

![Final validation loss against the learning rate, warmup by warmup](losses.png)

## Conclusion

{conclusion}
"""


@dataclass(frozen=True)
class Cost:
    """What no warmup costs at a learning rate.

    Attributes:
        lr: peak.
        none: mean metric without warmup; infinite where a run did not end well.
        warmed: likewise, with it.
        cost: of no warmup, paired by seed, with a 95 % interval; None where a run of either did not end well.
    """

    lr: float
    none: float
    warmed: float
    cost: Estimate | None


def findings(records: Records) -> Findings:
    """Return what the one arm says.

    Raises:
        RecordError: too few runs ended to tell the best learning rate without warmup and with the habitual ones.
    """
    of = warmups_of(records["study"])
    if any(of.lr(share) is None for share in (0.0, *HABIT) if share in of.shares) or 0.0 not in of.shares:
        raise RecordError("too few runs ended to compare warmups: run the study to its end")
    costs = costs_of(of, HABIT[1])
    header = ("warmup", "best lr (90 %)", f"{of.runs.metric} at its best lr", "gain over no warmup", "diverged")
    cost_header = ("lr", "no warmup", warmup_words(HABIT[1]), "cost of none")
    return Findings(
        title="Fine-tuning: is a warmup of 6 to 10 % right?",
        claim="Fine-tuning wants a warmup of 6 to 10 % of the steps, and is worse without.",
        found=_found(of, costs),
        afterwards=_AFTERWARDS,
        body=_BODY.format(
            examples=int(of.runs.dataset_size[0]),
            steps=int(of.runs.total_steps[0]),
            lrs=len(np.unique(of.runs.initial_lr)),
            warmups=listed([warmup_words(share) for share in of.shares]),
            seeds=counted(len(np.unique(of.runs.seed)), "seed"),
            rows="\n".join(table(header, [_row(of, share) for share in of.shares])),
            middle=warmup_words(HABIT[1]),
            costs="\n".join(table(cost_header, [_cost_row(cost) for cost in costs])),
            conclusion=_conclusion(of, costs),
        ),
        pictures={"losses": partial(_draw, of)},
    )


def costs_of(of: Warmups, share: float) -> list[Cost]:
    """Return what no warmup costs against a share at each learning rate, the lowest first."""
    found = []
    for lr in np.unique(of.runs.initial_lr):
        none, warmed = _by_seed(of, 0.0, lr), _by_seed(of, share, lr)
        cost = None
        if all(map(math.isfinite, (*none.values(), *warmed.values()))) and len(none.keys() & warmed.keys()) >= _SEEDS:
            fit = two_way([none, warmed])
            middle, half = fit.means[0] - fit.means[1], fit.half_width(0, 1)
            cost = Estimate(middle, middle - half, middle + half)
        found.append(Cost(float(lr), _mean(none), _mean(warmed), cost))
    return found


def _by_seed(of: Warmups, share: float, lr: float) -> dict[int, float]:
    runs = of.runs
    mine = of.of(share) & (runs.initial_lr == lr)
    values = np.where(runs.failed, math.inf, runs.value)
    return {int(s): float(v) for s, v in zip(runs.seed[mine], values[mine], strict=True)}


def _mean(values: dict[int, float]) -> float:
    return math.fsum(values.values()) / len(values) if values else math.inf


def _row(of: Warmups, share: float) -> tuple[str, ...]:
    lr, value, gain = of.lr(share), of.value(share), of.gain(share) if share > 0 else None
    mine = of.of(share)
    return (
        warmup_words(share),
        "-" if lr is None else lr_interval(lr, 2),
        "-" if value is None else interval(value, 3),
        "-" if gain is None else interval(gain, 2),
        f"{int(of.runs.failed[mine].sum())} of {int(mine.sum())}",
    )


def _cost_row(cost: Cost) -> tuple[str, ...]:
    return (
        number(cost.lr),
        number(cost.none, 4) if math.isfinite(cost.none) else "diverged",
        number(cost.warmed, 4) if math.isfinite(cost.warmed) else "diverged",
        "-" if cost.cost is None else interval(cost.cost, 2),
    )


def _found(of: Warmups, costs: list[Cost]) -> str:
    gains = {share: gain for share in HABIT if (gain := of.gain(share)) is not None}
    said = listed([f"{warmup_words(share)} {interval(gain, 2)}" for share, gain in gains.items()])
    signs = {effect(gain, 0.0) for gain in gains.values()}
    word = "better than none" if 1 in signs else "worse than none" if -1 in signs else "not told apart from none"
    dear = [number(cost.lr) for cost in costs if cost.cost is not None and cost.cost.low > 0]
    return (
        f"Each at its own best lr, the habit is {word}: gain in {of.runs.metric} with {said}. At one and the same lr, "
        f"no warmup costs something beyond noise at {listed(dear) if dear else 'none'} of {len(costs)} learning rates."
    )


def _conclusion(of: Warmups, costs: list[Cost]) -> str:
    gains = {share: gain for share in of.shares if share > 0 and (gain := of.gain(share)) is not None}
    better = [warmup_words(share) for share, gain in gains.items() if effect(gain, 0.0) > 0]
    worse = [warmup_words(share) for share, gain in gains.items() if effect(gain, 0.0) < 0]
    said = []
    if better:
        said.append(f"Each at its own best learning rate, {listed(better)} is better than none beyond the noise.")
    if worse:
        said.append(f"Worse than none, each at its own best learning rate, is {listed(worse)}.")
    if not better and not worse:
        most = max((gain.high for gain in gains.values()), default=math.inf)
        said.append(
            "Each at its own best learning rate, none of the warmups can be told from no warmup: a gain up to "
            f"{number(most, 2)} cannot be ruled out, and none is shown."
        )
    known = [cost for cost in costs if cost.cost is not None]
    dear = [cost for cost in known if cost.cost is not None and cost.cost.low > 0]
    if dear:
        top = max(dear, key=lambda cost: cost.lr)
        assert top.cost is not None  # noqa: S101 - it is one of those with a cost
        said.append(
            f"At the same learning rate no warmup costs most where that is high: {interval(top.cost, 2)} at "
            f"{number(top.lr)}."
        )
    else:
        said.append(f"At none of {counted(len(known), 'learning rate')} is the cost of no warmup beyond noise.")
    none, warmed = of.lr(0.0), of.lr(HABIT[1])
    if none is not None and warmed is not None:
        moved = warmed.low > none.high
        said.append(
            f"The best learning rate without warmup is {number(none.value, 2)}, with {percent(HABIT[1])} "
            f"{number(warmed.value, 2)}; {'beyond' if moved else 'within'} the intervals."
        )
    said.append("One model, one data set and one length of the run stand behind this.")
    return " ".join(said)


def _draw(of: Warmups) -> Figure:
    figure = new_figure(width=8.0, height=4.6)
    axes = figure.subplots()
    runs = of.runs
    lrs = np.unique(runs.initial_lr)
    for place, share in enumerate(of.shares):
        mine = of.of(share) & runs.ended
        axes.scatter(runs.initial_lr[mine], runs.value[mine], s=10, color=warmup_colour(place), alpha=0.5, linewidth=0)
        means = [_mean(_by_seed(of, share, lr)) for lr in lrs]
        shown = np.where(np.isfinite(means), means, math.nan)
        axes.plot(lrs, shown, color=warmup_colour(place), linewidth=1.6, label=warmup_words(share))
    axes.set_xscale("log")
    axes.set_xticks(lrs, [number(lr) for lr in lrs])
    axes.minorticks_off()
    axes.set_xlabel("initial_lr (log)")
    axes.set_ylabel(f"{runs.metric} at the end")
    axes.grid(alpha=0.25)
    axes.legend(fontsize=9)
    return figure
