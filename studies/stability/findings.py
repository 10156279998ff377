"""How high the learning rate may go with and without warmup, and how much the loss spikes on the way there."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, partial

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from autowarm.analysis.binomial import proportion
from autowarm.analysis.estimate import Estimate
from autowarm.analysis.runs import Floats
from autowarm.analysis.sensitivity import Sensitivity, sensitivities
from autowarm.analysis.stable_lr import lr_factor, stable_lr
from autowarm.demo.char_gpt import encode, read_text
from autowarm.record import TrialRecord
from autowarm.report.cells import table
from autowarm.report.picture import new_figure
from autowarm.report.words import interval, lr_interval, share_interval
from autowarm.words import listed, number, percent
from studies.claims.findings import Findings, Records
from studies.claims.warmups import (
    Warmups,
    effect,
    has_warmup,
    label_panels,
    lr_axis,
    warmup_colour,
    warmup_words,
    warmups_of,
)

# What was changed once first results were known.
_AFTERWARDS = (
    "Once the first arms were seen, failures were counted from the lowest best learning rate on, as slow "
    "learning below it had counted as failure; and the second bar, half of what can be learned, was added, as "
    "the first one said much of runs that had learned next to nothing."
)

# What the findings read beside the rungs.
CURVES = ("train_curve", "grad_norms")

ARMS = {
    "pre_ln_adam": "pre-LN with Adam",
    "post_ln_adam": "post-LN with Adam",
    "pre_ln_sgd": "pre-LN with SGD",
    "post_ln_sgd": "post-LN with SGD",
}
# Who knows nothing of a text but how often each character comes reaches this loss; a run that is not so much better
# has not learned to read what is before a character.
_BETTER = 0.02
# A spike: the training loss this far above the lowest before it, in nats. The loss of a batch varies by some .1.
SPIKE = 0.5
# By how much warmup raised it for Adam on a wide residual net (WRN-16-4, CIFAR-10), warmup of 1 to 1024 steps.
PUBLISHED = 4.0


_BODY = """\
A character GPT on Shakespeare, its layer norm before each part (pre-LN) or after it (post-LN), trained by Adam or by
SGD with momentum, each with a linear decay to 0: learning rates in factors of 2, each with {warmups}, on {seeds} seeds.
A run has *failed* where it diverged, or ended at a validation loss above {bar:.2f}: {better} below what the frequencies
of the characters alone reach. Failures are counted from the lowest of the warmups' best learning rates on: below it a
run may only have learned too little.

## The largest learning rate that trains

{edges}

*Half learned* counts a run as failed already where it ends less than half way from what the frequencies of the
characters reach to the lowest mean loss of the model. *LR sensitivity* is the mean loss over the learning rates tried
less the lowest, in nats (Wortsman et al., 2023): less is better. It is told over the learning rates that all warmups of
a model have in common.

![Final validation loss against the learning rate](losses.png)

## Spikes

{spikes}

A run has a *spike* where its training loss rises by more than {spike:g} nats above its lowest before, or where it
diverged. All learning rates are counted here, the same ones with every warmup.

![Training losses and gradient norms at one learning rate, where half of the runs without warmup fail](spikes.png)

## Conclusion

