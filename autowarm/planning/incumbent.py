"""The schedule a job has today, recognised from the learning rates of its own scheduler."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from autowarm.decays import DECAYS, Array, DecayName
from autowarm.errors import ScheduleError
from autowarm.schedule import Schedule
from autowarm.warmups import WARMUP_RATIOS, WARMUPS, WarmupShape

# Other libraries compute in float32 here and there; another shape is further off than this.
_RELATIVE = 1e-5


def recognise(lrs: Sequence[float]) -> Schedule | None:
    """Return the Schedule that has exactly these learning rates, or None where there is none.

    Args:
        lrs: learning rates of steps 0 .. total_steps - 1.

    >>> recognise(Schedule(initial_lr=0.1, warmup_steps=10, decay="cosine").lrs(total_steps=50))
    Schedule(initial_lr=0.1, warmup_ratio=None, warmup_steps=10, ...decay='cosine', final_lr_ratio=0.0, ...)
    """
    curve = np.asarray(lrs, dtype=np.float64)
    if len(curve) == 0 or not np.all(np.isfinite(curve)) or curve.max() <= 0:
        return None
    for schedule in _candidates(curve):
        expected = schedule.lrs(total_steps=len(curve))
        if np.allclose(expected, curve, rtol=_RELATIVE, atol=_RELATIVE * float(curve.max())):
            return schedule
    return None


def _candidates(curve: Array) -> Iterator[Schedule]:
    """Yield the schedules that agree with the curve at its start, its peak and its last step."""
    peak = float(curve.max())
    # The first step at the peak; and, for a curve with rounding errors, to the precision that the comparison has. A
    # cosine warmup is that near to its peak some steps before.
    at_peak = dict.fromkeys((int(np.argmax(curve)), int(np.argmax(curve >= peak * (1 - _RELATIVE)))))
    for step in at_peak:
        yield from _with_warmup(curve, peak, step)
    # counted from 1, the step before the end of the warmup has the peak, and the last step is the end
    for step in at_peak:
        if step + 1 < len(curve):
            yield from _with_warmup(curve, peak, step + 1, step_offset=1)


def _with_warmup(curve: Array, peak: float, warmup_steps: int, step_offset: int = 0) -> Iterator[Schedule]:
    first, last = float(curve[0]) / peak, float(curve[-1]) / peak
    shapes: list[WarmupShape] = [w for w in WARMUPS if first > 0 or w != "exponential"]  # type: ignore[misc]
    names: tuple[DecayName, ...] = ("constant", "linear", "cosine", "inverse_sqrt", "exponential")
    # a warmup whose first step has the peak already has no shape
    for warmup in shapes if warmup_steps > step_offset else shapes[:1]:
        start = _start(warmup, first, step_offset / warmup_steps) if warmup_steps > step_offset else 0.0
        for decay in names:
            plain = {
                "initial_lr": peak,
                "warmup_steps": warmup_steps,
                "warmup": warmup,
                "warmup_start_ratio": start,
                "decay": decay,
                "step_offset": step_offset,
            }
            try:
                yield Schedule(**plain, **_end(decay, last, warmup_steps, len(curve), step_offset))  # type: ignore[arg-type]
            except ScheduleError:
                continue


def _start(warmup: WarmupShape, first: float, share: float) -> float:
    """Solve for `warmup_start_ratio`, from the lr over the peak of the first step, a `share` of the warmup in."""
    if warmup == "exponential":
        return float(first ** (1 / (1 - share)))
    if share == 0:
        return first
    # the others are r + (1 - r) * shape
    shape = float(WARMUP_RATIOS[warmup](np.array([share]), 0.0)[0])
    start = (first - shape) / (1 - shape)
    return 0.0 if abs(start) < _RELATIVE else start


def _end(decay: DecayName, last: float, warmup_steps: int, total_steps: int, step_offset: int) -> dict[str, float]:
    """Solve for what the decay ends at, from the lr over the peak of the last executed step."""
    if decay == "exponential":
        progress = (total_steps - 1 + step_offset - warmup_steps) / max(total_steps - warmup_steps, 1)
        return {"gamma": last ** (1 / progress)} if progress > 0 and last > 0 else {}
    if not DECAYS[decay].ends_at_final_lr_ratio:
        return {}
    # the shape falls from 1 to 0, and the curve is f + (1 - f) * shape
    schedule = Schedule(initial_lr=1.0, warmup_steps=warmup_steps, decay=decay, step_offset=step_offset)
    shape = schedule.lr_at(total_steps - 1, total_steps=total_steps)
    final = (last - shape) / (1 - shape) if shape < 1 else 0.0
    # a rounding error of the last step is magnified little: snap what it can have come from
    return {"final_lr_ratio": 0.0 if abs(final) < _RELATIVE else final}
