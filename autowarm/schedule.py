"""A learning-rate schedule as plain data: warmup, peak, decay. From an optimizer step to a learning rate.

With T = `total_steps` and w = `warmup_steps`, the lr that optimizer step s = 0 .. T - 1 uses is

    initial_lr * warmup(s / w)        for s < w, from warmup_start_ratio at s = 0 up to 1
    initial_lr * decay(s, w, T)       for s >= w, from exactly 1 at s = w

The warmups and their formulas are in `autowarm.warmups`, the decays in `autowarm.decays`. Other libraries count a step
differently here and there; three options reach them (docs/parity.md says which takes which):

    step_offset = 1             step s uses the formula at s + 1, and never one beyond T
    decay_from = "start"        the decay is decay(s, 0, T): it began at step 0, under the warmup
    decay_to = "last_step"      T is total_steps - 1 (at least 1), so that the last step executed is the end
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from autowarm.decays import (
    DECAY_PARAMETERS,
    DECAYS,
    Array,
    Cooldown,
    DecayName,
    checked_parameters,
    cooldown_steps_of,
)
from autowarm.errors import ScheduleError, unknown
from autowarm.files import write
from autowarm.values import from_text, number_of, plain, whole_of
from autowarm.warmups import WARMUP_RATIOS, WARMUPS, WarmupShape
from autowarm.words import number
from autowarm.yaml_files import read_yaml, to_yaml

DecayFrom: TypeAlias = Literal["peak", "start"]
DecayTo: TypeAlias = Literal["end", "last_step"]

# The version of the file format, in the key `autowarm` of each schedule file.
FILE_VERSION = 1

# How steps are counted: values that a schedule may give, the default first.
OPTIONS: Mapping[str, tuple[Any, ...]] = {
    "step_offset": (0, 1),
    "decay_from": get_args(DecayFrom),
    "decay_to": get_args(DecayTo),
}
# Of a curve as an array: some gigabytes of memory; the longest trainings have a hundredth of it.
_LONGEST_CURVE = 10**8
_LENGTHS = ("warmup_ratio", "warmup_steps", "warmup_epochs")


@dataclass(frozen=True, kw_only=True, slots=True)
class Schedule:
    """A learning-rate schedule; frozen, comparable, and free of any framework.

    Attributes:
        initial_lr: the peak learning rate, reached when warmup ends; greater than 0.
        warmup_ratio: warmup's share of `total_steps`, in [0, 1). Give at most one of the three lengths; none
            of them is no warmup.
        warmup_steps: warmup's length in optimizer steps, a whole number of at least 0.
        warmup_epochs: warmup's length in epochs, at least 0; turned into steps by `resolved`.
        warmup: shape of the warmup. `exponential` needs a `warmup_start_ratio` above 0.
        warmup_start_ratio: lr at step 0 over `initial_lr`, in [0, 1]; without effect if there is no warmup.
        decay: what follows the warmup; see `autowarm.decays`.
        final_lr_ratio: lr at step `total_steps` (the end, never executed) over `initial_lr`, in [0, 1]; only
            for decays that end there.
        power: of `polynomial`, greater than 0; default 2.
        gamma: of `exponential`, the factor over the whole decay, in (0, 1], default 0.01; of `step`, the factor
            of each drop, in (0, 1], default 0.1.
        num_cycles: of `cosine_restarts`, a whole number of at least 1, default 2; of `cosine`, the number of waves,
            greater than 0, default 0.5: half a wave, from the peak to the trough.
        step_size_ratio: of `step`, the share of the decay between two drops, in (0, 1]; default 1/3.
        timescale: of `inverse_sqrt`, in steps, a whole number of at least 1; default the length of the warmup, or
            10,000 where there is none or `decay_from` is `start`.
        decay_ratio: of `wsd`, the cooldown's share of `total_steps`, in (0, 1]; default 0.2.
        cooldown: of `wsd`: `linear` (default), `one_minus_sqrt`, `cosine` or `exponential`.
        step_offset: 0, or 1: optimizer step s uses the formula at s + 1, so that the first step already takes the first
            rise, step w - 1 has the peak, and the last step executed is the end.
        decay_from: `peak`, or `start`: the decay began at step 0, so the warmup ends where the decay has come to by
            then, below `initial_lr`.
        decay_to: `end`, or `last_step`: the schedule spans `total_steps` - 1 (at least 1), so that the last step
            executed is the end. With `step_offset` 1 it is so already, and this must be `end`.

    A decay's parameter that is not given is set to its default; `timescale`, and the `num_cycles` of `cosine`, stay
    None then.

    Raises:
        ScheduleError: a value outside its domain, two lengths of warmup, or a parameter of another decay.

    >>> schedule = Schedule(initial_lr=1.0, warmup_ratio=0.4, decay="linear")
    >>> schedule.lrs(total_steps=5).round(3).tolist()
    [0.0, 0.5, 1.0, 0.667, 0.333]
    """

    initial_lr: float
    warmup_ratio: float | None = None
    warmup_steps: int | None = None
    warmup_epochs: float | None = None
    warmup: WarmupShape = "linear"
    warmup_start_ratio: float = 0.0
    decay: DecayName = "constant"
    final_lr_ratio: float = 0.0
    power: float | None = None
    gamma: float | None = None
    num_cycles: float | None = None
    step_size_ratio: float | None = None
    timescale: int | None = None
    decay_ratio: float | None = None
    cooldown: Cooldown | None = None
    step_offset: int = 0
    decay_from: DecayFrom = "peak"
    decay_to: DecayTo = "end"

    def __post_init__(self) -> None:
        """Check each field against its domain, and fill in the decay's own parameters."""
        self._set("initial_lr", number_of("initial_lr", self.initial_lr, lambda x: x > 0, "greater than 0"))
        self._check_warmup()
        # a list, which a file may well hold, cannot be looked up
        if not isinstance(self.decay, str) or self.decay not in DECAYS:
            raise ScheduleError(unknown("decay", self.decay, DECAYS))
        self._check_decay()
        self._check_options()

    def _check_warmup(self) -> None:
        given = [name for name in _LENGTHS if getattr(self, name) is not None]
        if len(given) > 1:
            raise ScheduleError(f"give only one length of warmup, got {' and '.join(given)}")
        if not given:
            self._set("warmup_ratio", 0.0)
        elif given == ["warmup_ratio"]:
            self._set("warmup_ratio", number_of("warmup_ratio", self.warmup_ratio, lambda x: 0 <= x < 1, "in [0, 1)"))
        elif given == ["warmup_epochs"]:
            self._set("warmup_epochs", number_of("warmup_epochs", self.warmup_epochs, lambda x: x >= 0, "at least 0"))
        else:
            self._set("warmup_steps", whole_of("warmup_steps", self.warmup_steps, minimum=0))
        if self.warmup not in WARMUPS:
            raise ScheduleError(unknown("warmup", self.warmup, WARMUPS))
        start = number_of("warmup_start_ratio", self.warmup_start_ratio, lambda x: 0 <= x <= 1, "in [0, 1]")
        self._set("warmup_start_ratio", start)
        if self.warmup == "exponential" and start == 0:
            raise ScheduleError("warmup 'exponential' cannot start at 0: give a warmup_start_ratio above 0")

    def _check_decay(self) -> None:
        decay = DECAYS[self.decay]
        final = number_of("final_lr_ratio", self.final_lr_ratio, lambda x: 0 <= x <= 1, "in [0, 1]")
        self._set("final_lr_ratio", final)
        if final and not decay.ends_at_final_lr_ratio:
            raise ScheduleError(
                f"decay {self.decay!r} has no final_lr_ratio: "
                f"it goes with {', '.join(n for n, d in DECAYS.items() if d.ends_at_final_lr_ratio)}"
            )
        own = checked_parameters(self.decay, {name: getattr(self, name) for name in DECAY_PARAMETERS})
        for name, value in own.items():
            self._set(name, value)
        if self.warmup_ratio and self.decay_ratio and self.warmup_ratio + self.decay_ratio > 1 + 1e-12:
            raise ScheduleError(
                f"warmup_ratio and decay_ratio must add up to at most 1, got {self.warmup_ratio} + {self.decay_ratio}"
            )

    def _check_options(self) -> None:
        for name, values in OPTIONS.items():
            value = plain(getattr(self, name))
            if value is values[0]:
                continue
            if isinstance(value, bool) or value not in values:
                if name in ("decay_from", "decay_to"):
                    raise ScheduleError(unknown(name, value, values))
                raise ScheduleError(f"{name} must be {' or '.join(map(str, values))}, got {value!r}")
            # 1.0, as some file may hold it, is 1
            self._set(name, type(values[0])(value))
        if self.step_offset and self.decay_to == "last_step":
            raise ScheduleError(
                "with step_offset 1 the last step executed is the end already: leave decay_to out, or step_offset"
            )

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    @property
    def decay_parameters(self) -> dict[str, Any]:
        """The decay's own parameters and their values, defaults included."""
        parameters = DECAYS[self.decay].parameters
        given = {name: getattr(self, name) for name in parameters}
        return {name: parameters[name].default if value is None else value for name, value in given.items()}

    @property
    def told_parameters(self) -> dict[str, Any]:
        """What files and reports tell beside warmup and decay; optional parameters and options only where unusual."""
        told = {name: getattr(self, name) for name in DECAYS[self.decay].parameters}
        told = {name: value for name, value in told.items() if value is not None}
        told |= {"final_lr_ratio": self.final_lr_ratio} if self.final_lr_ratio else {}
        return told | {name: getattr(self, name) for name in OPTIONS if getattr(self, name) != _DEFAULTS[name]}

    def span_of(self, total_steps: int) -> int:
        """Return the step at which the formula is at its end: `total_steps`, or one less for the last step executed."""
        total_steps = whole_of("total_steps", total_steps, minimum=1)
        return max(total_steps - 1, 1) if self.decay_to == "last_step" else total_steps

    def warmup_steps_of(self, total_steps: int) -> int:
        """Return the length of the warmup in optimizer steps: 0 <= w < `span_of(total_steps)`.

        A ratio is rounded to the nearest whole step, and leaves at least one step for the peak.

        Args:
            total_steps: optimizer steps in the run, at least 1.

        Raises:
            ScheduleError: `warmup_steps` does not fit into the run, or one in epochs is not resolved yet.
        """
        span = self.span_of(total_steps)
        if self.warmup_epochs is not None:
            raise ScheduleError(
                f"warmup_epochs={self.warmup_epochs} has no length in steps yet: call "
                ".resolved(steps_per_epoch=...) first"
            )
        if self.warmup_steps is None:
            # __post_init__ leaves exactly one of the lengths
            return min(round((self.warmup_ratio or 0.0) * span), span - 1)
        length = f"total_steps={total_steps}" if span == total_steps else f"total_steps - 1 = {span}"
        if self.warmup_steps >= span and self.warmup_steps > 0:
            raise ScheduleError(
                f"warmup_steps={self.warmup_steps} must be less than {length}: "
                "shorten the warmup, or give it as warmup_ratio"
            )
        if self.decay_ratio and self.warmup_steps + cooldown_steps_of(self.decay_ratio, span) > span:
            raise ScheduleError(
                f"warmup_steps={self.warmup_steps} and decay_ratio={self.decay_ratio} do not both fit into {length}"
            )
        return self.warmup_steps

    def peak_step_of(self, total_steps: int) -> int:
        """Return the optimizer step that has the peak, or, with ``decay_from="start"``, the first after the rise."""
        return max(self.warmup_steps_of(total_steps) - self.step_offset, 0)

    def resolved(self, *, steps_per_epoch: float) -> Schedule:
        """Return the same schedule with a warmup given in epochs turned into `warmup_steps`.

        Args:
            steps_per_epoch: optimizer steps in an epoch, greater than 0.

        Raises:
            ScheduleError: `steps_per_epoch` outside its domain, or a warmup too long to count.
        """
        if self.warmup_epochs is None:
            return self
        per_epoch = number_of("steps_per_epoch", steps_per_epoch, lambda x: x > 0, "greater than 0")
        steps = self.warmup_epochs * per_epoch
        if not math.isfinite(steps):
            raise ScheduleError(f"warmup_epochs={self.warmup_epochs} times {per_epoch} steps is beyond any run")
        return replace(self, warmup_epochs=None, warmup_steps=round(steps))

    def multipliers(self, *, total_steps: int) -> Array:
        """Return lr over `initial_lr` at steps 0 .. `total_steps`: shape (total_steps + 1,), end included.

        Raises:
            ScheduleError: `total_steps` outside its domain, or so large that its curve would fill the memory.
        """
        steps = whole_of("total_steps", total_steps, minimum=1)
        if steps > _LONGEST_CURVE:
            raise ScheduleError(
                f"a learning-rate curve has at most {_LONGEST_CURVE:,} steps, got total_steps={steps}: ask for single "
                "steps with lr_at"
            )
        return self._ratios(np.arange(steps + 1), steps)

    def _ratios(self, steps: NDArray[np.int64], total_steps: int) -> Array:
        span, w = self.span_of(total_steps), self.warmup_steps_of(total_steps)
        s = np.minimum(steps + self.step_offset, span).astype(np.float64)
        ratios = np.empty_like(s)
        rising = s < w
        ratios[rising] = WARMUP_RATIOS[self.warmup](s[rising] / max(w, 1), self.warmup_start_ratio)
        began = 0 if self.decay_from == "start" else w
        multiplier = DECAYS[self.decay].multiplier
        ratios[~rising] = multiplier(self.decay_parameters, self.final_lr_ratio, s[~rising], began, span)
        return ratios

    def lrs(self, *, total_steps: int) -> Array:
        """Return the learning rates that optimizer steps 0 .. `total_steps` - 1 use: shape (total_steps,)."""
        return self.initial_lr * self.multipliers(total_steps=total_steps)[:-1]

    def lr_at(self, step: int, *, total_steps: int) -> float:
        """Return the learning rate of one optimizer step.

        Args:
            step: 0-based, in [0, `total_steps`]; the last one is the end, which no step executes.
            total_steps: optimizer steps in the run, at least 1.

        Raises:
            ScheduleError: the step is not in the run.
        """
        total_steps = whole_of("total_steps", total_steps, minimum=1)
        step = whole_of("step", step, minimum=0)
        if step > total_steps:
            raise ScheduleError(f"step must be in [0, total_steps={total_steps}], got {step}")
        return float(self.initial_lr * self._ratios(np.array([step]), total_steps)[0])

    def to_dict(self) -> dict[str, Any]:
        """Return the fields that say something as plain data: what `from_dict` reads and files hold."""
        told = ["initial_lr", next(n for n in _LENGTHS if getattr(self, n) is not None)]
        told += [name for name in ("warmup", "warmup_start_ratio") if getattr(self, name) != _DEFAULTS[name]]
        return {name: getattr(self, name) for name in [*told, "decay", *self.told_parameters]}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Schedule:
        """Build a schedule from plain data.

        Text that is a number (``"3e-4"``, as plain YAML loaders return it) is taken as the number.

        Raises:
            ScheduleError: an unknown key (the nearest is suggested), a missing `initial_lr`, or a bad value.
        """
        if not isinstance(data, Mapping):
            raise ScheduleError(f"a schedule must hold 'key: value' lines, got {data!r}")
        for key in data:
            if key not in _DEFAULTS:
                raise ScheduleError(unknown("key of a schedule", key, _DEFAULTS))
        if "initial_lr" not in data:
            raise ScheduleError("a schedule needs an initial_lr, the peak learning rate")
        return cls(**{key: value if key in _WORDS else from_text(value) for key, value in data.items()})

    def save(self, path: str | Path) -> None:
        """Write the schedule to a YAML file that `load_schedule` reads."""
        write(Path(path), schedule_yaml(self).encode())

    def __str__(self) -> str:
        """Describe the schedule in a line.

        >>> str(Schedule(initial_lr=3e-4, warmup_ratio=0.06, decay="wsd"))
        'lr 0.0003, warmup 6 %, wsd (decay_ratio 0.2, cooldown linear)'
        """
        if self.warmup_ratio is not None:
            length = f"{number(self.warmup_ratio * 100)} %"
        elif self.warmup_steps is not None:
            length = f"{self.warmup_steps} steps"
        else:
            length = f"{self.warmup_epochs:g} epochs"
        has_warmup = any(getattr(self, name) for name in _LENGTHS)
        shape = f" {self.warmup}" if self.warmup != "linear" else ""
        start = f" from {number(self.warmup_start_ratio)}" if self.warmup_start_ratio else ""
        warmup = f"warmup {length}{shape}{start}" if has_warmup else "no warmup"
        return f"lr {number(self.initial_lr)}, {warmup}, {self.decay_words}"

    @property
    def decay_words(self) -> str:
        """The decay, what it needs beside its name, and the options in words."""
        own = [f"{k} {number(v)}" if isinstance(v, float) else f"{k} {v}" for k, v in self.told_parameters.items()]
        return self.decay + (f" ({', '.join(own)})" if own else "")


