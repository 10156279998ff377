"""Runs whose best learning rate is known: drawn from a power law, a loss about it, noise, and failures high above."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from autowarm.analysis.runs import Runs
from autowarm.record import Mode

Floats = NDArray[np.float64]


def make_runs(
    lr: ArrayLike,
    value: ArrayLike,
    *,
    total_steps: ArrayLike = 1000.0,
    warmup: ArrayLike = 0.1,
    dataset_size: ArrayLike = math.nan,
    batch_size: ArrayLike = math.nan,
    decay: ArrayLike = "",
    seed: ArrayLike = math.nan,
    stopped: bool = False,
    mode: Mode = "min",
) -> Runs:
    """Return runs; what has no finite value failed."""
    values = np.asarray(value, dtype=np.float64)
    n = len(values)

    def column(numbers: ArrayLike) -> Floats:
        return np.broadcast_to(np.asarray(numbers, dtype=np.float64), n).copy()

    return Runs(
        initial_lr=column(lr),
        warmup_ratio=column(warmup),
        total_steps=column(total_steps),
        dataset_size=column(dataset_size),
        batch_size=column(batch_size),
        decay=np.broadcast_to(np.asarray(decay, dtype=np.str_), n).copy(),
        seed=column(seed),
        value=values,
        failed=~np.isfinite(values) & (not stopped),
        stopped=np.full(n, stopped),
        searched=np.ones(n, dtype=bool),
        metric="loss",
        mode=mode,
    )


def cost(u: Floats, asymmetry: float) -> Floats:
    """Return what it costs to be off by u = ln(lr / best lr)."""
    a = asymmetry
    return u**2 / 2 if a == 0 else (np.exp(a * u) - 1 - a * u) / a**2


@dataclass(frozen=True)
class Truth:
    """Random searches at several horizons, one after the other.

    Attributes:
        steps: total_steps of the horizons.
        exponent: of total_steps, and `batch`, of batch_size.
        runs: of each horizon.
        noise: standard deviation of a run's loss; what twice the best lr costs is .05 at asymmetry 2.
        off: how far the best lr of a horizon may be off the law (standard deviation of its logarithm).
        fails_at: ln of the lr over the best one, from which on runs fail.
    """

    steps: tuple[float, ...] = (300.0, 1000.0, 3000.0)
    exponent: float = -0.2
    runs: int = 12
    noise: float = 0.01
    asymmetry: float = 1.0
    off: float = 0.0
    fails_at: float = 1.8
    middle: float = 1e-3
    batches: tuple[float, ...] = (32.0,)
    batch: float = 0.5

    def best(self, total_steps: ArrayLike, batch_size: ArrayLike = 32.0) -> Floats:
        """Return the best lr by the law."""
        steps, batches = np.asarray(total_steps) / 1000, np.asarray(batch_size) / 32
        return np.asarray(self.middle * steps**self.exponent * batches**self.batch)

    def draw(self, rng: np.random.Generator, target: float = 10_000.0) -> tuple[Runs, Floats]:
        """Return the runs and the true best lr of each horizon, that of the target, which has no runs, the last."""
        pairs = [(t, b) for t in self.steps for b in self.batches]
        off = np.exp(self.off * rng.standard_normal(len(pairs) + 1))
        true = np.array([*(self.best(t, b) for t, b in pairs), self.best(target)]) * off
        steps, batches = np.repeat(np.array(pairs), self.runs, axis=0).T
        lr = self.middle * np.exp(rng.uniform(-3, 3, len(steps)))
        u = np.log(lr / np.repeat(true[:-1], self.runs))
        loss = 1 + 0.1 * cost(u, self.asymmetry) + self.noise * rng.standard_normal(len(u)) + steps**-0.2
        value = np.where(u > self.fails_at, math.nan, loss)
        warmup = rng.uniform(0, 0.3, len(u))
        return make_runs(lr, value, total_steps=steps, batch_size=batches, warmup=warmup), true
