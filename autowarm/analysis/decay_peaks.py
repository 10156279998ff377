"""Learning rates of different decays on one scale: the best peak of one decay is not that of another."""

from __future__ import annotations

import math

import numpy as np

from autowarm.analysis.runs import Floats, Runs, wsd_name

# Best peak over that of cosine: a bound for convex losses that runs of a 124M language model agree with.
PEAKS = {"constant": 0.32, "linear": 1.03}
# ... of wsd by the share of its cooldown
WSD_PEAKS = ((0.1, 0.2, 0.6), (0.47, 0.53, 0.73))
_BY_NAME = PEAKS | {wsd_name(share): peak for share, peak in zip(*WSD_PEAKS, strict=True)}


def log_lr(runs: Runs, decay: str) -> Floats:
    """Return ln initial_lr of each run as it would be under a decay, of shape (runs,).

    Args:
        runs: whose initial_lr is positive.
        decay: one that nothing is known of, or "", is taken as cosine; so is that of a run.
    """
    names, label = np.unique(runs.decay, return_inverse=True)
    peaks = np.array([_BY_NAME.get(name, 1.0) for name in names.tolist()])
    shifts: Floats = math.log(_BY_NAME.get(decay, 1.0)) - np.log(peaks)
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
