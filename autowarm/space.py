"""The space of schedules that is searched: a dimension for each field of a Schedule, some only under their decay."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, TypeAlias

from autowarm.decays import COOLDOWNS, DECAY_PARAMETERS, DECAYS
from autowarm.errors import ScheduleError, SettingsError, unknown
from autowarm.schedule import OPTIONS, Schedule
from autowarm.values import is_number
from autowarm.warmups import WARMUPS

# As close as a value must be to a bound to count as within it: a ratio computed from steps is not exact.
_SLACK = 1e-9


@dataclass(frozen=True)
class Range:
    """A range of numbers, both ends included.

    Attributes:
        low: smallest value, and `high`, the largest; finite, low < high.
        log: search by order of magnitude; low > 0 then. None: as the dimension it is used for has it.
        whole: whole numbers only.

    Raises:
        SettingsError: bounds that are no such numbers.
    """

    low: float
    high: float
    log: bool | None = None
    whole: bool = False

    def __post_init__(self) -> None:
        """Check the bounds."""
        for name, value in (("low", self.low), ("high", self.high)):
            if not is_number(value):
                raise SettingsError(f"{name} must be a finite number, got {value!r}")
        if self.low >= self.high:
            raise SettingsError(f"low must be less than high, got low={self.low} and high={self.high}")
        if self.log and self.low <= 0:
            raise SettingsError(
                f"a log range needs low greater than 0, got low={self.low}: raise it, or say log: false"
            )
        if self.whole and not (self.low == int(self.low) and self.high == int(self.high)):
            raise SettingsError(f"low and high must be whole numbers, got low={self.low} and high={self.high}")

    def holds(self, value: Any) -> bool:
        """Tell whether a value lies in the range."""
        if not isinstance(value, int | float):
            return False
        slack = _SLACK * max(abs(self.low), abs(self.high))
        return self.low - slack <= value <= self.high + slack and (not self.whole or value == int(value))

    def clip(self, value: float) -> float:
        """Return the value of the range next to a value."""
        return min(max(value, self.low), self.high)


@dataclass(frozen=True)
class Choice:
    """A list of values, at least one, none twice."""

    values: tuple[Any, ...]

    def __post_init__(self) -> None:
        """Check the list."""
        if not self.values:
            raise SettingsError("a list of choices must not be empty")
        if len(set(self.values)) < len(self.values):
            raise SettingsError(f"a list of choices must not repeat a value, got {list(self.values)}")

    def holds(self, value: Any) -> bool:
        """Tell whether a value is one of them."""
        return value in self.values


@dataclass(frozen=True)
class Fixed:
    """A value that is not searched."""

    value: Any

    def holds(self, value: Any) -> bool:
        """Tell whether a value is this one."""
        return bool(value == self.value)


Dimension: TypeAlias = Range | Choice | Fixed

# What is searched where the user says nothing; `cooldown` stays at its default.
_OWN_RANGES: Mapping[str, Mapping[str, Dimension]] = {
    "cosine_restarts": {"num_cycles": Range(1, 4, whole=True)},
    "polynomial": {"power": Range(0.5, 4.0)},
    "exponential": {"gamma": Range(1e-3, 0.5, log=True)},
    "step": {"gamma": Range(0.05, 0.7, log=True), "step_size_ratio": Range(0.15, 0.5)},
    "wsd": {"decay_ratio": Range(0.1, 0.6), "cooldown": Fixed("linear")},
}
_LOG = frozenset({"initial_lr", "gamma", "warmup_start_ratio"})
_WHOLE = frozenset({"num_cycles", "timescale"})
_WORDS: Mapping[str, Sequence[str]] = {"decay": tuple(DECAYS), "warmup": WARMUPS, "cooldown": COOLDOWNS}


@dataclass(frozen=True, kw_only=True)
class SearchSpace:
    """The schedules to search; conditional: a decay's own parameters are searched only under that decay.

    Each field takes a range (``{low: 1e-5, high: 1e-1}``, or a `Range`), a list of values to choose from, or one
    value. `initial_lr`, `gamma` and a range of `warmup_start_ratio` are searched by order of magnitude unless their
    range says ``log: false``.

    Attributes:
        initial_lr: the peak; greater than 0. None: a range test finds its range (`autowarm.planning.range_test`), and
            until then there is no schedule.
        warmup_ratio: warmup's share of all steps, in [0, 1).
        decay: names of decays.
        warmup: shapes of the warmup.
        warmup_start_ratio: lr at step 0 over the peak, in [0, 1].
        final_lr_ratio: lr at the end over the peak, in [0, 1]; searched under the decays that end there.
        power: of `polynomial`; and so on for each decay's own parameters (see `autowarm.schedule.Schedule`). Where
            not given, a range fit for most trainings; `num_cycles` is that of `cosine_restarts` alone, and `timescale`
            stays at its default.
        step_offset: how every schedule counts its steps, likewise `decay_from` and `decay_to`: a value each, not
            searched (see `autowarm.schedule`).

    Raises:
        SettingsError: a value that is not such a dimension, or a combination that no schedule allows.
    """

    initial_lr: Any = None
    warmup_ratio: Any = field(default_factory=lambda: Range(0.0, 0.3))
    decay: Any = ("constant", "linear", "cosine", "wsd")
    warmup: Any = "linear"
    warmup_start_ratio: Any = 0.0
    final_lr_ratio: Any = 0.0
    power: Any = None
    gamma: Any = None
    num_cycles: Any = None
    step_size_ratio: Any = None
    timescale: Any = None
    decay_ratio: Any = None
    cooldown: Any = None
    step_offset: Any = 0
    decay_from: Any = "peak"
    decay_to: Any = "end"

    def __post_init__(self) -> None:
        """Turn each field into a dimension, and try what the space allows as schedules."""
        for f in fields(self):
            value = getattr(self, f.name)
            if f.name in OPTIONS or (value is None and f.name in ("initial_lr", *DECAY_PARAMETERS)):
                continue
            object.__setattr__(self, f.name, _dimension(f.name, value))
        for name in DECAY_PARAMETERS:
            owners = [d for d in self.decays if self._has(d, name)]
            if getattr(self, name) is not None and not owners:
                raise SettingsError(f"space.{name} is given, but none of the decays searched has it: {self.decays}")
        for decay in self.decays:
            for params in _samples(self.dimensions(decay)):
                try:
                    self.schedule({"decay": decay, "initial_lr": 1.0, **params})
                except ScheduleError as e:
                    raise SettingsError(f"space: {e}") from None

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> SearchSpace:
        """Build a space from plain data, as a study file holds it.

        Raises:
            SettingsError: an unknown key (the nearest one is suggested) or a bad dimension.
        """
        if not isinstance(data, Mapping):
            raise SettingsError(f"space must hold 'key: dimension' lines, got {data!r}")
        known = [f.name for f in fields(cls)]
        for key in data:
            if key not in known:
                raise SettingsError(unknown("key of space", key, known))
        return cls(**data)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data that `from_dict` reads."""
        given = {f.name: getattr(self, f.name) for f in fields(self)}
        # files look as they did before there were options
        usual = {name: values[0] for name, values in OPTIONS.items()}
        return {
            name: value if name in OPTIONS else _plain(value)
            for name, value in given.items()
            if value != usual.get(name)
        }

    def with_initial_lr(self, low: float, high: float) -> SearchSpace:
        """Return the space with this range of `initial_lr`, by order of magnitude."""
        return replace(self, initial_lr=Range(low, high, log=True))

    def only(self, decay: str) -> SearchSpace:
        """Return the part of the space that has this decay, one of those searched."""
        owned = {name for name in DECAY_PARAMETERS if self._has(decay, name)}
        foreign = dict.fromkeys(name for name in DECAY_PARAMETERS if name not in owned)
        return replace(self, decay=decay, **foreign)

    @property
    def decays(self) -> tuple[str, ...]:
        """The decays that are searched."""
        return self.decay.values if isinstance(self.decay, Choice) else (self.decay.value,)

    @property
    def options(self) -> dict[str, Any]:
        """How every schedule of the space counts its steps."""
        return {name: getattr(self, name) for name in OPTIONS}

    @property
    def bounds(self) -> dict[str, tuple[float, float]]:
        """(lowest, highest) value searched of the dimensions that every decay has."""
        given = {name: getattr(self, name) for name in ("initial_lr", "warmup_ratio")}
        reached = {name: ends(dimension) for name, dimension in given.items() if dimension is not None}
        return {name: (min(values), max(values)) for name, values in reached.items() if min(values) < max(values)}

    @property
    def grid(self) -> tuple[Schedule, ...]:
        """Every combination of the values listed, decay by decay.

        Raises:
            SettingsError: a dimension is a range, of which there is no end of values, or is not given.
        """
        if self.initial_lr is None:
            raise SettingsError("a grid needs the values of space.initial_lr: [1e-4, 3e-4, 1e-3]")
        found: list[Schedule] = []
        for decay in self.decays:
            dimensions = self.dimensions(decay)
            for name, dimension in dimensions.items():
                if isinstance(dimension, Range):
                    word = name.rpartition(".")[2]
                    raise SettingsError(
                        f"a grid needs the values of space.{word}, and there is a range from {dimension.low:g} to "
                        f"{dimension.high:g}{f' under {decay}' if word != name else ''}: list them, or give one"
                    )
            found.extend(
                self.schedule({"decay": decay, **dict(zip(dimensions, values, strict=True))})
                for values in itertools.product(*map(ends, dimensions.values()))
            )
        return tuple(found)

    @property
    def hull(self) -> SearchSpace:
        """The space with numbers that are listed as the range that they span."""
        spanned = {
            f.name: Range(min(d.values), max(d.values), log=False)
            for f in fields(self)
            if isinstance(d := getattr(self, f.name), Choice) and all(map(is_number, d.values))
        }
        return replace(self, **spanned)

    def dimensions(self, decay: str) -> dict[str, Dimension]:
        """Return the dimensions under a decay, without `decay` itself, by the name the sampler knows them by.

        A decay's own parameter is named after both, as in ``wsd.decay_ratio``: the same word under two decays is
        two dimensions.
        """
        found: dict[str, Dimension] = {
            name: getattr(self, name)
            for name in ("initial_lr", "warmup_ratio", "warmup", "warmup_start_ratio")
            if getattr(self, name) is not None
        }
        law = DECAYS[decay]  # type: ignore[index] # checked at the making
        if law.ends_at_final_lr_ratio:
            found["final_lr_ratio"] = self.final_lr_ratio
        for name in law.parameters:
            if self._has(decay, name):
                own = getattr(self, name)
                found[f"{decay}.{name}"] = _OWN_RANGES[decay][name] if own is None else own
        return found

    def _counts_like(self, schedule: Schedule) -> bool:
        """Tell whether a schedule has the options of this space, and no parameter that is not searched here."""
        unsearched = [name for name in DECAYS[schedule.decay].parameters if not self._has(schedule.decay, name)]
        options = {name: getattr(schedule, name) for name in OPTIONS}
        return options == self.options and all(getattr(schedule, name) is None for name in unsearched)

    def _has(self, decay: str, name: str) -> bool:
        """Tell whether a decay has a parameter that is searched or fixed here.

        One that schedules need not tell is at its default unless it is given; and the waves of a cosine are not
        meant where the word has always been the number of restarts.
        """
        parameters = DECAYS[decay].parameters  # type: ignore[index] # checked at the making
        if name not in parameters:
            return False
        return not parameters[name].optional or (name != "num_cycles" and getattr(self, name) is not None)

    def schedule(self, params: Mapping[str, Any]) -> Schedule:
        """Return the schedule that a sampler's parameters stand for; those that are fixed may be left out.

        Raises:
            SettingsError: neither the space nor the parameters tell the `initial_lr`.
        """
        dimensions = self.dimensions(params["decay"])
        values = {"decay": params["decay"]}
        if self.initial_lr is None:
            if "initial_lr" not in params:
                raise SettingsError("space.initial_lr is not known before a range test: give it a low and a high")
            values["initial_lr"] = params["initial_lr"]
        for name, dimension in dimensions.items():
            value = dimension.value if isinstance(dimension, Fixed) else params[name]
            values[name.rpartition(".")[2]] = value
        return Schedule(**values, **self.options)

    def params_of(self, schedule: Schedule, *, total_steps: int) -> dict[str, Any] | None:
        """Return the sampler's parameters of a schedule, or None where it lies outside of the space.

        Args:
            schedule: its warmup is not in epochs.
            total_steps: turns a warmup in steps into a ratio.
        """
        if schedule.decay not in self.decays or not self._counts_like(schedule):
            return None
        params: dict[str, Any] = {} if isinstance(self.decay, Fixed) else {"decay": schedule.decay}
        for name, dimension in self.dimensions(schedule.decay).items():
            word = name.rpartition(".")[2]
            value = getattr(schedule, word)
            if word == "warmup_ratio" and value is None:
                value = schedule.warmup_steps_of(total_steps) / schedule.span_of(total_steps)
            if word == "warmup_ratio" and not isinstance(dimension, Range):
                value = _same_steps(dimension, value, schedule.span_of(total_steps))
            # without warmup its shape says nothing
            if word in ("warmup", "warmup_start_ratio") and schedule.warmup_steps_of(total_steps) == 0:
                value = _end(dimension, 0)
            if not dimension.holds(value):
                return None
            if isinstance(dimension, Range):
                params[name] = dimension.clip(value)
            elif isinstance(dimension, Choice):
                params[name] = value
        return params


