"""A random forest for regression (Breiman, Random Forests, 2001): trees grown to the last run, on bootstrap samples.

All trees are grown at once, a level at a time, as columns of numbers: for the hundreds or thousands of runs of a study
that is quick enough, and takes a second less than to import scikit-learn, whose RandomForestRegressor does the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autowarm.analysis.runs import Floats

_Whole = NDArray[np.intp]


@dataclass(frozen=True)
class Forest:
    """Trees as one table of nodes; the first ones are the roots, one a tree.

    Attributes:
        trees: how many there are.
        feature: that a node splits on; -1 at a leaf; shape (nodes,).
        threshold: inputs up to it go to the left; shape (nodes,).
        left: the node there; the one to the right comes after it; shape (nodes,).
        value: mean of the targets that were learned from; shape (nodes,).
    """

    trees: int
    feature: _Whole
    threshold: Floats
    left: _Whole
    value: Floats

    def predict(self, inputs: Floats) -> Floats:
        """Return the mean of what the trees predict.

        Args:
            inputs: shape (points, features); finite.
        """
        points = len(inputs)
        flat = np.ascontiguousarray(inputs).ravel()
        at = np.repeat(np.arange(self.trees), points)
        starts = np.tile(np.arange(points) * inputs.shape[1], self.trees)
        moving = np.flatnonzero(self.feature[at] >= 0)
        while len(moving):
            node = at[moving]
            right = flat[starts[moving] + self.feature[node]] > self.threshold[node]
            node = self.left[node] + right
            at[moving] = node
            moving = moving[self.feature[node] >= 0]
        return np.asarray(self.value[at].reshape(self.trees, points).mean(axis=0), dtype=np.float64)


def grow(inputs: Floats, target: Floats, *, trees: int, rng: np.random.Generator) -> Forest:
    """Grow a forest: every split is the one, of all features, that leaves the least variance.

    Args:
        inputs: shape (runs, features); finite.
        target: shape (runs,); finite.
        trees: how many.
        rng: draws the bootstrap samples.
    """
    n, features = inputs.shape
    drawn = np.array([np.bincount(rng.integers(n, size=n), minlength=n) for _ in range(trees)])
    tree, run = np.nonzero(drawn)
    # about the middle, or sums of squares would cancel
    middle = float(target.mean())
    items = _Items(inputs[run], target[run] - middle, drawn[tree, run].astype(np.float64))
    # sorted once for all trees: of each the items that it has drawn, in the order of the runs
    item_of = (np.cumsum(drawn > 0) - 1).reshape(drawn.shape)
    by_feature = [np.argsort(inputs[:, k], kind="stable") for k in range(features)]
    orders = [item_of[:, by][drawn[:, by] > 0] for by in by_feature]
    sizes = np.bincount(tree, minlength=trees)
    made, parts = trees, []
    while len(sizes):
        level = _Level(items, orders, sizes)
        score, feature, threshold = level.best_splits()
        splits = np.isfinite(score) & (level.spread > 0)
        place = np.cumsum(splits) - 1
        children = 2 * int(splits.sum())
        left = np.where(splits, made + 2 * place, -1)
        parts.append((np.where(splits, feature, -1), threshold, left, level.totals / level.weights + middle))
        made += children
        # each item's place among the nodes of the next level; -1 where it is done
        going = splits[level.node]
        item, node = orders[0][going], level.node[going]
        goes = np.full(len(run), -1)
        goes[item] = 2 * place[node] + (items.inputs[item, feature[node]] > threshold[node])
        sizes = np.bincount(goes[item], minlength=children)
        left_over = [order[goes[order] >= 0] for order in orders]
        # numpy sorts whole numbers of at most 16 bits by their digits, which takes half as long
        to = goes.astype(np.min_scalar_type(children))
        orders = [order[np.argsort(to[order], kind="stable")] for order in left_over]
    return Forest(trees, *(np.concatenate(column) for column in zip(*parts, strict=True)))


@dataclass(frozen=True)
class _Items:
    """What the trees learn from: an item is a run within a tree.

    Attributes:
        inputs: shape (items, features).
        target: shape (items,).
        weight: how often the tree has drawn the run, shape (items,).
    """

    inputs: Floats
    target: Floats
    weight: Floats


class _Level:
    """The nodes of one depth, of all trees.

    Args:
        items: of all nodes.
        orders: of each feature the items of these nodes, by node and then by the feature.
        sizes: how many items each node has; at least one.
    """

    def __init__(self, items: _Items, orders: Sequence[_Whole], sizes: _Whole) -> None:
        self._items, self._orders = items, orders
        self._starts = np.cumsum(sizes) - sizes
        self.node = np.repeat(np.arange(len(sizes)), sizes)
        target, weight = items.target[orders[0]], items.weight[orders[0]]
        self.weights = np.add.reduceat(weight, self._starts)
        self.totals = np.add.reduceat(weight * target, self._starts)
        self.spread = np.maximum.reduceat(target, self._starts) - np.minimum.reduceat(target, self._starts)

    def best_splits(self) -> tuple[Floats, _Whole, Floats]:
        """Return the score of each node's best split, its feature and its threshold; -inf where there is none.

        The score is the squared sum of the targets over their weight, of the two sides together: what a split takes
        from the sum of squares, but for a constant.
        """
        n = len(self._starts)
        best, feature, threshold = np.full(n, -np.inf), np.zeros(n, dtype=np.intp), np.zeros(n)
        for k in range(len(self._orders)):
            score, middle = self._best_split(k)
            better = score > best
            best, feature = np.where(better, score, best), np.where(better, k, feature)
            threshold = np.where(better, middle, threshold)
        return best, feature, threshold

    def _best_split(self, k: int) -> tuple[Floats, Floats]:
        order, node, starts = self._orders[k], self.node, self._starts
        at, weight = self._items.inputs[order, k], self._items.weight[order]
        # of what is up to each item, within its node
        low_weight = _within(weight, node, starts)
        low_total = _within(weight * self._items.target[order], node, starts)
        can = np.zeros(len(order), dtype=np.bool_)
        can[:-1] = (at[1:] > at[:-1]) & (node[1:] == node[:-1])
        high_weight = np.where(can, self.weights[node] - low_weight, 1.0)
        score = low_total**2 / low_weight + (self.totals[node] - low_total) ** 2 / high_weight
        score = np.where(can, score, -np.inf)
        top = np.maximum.reduceat(score, starts)
        # the first of equal ones
        where = np.minimum.reduceat(np.where(score == top[node], np.arange(len(order)), len(order)), starts)
        low, high = at[where], at[np.minimum(where + 1, len(at) - 1)]
        # halfway, but not where that rounds up to the higher one
        middle = (low + high) / 2
        return top, np.where(middle < high, middle, low)


def _within(values: Floats, node: _Whole, starts: _Whole) -> Floats:
    """Return the sum of the values of a node up to each of them."""
    sums = np.cumsum(values)
    return np.asarray(sums - (sums[starts] - values[starts])[node], dtype=np.float64)
