"""What a user will pay for a search: full runs, training steps, or time."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

from autowarm.errors import SettingsError
from autowarm.values import is_number
from autowarm.words import duration

# full_runs: of the horizon; steps: training steps, a validation batch being a third of one; seconds: of wall time
Unit: TypeAlias = Literal["full_runs", "steps", "seconds"]
# (words of a user, the unit, how many of it one is)
_UNITS: tuple[tuple[str, Unit, float], ...] = (
    (r"|runs?|full runs?|x", "full_runs", 1.0),
    (r"steps?", "steps", 1.0),
    (r"s|sec|secs|seconds?", "seconds", 1.0),
    (r"m|min|mins|minutes?", "seconds", 60.0),
    (r"h|hours?", "seconds", 3600.0),
)


@dataclass(frozen=True)
class Budget:
    """The price of a search at most: range test, search and checks, at each horizon.

    Attributes:
        amount: how much, greater than 0.
        unit: of what.

    Raises:
        SettingsError: an amount that is no such number, or an unknown unit.
    """

    amount: float
    unit: Unit = "full_runs"

    def __post_init__(self) -> None:
        """Check amount and unit."""
        if not is_number(self.amount) or self.amount <= 0:
            raise SettingsError(f"budget must be greater than 0, got {self.amount!r}")
        if self.unit not in get_args(Unit):
            raise SettingsError(f"the unit of a budget must be one of {', '.join(get_args(Unit))}, got {self.unit!r}")

    def __str__(self) -> str:
        """Say the budget as `read_budget` reads it."""
        if self.unit == "full_runs":
            return f"{self.amount:.10g} full run{'s' * (self.amount != 1)}"
        if self.unit == "steps":
            return f"{self.amount:.10g} steps"
        hours, minutes = self.amount / 3600, self.amount / 60
        if hours >= 1:
            return f"{hours:.10g} h"
        return f"{minutes:.10g} min" if minutes >= 1 else f"{self.amount:.10g} s"

    @property
    def words(self) -> str:
        """The budget as a sentence has it."""
        return duration(self.amount) if self.unit == "seconds" else str(self)


def read_seconds(name: str, value: Any) -> float:
    """Read a time: a number is of seconds; text has a unit, as in ``90 min`` or ``1.5 h``.

    Raises:
        SettingsError: anything else, or none; names the setting.

    >>> read_seconds("trial_timeout", "1.5 h"), read_seconds("trial_timeout", 90)
    (5400.0, 90.0)
    """
    try:
        read = Budget(value, "seconds") if is_number(value) else read_budget(value)
    except SettingsError:
        read = None
    if read is None or read.unit != "seconds":
        raise SettingsError(f"{name} must look like 90 min, 1.5 h or 600 (seconds), got {value!r}")
    return float(read.amount)


def read_budget(value: Any) -> Budget:
    """Read a budget: a number is of full runs; text has a unit, as in ``5000 steps``, ``90 min`` or ``1.5 h``.

    Raises:
        SettingsError: anything else.

    >>> read_budget(2), read_budget("5000 steps"), read_budget("1.5 h")
    (Budget(amount=2, unit='full_runs'), Budget(amount=5000.0, unit='steps'), Budget(amount=5400.0, unit='seconds'))
    """
    if isinstance(value, Budget):
        return value
    if is_number(value):
        return Budget(value)
    found = (
        re.fullmatch(r"\s*([0-9_.]+(?:e[+-]?[0-9]+)?)\s*([a-z ]*?)\s*", value.lower())
        if isinstance(value, str)
        else None
    )
    if found is not None:
        try:
            amount = float(found[1])
        except ValueError:
            amount = None
        for words, unit, factor in _UNITS:
            if amount is not None and re.fullmatch(words, found[2]):
                return Budget(amount * factor, unit)
    raise SettingsError(f"budget must look like 2 (full runs), 5000 steps, 90 min or 1.5 h, got {value!r}")
