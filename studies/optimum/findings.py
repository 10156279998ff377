"""Whether a run ends better with warmup, each warmup at its own best learning rate."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.special import stdtrit

from autowarm.analysis.estimate import Estimate
from autowarm.analysis.repeat_noise import repeat_noise
from autowarm.analysis.runs import Floats
from autowarm.report.cells import table
from autowarm.report.picture import new_figure
from autowarm.report.words import interval, lr_interval
from autowarm.words import listed, number
from studies.claims.findings import Findings, Records
from studies.claims.warmups import Warmups, effect, label_panels, lr_axis, warmup_colour, warmup_words, warmups_of

# What was changed once first results were known.
_AFTERWARDS = (
    "The gain seed by seed and the comparison at a learning rate 4 times too high were added after the records"
    " had been seen: the former as a check, the latter as a question more than an answer."
)

TASKS = {
    "char_gpt": "character GPT",
    "fashion_conv": "convolutional net",
    "diamonds": "tabular MLP",
    "char_lstm": "LSTM",
}
# Seed noise and best learning rate are looked at within this factor of the best one.
_NEAR = 2.0
# So many times the best learning rate is too high.
_TOO_HIGH = 4.0

_BODY = """\
Four trainings, each with a linear decay to 0: a character GPT and an LSTM on Shakespeare and an MLP on the prices of
diamonds, by Adam or AdamW, and a convolutional net on Fashion-MNIST, by SGD with momentum. Learning rates in factors of
2, each with {warmups}, on {seeds} seeds. *At its best lr* is what a curve through all runs of a warmup near its best
learning rate says of its lowest point, not the luckiest run; the gain is how much less that is than without warmup, and
its intervals hold for all warmups of a task together. *Seed by seed* is the same gain by another road: the difference
between runs of one seed, each at the learning rate that is best on the other seeds. The diamonds are in the environment
of `make examples`, the images in Debian's package `dataset-fashion-mnist`.

{rows}

Runs that differ by their seed alone, near their best learning rate, have a standard deviation of {noise}.

![Final validation loss against the learning rate](losses.png)

## Conclusion

{conclusion}
"""


def findings(records: Records) -> Findings:
    """Return what the records of the four tasks say."""
    found = {task: warmups_of(records[task]) for task in TASKS}
    header = ("task", "warmup", "best lr", "val_loss at its best lr", "gain over no warmup", "gain, seed by seed")
    rows = [_row(task, of, share) for task, of in found.items() for share in of.shares]
    shares = next(iter(found.values())).shares
    body = _BODY.format(
        warmups=listed([warmup_words(share) for share in shares]),
        seeds=len({r.seed for of in records.values() for r in of}),
        rows="\n".join(table(header, rows)),
        noise=listed([f"{number(seed_noise(of), 2)} for the {TASKS[task]}" for task, of in found.items()]),
        conclusion=_conclusion(found),
    )
    return Findings(
        title="Is a run better with warmup, each at its own best learning rate?",
        claim="Warmup makes the final loss better also where the learning rate without it was tuned as well.",
        found=_found(found),
        afterwards=_AFTERWARDS,
        body=body,
        pictures={"losses": partial(_draw, found)},
    )


def gains_of(of: Warmups) -> list[tuple[float, Estimate]]:
    """Return each warmup with its gain over none, where the runs tell it."""
    gains = [(share, of.gain(share)) for share in of.shares if share > 0]
    return [(share, gain) for share, gain in gains if gain is not None]


def gain_by_seed(of: Warmups, share: float) -> Estimate | None:
    """Return the same gain by another road: seed by seed, at the learning rate that is best on the other seeds.

    So no run is compared that was chosen for its own luck. Student's interval of the differences, each within a seed;
    right for all warmups of the task together. None where a seed's runs did not all end.

    Args:
        of: the runs of a task.
        share: of the warmup.
    """
    chosen = []
    for one in (0.0, share):
        values = _grid(of, one)
        others = [np.delete(values, seed, axis=0).mean(axis=0) for seed in range(len(values))]
        chosen.append(np.array([of_seed[np.argmin(mean)] for of_seed, mean in zip(values, others, strict=True)]))
    return _mean_gain(chosen[0], chosen[1], len(of.shares) - 1)


def gain_above(of: Warmups) -> tuple[float, Estimate] | None:
    """Return what the longest warmup gains where the learning rate is some four times too high for none.

    Returns:
        The learning rate of the grid that is nearest to four times the best one without warmup, and the gain there, of
        the differences within seeds; None where not all of those runs ended.
    """
    best = of.lr(0.0)
    if best is None:
        return None
    lrs = np.unique(of.runs.initial_lr)
    at = int(np.argmin(np.abs(np.log(lrs / (_TOO_HIGH * best.value)))))
    gain = _mean_gain(_grid(of, 0.0)[:, at], _grid(of, of.shares[-1])[:, at])
    return None if gain is None else (float(lrs[at]), gain)


def _grid(of: Warmups, share: float) -> Floats:
    """Return the values of a warmup's runs, of shape (seeds, learning rates); inf where one did not end."""
    runs = of.runs.where(of.of(share))
    seeds, lrs = np.unique(of.runs.seed), np.unique(of.runs.initial_lr)
    values = np.full((len(seeds), len(lrs)), math.inf)
    ended = np.isfinite(runs.value)
    values[np.searchsorted(seeds, runs.seed[ended]), np.searchsorted(lrs, runs.initial_lr[ended])] = runs.value[ended]
    return values