{conclusion}
"""


@cache
def failure_bar() -> float:
    """Return the validation loss, in nats, at which a run has learned nothing of the plays.

    It is 2 % below the cross-entropy of the last tenth of the text under the frequencies of characters in the rest.
    """
    numbers = encode(read_text()).numpy()
    split = len(numbers) * 9 // 10
    counts = np.bincount(numbers[:split], minlength=int(numbers.max()) + 1)
    # a character that comes in the last tenth alone counts as if seen once
    shares = np.maximum(counts, 1) / np.maximum(counts, 1).sum()
    return float(-np.log(shares[numbers[split:]]).mean()) * (1 - _BETTER)


@dataclass(frozen=True, kw_only=True)
class Edge:
    """Where training breaks down at one warmup of an arm.

    Attributes:
        share: of the warmup.
        half: the learning rate at which half of the runs fail.
        factor: of that over the one without warmup; None without warmup, or where too little failed to tell.
        half_learned: the same where a run fails already that has not learned half of what can be learned.
        sensitivity: LR sensitivity; None where the runs are too few.
        runs: how many from the lowest best learning rate on, and `failed`, those of them that failed.
        rises: of all runs, how far the training loss rose above its lowest before, in nats; inf where it diverged.
        norms: of all runs, the largest gradient norm.
    """

    share: float
    half: Estimate
    factor: Estimate | None
    half_learned: Estimate | None
    sensitivity: Sensitivity | None
    runs: int
    failed: int
    rises: tuple[float, ...]
    norms: tuple[float, ...]

    @property
    def spiked(self) -> int:
        """How many runs had a spike, or diverged."""
        return sum(rise > SPIKE for rise in self.rises)


def largest_rise(record: TrialRecord) -> float:
    """Return how far the training loss rose above its lowest before, in nats; inf where the run diverged."""
    if record.outcome == "DIVERGED":
        return math.inf
    losses = np.array([loss for _, loss in record.train_curve])
    return float((losses - np.minimum.accumulate(losses)).max()) if len(losses) else math.nan


def largest_norm(record: TrialRecord) -> float:
    """Return the largest gradient norm of a run; a norm that is no number is larger than any."""
    norms = [norm if math.isfinite(norm) else math.inf for _, norm in record.grad_norms]
    return max(norms, default=math.nan)


def mean_losses(of: Warmups) -> dict[tuple[float, float], float]:
    """Return the mean loss at the end of each (warmup, learning rate); a run that diverged counts with the worst."""
    worst = float(np.nanmax(of.runs.value, initial=failure_bar()))
    loss = np.where(np.isfinite(of.runs.value), of.runs.value, worst)
    cells = [(share, float(lr)) for share in of.shares for lr in np.unique(of.runs.initial_lr)]
    return {(share, lr): float(loss[of.of(share) & (of.runs.initial_lr == lr)].mean()) for share, lr in cells}


def lowest_best_lr(of: Warmups) -> float:
    """Return the lowest of the warmups' best learning rates, by the mean loss; below it a run learns too little."""
    means = mean_losses(of)
    return min(min((loss, lr) for (s, lr), loss in means.items() if s == share)[1] for share in of.shares)


def halfway(of: Warmups) -> float:
    """Return the loss half way from what the frequencies of characters reach to the lowest mean loss."""
    return (failure_bar() / (1 - _BETTER) + min(mean_losses(of).values())) / 2


def edges(records: Sequence[TrialRecord]) -> tuple[Warmups, tuple[Edge, ...]]:
    """Return the runs of an arm by their warmup, and where training breaks down at each."""
    of = warmups_of(records, failure_bar())
    strict = warmups_of(records, halfway(of)).runs.failed
    upward = of.runs.initial_lr >= lowest_best_lr(of)
    lr, failed = of.runs.initial_lr, of.runs.failed
    sensitive = sensitivities(of.runs, [(warmup_words(share), of.of(share)) for share in of.shares])
    known = {one.words: one for one in sensitive}
    found = []
    for share in of.shares:
        mine = of.of(share) & upward
        pair = mine | (of.of(0.0) & upward)
        half = stable_lr(lr[mine], failed[mine])
        if half is None:
            continue
        own = [r for r in records if has_warmup(r, share)]
        found.append(
            Edge(
                share=share,
                half=half,
                factor=lr_factor(lr[pair], failed[pair], mine[pair]) if share > 0 else None,
                half_learned=lr_factor(lr[pair], strict[pair], mine[pair]) if share > 0 else None,
                sensitivity=known.get(warmup_words(share)),
                runs=int(mine.sum()),
                failed=int(failed[mine].sum()),
                rises=tuple(largest_rise(r) for r in own),
                norms=tuple(largest_norm(r) for r in own),
            )
        )
    return of, tuple(found)


