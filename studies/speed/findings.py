"""How many steps it takes to a loss with and without warmup, each at its own best learning rate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from autowarm.analysis.estimate import Estimate
from autowarm.analysis.runs import Floats
from autowarm.record import TrialRecord
from autowarm.report.cells import table
from autowarm.report.picture import new_figure
from autowarm.report.words import interval, lr_interval
from autowarm.words import listed, number, percent
from studies.claims.findings import Findings, Records
from studies.claims.warmups import Warmups, effect, has_warmup, label_panels, warmup_colour, warmup_words, warmups_of

# What was changed once first results were known.
_AFTERWARDS = "Nothing was changed after that."

MODELS = {
    "char_gpt": "small GPT",
    "deep_gpt": "deeper GPT",
    "char_lstm": "LSTM",
}
# Draws of the losses from their errors, for the interval of the steps.
_DRAWS = 2000
_SEED = 0

_BODY = """\
Three models that learn Shakespeare letter by letter, by Adam or AdamW: a small GPT, a deeper one whose weights are
drawn by Glorot and Bengio's rule, and an LSTM. They are trained in whole runs of {lengths} steps, each with a linear
decay to 0, learning rates in factors of 2, with {warmups}, on {seeds} seeds. At each length each warmup has its own
best learning rate, and the loss there, from a curve through its runs. Between the lengths the loss is read off a
straight line over the logarithm of the steps. The target is the loss that both reach: the higher one of their losses in
the longest runs.

## Steps to the target

{rows}

*Steps with warmup, over those without*, counts the steps of whole runs, each with a schedule of its own length: less
than 1 is faster. Its interval is of {draws:,} draws of all losses from their errors.

![Loss at the best learning rate against the length of the run](steps.png)

## On the way

{rungs}

The same within the longest runs, at the learning rate of the grid whose mean loss at the end is lowest: the first of 20
validations at which the mean over the seeds has reached the target above. The decay holds most of the gain back for the
end, so that this says less than whole runs of another length do.

## Conclusion

{conclusion}
"""


@dataclass(frozen=True, kw_only=True, eq=False)
class Race:
    """A model's runs without warmup and with the longest one.

    Attributes:
        lengths: `total_steps` of the runs, growing.
        by_length: their runs by warmup, one a length.
        share: the warmup.
        target: the loss that both reach.
        ratio: steps with warmup to the target over those without; None where the runs do not tell.
        without: steps without warmup, and `with_warmup`; NaN where the runs do not tell.
        first: step of the first validation at the target in the longest runs, without and with warmup; None: at none.
    """

    lengths: tuple[int, ...]
    by_length: tuple[Warmups, ...]
    share: float
    target: float
    ratio: Estimate | None
    without: float
    with_warmup: float
    first: tuple[int | None, int | None]

    def lr(self, share: float) -> Estimate | None:
        """Return a warmup's best learning rate in the longest runs."""
        return self.by_length[-1].lr(share)


def steps_to(target: float, lengths: Sequence[int], losses: Floats) -> float:
    """Return the steps at which a loss is reached, read off straight lines over the logarithm of the steps.

    Args:
        target: the loss.
        lengths: steps of runs, growing.
        losses: what those of each length reach, of shape (lengths,); the lowest so far counts, so that it falls.

    Returns:
        Where the shortest runs have reached it already, their steps; inf where the longest have not.

    >>> round(steps_to(1.5, (100, 400), np.array([2.0, 1.0])))
    200
    """
    falling = np.minimum.accumulate(losses)
    if falling[0] <= target:
        return float(lengths[0])
    if falling[-1] > target:
        return math.inf
    place = int(np.argmax(falling <= target))
    before, after = falling[place - 1], falling[place]
    way = (before - target) / (before - after)
    ends = np.log(lengths[place - 1]), np.log(lengths[place])
    return float(np.exp(ends[0] + way * (ends[1] - ends[0])))


def race(records: Sequence[TrialRecord]) -> Race:
    """Return what the runs of a model say of its steps to a loss."""
    lengths = tuple(sorted({r.total_steps for r in records}))
    by_length = tuple(warmups_of([r for r in records if r.total_steps == length]) for length in lengths)
    share = by_length[-1].shares[-1]
    losses, errors = (
        np.array([[_loss(of, s)[i] for of in by_length] for s in (0.0, share)]) for i in (0, 1)
    )  # of shape (2, lengths)
    target = float(losses.min(axis=1).max())
    known = bool(np.isfinite(losses).all())
    without, with_warmup = (steps_to(target, lengths, one) if known else math.nan for one in losses)
    return Race(
        lengths=lengths,
        by_length=by_length,
        share=share,
        target=target,
        ratio=_ratio(lengths, losses, errors) if known else None,
        without=without,
        with_warmup=with_warmup,
        first=(_first(records, 0.0, target), _first(records, share, target)),
    )


def _loss(of: Warmups, share: float) -> tuple[float, float]:
    value = of.value(share) if share in of.shares else None
    return (math.nan, math.nan) if value is None else (value.value, of.value_sd(share))


def _ratio(lengths: Sequence[int], losses: Floats, errors: Floats) -> Estimate:
    """Return the steps with warmup over those without; the draws have each a target of their own."""
    rng = np.random.default_rng(_SEED)
    drawn = losses + errors * rng.standard_normal((_DRAWS, *losses.shape))
    ratios = [_ratio_of(lengths, one) for one in drawn]
    low, high = np.quantile(ratios, (0.05, 0.95))
    return Estimate(_ratio_of(lengths, losses), float(low), float(high))


def _ratio_of(lengths: Sequence[int], losses: Floats) -> float:
    target = float(losses.min(axis=1).max())
    without, with_warmup = (steps_to(target, lengths, one) for one in losses)
    return with_warmup / without


