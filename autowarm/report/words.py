"""Numbers and schedules as a report writes them."""

from __future__ import annotations

import math
from collections.abc import Mapping

from autowarm.analysis.estimate import Estimate


def counts_words(counts: Mapping[str, int]) -> str:
    """Return counts by name.

    >>> counts_words({"COMPLETE": 18, "PRUNED": 2})
    '18 COMPLETE, 2 PRUNED'
    """
    return ", ".join(f"{count} {name}" for name, count in counts.items())


def percent(share: float) -> str:
    """Return a share in per cent; "-" where it is not known.

    >>> percent(0.0372), percent(1 / 3), percent(0.0)
    ('3.7 %', '33 %', '0 %')
    """
    return f"{share * 100:.2g} %" if math.isfinite(share) and share < 0.995 else "100 %" if share >= 0.995 else "-"


def schedule_in_words(initial_lr: float, warmup_ratio: float, decay: str) -> str:
    """Return a schedule of which the numbers alone are known.

    >>> schedule_in_words(2e-4, 0.06, "cosine"), schedule_in_words(2e-4, float("nan"), "")
    ('lr 0.0002, warmup 6 %, cosine', 'lr 0.0002')
    """
    parts = [f"lr {initial_lr:.3g}"]
    if math.isfinite(warmup_ratio):
        parts.append(f"warmup {percent(warmup_ratio)}" if warmup_ratio > 0 else "no warmup")
    return ", ".join([*parts, *([decay] if decay else [])])


def interval(estimate: Estimate, digits: int = 3) -> str:
    """Return a number with its interval, open where nothing bounds it.

    >>> interval(Estimate(0.01, 0.005, math.inf)), interval(Estimate(2.0, -math.inf, 3.0))
    ('0.01 (at least 0.005)', '2 (at most 3)')
    """
    value = f"{estimate.value:.{digits}g}" if math.isfinite(estimate.value) else "-"
    low, high = math.isfinite(estimate.low), math.isfinite(estimate.high)
    if low and high:
        return f"{value} ({estimate.low:.{digits}g} to {estimate.high:.{digits}g})"
    if low:
        return f"{value} (at least {estimate.low:.{digits}g})"
    return f"{value} (at most {estimate.high:.{digits}g})" if high else value


def share_interval(estimate: Estimate) -> str:
    """Return a share with its interval, in per cent.

    >>> share_interval(Estimate(0.6, 0.5, 0.71))
    '60 % (50 to 71 %)'
    """
    return f"{percent(estimate.value)} ({percent(estimate.low).removesuffix(' %')} to {percent(estimate.high)})"
