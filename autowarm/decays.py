"""What the learning rate does after warmup: each decay's formula, its own parameters, and the laws it keeps.

A decay is a function of the optimizer step, relative to the peak. With

    s  optimizer step, w <= s <= T          f  final_lr_ratio
    w  warmup_steps                         p  (s - w) / (T - w), the share of the decay that is over
    T  total_steps

each entry of `DECAYS` maps (s, w, T) to the learning rate over the peak. At s = w every decay is exactly 1. A schedule
whose decay counts from its first step puts 0 for w.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from autowarm.errors import ScheduleError
from autowarm.values import is_number, is_whole, plain

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
Cooldown: TypeAlias = Literal["linear", "one_minus_sqrt", "cosine", "exponential"]
Law: TypeAlias = Literal["never_rises", "stretches", "ends_at_final_lr_ratio"]

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
        kind: what a value is turned into: from a file, 2.0 cycles are 2.
        optional: told only where it is not the default, so that files look as they did before there was the parameter.
    """

    default: Any
    check: Callable[[Any], bool]
    domain: str
    kind: type
    optional: bool = False


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
        exceptions: own -> those of the three laws that it breaks with some values of its parameters.
    """

    multiplier: Callable[[Own, float, Array, int, int], Array]
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    never_rises: bool = True
    stretches: bool = True
    ends_at_final_lr_ratio: bool = True
    exceptions: Callable[[Own], frozenset[Law]] = lambda _own: frozenset()

    def keeps(self, law: Law, own: Own) -> bool:
        """Tell whether the decay keeps a law with these values of its own parameters."""
        return bool(getattr(self, law)) and law not in self.exceptions(own)


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


def _wave(turns: Array | float) -> Array:
    """Fall from 1 to 0 over half a turn, and rise again over the other half."""
    # whole turns say nothing; without them a great number of them does not overflow
    return np.asarray(0.5 * (1.0 + np.cos(2.0 * np.pi * np.mod(turns, 1.0))))


def _cosine(own: Own, f: float, s: Array, w: int, total: int) -> Array:
    """Follow n = `num_cycles` waves f + (1 - f) (1 + cos(2 pi n p)) / 2; half a wave is Loshchilov & Hutter 2017."""
    return _between(f, _wave(own["num_cycles"] * _progress(s, w, total)))


def _cosine_exceptions(own: Own) -> frozenset[Law]:
    """Beyond half a wave it rises again; only an odd number of halves ends in a trough."""
    broken: set[Law] = set()
    if own["num_cycles"] > 0.5:
        broken.add("never_rises")
    if own["num_cycles"] % 1.0 != 0.5:
        broken.add("ends_at_final_lr_ratio")
    return frozenset(broken)


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


def _inverse_sqrt(own: Own, _f: float, s: Array, w: int, _total: int) -> Array:
    """Fall as sqrt(t / (s - w + t)) with timescale t; with the warmup's it is sqrt(w / s), as Vaswani et al. 2017."""
    t = float(own["timescale"] or w or INVERSE_SQRT_TIMESCALE)
    return np.sqrt(t / (s + (t - w)))


# From the share of the cooldown that is over to the share of the way to go.
_COOLDOWNS: Mapping[Cooldown, Callable[[Array], Array]] = {
    "linear": lambda r: 1.0 - r,
    # Haegele et al. 2024
    "one_minus_sqrt": lambda r: 1.0 - np.sqrt(r),
    "cosine": lambda r: _wave(0.5 * r),
    # Megatron-LM's: as an exponential, put so that it ends at 0
    "exponential": lambda r: 2.0 * np.power(0.5, r) - 1.0,
}


def _wsd(own: Own, f: float, s: Array, w: int, total: int) -> Array:
    """Hold at 1, then cool down over the last `decay_ratio` of all steps: Hu et al. 2024."""
    # Warmup and cooldown that add up to 1 may round to one step too many: the cooldown gives it up.
    cooldown_steps = min(cooldown_steps_of(own["decay_ratio"], total), total - w)
    cooled = np.clip((s - (total - cooldown_steps)) / cooldown_steps, 0.0, 1.0)
    return _between(f, _COOLDOWNS[own["cooldown"]](cooled))


def _positive(default: float, *, optional: bool = False) -> Parameter:
    return Parameter(default, lambda x: is_number(x) and x > 0, "greater than 0", float, optional)


def _share(default: float) -> Parameter:
    return Parameter(default, lambda x: is_number(x) and 0 < x <= 1, "in (0, 1]", float)


_COOLDOWN = Parameter("linear", lambda x: x in COOLDOWNS, f"one of {', '.join(COOLDOWNS)}", str)
_RESTARTS = Parameter(2, is_whole, "a whole number of at least 1", int)
_TIMESCALE = Parameter(None, lambda x: x is None or is_whole(x), "a whole number of at least 1", int, optional=True)

DECAYS: Mapping[DecayName, Decay] = {
    "constant": Decay(_constant, ends_at_final_lr_ratio=False),
    "linear": Decay(_linear),
    "cosine": Decay(_cosine, {"num_cycles": _positive(0.5, optional=True)}, exceptions=_cosine_exceptions),
    "cosine_restarts": Decay(_cosine_restarts, {"num_cycles": _RESTARTS}, never_rises=False),
    "polynomial": Decay(_polynomial, {"power": _positive(2.0)}),
    "exponential": Decay(_exponential, {"gamma": _share(0.01)}, ends_at_final_lr_ratio=False),
    "step": Decay(_step, {"gamma": _share(0.1), "step_size_ratio": _share(1 / 3)}, ends_at_final_lr_ratio=False),
    # Its timescale is a number of steps, unless it is that of the warmup, so it stretches only with one.
    "inverse_sqrt": Decay(_inverse_sqrt, {"timescale": _TIMESCALE}, stretches=False, ends_at_final_lr_ratio=False),
    "wsd": Decay(_wsd, {"decay_ratio": _share(0.2), "cooldown": _COOLDOWN}),
}
# Every parameter that belongs to a decay, in the order of `DECAYS`.
DECAY_PARAMETERS: tuple[str, ...] = tuple(dict.fromkeys(name for d in DECAYS.values() for name in d.parameters))


def checked_parameters(decay: DecayName, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a decay's own parameters, defaults filled in; an optional one at its default is None.

    Args:
        decay: whose they are.
        given: parameter -> value of every decay's parameters; None where there is none.

    Raises:
        ScheduleError: a value outside its domain, or a parameter of another decay.
    """
    own = DECAYS[decay].parameters
    found: dict[str, Any] = {}
    for name, given_value in given.items():
        if name not in own:
            if given_value is not None:
                owners = ", ".join(n for n, d in DECAYS.items() if name in d.parameters)
                raise ScheduleError(f"{name} belongs to decay {owners}, not to {decay!r}")
            continue
        parameter = own[name]
        value = parameter.default if given_value is None else plain(given_value)
        if not parameter.check(value):
            raise ScheduleError(f"{name} must be {parameter.domain}, got {value!r}")
        hidden = parameter.optional and value == parameter.default
        found[name] = None if hidden else parameter.kind(value)
    return found