def findings(records: Records) -> Findings:
    """Return what the records of the four arms say."""
    found = {arm: edges(records[arm]) for arm in ARMS}
    rows = [_row(arm, edge) for arm, (_, arm_edges) in found.items() for edge in arm_edges]
    header = (
        "model",
        "warmup",
        "failed",
        "half of the runs fail at lr",
        "times that without",
        "times, half learned",
        "LR sensitivity",
    )
    calm = [_calm_row(arm, edge) for arm, (_, arm_edges) in found.items() for edge in arm_edges]
    calm_header = ("model", "warmup", "runs with a spike", "median largest rise", "median largest gradient norm")
    longest = {arm: arm_edges[-1] for arm, (_, arm_edges) in found.items()}
    body = _BODY.format(
        warmups=_warmups(found),
        seeds=_seeds(records),
        bar=failure_bar(),
        better=percent(_BETTER),
        edges="\n".join(table(header, rows)),
        spike=SPIKE,
        spikes="\n".join(table(calm_header, calm)),
        conclusion=_conclusion(longest, found),
    )
    return Findings(
        title="Does warmup raise the largest learning rate that trains?",
        claim="Warmup lets a higher learning rate train (published: "
        f"{PUBLISHED:g} times for Adam on a wide residual net), and keeps loss and gradients from spiking.",
        found=_found(longest, found),
        afterwards=_AFTERWARDS,
        body=body,
        pictures={"losses": partial(_draw_losses, found), "spikes": partial(_draw_spikes, records, found)},
    )


def _warmups(found: dict[str, tuple[Warmups, tuple[Edge, ...]]]) -> str:
    shares = next(iter(found.values()))[0].shares
    return listed([warmup_words(share) for share in shares])


def _seeds(records: Records) -> int:
    return len({r.seed for of in records.values() for r in of})


def _row(arm: str, edge: Edge) -> tuple[str, ...]:
    sensitivity = "-" if edge.sensitivity is None else interval(edge.sensitivity.value, 2)
    factors = ("-" if factor is None else interval(factor, 2) for factor in (edge.factor, edge.half_learned))
    failed = f"{edge.failed} of {edge.runs}"
    return ARMS[arm], warmup_words(edge.share), failed, lr_interval(edge.half, 2), *factors, sensitivity


def _calm_row(arm: str, edge: Edge) -> tuple[str, ...]:
    spiked = share_interval(proportion(edge.spiked, len(edge.rises)))
    return ARMS[arm], warmup_words(edge.share), spiked, *(_median(of) for of in (edge.rises, edge.norms))


def _median(values: Sequence[float]) -> str:
    known = [value for value in values if not math.isnan(value)]
    middle = float(np.median(known)) if known else math.nan
    return number(middle, 2) if math.isfinite(middle) else "not finite"


def _found(longest: dict[str, Edge], found: dict[str, tuple[Warmups, tuple[Edge, ...]]]) -> str:
    share = warmup_words(max(edge.share for edge in longest.values()))
    without, with_warmup = (_spiked(found, warmed) for warmed in (False, True))
    told = [
        f"{ARMS[arm]} {interval(edge.factor, 2)} and {interval(edge.half_learned, 2)}"
        for arm, edge in longest.items()
        if edge.factor is not None and edge.half_learned is not None
    ]
    return (
        f"Factor by which {share} raises the largest learning rate that learns anything, and that learns half of what "
        f"can be learned: {'; '.join(told)}. The loss spikes in {percent(without.value)} of the runs without it, in "
        f"{percent(with_warmup.value)} with it."
    )


def _spiked(found: dict[str, tuple[Warmups, tuple[Edge, ...]]], warmed: bool) -> Estimate:
    """Return the share of runs with a spike, at the longest warmup or without one, over all arms."""
    chosen = [arm_edges[-1] if warmed else arm_edges[0] for _, arm_edges in found.values()]
    return proportion(sum(edge.spiked for edge in chosen), sum(len(edge.rises) for edge in chosen))


