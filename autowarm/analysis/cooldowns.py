"""What one trunk tells: the final loss against total_steps and the share of the cooldown, at one peak and warmup."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass

from autowarm.analysis.best import has_value, warmup_steps
from autowarm.record import Mode, TrialRecord, better
from autowarm.words import counted, number, percent

# Cells below which there is nothing to read off.
_FEWEST = 2


@dataclass(frozen=True, order=True)
class Cooldown:
    """How a trial of a trunk ends.

    Attributes:
        share: of `total_steps` that the cooldown takes, in (0, 1]; 0: the learning rate stays at its peak.
        shape: of the cooldown, "" where there is none.
        final_lr_ratio: lr at the end over the peak.
    """

    share: float
    shape: str = ""
    final_lr_ratio: float = 0.0

    def __str__(self) -> str:
        """Say it in a few words.

        >>> str(Cooldown(0.2, "linear")), str(Cooldown(0.0))
        ('20 % linear', 'none')
        """
        if not self.share:
            return "none"
        end = f" to {number(self.final_lr_ratio)} of the peak" if self.final_lr_ratio else ""
        return f"{percent(self.share)} {self.shape}{end}"


@dataclass(frozen=True, kw_only=True)
class CooldownTable:
    """The final metric of the trials of one peak and warmup that shared trunks.

    Attributes:
        initial_lr: the peak, and `warmup_steps`, of the warmup.
        metric: its name, and `mode`, whether less or more of it is better.
        seeds: how many seeds; a value is the mean over those that a cell was trained on.
        total_steps: of the rows, growing, and `cooldowns`, of the columns.
        values: by (total_steps, cooldown), of the cells that were trained to their end.
        trials: how many trials, `steps`, that they took together, and `represented`, that they span.
    """

    initial_lr: float
    warmup_steps: int
    metric: str
    mode: Mode
    seeds: int
    total_steps: tuple[int, ...]
    cooldowns: tuple[Cooldown, ...]
    values: dict[tuple[int, Cooldown], float]
    trials: int
    steps: int
    represented: int

    def best_of(self, total_steps: int) -> Cooldown | None:
        """Return the cooldown that ended best at a length, the first of equals; None where there is only one."""
        here = {c: v for c in self.cooldowns if (v := self.values.get((total_steps, c))) is not None}
        return (min if self.mode == "min" else max)(here, key=lambda c: here[c]) if len(here) > 1 else None

    def sentences(self) -> list[str]:
        """Say what it is of, and what it cost."""
        warmup = f"{counted(self.warmup_steps, 'step')} of warmup" if self.warmup_steps else "no warmup"
        seeds = "one seed, so differences of noise are in it" if self.seeds == 1 else f"means over {self.seeds} seeds"
        return [
            f"Peak {number(self.initial_lr)}, {warmup}; {seeds}.",
            f"{counted(self.trials, 'trial')} of {self.represented:,} steps took {self.steps:,}: "
            "what they have in common was trained once.",
        ]


def cooldown_table(records: Iterable[TrialRecord]) -> CooldownTable | None:
    """Return what the trunks of a study tell, of the peak and warmup with the most cells, and of those the best one.

    Args:
        records: of one study; those of trials that were trained by themselves say nothing here.

    Returns:
        None where no trunk has two cells with a value.
    """
    groups: dict[tuple[object, ...], list[TrialRecord]] = {}
    for record in records:
        schedule = record.schedule
        if record.trunk is None or schedule is None or schedule.decay not in ("wsd", "constant"):
            continue
        warmup = (warmup_steps(record), schedule.warmup, schedule.warmup_start_ratio)
        # without a warmup its shape says nothing
        shape = warmup if warmup[0] else (0,)
        groups.setdefault((schedule.initial_lr, record.dataset_size, *shape), []).append(record)
    tables = [table for group in groups.values() if (table := _table(group)) is not None]
    if not tables:
        return None
    most = max(len(table.values) for table in tables)
    best, *others = [table for table in tables if len(table.values) == most]
    for table in others:
        if better(_best(table), _best(best), table.mode):
            best = table
    return best


def _table(records: list[TrialRecord]) -> CooldownTable | None:
    found: dict[tuple[int, Cooldown], list[float]] = {}
    for record in records:
        if has_value(record) and record.value is not None:
            found.setdefault((record.total_steps, _cooldown(record)), []).append(record.value)
    if len(found) < _FEWEST:
        return None
    first = records[0]
    assert first.schedule is not None  # noqa: S101 - they were chosen by it
    return CooldownTable(
        initial_lr=first.schedule.initial_lr,
        warmup_steps=warmup_steps(first) or 0,
        metric=first.monitor,
        mode=first.mode,
        seeds=len({r.seed for r in records}),
        total_steps=tuple(sorted({steps for steps, _ in found})),
        cooldowns=tuple(sorted({cooldown for _, cooldown in found})),
        values={cell: statistics.fmean(values) for cell, values in found.items()},
        trials=len(records),
        steps=sum(r.own_steps for r in records),
        represented=sum(r.steps for r in records),
    )


def _cooldown(record: TrialRecord) -> Cooldown:
    schedule = record.schedule
    if schedule is None or schedule.decay != "wsd" or schedule.decay_ratio is None:
        return Cooldown(0.0)
    return Cooldown(schedule.decay_ratio, schedule.cooldown or "linear", schedule.final_lr_ratio)


def _best(table: CooldownTable) -> float:
    longest = [value for (steps, _), value in table.values.items() if steps == table.total_steps[-1]]
    return min(longest) if table.mode == "min" else max(longest)
