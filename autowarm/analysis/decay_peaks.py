"""Learning rates of different decays on one scale: the best peak of one decay is not that of another."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from autowarm.analysis.runs import Runs

Floats = NDArray[np.float64]

# Best peak over that of cosine: a bound for convex losses that runs of a 124M language model agree with.
_PEAKS = {"constant": 0.32, "wsd 10 %": 0.47, "wsd 20 %": 0.53, "wsd 60 %": 0.73, "linear": 1.03}


def log_lr(runs: Runs, decay: str) -> Floats:
    """Return ln initial_lr of each run as it would be under a decay, of shape (runs,).

    Args:
        runs: whose initial_lr is positive.
        decay: one that nothing is known of, or "", is taken as cosine; so is that of a run.
    """
    names, label = np.unique(runs.decay, return_inverse=True)
    peaks = np.array([_PEAKS.get(name, 1.0) for name in names.tolist()])
    shifts: Floats = math.log(_PEAKS.get(decay, 1.0)) - np.log(peaks)
    return np.log(runs.initial_lr) + shifts[label.ravel()]


def reference_decay(runs: Runs) -> str:
    """Return the decay to speak of: the most frequent of the better half of the runs at the longest horizons."""
    rows = np.flatnonzero(runs.ended & (runs.decay != ""))
    if not len(rows):
        return ""
    steps = runs.total_steps[rows]
    rows = rows[steps >= np.quantile(steps, 0.75)]
    bad = runs.badness[rows]
    names, counts = np.unique(runs.decay[rows[bad <= np.median(bad)]], return_counts=True)
    return str(names[np.argmax(counts)])