def _conclusion(longest: dict[str, Edge], found: dict[str, tuple[Warmups, tuple[Edge, ...]]]) -> str:
    groups: dict[int, list[str]] = {1: [], 0: [], -1: []}
    for arm, edge in longest.items():
        groups[0 if edge.factor is None else effect(edge.factor, 1.0)].append(ARMS[arm])
    share = warmup_words(max(edge.share for edge in longest.values()))
    words = {
        1: f"With {share} a higher learning rate trains for",
        0: "No such effect is told from noise for",
        -1: f"With {share} only a lower one trains for",
    }
    said = [f"{words[sign]} {listed(arms)}." for sign, arms in groups.items() if arms]
    still = [ARMS[arm] for arm, edge in longest.items() if (strict := edge.half_learned) and effect(strict, 1.0) > 0]
    left = f"warmup still helps {listed(still)}." if still else "nothing of the effect is told from noise."
    said.append(
        "A run that ends just below the bar hardly counts as one that trains; asked for half of what can be learned, "
        + left
    )
    near = [ARMS[arm] for arm, edge in longest.items() if edge.factor is not None and PUBLISHED in edge.factor]
    said.append(
        f"The published factor of {PUBLISHED:g} lies within the interval of {listed(near)}."
        if near
        else f"The published factor of {PUBLISHED:g} lies in none of the intervals."
    )
    flatter = [
        ARMS[arm]
        for arm, (_, arm_edges) in found.items()
        if (first := arm_edges[0].sensitivity) and (last := arm_edges[-1].sensitivity)
        if last.value.high < first.value.low
    ]
    said.append(
        f"The loss depends less on the learning rate with {share}, beyond the intervals, for {listed(flatter)}."
        if flatter
        else f"That the loss depends less on the learning rate with {share} is not told from noise for any of them."
    )
    without, with_warmup = (_spiked(found, warmed) for warmed in (False, True))
    said.append(
        f"Spikes: {share_interval(without)} of all runs without warmup, {share_interval(with_warmup)} with {share}; "
        + (
            "fewer with warmup, beyond the intervals."
            if with_warmup.high < without.low
            else "more with warmup, beyond the intervals."
            if with_warmup.low > without.high
            else "the intervals overlap."
        )
    )
    said.append(
        "These are runs of some hundred steps, where a failed run has often not blown up but stays where it knows the "
        "frequencies of the characters alone; with more steps some of them would get away."
    )
    return " ".join(said)


def _draw_losses(found: dict[str, tuple[Warmups, tuple[Edge, ...]]]) -> Figure:
    figure = new_figure(width=9.0, height=6.4)
    panels = figure.subplots(2, 2, sharey=True).flatten()
    for axes, (arm, (of, _)) in zip(panels, found.items(), strict=True):
        _losses_panel(axes, of)
        axes.set_title(ARMS[arm], loc="left", fontsize=10)
    label_panels(figure, panels, x="initial_lr", y="val_loss at the end, in nats")
    return figure


def _losses_panel(axes: Axes, of: Warmups) -> None:
    top = failure_bar() / (1 - _BETTER) + 0.1
    lrs = np.unique(of.runs.initial_lr)
    for place, share in enumerate(of.shares):
        # what diverged is drawn at the top
        shown = np.where(np.isfinite(of.runs.value), np.minimum(of.runs.value, top), top)
        mine = of.of(share)
        axes.scatter(of.runs.initial_lr[mine], shown[mine], s=10, color=warmup_colour(place), alpha=0.6, linewidth=0)
        middle: Floats = np.array([np.median(shown[mine & (of.runs.initial_lr == lr)]) for lr in lrs])
        axes.plot(lrs, middle, color=warmup_colour(place), linewidth=1.6, label=warmup_words(share))
    axes.axhline(failure_bar(), color="#63676d", linewidth=0.9, linestyle=(0, (5, 2)), label="failed above")
    lr_axis(axes, lrs)


def _draw_spikes(records: Records, found: dict[str, tuple[Warmups, tuple[Edge, ...]]]) -> Figure:
    figure = new_figure(width=9.0, height=8.4)
    panels = figure.subplots(len(ARMS), 2, sharex=True)
    for (left, right), (arm, (of, arm_edges)) in zip(panels, found.items(), strict=True):
        lrs = np.unique(of.runs.initial_lr)
        # where training without warmup is about to break down
        at = float(lrs[np.argmin(np.abs(np.log(lrs) - math.log(arm_edges[0].half.value)))])
        for place, share in enumerate(of.shares):
            for r in records[arm]:
                if r.schedule is None or r.schedule.initial_lr != at or not has_warmup(r, share):
                    continue
                look = {"color": warmup_colour(place), "linewidth": 0.9, "alpha": 0.7}
                name = warmup_words(share) if r.seed == min(x.seed for x in records[arm]) else None
                left.plot([s for s, _ in r.train_curve], [loss for _, loss in r.train_curve], label=name, **look)
                right.plot([s for s, _ in r.grad_norms], [norm for _, norm in r.grad_norms], **look)
        left.set_title(f"{ARMS[arm]}, lr {number(at)}", loc="left", fontsize=10)
        left.set_ylabel("training loss", fontsize=9)
        right.set_ylabel("gradient norm", fontsize=9)
        right.set_yscale("log")
    figure.supxlabel("optimizer step", fontsize=10)
    handles, _ = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles=handles, loc="outside upper center", ncols=4, fontsize=9, frameon=False)
    return figure
