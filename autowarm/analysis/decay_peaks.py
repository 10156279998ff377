"""Learning rates of different decays on one scale: the best peak of one decay is not that of another."""

from __future__ import annotations

import math

import numpy as np

from autowarm.analysis.decay_choice import decay_choice
from autowarm.analysis.runs import Floats, Runs, decay_of

# Best peak over that of cosine: a bound for convex losses that runs of a 124M language model agree with.
_PEAKS = {"constant": 0.32, "linear": 1.03}
# ... of wsd by the share of its cooldown, and the share where nobody has told it
_WSD, _WSD_SHARE = ((0.1, 0.2, 0.6), (0.47, 0.53, 0.73)), 0.2


def relative_peak(decay: str, decay_ratio: float | None = None) -> float:
    """Return the best peak under a decay, over that under cosine; 1 where nothing is known.

    >>> relative_peak("constant"), round(relative_peak("wsd", 0.4), 2), relative_peak("step")
    (0.32, 0.63, 1.0)
    """
    if decay == "wsd":
        return float(np.interp(_WSD_SHARE if decay_ratio is None else decay_ratio, *_WSD))
    return _PEAKS.get(decay, 1.0)


def log_lr(runs: Runs, decay: str) -> Floats:
    """Return ln initial_lr of each run as it would be under a decay, of shape (runs,).

    Args:
        runs: whose initial_lr is positive.
        decay: one that nothing is known of, or "", is taken as cosine; so is that of a run.
    """
    names, label = np.unique(runs.decay, return_inverse=True)
    peaks = np.array([relative_peak(*decay_of(name)) for name in names.tolist()])
    shifts: Floats = math.log(relative_peak(*decay_of(decay))) - np.log(peaks)
    return np.log(runs.initial_lr) + shifts[label.ravel()]


def favoured_decay(runs: Runs) -> str:
    """Return the decay to speak of: the most frequent of the better half of the runs at the longest horizons.

    A learning rate far off costs more than a decay does, so that half has bad decays, too: none is spoken of that is
    worse beyond noise, each decay at its own best learning rate.
    """
    choice = decay_choice(runs)
    worse = [d.decay for d in choice.decays if not d.tied] if choice is not None else []
    rows = np.flatnonzero(runs.ended & (runs.decay != "") & ~np.isin(runs.decay, worse))
    if not len(rows):
        return ""
    steps = runs.total_steps[rows]
    rows = rows[steps >= np.quantile(steps, 0.75)]
    bad = runs.badness[rows]
    names, counts = np.unique(runs.decay[rows[bad <= np.median(bad)]], return_counts=True)
    return str(names[np.argmax(counts)])
