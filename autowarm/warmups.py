"""How the learning rate rises to the peak: the formula of each warmup.

A warmup maps x = s / w in [0, 1), the share of the warmup that is over, and r = `warmup_start_ratio` to the learning
rate over the peak. At x = 0 it is r; towards x = 1 it rises to 1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, TypeAlias, get_args

import numpy as np

from autowarm.decays import Array

WarmupShape: TypeAlias = Literal["linear", "cosine", "exponential", "one_minus_sqrt"]

WARMUPS: tuple[str, ...] = get_args(WarmupShape)

WARMUP_RATIOS: Mapping[WarmupShape, Callable[[Array, float], Array]] = {
    "linear": lambda x, r: r + (1.0 - r) * x,
    "cosine": lambda x, r: r + (1.0 - r) * 0.5 * (1.0 - np.cos(np.pi * x)),
    "exponential": lambda x, r: np.power(r, 1.0 - x),
    # the mirror image of wsd's cooldown of the same name: slow at first, steep at the peak
    "one_minus_sqrt": lambda x, r: r + (1.0 - r) * (1.0 - np.sqrt(1.0 - x)),
}
