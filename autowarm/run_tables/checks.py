"""What cannot be in a table of runs: mixed-up units are refused; the first row is named, and what to do."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from autowarm.analysis.runs import Flags, Floats
from autowarm.errors import RecordError
from autowarm.words import number

# More rows than that whose warmup outlasts the run are no accident of a random search, but another unit.
_MIXED_UP = 0.05


@dataclass(frozen=True)
class Rule:
    """What the numbers of a column must be.

    Attributes:
        name: of the column, ours.
        breaks: which rows break it; a row without a number breaks none.
        domain: what it must be, in words.
        advice: what to do about it, from the numbers.
    """

    name: str
    breaks: Callable[[Floats], Flags]
    domain: str
    advice: Callable[[Floats], str]


def _always(advice: str) -> Callable[[Floats], str]:
    return lambda _: advice


def _lr_advice(lr: Floats) -> str:
    told = lr[np.isfinite(lr)]
    if len(told) and np.all(told < 0) and np.all(told > -20):
        return "If the column holds logarithms, write the learning rates themselves."
    return "Leave out rows that are no runs, or name the column of the peak learning rate."


RULES: tuple[Rule, ...] = (
    Rule("initial_lr", lambda x: (x <= 0) | np.isinf(x), "positive", _lr_advice),
    Rule(
        "total_steps",
        lambda x: (x < 1) | np.isinf(x),
        "at least 1, in optimizer steps",
        _always("Name the column of the planned length of the run in optimizer steps."),
    ),
    Rule(
        "warmup_ratio",
        lambda x: (x < 0) | (x > 1),
        "in [0, 1), a share of total_steps",
        lambda x: (
            "If it is in percent, divide it by 100; if in steps, name it warmup_steps."
            if np.nanmax(x) <= 100
            else "If it is in steps, name it warmup_steps."
        ),
    ),
    Rule(
        "warmup_steps",
        lambda x: (x < 0) | np.isinf(x) | ((x > 0) & (x < 1)),
        "0 or a whole number of optimizer steps",
        lambda x: (
            "If it is a share of total_steps, name it warmup_ratio."
            if np.nanmax(x) < 1
            else "Write the steps of each run's warmup, 0 for none."
        ),
    ),
    Rule("warmup_epochs", lambda x: (x < 0) | np.isinf(x), "0 or more", _always("Write 0 for no warmup.")),
    *(
        Rule(name, lambda x: (x <= 0) | np.isinf(x), "positive", _always("Leave a cell empty where it is unknown."))
        for name in ("dataset_size", "batch_size")
    ),
    Rule(
        "decay_ratio",
        lambda x: (x <= 0) | (x > 1),
        "in (0, 1], a share of total_steps",
        _always("If it is in percent, divide it by 100."),
    ),
)


def check_units(path: object, columns: Mapping[str, Floats], sources: Mapping[str, str]) -> None:
    """Refuse columns that break a rule.

    Args:
        path: of the table, for the message.
        columns: by our names, each of shape (rows,).
        sources: how the table calls them.

    Raises:
        RecordError: see above.
    """
    for rule in RULES:
        values = columns.get(rule.name)
        if values is None:
            continue
        broken = rule.breaks(values)
        if broken.any():
            raise RecordError(
                f"{path}: {called(rule.name, sources)} must be {rule.domain}, but is not in {_where(broken, values)}. "
                f"{rule.advice(values)}"
            )


def check_warmup(
    path: object, ratio: Floats, total_steps: Floats, sources: Mapping[str, str]
) -> Iterator[tuple[Flags, str]]:
    """Yield (rows, why) of the warmups that leave nothing of the run, which tell nothing of a schedule.

    Raises:
        RecordError: so many outlast the run that the units must be mixed up.
    """
    longer = ratio > 1
    if longer.any() and longer.sum() > _MIXED_UP * np.isfinite(ratio).sum():
        first = int(np.argmax(longer))
        raise RecordError(
            f"{path}: the warmup is longer than the run in {_count(longer)}, the first of them row {first + 1}: "
            f"{ratio[first] * total_steps[first]:,.6g} of {total_steps[first]:,.6g} steps "
            f"({called('total_steps', sources)}). Both must be in optimizer steps: not batches, examples, tokens or "
            "epochs, and total_steps the planned length of the whole run."
        )
    if longer.any():
        yield longer, "a warmup longer than the run"
    whole = ratio == 1
    if whole.any():
        yield whole, "a warmup as long as the run"


def called(name: str, sources: Mapping[str, str]) -> str:
    """Name one of our columns, and the table's where that is another."""
    theirs = sources.get(name, name)
    return name if theirs == name else f"{name} ({theirs!r})"


def _where(broken: Flags, values: Floats) -> str:
    first = int(np.argmax(broken))
    return f"{_count(broken)}, the first of them row {first + 1}: {number(values[first], 6)}"


def _count(mask: Flags) -> str:
    return f"{int(mask.sum()):,} of {len(mask):,} rows"
