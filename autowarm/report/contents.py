"""What a report says, worked out once: Markdown, HTML and plots only draw it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, TypeAlias, get_args

from autowarm.analysis.answer import Answer, answer_of
from autowarm.analysis.best import Horizon, horizons, target_horizon
from autowarm.analysis.compare import Comparison, comparisons
from autowarm.analysis.cooldowns import CooldownTable, cooldown_table
from autowarm.analysis.decay_choice import DecayChoice, decay_choice
from autowarm.analysis.doubt import Bounds
from autowarm.analysis.horizon_grid import HorizonGrid, horizon_grid
from autowarm.analysis.importance import Importance, importance
from autowarm.analysis.runs import Runs, runs_of
from autowarm.analysis.scaling import Scaling, scaling
from autowarm.analysis.spend import Spend, spend_by_horizon, together
from autowarm.analysis.trust import Doubt, doubts
from autowarm.analysis.warmup_need import WarmupNeed, warmup_need
from autowarm.planning.range_test import Bracket, found_range
from autowarm.record import TrialRecord

# The fields of `Contents` that take time.
Analysis: TypeAlias = Literal["warmup", "decays", "importance", "scaling", "grid", "doubts", "cooldowns"]
ANALYSES: tuple[Analysis, ...] = get_args(Analysis)


@dataclass(frozen=True, kw_only=True)
class Contents:
    """What a report says.

    Attributes:
        name: the title.
        runs: what was analysed, as columns.
        records: of the study; none where the runs came as a table.
        notices: what was seen while the table was read.
        bounds: (low, high) of `initial_lr` and `warmup_ratio` as searched; None where unknown.
        target: the horizon that was searched for; None without records.
        answers: of each horizon, the largest first; None where it has none.
        compared: the tuned schedules against today's.
        warmup: how much warmup is needed, and so on; None where nothing can be said.
        decays: which decay.
        importance: what matters.
        scaling: how the best lr moves with the length of the run.
        grid: the best schedule of each horizon.
        doubts: what speaks against the answer.
        cooldowns: the final metric by length and cooldown, from trials that shared a trunk.
    """

    name: str
    runs: Runs
    records: tuple[TrialRecord, ...] = ()
    notices: tuple[str, ...] = ()
    bounds: Bounds | None = None
    target: Horizon | None = None
    answers: Mapping[Horizon, Answer | None]
    compared: tuple[Comparison, ...] = ()
    warmup: WarmupNeed | None = None
    decays: DecayChoice | None = None
    importance: Importance | None = None
    scaling: Scaling | None = None
    grid: HorizonGrid | None = None
    doubts: tuple[Doubt, ...] = ()
    cooldowns: CooldownTable | None = None

    @property
    def answer(self) -> Answer | None:
        """The answer at the target."""
        return None if self.target is None else self.answers.get(self.target)

    @property
    def against_today(self) -> Comparison | None:
        """How the answer compares with today's schedule; None where it is today's, or was not compared."""
        found = [c for c in self.compared if c.horizon == self.target]
        return found[0] if found and not (self.answer is not None and self.answer.is_today) else None

    def at(self, horizon: Horizon) -> list[TrialRecord]:
        """Return the records of a horizon."""
        return self.by_horizon.get(horizon, [])

    @cached_property
    def by_horizon(self) -> dict[Horizon, list[TrialRecord]]:
        """The records of each horizon, those of a range test among them."""
        groups: dict[Horizon, list[TrialRecord]] = {}
        for record in self.records:
            groups.setdefault(record.horizon, []).append(record)
        return groups

    @cached_property
    def spent(self) -> Spend:
        """What all records cost, in full runs at the target."""
        by_horizon = self.spent_by_horizon
        return together(by_horizon.values(), by_horizon[self.target].one_run if self.target in by_horizon else 1.0)

    @cached_property
    def spent_by_horizon(self) -> dict[Horizon, Spend]:
        """What the records of each horizon cost, the largest first."""
        return spend_by_horizon(self.records)

    @cached_property
    def range_found(self) -> Bracket | None:
        """What the range test found; None where there was none."""
        return found_range(self.records)


def contents_of(
    records: Iterable[TrialRecord],
    *,
    name: str,
    bounds: Bounds | None = None,
    only: Collection[Analysis] = ANALYSES,
) -> Contents:
    """Analyse the records of a study.

    Args:
        records: of one study; any horizons, roles and outcomes, or none at all.
        name: the title of the report.
        bounds: (low, high) of `initial_lr` and `warmup_ratio` as searched; by default that of `initial_lr` is from
            the range test, where there was one.
        only: the analyses to make; those that are left out are None, as if they had found nothing.

    Raises:
        RecordError: the records watch different metrics.
    """
    return _analysed(answers_of(records, name=name, bounds=bounds), only)


def contents_of_runs(runs: Runs, *, name: str, notices: Sequence[str] = ()) -> Contents:
    """Analyse runs that came as a table.

    Args:
        runs: the table.
        name: the title of the report.
        notices: what was seen while it was read.
    """
    return _analysed(Contents(name=name, runs=runs, notices=tuple(notices), answers={}))


def answers_of(records: Iterable[TrialRecord], *, name: str, bounds: Bounds | None = None) -> Contents:
    """Return what the records of a study answer, without the analyses that a whole report adds; as `contents_of`."""
    records = tuple(records)
    by_target: dict[Horizon, list[TrialRecord]] = {h: [] for h in horizons(records)}
    for record in records:
        if record.target in by_target:
            by_target[record.target].append(record)
    answers = {h: answer_of(here, h) for h, here in by_target.items()}
    return Contents(
        name=name,
        runs=runs_of(records),
        records=records,
        bounds=bounds_of(records, bounds),
        target=target_horizon(records),
        answers=answers,
        compared=tuple(comparisons(records, answers)),
    )


def _analysed(contents: Contents, only: Collection[Analysis] = ANALYSES) -> Contents:
    runs = contents.runs
    answers = contents.answers if contents.records else None
    law = scaling(runs) if {"scaling", "grid"} & set(only) else None
    make: dict[Analysis, Callable[[], object]] = {
        "warmup": lambda: warmup_need(runs),
        "decays": lambda: decay_choice(runs),
        "importance": lambda: importance(runs),
        "scaling": lambda: law,
        "grid": lambda: horizon_grid(runs, law),
        "doubts": lambda: tuple(doubts(runs, contents.records or None, contents.bounds, answers)),
        "cooldowns": lambda: cooldown_table(contents.records),
    }
    return replace(contents, **{name: make[name]() for name in only})  # type: ignore[arg-type] # fields by name


def bounds_of(records: Sequence[TrialRecord], bounds: Bounds | None) -> Bounds | None:
    """Return the bounds of a search, that of `initial_lr` from the range test where the study names none."""
    found = found_range(records) if "initial_lr" not in (bounds or {}) else None
    return bounds if found is None else {**(bounds or {}), "initial_lr": (found.low, found.high)}
