"""What a row of the parity table is: a call of another library, the Schedule that equals it, and where to compare them.

Both sides of a row are Python expressions over a few letters, so that docs/parity.md shows exactly what the tests run:

    lr  the peak              w  warmup_steps             f  final lr over the peak
    T   total_steps           r  first lr over the peak   c, k, n, g, p, q, t  see the row's `values`
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from autowarm.schedule import Schedule

Array: TypeAlias = NDArray[np.float64]

TOTALS = (1, 2, 3, 10, 100, 1000, 10_000)
PEAK = 3e-4
EPS = float(np.finfo(np.float64).eps)

# What a letter stands for where the row does not say otherwise, in the letters before it.
_LETTERS: dict[str, str] = {
    "f": "0.1",
    "r": "0.01",
    # a cooldown, and a time between drops, in steps
    "c": "max(1, (T - w) // 3)",
    "k": "max(1, (T - w) // 3)",
    # a factor a step
    "g": "0.01 ** (1 / T)",
}


@dataclass(frozen=True, kw_only=True)
class Row:
    """A foreign schedule and its equal.

    Attributes:
        library: where it is from.
        theirs: the foreign call, evaluated among the library's names; `optimizer` has the lr `lr`.
        ours: the arguments of the Schedule, beside ``initial_lr=lr`` where they give none.
        when: where the two are equal; a condition on the letters.
        values: letter -> the expressions it is tried with.
        rounding: how many times eps * lr (the spacing of the floats at the peak) the two may lie apart beside the
            relative 1e-12. It is 0, so that a zero must be a zero, unless the formula takes numbers of the size of
            the peak from each other and so leaves of a small result what their last digits say: 1 + cos(x) near its
            trough, where libraries round a cosine one way or the other, 2^x - 1, or (b - a) p + a near a small b.
        note: for the page.
    """

    library: str
    theirs: str
    ours: str
    when: str = "w < T"
    values: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    rounding: float = 0.0
    note: str = ""

    def cases(self, total: int) -> Iterator[dict[str, Any]]:
        """Yield what the letters stand for, for each warmup and value at a number of steps."""
        # long runs are slow in Python: only the warmups that a training would have
        lengths = (0, 600) if total == TOTALS[-1] else (0, 1, 2, total // 10, total // 2, total - 1)
        for w, chosen in itertools.product(sorted(set(lengths)), itertools.product(*self.values.values())):
            if w >= total:
                continue
            letters: dict[str, Any] = {"T": total, "w": w, "lr": PEAK}
            for name, text in {**_LETTERS, **dict(zip(self.values, chosen, strict=True))}.items():
                letters[name] = evaluate(text, letters)
            if evaluate(self.when, letters):
                yield letters

    def schedule(self, letters: Mapping[str, Any]) -> Schedule:
        """Return our side."""
        peak = "" if "initial_lr=" in self.ours else "initial_lr=lr, "
        schedule = evaluate(f"Schedule({peak}{self.ours})", {**letters, "Schedule": Schedule})
        assert isinstance(schedule, Schedule)
        return schedule

    def __str__(self) -> str:
        return f"{self.library}: {self.theirs}"


def evaluate(text: str, letters: Mapping[str, Any]) -> Any:
    """Evaluate an expression of this table."""
    return eval(text, {"__builtins__": {"max": max, "min": min, "int": int, "round": round}}, dict(letters))  # noqa: S307 # our own text


def assert_equal(ours: Array, theirs: Array, *, peak: float, rounding: float, relative: float = 1e-12) -> None:
    """Compare two curves step for step; where theirs is exactly 0, with `rounding` 0 so must ours be."""
    assert ours.shape == theirs.shape
    assert np.all(np.isfinite(theirs))
    apart = np.abs(ours - theirs)
    allowed = relative * np.abs(theirs) + rounding * EPS * peak
    worst = int(np.argmax(apart - allowed))
    assert np.all(apart <= allowed), f"step {worst}: ours {ours[worst]!r}, theirs {theirs[worst]!r}"