def _dimension(name: str, value: Any) -> Dimension:
    try:
        dimension = _read_dimension(name, value)
    except SettingsError as e:
        raise SettingsError(f"space.{name}: {e}") from None
    for word in ends(dimension) if name in _WORDS else ():
        if word not in _WORDS[name]:
            raise SettingsError(f"space.{name}: {unknown(name, word, _WORDS[name])}")
    return dimension


def _read_dimension(name: str, value: Any) -> Dimension:
    if isinstance(value, Range):
        return replace(value, log=name in _LOG if value.log is None else value.log, whole=name in _WHOLE)
    if isinstance(value, Choice | Fixed):
        return value
    if isinstance(value, Mapping):
        return _read_range(name, value)
    if isinstance(value, list | tuple):
        values = tuple(value)
        if not all(isinstance(v, str | int | float) for v in values):
            raise SettingsError(f"choices must be words or numbers, got {list(values)}")
        return Fixed(values[0]) if len(values) == 1 else Choice(values)
    if isinstance(value, str | int | float):
        return Fixed(value)
    raise SettingsError(f"must be a range with low and high, a list of choices, or one value, got {value!r}")


def _read_range(name: str, value: Mapping[str, Any]) -> Range:
    if name in _WORDS:
        raise SettingsError(f"takes a list of words: {', '.join(_WORDS[name])}")
    for key in value:
        if key not in ("low", "high", "log"):
            raise SettingsError(unknown("key of a range", key, ("low", "high", "log")))
    if "low" not in value or "high" not in value:
        raise SettingsError("a range needs low and high")
    log = value.get("log", name in _LOG)
    if not isinstance(log, bool):
        raise SettingsError(f"log must be true or false, got {log!r}")
    return Range(value["low"], value["high"], log=log, whole=name in _WHOLE)