def _mean_gain(without: Floats, with_warmup: Floats, comparisons: int = 1) -> Estimate | None:
    """Return the mean of differences with Student's interval; None where a value is missing, or there is but one."""
    degrees = len(without) - 1
    if degrees < 1 or not np.isfinite([without, with_warmup]).all():
        return None
    gains = without - with_warmup
    half = float(stdtrit(degrees, 1 - 0.05 / comparisons) * gains.std(ddof=1)) / math.sqrt(len(gains))
    return Estimate(float(gains.mean()), float(gains.mean()) - half, float(gains.mean()) + half)


def best_gain(of: Warmups) -> tuple[float, Estimate] | None:
    """Return the warmup with the largest gain over none, and that gain; None where the runs do not tell of any.

    Its interval is one for all warmups together, so that choosing the largest is allowed for.
    """
    return max(gains_of(of), key=lambda pair: pair[1].value, default=None)


def seed_noise(of: Warmups) -> float:
    """Return the standard deviation over seeds of runs near their warmup's best learning rate; NaN where unknown."""
    near = np.zeros(len(of.runs), dtype=bool)
    for share in of.shares:
        lr = of.lr(share)
        if lr is not None:
            near |= of.of(share) & (np.abs(np.log(of.runs.initial_lr / lr.value)) <= math.log(_NEAR))
    return repeat_noise(of.runs, near)


def _row(task: str, of: Warmups, share: float) -> tuple[str, ...]:
    lr, value = of.lr(share), of.value(share)
    gains = (of.gain(share), gain_by_seed(of, share)) if share > 0 else (None, None)
    return (
        TASKS[task],
        warmup_words(share),
        "-" if lr is None else lr_interval(lr, 2),
        "-" if value is None else interval(value, 4),
        *("-" if gain is None else interval(gain, 2) for gain in gains),
    )


def verdicts(found: dict[str, Warmups]) -> dict[int, list[str]]:
    """Return the tasks by what warmup does: 1, some warmup is better; -1, every one is worse; 0, neither is told."""
    sorted_by: dict[int, list[str]] = {1: [], 0: [], -1: []}
    for task, of in found.items():
        signs = [effect(gain, 0.0) for _, gain in gains_of(of)]
        sorted_by[1 if 1 in signs else -1 if signs and set(signs) == {-1} else 0].append(task)
    return sorted_by


def _found(found: dict[str, Warmups]) -> str:
    by = verdicts(found)
    gains = [
        f"{TASKS[task]} {interval(best[1], 2)}" for task, of in found.items() if (best := best_gain(of)) is not None
    ]
    above = [gain_above(of) for of in found.values()]
    helped = sum(one is not None and effect(one[1], 0.0) > 0 for one in above)
    return (
        f"Better beyond the noise in {len(by[1])} of {len(found)} tasks, worse in {len(by[-1])}, not told apart in "
        f"{len(by[0])}. Gain in val_loss of the best warmup: {', '.join(gains)}. At a learning rate some "
        f"{_TOO_HIGH:g} times too high it is better in {helped} of {len(found)}."
    )


