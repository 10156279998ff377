"""What matters: how much of the differences between runs comes from each knob, and from two of them together.

The functional ANOVA of Hutter, Hoos & Leyton-Brown (An Efficient Approach for Assessing Hyperparameter Importance,
2014): a forest f learns the metric from the knobs; what it predicts on a grid over all that was tried, spread as the
runs are, is split into its mean, an effect f_U of each knob alone, of each two beyond that, and the rest. The share of
U is <f_U, f_U> / <f, f>.

Taken as it is, this shows effects that are not there, as a forest learns noise, too, and small ones too small, as it
smooths. So f and g are learned from two thirds of the runs, whose noise has nothing in common, and the last third
corrects what both have smoothed away, to first order (the one-step estimator; Chernozhukov et al., Double/Debiased
Machine Learning, 2018): <f_U, g_U> + mean of f_U(x) (y - g(x)) + g_U(x) (y - f(x)) over its runs (x, y).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from autowarm.analysis.estimate import Estimate
from autowarm.analysis.forest import grow
from autowarm.analysis.runs import Flags, Floats, Runs
from autowarm.words import listed, number, percent

Places = NDArray[np.intp]
Subset = tuple[int, ...]

# Fewer runs than that tell nothing, and more than that nothing new.
_ENOUGH, _MOST = 30, 4000
# Splits in three thirds, trees of the forest of a third.
_SPLITS, _TREES = 8, 12
# Points of the grid, and levels of a number before they are thinned to that.
_GRID = 4000
_LEVELS = {"initial_lr": 16, "warmup_ratio": 12}
_FEW_LEVELS = 5
# Fewer runs of a decay than that are left out.
_OF_A_DECAY = 5
# So much is explained of runs that differ by noise alone, by chance.
_NOTHING = 0.1
# At least so much of an effect a forest is taken to keep.
_KEPT = 0.33
# A share that is at most so large is little.
_LITTLE = 0.05
_SEED = 0
# Normal quantile of a 90 % interval.
_Z = 1.645


@dataclass(frozen=True)
class Importance:
    """Shares of the variance of a metric over all that was tried, noise left out.

    Attributes:
        names: of the knobs that were varied; empty where they explain nothing, as `main` and `pairs` then are.
        main: share of each knob alone, in [0, 1].
        pairs: (knob, knob, share of the two together beyond each alone), the largest first.
        explained: share of the variance between runs that is predicted for runs not learned from (R2; noise counts).
        runs: of which it was learned.
        of: runs that there were.
        clipped: the value that all worse ones, and failed runs, count as.
        clips: how many runs it stands for.
        metric: its name.
    """

    names: tuple[str, ...]
    main: tuple[Estimate, ...]
    pairs: tuple[tuple[str, str, Estimate], ...]
    explained: float
    runs: int
    of: int
    clipped: float
    clips: int
    metric: str

    def sentences(self) -> list[str]:
        """Say what matters, what does not, and how much of it is known."""
        if not self.names:
            return [
                f"What was varied explains nothing of the differences in {self.metric} between {self.runs:,} runs: "
                "they may be noise."
            ]
        said = []
        order = sorted(zip(self.names, self.main, strict=True), key=lambda pair: -pair[1].value)
        told = [(name, share) for name, share in order if _is_told(share)]
        if told:
            parts = [f"{name} makes {_percent(share)}" for name, share in told]
            said.append(f"Of what schedules change in {self.metric}, {listed(parts)}.")
        said += [
            f"{a} and {b} together make {_percent(share)} beyond that: the best {a} depends on {b}."
            for a, b, share in self.pairs
            if _is_told(share)
        ]
        untold = [(f"{name} (at most {percent(share.high)})", share) for name, share in order if not _is_told(share)]
        for words, parts in (
            ("Little or nothing on its own", [part for part, share in untold if share.high <= _LITTLE]),
            ("No effect of its own can be told from noise", [part for part, share in untold if share.high > _LITTLE]),
        ):
            said += [f"{words}: {listed(parts)}."] if parts else []
        part = f"{self.runs:,} of {self.of:,} runs, drawn at random" if self.runs < self.of else f"{self.runs:,} runs"
        said.append(
            f"Learned from {part}; {percent(self.explained)} of the differences between new runs are predicted."
        )
        if self.clips:
            said.append(f"{self.clips:,} runs that failed or ended worse than {number(self.clipped, 5)} count as that.")
        return said


def importance(runs: Runs) -> Importance | None:
    """Return what matters; None where fewer than 30 runs ended or failed, nothing was varied, or all ended alike.

    Args:
        runs: those of a search count, and not those that were stopped.
    """
    runs = runs.where(runs.searched & ~runs.stopped & (runs.failed | runs.ended))
    knobs = list(_knobs(runs)) if runs.ended.any() else []
    known = (
        np.all([np.isfinite(knob.values) for knob in knobs], axis=0) if knobs else np.zeros(len(runs), dtype=np.bool_)
    )
    if known.sum() < _ENOUGH:
        return None
    rng = np.random.default_rng(_SEED)
    rows = np.sort(rng.permutation(np.flatnonzero(known))[:_MOST])
    target, bar, clips = _target(runs, rows)
    if np.ptp(target) == 0:
        return None
    axes = _axes(knobs, rows)
    learned = _learned(np.column_stack([knob.values[rows] for knob in knobs]), target, axes, rng)
    told = _Told(explained=learned.explained(), runs=len(rows), of=int(known.sum()), clipped=bar, clips=clips)
    shares = _shares(learned, axes) if told["explained"] > _NOTHING else {}
    names = tuple(knob.name for knob in knobs) if shares else ()
    pairs = [(names[u[0]], names[u[1]], share) for u, share in shares.items() if len(u) == 2]
    return Importance(
        names=names,
        main=tuple(shares[i,] for i in range(len(names))),
        pairs=tuple(sorted(pairs, key=lambda pair: -pair[2].value)),
        metric=runs.metric,
        **told,
    )


class _Told(TypedDict):
    explained: float
    runs: int
    of: int
    clipped: float
    clips: int


@dataclass(frozen=True)
class _Knob:
    """One knob of the runs.

    Attributes:
        name: of the column.
        values: numbers, in logarithms where they are searched in factors; of words their place among them; shape
            (runs,), NaN where unknown.
        words: whether they are words.
    """

    name: str
    values: Floats
    words: bool = False


def _knobs(runs: Runs) -> Iterator[_Knob]:
    """Yield the knobs that vary, of those known for at least half of the runs."""
    for name in ("initial_lr", "warmup_ratio", "decay", "total_steps", "dataset_size", "batch_size"):
        column = getattr(runs, name)
        if name == "decay":
            words, places, counts = np.unique(column, return_inverse=True, return_counts=True)
            values = np.where(((counts >= _OF_A_DECAY) & (words != ""))[places], places, np.nan)
        else:
            values = column if name == "warmup_ratio" else np.log(column)
        known = np.isfinite(values)
        if known.sum() >= max(len(runs) / 2, 1) and np.ptp(values[known]) > 0:
            yield _Knob(name, values, words=name == "decay")


@dataclass(frozen=True)
class _Axis:
    """One knob as the grid sees it; a level stands for the runs next to it, and weighs as many as they are.

    Attributes:
        levels: shape (levels,).
        weights: shape (levels,), of sum 1.
        places: the level of each run, shape (runs,).
        words: whether levels are words, whose numbers mean nothing.
    """

    levels: Floats
    weights: Floats
    places: Places
    words: bool


def _axes(knobs: Sequence[_Knob], rows: Places) -> list[_Axis]:
    """Return the axes of a grid of at most `_GRID` points, but for words, which all count."""
    distinct = [len(np.unique(knob.values[rows])) for knob in knobs]
    most = [n if k.words else min(n, _LEVELS.get(k.name, _FEW_LEVELS)) for k, n in zip(knobs, distinct, strict=True)]
    numbers = [i for i, knob in enumerate(knobs) if not knob.words]
    while numbers and math.prod(most) > _GRID:
        longest = max(numbers, key=lambda i: most[i])
        if most[longest] <= 3:
            break
        most[longest] -= 1
    return [_axis(knob.values[rows], size, knob.words) for knob, size in zip(knobs, most, strict=True)]


def _axis(values: Floats, size: int, words: bool) -> _Axis:
    levels, places = np.unique(values, return_inverse=True)
    if len(levels) > size:
        # equally many runs a level
        edges = np.unique(np.quantile(values, np.arange(1, size) / size))
        _, places = np.unique(np.searchsorted(edges, values, side="right"), return_inverse=True)
        levels = np.array([np.median(values[places == i]) for i in range(places.max() + 1)])
    counts = np.bincount(places, minlength=len(levels))
    return _Axis(levels, counts / counts.sum(), places, words)


def _target(runs: Runs, rows: NDArray[np.intp]) -> tuple[Floats, float, int]:
    """Return the badness to learn, the value that the worst count as, and how many do.

    What ended far out would be all the variance: beyond Tukey's outer fence (Exploratory Data Analysis, 1977),
    3 interquartile ranges above the upper quartile, is as bad as it gets.
    """
    badness, ended = runs.badness[rows], runs.ended[rows]
    good = badness[ended] if ended.any() else runs.badness[runs.ended]
    lower, upper = np.quantile(good, [0.25, 0.75])
    fence = upper + 3 * (upper - lower) if upper > lower else np.inf
    bar = float(min(good.max(), fence))
    worse = ~ended | (badness > bar)
    target = np.where(worse, bar, badness)
    return target, bar if runs.mode == "min" else -bar, int(worse.sum())


@dataclass(frozen=True)
class _Learned:
    """What forests of a third of the runs each have learned, split by split.

    Attributes:
        grid: what they predict on the grid, shape (splits, 3, levels of the first knob, of the second, ...).
        runs: what they predict for the runs, shape (splits, 3, runs).
        third: in which third a run is, shape (splits, runs).
        target: what was learned, shape (runs,).
    """

    grid: Floats
    runs: Floats
    third: Places
    target: Floats

    def unseen(self) -> Floats:
        """Return what is predicted for each run by the forests that have not learned from it."""
        has_not = self.third[:, None, :] != np.arange(3)[None, :, None]
        return np.asarray((self.runs * has_not).sum(axis=(0, 1)) / has_not.sum(axis=(0, 1)), dtype=np.float64)

    def explained(self) -> float:
        """Return R2 of that."""
        return 1 - float(np.mean((self.target - self.unseen()) ** 2) / np.var(self.target))


def _learned(inputs: Floats, target: Floats, axes: Sequence[_Axis], rng: np.random.Generator) -> _Learned:
    places = np.meshgrid(*(np.arange(len(axis.levels)) for axis in axes), indexing="ij")
    points = np.column_stack([axis.levels[place.ravel()] for axis, place in zip(axes, places, strict=True)])
    words = [k for k, axis in enumerate(axes) if axis.words]
    third = np.array([rng.permutation(np.arange(len(target)) % 3) for _ in range(_SPLITS)])
    grid, runs = np.empty((_SPLITS, 3, len(points))), np.empty((_SPLITS, 3, len(target)))
    for split, i in itertools.product(range(_SPLITS), range(3)):
        mine = third[split] == i
        seen, of_grid = inputs.copy(), points.copy()
        for k in words:
            # words in the order of their means: the best split of them is one of these (Fisher, On Grouping for Maximum
            # Homogeneity, 1958)
            means = _means(axes[k], mine, target)
            seen[:, k], of_grid[:, k] = means[axes[k].places], means[places[k].ravel()]
        forest = grow(seen[mine], target[mine], trees=_TREES, rng=rng)
        grid[split, i], runs[split, i] = forest.predict(of_grid), forest.predict(seen)
    return _Learned(grid.reshape(_SPLITS, 3, *places[0].shape), runs, third, target)


def _means(axis: _Axis, mine: Flags, target: Floats) -> Floats:
    """Return the mean of the target at each level, that of all where none of `mine` is there."""
    counts = np.bincount(axis.places[mine], minlength=len(axis.levels))
    sums = np.bincount(axis.places[mine], weights=target[mine], minlength=len(axis.levels))
    return np.where(counts > 0, sums / np.maximum(counts, 1), target[mine].mean())


def _shares(learned: _Learned, axes: Sequence[_Axis]) -> dict[Subset, Estimate]:
    """Return the share of each knob, and of each two; nothing where all together come to none."""
    everything = tuple(range(len(axes)))
    subsets = [u for size in (1, 2) for u in itertools.combinations(everything, size)]
    effects = _effects(learned.grid, axes, subsets)
    found = {u: _variance(learned, axes, effect) for u, effect in effects.items()}
    # beside the effects: of two knobs, the pair is a subset that holds them all
    whole = _variance(learned, axes, learned.grid - _mean(learned.grid, axes, everything))
    total = float(whole.of_splits.mean())
    if total <= 0:
        return {}
    left = learned.target - learned.unseen()
    shares = {}
    for u in subsets:
        part = found[u]
        of_splits = part.of_splits / total
        share = float(of_splits.mean())
        # how much one run moves the share: the influence function of <f_U, f_U> / <f, f>
        moved = part.at_runs * (part.at_runs + 2 * left) - share * whole.at_runs * (whole.at_runs + 2 * left)
        by_runs = float(moved.std()) / total / math.sqrt(len(left))
        spread = math.hypot(by_runs, float(of_splits.std(ddof=1)))
        bounds = (share, share - _Z * spread, share + _Z * spread)
        shares[u] = Estimate(*(min(max(x, 0.0), 1.0) for x in bounds))
    return shares


@dataclass(frozen=True)
class _Variance:
    """The variance of an effect.

    Attributes:
        of_splits: by each split, shape (splits,).
        at_runs: the effect where the runs are, shape (runs,).
    """

    of_splits: Floats
    at_runs: Floats


def _variance(learned: _Learned, axes: Sequence[_Axis], effect: Floats) -> _Variance:
    """Return the variance of an effect, corrected for what the forests have smoothed away.

    Where they have kept a share k of it, <f, g> is k^2 V, and with the correction 1 - (1 - k)^2 of V. Both together
    tell k: what is still missing, is made up for, as far as a third of the effect was kept.
    """
    at_runs = _at_runs(effect, axes)
    left = learned.target - learned.runs
    weights = _weights(axes, [i for i in range(len(axes)) if effect.shape[2 + i] > 1])
    plain, corrected = np.zeros(len(effect)), np.zeros(len(effect))
    for last, (a, b) in enumerate(((1, 2), (2, 0), (0, 1))):
        product = (effect[:, a] * effect[:, b] * weights).reshape(len(effect), -1).sum(axis=1)
        mine = learned.third == last
        correction = ((at_runs[:, b] * left[:, a] + at_runs[:, a] * left[:, b]) * mine).sum(axis=1) / mine.sum(axis=1)
        plain += product / 3
        corrected += (product + correction) / 3
    p, c = max(float(plain.mean()), 0.0), float(corrected.mean())
    kept = min(max(2 * p / (p + c), _KEPT), 1.0) if c > 0 else 1.0
    return _Variance(corrected / (1 - (1 - kept) ** 2), at_runs.mean(axis=(0, 1)) / kept)


def _effects(values: Floats, axes: Sequence[_Axis], subsets: Sequence[Subset]) -> dict[Subset, Floats]:
    """Return the effect of each subset of knobs: the mean over all others, less the effects of its own subsets.

    Args:
        values: shape (splits, 3, levels of the first knob, of the second, ...).
        axes: of the knobs.
        subsets: the smaller ones first.
    """
    everything = range(len(axes))
    mean = _mean(values, axes, everything)
    found: dict[Subset, Floats] = {}
    for u in subsets:
        effect = _mean(values, axes, [i for i in everything if i not in u]) - mean
        for part, known in found.items():
            if set(part) < set(u):
                effect = effect - known
        found[u] = effect
    return found


def _mean(values: Floats, axes: Sequence[_Axis], over: Sequence[int]) -> Floats:
    """Return the mean over some knobs, whose axes keep a length of 1."""
    for i in over:
        weights = axes[i].weights.reshape([-1 if k == 2 + i else 1 for k in range(values.ndim)])
        values = (values * weights).sum(axis=2 + i, keepdims=True)
    return values


def _weights(axes: Sequence[_Axis], of: Sequence[int]) -> Floats:
    """Return the weights of the points of the grid that some knobs span, the others' axes being of length 1."""
    found = np.ones([1] * len(axes))
    for i in of:
        found = found * axes[i].weights.reshape([-1 if k == i else 1 for k in range(len(axes))])
    return found


def _at_runs(effect: Floats, axes: Sequence[_Axis]) -> Floats:
    """Return an effect where the runs are, shape (splits, 3, runs)."""
    places: tuple[Any, ...] = tuple(
        axis.places if effect.shape[2 + i] > 1 else np.zeros_like(axis.places) for i, axis in enumerate(axes)
    )
    return np.asarray(effect[:, :, *places], dtype=np.float64)


def _is_told(share: Estimate) -> bool:
    return share.low > 0.005


def _percent(share: Estimate) -> str:
    return f"{percent(share.value)} ({percent(share.low)} to {percent(share.high)})"