_DEFAULTS = {field.name: field.default for field in fields(Schedule)}
# That a word is no number takes longest to find out.
_WORDS = frozenset({"warmup", "decay", "cooldown", "decay_from", "decay_to"})

ScheduleLike: TypeAlias = "Schedule | str | Path | Mapping[str, Any]"


def load_schedule(source: ScheduleLike) -> Schedule:
    """Return a schedule from a Schedule, a YAML file, or a mapping.

    A file holds the fields of `Schedule` under the key `schedule`, as `Schedule.save` and ``autowarm export``
    write them, or at the top. What stands beside `schedule` (where it came from) is left alone.

    Raises:
        ScheduleError: the file cannot be read, comes from a newer version, or does not hold a valid schedule.
    """
    if isinstance(source, Schedule):
        return source
    if isinstance(source, Mapping):
        return _from_mapping(source)
    path = Path(source)
    data = read_yaml(path, ScheduleError)
    try:
        return _from_mapping(data)
    except ScheduleError as e:
        raise ScheduleError(f"{path}: {e}") from None


def schedule_yaml(schedule: Schedule, provenance: Mapping[str, Any] | None = None) -> str:
    """Format a schedule file: version, schedule and, where known, where it came from."""
    data: dict[str, Any] = {"autowarm": FILE_VERSION, "schedule": schedule.to_dict()}
    if provenance:
        data["provenance"] = dict(provenance)
    return to_yaml(data)


def _from_mapping(data: Mapping[str, Any]) -> Schedule:
    version = data.get("autowarm", FILE_VERSION)
    if version != FILE_VERSION:
        raise ScheduleError(
            f"the file has format version {version!r}, this autowarm reads {FILE_VERSION}: update autowarm"
        )
    if "trainer" in data:
        raise ScheduleError("this is a file for LightningCLI, not a schedule file: give one of `--format yaml`")
    if "schedule" not in data:
        return Schedule.from_dict({key: value for key, value in data.items() if key != "autowarm"})
    if not isinstance(data["schedule"], Mapping):
        raise ScheduleError("'schedule' must hold 'key: value' lines")
    return Schedule.from_dict(data["schedule"])