def _conclusion(found: dict[str, Warmups]) -> str:
    by, said = verdicts(found), []
    for task in by[1]:
        best = best_gain(found[task])
        if best is None:
            continue
        share, most = best
        noise = seed_noise(found[task])
        said.append(
            f"The {TASKS[task]} is better with {warmup_words(share)} by {interval(most, 2)}, "
            f"{number(most.value / noise, 2)} times what a run varies from seed to seed."
        )
    if by[0]:
        said.append(
            f"For the {listed([TASKS[task] for task in by[0]])} no warmup is told from none: gains up to "
            f"{listed([_most(found[task]) for task in by[0]])}, in this order, cannot be ruled out."
        )
    if by[-1]:
        said.append(f"The {listed([TASKS[task] for task in by[-1]])} is worse with every warmup tried.")
    worse = [
        f"{TASKS[task]} with {warmup_words(share)}"
        for task, of in found.items()
        if task not in by[-1]
        for share, gain in gains_of(of)
        if effect(gain, 0.0) < 0
    ]
    if worse:
        said.append(f"Too much of it costs: worse than none, beyond the noise, is the {listed(worse)}.")
    alike = [(of.gain(share), gain_by_seed(of, share)) for of in found.values() for share in of.shares if share > 0]
    signs = [(effect(one, 0.0), effect(two, 0.0)) for one, two in alike if one is not None and two is not None]
    said.append(
        f"Seed by seed the verdict is the same for {sum(one == two for one, two in signs)} of {len(signs)} pairs of a "
        f"task and a warmup, and the contrary for {sum(one * two < 0 for one, two in signs)}."
    )
    moved = [TASKS[task] for task, of in found.items() if _lr_moves(of)]
    said.append(
        f"The best learning rate is higher with the longest warmup, beyond the intervals, for the {listed(moved)}."
        if moved
        else "That the best learning rate moves with the warmup is not told from noise for any of them."
    )
    above = {task: gain for task, of in found.items() if (gain := gain_above(of)) is not None}
    helped = [
        f"{TASKS[task]} (by {interval(gain, 2)} at {number(lr, 2)})"
        for task, (lr, gain) in above.items()
        if effect(gain, 0.0) > 0
    ]
    said.append(
        f"Warmup shows where the learning rate is about {_TOO_HIGH:g} times too high: there the longest one is better, "
        f"beyond the noise, for the {listed(helped)}."
        if helped
        else f"Nor does the longest warmup help, beyond the noise, where the learning rate is about {_TOO_HIGH:g} "
        "times too high."
    )
    return " ".join(said)


def _most(of: Warmups) -> str:
    gains = [gain.high for _, gain in gains_of(of)]
    return number(max(gains), 2) if gains else "any"


def _lr_moves(of: Warmups) -> bool:
    none, longest = of.lr(0.0), of.lr(of.shares[-1])
    return none is not None and longest is not None and longest.low > none.high


def _draw(found: dict[str, Warmups]) -> Figure:
    figure = new_figure(width=9.0, height=6.4)
    panels = figure.subplots(2, 2).flatten()
    for axes, (task, of) in zip(panels, found.items(), strict=True):
        _panel(axes, of)
        axes.set_title(TASKS[task], loc="left", fontsize=10)
    label_panels(figure, panels, x="initial_lr", y="val_loss at the end")
    return figure


def _panel(axes: Axes, of: Warmups) -> None:
    runs = of.runs
    ended = runs.value[np.isfinite(runs.value)]
    # what learned next to nothing would hide the rest
    lowest, middle = float(ended.min()), float(np.median(ended))
    top = lowest + 3 * (middle - lowest)
    lrs = np.unique(runs.initial_lr)
    shown = np.where(np.isfinite(runs.value), np.minimum(runs.value, top), top)
    for place, share in enumerate(of.shares):
        mine = of.of(share)
        axes.scatter(runs.initial_lr[mine], shown[mine], s=10, color=warmup_colour(place), alpha=0.5, linewidth=0)
        means = [float(shown[mine & (runs.initial_lr == lr)].mean()) for lr in lrs]
        axes.plot(lrs, means, color=warmup_colour(place), linewidth=1.6, label=warmup_words(share))
    lr_axis(axes, lrs)