def ends(dimension: Dimension) -> tuple[Any, ...]:
    """Return the ends of a range, all choices, or the one value."""
    if isinstance(dimension, Range):
        return dimension.low, dimension.high
    return dimension.values if isinstance(dimension, Choice) else (dimension.value,)


def _end(dimension: Dimension, end: int) -> Any:
    value = ends(dimension)[end]
    return int(value) if isinstance(dimension, Range) and dimension.whole else value


def _samples(dimensions: Mapping[str, Dimension]) -> Iterator[dict[str, Any]]:
    """Yield points that hold each two ends or choices together: no rule of a Schedule binds more than two fields."""
    values = {name: [_end(d, i) for i in range(len(ends(d)))] for name, d in dimensions.items()}
    base = {name: found[0] for name, found in values.items()}
    for one, two in itertools.combinations(values, 2):
        for first, second in itertools.product(values[one], values[two]):
            yield {**base, one: first, two: second}


def _same_steps(dimension: Choice | Fixed, ratio: float, total_steps: int) -> float:
    """Return the choice that is the same warmup in whole steps, where there is one: 20 of 330 steps are 6 %."""
    steps = round(ratio * total_steps)
    same = [value for value in ends(dimension) if is_number(value) and round(value * total_steps) == steps]
    return min(same, key=lambda value: abs(value - ratio), default=ratio)


def _plain(dimension: Dimension) -> Any:
    if isinstance(dimension, Range):
        return {k: v for k, v in asdict(dimension).items() if k != "whole"}
    return list(dimension.values) if isinstance(dimension, Choice) else dimension.value
