"""Numbers and schedules as a report writes them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from autowarm.analysis.estimate import Estimate
from autowarm.words import number, percent

# No training uses a learning rate as low as this, or as high as one over it.
_NO_LR = 1e-12


def counts_words(counts: Mapping[str, int]) -> str:
    """Return counts by name.

    >>> counts_words({"COMPLETE": 18, "PRUNED": 2})
    '18 COMPLETE, 2 PRUNED'
    """
    return ", ".join(f"{count} {name}" for name, count in counts.items())


def schedule_in_words(initial_lr: float, warmup_ratio: float, decay: str) -> str:
    """Return a schedule of which the numbers alone are known.

    >>> schedule_in_words(2e-4, 0.06, "cosine"), schedule_in_words(2e-4, float("nan"), "")
    ('lr 0.0002, warmup 6 %, cosine', 'lr 0.0002')
    """
    parts = [f"lr {number(initial_lr)}"]
    if math.isfinite(warmup_ratio):
        parts.append(f"warmup {percent(warmup_ratio)}" if warmup_ratio > 0 else "no warmup")
    return ", ".join([*parts, *([decay] if decay else [])])


def interval(estimate: Estimate, digits: int = 3) -> str:
    """Return a number with its interval, open where nothing bounds it.

    >>> interval(Estimate(0.01, 0.005, math.inf)), interval(Estimate(2.0, -math.inf, 3.0))
    ('0.01 (at least 0.005)', '2 (at most 3)')
    """
    return _with_ends(estimate, lambda value: _rounded(value, digits, estimate))


def lr_interval(estimate: Estimate, digits: int = 3) -> str:
    """Return a learning rate with its interval, open where nothing that a training could use bounds it.

    >>> lr_interval(Estimate(1e-4, 5e-5, math.inf)), lr_interval(Estimate(0.01, 0.0, 1e30))
    ('0.0001 (at least 5e-5)', '0.01')
    """
    low = estimate.low if estimate.low > _NO_LR else -math.inf
    high = estimate.high if estimate.high < 1 / _NO_LR else math.inf
    return _with_ends(Estimate(estimate.value, low, high), lambda lr: number(lr, digits))


def _with_ends(estimate: Estimate, words: Callable[[float], str]) -> str:
    value = words(estimate.value) if math.isfinite(estimate.value) else "-"
    low, high = math.isfinite(estimate.low), math.isfinite(estimate.high)
    if low and high:
        return f"{value} ({words(estimate.low)} to {words(estimate.high)})"
    if low:
        return f"{value} (at least {words(estimate.low)})"
    return f"{value} (at most {words(estimate.high)})" if high else value


def _rounded(value: float, digits: int, estimate: Estimate) -> str:
    # next to its interval a rounding error is 0
    wide = max((abs(end) for end in (estimate.low, estimate.high) if math.isfinite(end)), default=0.0)
    return number(0.0 if abs(value) < 1e-6 * wide else value, digits)


def share_interval(estimate: Estimate) -> str:
    """Return a share with its interval, in per cent.

    >>> share_interval(Estimate(0.6, 0.5, 0.71))
    '60 % (50 to 71 %)'
    """
    return f"{percent(estimate.value)} ({percent(estimate.low).removesuffix(' %')} to {percent(estimate.high)})"
