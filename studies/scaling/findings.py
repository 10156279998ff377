"""How the best learning rate moves with steps and with data, and whether a longer run is predicted."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from autowarm.analysis.estimate import Estimate
from autowarm.analysis.horizon_grid import horizon_grid
from autowarm.analysis.recommend import Recommendation, lr_band, recommend
from autowarm.analysis.runs import Floats, Runs, runs_of
from autowarm.analysis.scaling import Z95, HorizonBest, Power, Scaling, scaling
from autowarm.analysis.two_way import TwoWay, two_way
from autowarm.errors import RecordError
from autowarm.record import TrialRecord
from autowarm.report.cells import table
from autowarm.report.palette import colour
from autowarm.report.picture import new_figure
from autowarm.report.words import interval, lr_interval
from autowarm.words import counted, number, percent, signed
from studies.claims.findings import Findings

# What was changed once first results were known.
_AFTERWARDS = (
    "At first there were two seeds, and a third was added. At twice the steps lower learning rates were added "
    "when the best one lay at the lowest."
)

# Of the best learning rate against steps, at a fixed batch (see `autowarm.analysis.scaling`).
PUBLISHED = Estimate(-0.275, -0.32, -0.23)


@dataclass(frozen=True)
class Ladder:
    """What the runs of a ladder tell of one exponent.

    Attributes:
        runs: all of them.
        law: with the published prior.
        power: the exponent with that prior.
        alone: the exponent by the runs alone.
    """

    runs: Runs
    law: Scaling
    power: Power
    alone: Estimate


@dataclass(frozen=True)
class Check:
    """A prediction, and what the runs that were trained then say.

    Attributes:
        predicted: by the ladder.
        runs: of the longer run.
        lrs: those trained, growing.
        values: the metric at each, a mapping from seed to value.
        fit: of `values`, seed by seed; its means are in units of the metric.
        at: place in `lrs` of the one nearest to the prediction; `carried`, to the best of the ladder's top.
        best: the best learning rate by these runs alone.
    """

    predicted: Recommendation
    runs: Runs
    lrs: tuple[float, ...]
    values: tuple[Mapping[int, float], ...]
    fit: TwoWay
    at: int
    carried: int
    best: Estimate

    @property
    def winner(self) -> int:
        """Place of the best mean."""
        return int(np.argmin(self.fit.means))

    def regret(self, place: int) -> Estimate:
        """Return how much worse a learning rate is than the best one trained, over the best; 95 %."""
        least = self.fit.means[self.winner]
        middle = (self.fit.means[place] - least) / least
        half = 0.0 if place == self.winner else self.fit.half_width(place, self.winner) / least
        return Estimate(middle, middle - half, middle + half)


def findings(records: Mapping[str, Sequence[TrialRecord]]) -> Findings:
    """Return what the arms `steps`, `data` and `next` say.

    Raises:
        RecordError: an arm has too few runs.
    """
    steps, data = ladder(records["steps"], "total_steps"), ladder(records["data"], "dataset_size")
    check = checked(steps, records.get("next", ()))
    return Findings(
        title="Steps and data: does the best learning rate follow a power law?",
        claim="The best peak falls as total_steps to a power of -.23 to -.32, so that short runs tell that of a longer "
        "one; what the amount of data does at fixed steps is not published.",
        found=_found(steps, data, check),
        afterwards=_AFTERWARDS,
        body=_body(steps, data, check),
        pictures={"scaling": partial(picture, steps, data, check)},
    )


def ladder(records: Sequence[TrialRecord], name: str) -> Ladder:
    """Return what a ladder says of one of total_steps and dataset_size.

    Raises:
        RecordError: fewer than three lengths have runs that ended.
    """
    runs = runs_of(records)
    law = scaling(runs)
    if law is None or len(law.horizons) < 3:
        raise RecordError(f"the ladder of {name} has too few runs that ended: run the study to its end")
    power = next(p for p in law.powers if p.name == name)
    sizes = np.array([getattr(h, name) for h in law.horizons])
    return Ladder(runs, law, power, slope(np.log(sizes), [h.lr for h in law.horizons]))


def slope(x: Floats, best: Sequence[Estimate]) -> Estimate:
    """Return d ln lr* / dx by weighted least squares, with a 90 % interval and no prior.

    Where the points lie farther off the line than their intervals allow, the error is that much larger (Birge, The
    Calculation of Errors by the Method of Least Squares, 1932).

    Args:
        x: of shape (points,), at least 3 of them.
        best: the best learning rates there.
    """
    y = np.log([b.value for b in best])
    weight = (2 * Z95 / np.log([b.high / b.low for b in best])) ** 2
    off = x - np.average(x, weights=weight)
    around = float(weight @ off**2)
    value = float(weight @ (off * y)) / around
    rest = y - np.average(y, weights=weight) - value * off
    error = math.sqrt(max(float(weight @ rest**2) / (len(x) - 2), 1.0) / around)
    return Estimate(value, value - Z95 * error, value + Z95 * error)


def checked(steps: Ladder, records: Sequence[TrialRecord]) -> Check:
    """Compare what a ladder recommends for a longer run with what was trained there.

    Args:
        steps: the ladder.
        records: of the longer run, at several learning rates; of several warmups the one nearest to the
            recommendation is looked at.

    Raises:
        RecordError: too few of them ended.
    """
    runs = runs_of(records)
    if len(runs):
        predicted = recommend(steps.runs, float(runs.total_steps[0]))
        near = np.abs(runs.warmup_ratio - predicted.warmup_ratio.value)
        runs = runs.where(near == near.min())
    law = scaling(runs) if len(runs) else None
    lrs = sorted({lr for lr in runs.initial_lr[runs.ended].tolist() if not runs.failed[runs.initial_lr == lr].any()})
    if law is None or len(lrs) < 3:
        raise RecordError("the longer run that the ladder is to predict was not trained: add it as the arm `next`")
    values = tuple(
        {int(s): float(v) for s, v in zip(runs.seed[mine], runs.value[mine], strict=True)}
        for mine in (runs.initial_lr == lr for lr in lrs)
    )
    top = max(steps.law.horizons, key=lambda h: h.total_steps)
    at, carried = (
        int(np.argmin(np.abs(np.log(lrs) - math.log(x)))) for x in (predicted.initial_lr.value, top.lr.value)
    )
    return Check(predicted, runs, tuple(lrs), values, two_way(values), at, carried, law.horizons[0].lr)


def _found(steps: Ladder, data: Ladder, check: Check) -> str:
    at = check.predicted
    return (
        f"By these runs alone, steps: exponent {interval(steps.alone, 2)}, {_against(steps.alone)} the published one; "
        f"data: {interval(data.alone, 2)}. The band predicted for {at.total_steps:,} steps "
        f"{held(check)} the best peak found there; the trained peak nearest to the prediction "
        f"costs {_share(check.regret(check.at))} more than the best one."
    )


def held(check: Check) -> str:
    """Say whether the band of the best learning rate that was predicted holds the one found."""
    band, best = check.predicted.initial_lr, check.best
    if best.value in band:
        return "holds"
    near = best.low <= band.high and best.high >= band.low
    return "misses (the intervals overlap)" if near else "does not hold"


def _against(found: Estimate) -> str:
    if found.high < PUBLISHED.low:
        return "steeper than"
    if found.low > PUBLISHED.high:
        return "flatter than"
    return "which overlaps"


def _share(regret: Estimate) -> str:
    if regret.value == 0:
        return "nothing"
    return f"{percent(regret.value)} (95 %: {signed(100 * regret.low, 2)} to {signed(100 * regret.high, 2)} %)"


def _body(steps: Ladder, data: Ladder, check: Check) -> str:
    at, low, high = check.predicted, check.lrs[0], check.lrs[-1]
    regret = check.regret(check.at)
    trained = [
        (
            number(lr) + _marks(check, i),
            number(check.fit.means[i], 4),
            f"{signed(100 * check.regret(i).value, 2)} %",
            counted(len(check.values[i]), "seed"),
        )
        for i, lr in enumerate(check.lrs)
    ]
    lines = [
        "A small MLP on the prices of diamonds, Adam, a linear decay to 0; each horizon has the same learning rates "
        f"({number(steps.runs.initial_lr.min())} to {number(steps.runs.initial_lr.max())}), and its best one is "
        "estimated from its own runs (`autowarm.analysis.scaling`). The diamonds are in the environment of "
        "`make examples`.",
        "",
        "## Steps",
        "",
        *_horizons(steps, "total_steps"),
        "",
        *_exponents(steps),
        "",
        "## Data, at one number of steps",
        "",
        *_horizons(data, "dataset_size"),
        "",
        *_exponents(data),
        "",
        "![best learning rates by steps and by data, with the fitted law](scaling.png)",
        "",
        f"## The next doubling: {at.total_steps:,} steps",
        "",
        *[f"- {sentence}" for sentence in at.sentences()],
        "",
        f"Then {counted(len(check.lrs), 'learning rate')} from {number(low)} to {number(high)} were trained, on seeds "
        "of their own:",
        "",
        *table(("lr", f"{steps.runs.metric}, mean", "over the best", "runs"), trained),
        "",
        "## Conclusion",
        "",
        f"Of {steps.power.seen_low:,.0f} to {steps.power.seen_high:,.0f} steps the best peak goes as "
        f"total_steps^{steps.alone.value:.2f} (90 %: {steps.alone.low:.2f} to {steps.alone.high:.2f}) by the runs "
        f"alone, {_against(steps.alone)} the published {PUBLISHED.low:.2f} to {PUBLISHED.high:.2f}; with dataset_size, "
        f"at fixed steps, as a power of {data.alone.value:.2f} ({data.alone.low:.2f} to {data.alone.high:.2f}), "
        f"{'which leaves open whether it moves at all' if 0.0 in data.alone else 'so it does move'}. The band "
        f"predicted for {at.total_steps:,} steps, {lr_interval(at.initial_lr, 2)}, "
        f"{held(check)} the best peak found there, {lr_interval(check.best, 2)}. "
        f"The trained peak nearest to the prediction, {number(check.lrs[check.at])}, costs {_share(regret)} more than "
        f"the best, {number(check.lrs[check.winner])}; {_carried(check)}.{_edge(check)} With the data as it is, a "
        f"longer run sees it more often: {_passes(check.runs)} times here, {_passes(steps.runs)} times at the ladder's "
        "top; the two are not told apart. A ladder of one job and one optimizer tells neither the exponents of another "
        "nor how far its own law reaches.",
    ]
    return "\n".join(lines)


def _carried(check: Check) -> str:
    if check.carried == check.at:
        return "the best peak of the ladder's top, carried over as it is, is nearest to the same one"
    return f"the best peak of the ladder's top, carried over as it is, {_share(check.regret(check.carried))}"


def _edge(check: Check) -> str:
    """Warn where the best learning rate is at an end of those trained."""
    ends = {0: ("lowest", "lower"), len(check.lrs) - 1: ("highest", "higher")}
    if check.winner not in ends:
        return ""
    last, beyond = ends[check.winner]
    return f" That is the {last} one trained: {beyond} ones may be better yet."


def _passes(runs: Runs) -> str:
    """Return how often the longest of the runs sees the data."""
    steps = float(runs.total_steps.max())
    return number(steps * float(runs.batch_size[0]) / float(runs.dataset_size[0]), 2)


def _marks(check: Check, i: int) -> str:
    marks = [
        word
        for word, place in (
            ("nearest to the prediction", check.at),
            ("nearest to the ladder's top", check.carried),
            ("best", check.winner),
        )
        if place == i
    ]
    return f" ({', '.join(marks)})" if marks else ""


def _horizons(found: Ladder, name: str) -> list[str]:
    """Return a table of the horizons of a ladder: the best learning rate and the shortest warmup of each."""
    grid = horizon_grid(found.runs, found.law)
    cells = [cell for row in grid.cells for cell in row] if grid is not None else []
    warmups = {(c.total_steps, c.dataset_size): c.warmup_ratio for c in cells}
    varied = len(np.unique(found.runs.warmup_ratio)) > 1
    head = [
        name,
        "best lr (90 %)",
        f"{found.runs.metric} there (90 %)",
        *(["shortest warmup within noise"] if varied else []),
    ]
    rows = []
    for h in sorted(found.law.horizons, key=lambda h: float(getattr(h, name))):
        warmup = _warmup(warmups, h) if varied else []
        rows.append((f"{getattr(h, name):,.0f}", lr_interval(h.lr, 2), interval(h.value, 3), *warmup))
    return table(head, rows)


def _warmup(warmups: Mapping[tuple[float, float], float], h: HorizonBest) -> list[str]:
    share = next((w for (t, d), w in warmups.items() if (t, d) == (h.total_steps, h.dataset_size)), math.nan)
    return [f"{percent(share)} of the steps"]


def _exponents(found: Ladder) -> list[str]:
    power = found.power
    return [
        f"- By the runs alone: lr ~ {power.name}^{found.alone.value:.2f} (90 %: {found.alone.low:.2f} to "
        f"{found.alone.high:.2f}).",
        f"- With what was known before ({interval(power.prior, 2)}), as autowarm recommends from: "
        f"{interval(power.exponent, 2)}.",
    ]


def picture(steps: Ladder, data: Ladder, check: Check) -> Figure:
    """Draw the best learning rates by steps and by data, the law, and the run that was to be predicted."""
    figure = new_figure(width=12.0, height=4.4)
    left, right = figure.subplots(1, 2)
    for axes, found, name in ((left, steps, "total_steps"), (right, data, "dataset_size")):
        for h in found.law.horizons:
            _bar(axes, float(getattr(h, name)), h.lr, "complete")
        axes.set_xscale("log", base=2)
        axes.set_yscale("log", base=2)
        axes.set_xlabel(f"{name} (log)")
        axes.set_ylabel("best initial_lr (log; lines: 90 %)")
        axes.grid(alpha=0.25)
    longest = float(check.predicted.total_steps)
    lengths = np.geomspace(steps.power.seen_low, longest, 40)
    _, low, high = lr_band(steps.law, lengths)
    left.fill_between(lengths, low, high, color=colour("range"), alpha=0.25, label="law, 90 % of the best lr")
    left.plot(longest, check.predicted.initial_lr.value, "D", color=colour("best"), label="recommended")
    _bar(left, longest, check.best, "second", "found there")
    left.legend(fontsize=8)
    sizes = np.geomspace(data.power.seen_low, data.power.seen_high, 40)
    steps_there = float(data.runs.total_steps[0])
    bands = [lr_band(data.law, np.array([steps_there]), dataset_size=float(size)) for size in sizes]
    right.fill_between(sizes, [b[1][0] for b in bands], [b[2][0] for b in bands], color=colour("range"), alpha=0.25)
    return figure


def _bar(axes: Axes, x: float, found: Estimate, name: str, label: str | None = None) -> None:
    axes.plot([x, x], [found.low, found.high], color=colour(name), linewidth=2)
    axes.plot(x, found.value, "o", color=colour(name), label=label)