def _first(records: Sequence[TrialRecord], share: float, target: float) -> int | None:
    """Return the first rung of the longest runs at which the mean over the seeds has reached the target."""
    longest = max(r.total_steps for r in records)
    groups: dict[float, list[TrialRecord]] = {}
    for r in records:
        if r.schedule is not None and r.total_steps == longest and has_warmup(r, share):
            groups.setdefault(r.schedule.initial_lr, []).append(r)
    whole = [runs for runs in groups.values() if all(r.value is not None for r in runs)]
    if not whole:
        return None
    best = min(whole, key=lambda runs: sum(r.value or 0.0 for r in runs) / len(runs))
    means = np.mean([[value for _, value in r.rungs] for r in best], axis=0)
    reached = np.flatnonzero(means <= target)
    return best[0].rungs[int(reached[0])][0] if len(reached) else None


def findings(records: Records) -> Findings:
    """Return what the records of the three models say."""
    found = {model: race(records[model]) for model in MODELS}
    one = next(iter(found.values()))
    header = ("model", "target", "best lr without", "best lr with", "steps without", "steps with", "with over without")
    body = _BODY.format(
        lengths=listed([str(length) for length in one.lengths]),
        warmups=listed([warmup_words(share) for share in one.by_length[-1].shares]),
        seeds=len({r.seed for of in records.values() for r in of}),
        rows="\n".join(table(header, [_row(model, of) for model, of in found.items()])),
        draws=_DRAWS,
        rungs="\n".join(table(("model", "target", "without warmup", "with warmup"), _rung_rows(found))),
        conclusion=_conclusion(found),
    )
    return Findings(
        title="Does warmup train faster?",
        claim="Warmup allows a larger learning rate, and so takes fewer steps to the same loss.",
        found=_found(found),
        afterwards=_AFTERWARDS,
        body=body,
        pictures={"steps": partial(_draw, found)},
    )


def _row(model: str, of: Race) -> tuple[str, ...]:
    lrs = [of.lr(share) for share in (0.0, of.share)]
    return (
        MODELS[model],
        number(of.target, 4),
        *("-" if lr is None else lr_interval(lr, 2) for lr in lrs),
        *(_steps(steps) for steps in (of.without, of.with_warmup)),
        "-" if of.ratio is None else interval(of.ratio, 2),
    )


def _steps(steps: float) -> str:
    return f"{steps:.0f}" if math.isfinite(steps) else "-"


def _rung_rows(found: dict[str, Race]) -> list[tuple[str, ...]]:
    return [
        (MODELS[model], number(of.target, 4), *("not reached" if s is None else f"step {s}" for s in of.first))
        for model, of in found.items()
    ]


def _found(found: dict[str, Race]) -> str:
    told = [f"{MODELS[model]} {interval(of.ratio, 2)}" for model, of in found.items() if of.ratio is not None]
    share = warmup_words(next(iter(found.values())).share)
    return f"Steps to the same loss with {share}, over those without warmup: {', '.join(told)}."


def _conclusion(found: dict[str, Race]) -> str:
    groups: dict[int, list[str]] = {-1: [], 0: [], 1: []}
    for model, of in found.items():
        if of.ratio is not None:
            saved = 1 - of.ratio.value
            told = f"{MODELS[model]} ({percent(abs(saved))} {'fewer' if saved > 0 else 'more'} steps)"
            sign = effect(of.ratio, 1.0)
            groups[sign].append(told if sign else MODELS[model])
    words = {
        -1: "Faster with warmup, beyond the noise:",
        0: "Neither faster nor slower beyond the noise:",
        1: "Slower with warmup, beyond the noise:",
    }
    said = [f"{words[sign]} {listed(models)}." for sign, models in groups.items() if models]
    larger = []
    for model, of in found.items():
        none, warm = of.lr(0.0), of.lr(of.share)
        if none is not None and warm is not None and warm.low > none.high:
            larger.append(f"{MODELS[model]} ({number(warm.value / none.value, 2)} times)")
    said.append(
        f"The best learning rate is larger with it, beyond the intervals, for {listed(larger)}."
        if larger
        else "That the best learning rate is larger with it is not told from noise for any of them."
    )
    said.append(
        "A warmup spends its share of the steps at learning rates that are too low; it pays where the rate that it "
        "allows makes up for that."
    )
    return " ".join(said)


def _draw(found: dict[str, Race]) -> Figure:
    figure = new_figure(width=9.0, height=3.9)
    panels = figure.subplots(1, len(found))
    for axes, (model, of) in zip(panels, found.items(), strict=True):
        _panel(axes, of)
        axes.set_title(MODELS[model], loc="left", fontsize=9)
    label_panels(figure, panels, x="total_steps", y="val_loss at the best lr")
    return figure


def _panel(axes: Axes, of: Race) -> None:
    for place, share in enumerate((0.0, of.share)):
        told = [
            (length, value) for length, w in zip(of.lengths, of.by_length, strict=True) if (value := w.value(share))
        ]
        x, y = [length for length, _ in told], [value.value for _, value in told]
        ends = np.array([[value.value - value.low, value.high - value.value] for _, value in told]).T
        look: dict[str, Any] = {"color": warmup_colour(place), "linewidth": 1.6, "label": warmup_words(share)}
        axes.errorbar(x, y, yerr=ends, marker="o", markersize=4, capsize=3, **look)
    axes.axhline(of.target, color="#63676d", linewidth=0.9, linestyle=(0, (5, 2)), label="target")
    axes.set_xscale("log")
    axes.set_xticks(of.lengths, [str(length) for length in of.lengths])
    axes.set_xticks([], minor=True)
    axes.grid(alpha=0.25)
