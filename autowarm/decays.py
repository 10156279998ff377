"""What the learning rate does after warmup: each decay's formula, its own parameters, and the laws it keeps.

A decay is a function of the optimizer step, relative to the peak. With

    s  optimizer step, w <= s <= T          f  final_lr_ratio
    w  warmup_steps                         p  (s - w) / (T - w), the share of the decay that is over
    T  total_steps

each entry of `DECAYS` maps (s, w, T) to the learning rate over the peak. At s = w every decay is exactly 1.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float64]
Own: TypeAlias = Mapping[str, Any]
DecayName: TypeAlias = Literal[
    "constant",
    "linear",
    "cosine",
    "cosine_restarts",
    "polynomial",
    "exponential",
    "step",
    "inverse_sqrt",
    "wsd",
]
Cooldown: TypeAlias = Literal["linear", "one_minus_sqrt"]

COOLDOWNS: tuple[str, ...] = get_args(Cooldown)
# The timescale of inverse_sqrt without warmup, in steps; the same as transformers' get_inverse_sqrt_schedule.
INVERSE_SQRT_TIMESCALE = 10_000


@dataclass(frozen=True)
class Parameter:
    """A parameter that belongs to one decay only.

    Attributes:
        default: the value when a schedule does not give one.
        check: whether a value is in the domain.
        domain: the domain in words, for the error message.
    """

    default: Any
    check: Callable[[Any], bool]
    domain: str


@dataclass(frozen=True)
class Decay:
    """One decay: its formula, its own parameters, and the laws that tests hold it to.

    Attributes:
        multiplier: (own, f, s, w, T) -> lr over peak, for an array of steps w <= s <= T; `own` holds a value
            for each of `parameters`.
        parameters: its own parameters by name.
        never_rises: the lr falls or stays, step for step.
        stretches: with a warmup in proportion, the lr depends on s / T alone (composer's a(t) = a(t / s)).
        ends_at_final_lr_ratio: at s = T the lr is final_lr_ratio times the peak. Only such a decay takes one.
    """

    multiplier: Callable[[Own, float, Array, int, int], Array]
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    never_rises: bool = True
    stretches: bool = True
    ends_at_final_lr_ratio: bool = True


def cooldown_steps_of(decay_ratio: float, total_steps: int) -> int:
    """Return the length of wsd's cooldown: decay_ratio * total_steps, to the nearest step, at least one."""
    return max(1, round(decay_ratio * total_steps))


def _progress(s: Array, w: int, total: int) -> Array:
    return (s - w) / (total - w)


def _between(f: float, shape: Array) -> Array:
    """Scale a shape that falls from 1 to 0 so that it falls from 1 to f."""
    return f + (1.0 - f) * shape


def _constant(_own: Own, _f: float, s: Array, _w: int, _total: int) -> Array:
    """Stay at 1."""
    return np.ones_like(s)


def _linear(_own: Own, f: float, s: Array, w: int, total: int) -> Array:
    """Fall as f + (1 - f) (1 - p)."""
    return _between(f, 1.0 - _progress(s, w, total))


def _cosine(_own: Own, f: float, s: Array, w: int, total: int) -> Array:
    """Fall as f + (1 - f) (1 + cos(pi p)) / 2: Loshchilov & Hutter 2017, without restarts."""
    return _between(f, 0.5 * (1.0 + np.cos(np.pi * _progress(s, w, total))))


def _cosine_restarts(own: Own, f: float, s: Array, w: int, total: int) -> Array:
    """Fall `num_cycles` times as a cosine, back at 1 at each restart: SGDR with equal cycles."""
    # Counted in steps times cycles, the place within the cycle is exact, and so is the step of the restart.
    # Whole turns say nothing about the place; left in, a great number of cycles would overflow.
    ahead = (s - w) * (own["num_cycles"] % (total - w))
    within = np.where(s >= total, 1.0, np.mod(ahead, total - w) / (total - w))
    return _between(f, 0.5 * (1.0 + np.cos(np.pi * within)))


def _polynomial(own: Own, f: float, s: Array, w: int, total: int) -> Array:
    """Fall as f + (1 - f) (1 - p)^power."""
    return _between(f, np.power(1.0 - _progress(s, w, total), own["power"]))


def _exponential(own: Own, _f: float, s: Array, w: int, total: int) -> Array:
    """Fall as gamma^p: by a factor gamma over the whole decay, however long it is."""
    return np.power(float(own["gamma"]), _progress(s, w, total))


def _step(own: Own, _f: float, s: Array, w: int, total: int) -> Array:
    """Fall by a factor gamma every `step_size_ratio` of the decay, in whole steps: torch's StepLR."""
    step_size = max(1, round(own["step_size_ratio"] * (total - w)))
    drops: Array = np.floor_divide(s - w, step_size)
    return np.power(float(own["gamma"]), drops)


def _inverse_sqrt(_own: Own, _f: float, s: Array, w: int, _total: int) -> Array:
    """Fall as sqrt(w / s), as Vaswani et al. 2017; without warmup as sqrt(t / (s + t))."""
    if w > 0:
        return np.sqrt(w / s)
    return np.sqrt(INVERSE_SQRT_TIMESCALE / (s + INVERSE_SQRT_TIMESCALE))


def _wsd(own: Own, f: float, s: Array, w: int, total: int) -> Array:
    """Hold at 1, then cool down over the last `decay_ratio` of all steps: Hu et al., Haegele et al. 2024."""
    # Warmup and cooldown that add up to 1 may round to one step too many: the cooldown gives it up.
    cooldown_steps = min(cooldown_steps_of(own["decay_ratio"], total), total - w)
    cooled = np.clip((s - (total - cooldown_steps)) / cooldown_steps, 0.0, 1.0)
    return _between(f, 1.0 - (np.sqrt(cooled) if own["cooldown"] == "one_minus_sqrt" else cooled))


def is_number(x: Any) -> bool:
    """Tell whether x is a finite number: also not an int beyond the floats, which math.isfinite chokes on."""
    return isinstance(x, int | float) and not isinstance(x, bool) and abs(x) <= sys.float_info.max


def _share(default: float) -> Parameter:
    return Parameter(default, lambda x: is_number(x) and 0 < x <= 1, "in (0, 1]")


DECAYS: Mapping[DecayName, Decay] = {
    "constant": Decay(_constant, ends_at_final_lr_ratio=False),
    "linear": Decay(_linear),
    "cosine": Decay(_cosine),
    "cosine_restarts": Decay(
        _cosine_restarts,
        {"num_cycles": Parameter(2, lambda x: is_number(x) and x >= 1 and x == int(x), "a whole number of at least 1")},
        never_rises=False,
    ),
    "polynomial": Decay(_polynomial, {"power": Parameter(2.0, lambda x: is_number(x) and x > 0, "greater than 0")}),
    "exponential": Decay(_exponential, {"gamma": _share(0.01)}, ends_at_final_lr_ratio=False),
    "step": Decay(_step, {"gamma": _share(0.1), "step_size_ratio": _share(1 / 3)}, ends_at_final_lr_ratio=False),
    # Without warmup its timescale is a number of steps, so it stretches only with one.
    "inverse_sqrt": Decay(_inverse_sqrt, stretches=False, ends_at_final_lr_ratio=False),
    "wsd": Decay(
        _wsd,
        {
            "decay_ratio": _share(0.2),
            "cooldown": Parameter("linear", lambda x: x in COOLDOWNS, f"one of {', '.join(COOLDOWNS)}"),
        },
    ),
}
# Every parameter that belongs to a decay, in the order of `DECAYS`.
DECAY_PARAMETERS: tuple[str, ...] = tuple(dict.fromkeys(name for d in DECAYS.values() for name in d.parameters))
