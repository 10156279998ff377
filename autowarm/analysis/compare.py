"""The tuned schedule against today's, seed by seed, and in words that do not flatter."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from autowarm.analysis.answer import Answer, answer_of
from autowarm.analysis.best import Horizon, by_schedule, check_one_metric, has_value, horizons
from autowarm.analysis.student import t_975
from autowarm.record import Mode, TrialRecord
from autowarm.words import counted, number


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A tuned schedule and today's, trained with the same seeds at one horizon.

    Attributes:
        horizon: (total_steps, dataset_size).
        monitor: name of the metric, and `mode`, whether less or more of it is better.
        tuned: the tuned schedule in words, and `today`, what the job used before.
        seeds: the seeds that both finished, growing; the values go with them, one a seed.
        tuned_values: of the tuned schedule.
        today_values: of today's.
        tuned_lost: runs of the tuned schedule that ended without a value, and `today_lost`, of today's.
        selected: whether the tuned value is the one that won the search, for want of a `confirm` run: the
            best of many draws, so it flatters.
    """

    horizon: Horizon
    monitor: str
    mode: Mode
    tuned: str
    today: str
    seeds: tuple[int, ...]
    tuned_values: tuple[float, ...]
    today_values: tuple[float, ...]
    tuned_lost: int = 0
    today_lost: int = 0
    selected: bool = False

    @property
    def n_seeds(self) -> int:
        """How many seeds both finished."""
        return len(self.seeds)

    @property
    def differences(self) -> tuple[float, ...]:
        """Tuned minus today, one a seed, in units of the metric."""
        return tuple(a - b for a, b in zip(self.tuned_values, self.today_values, strict=True))

    @property
    def mean_difference(self) -> float:
        """Mean over the seeds of tuned minus today; NaN without a seed."""
        return statistics.fmean(self.differences) if self.seeds else math.nan

    @property
    def half_width(self) -> float:
        """Half the 95 % interval of `mean_difference` (Student's t on pairs); infinite below two seeds."""
        if self.n_seeds < 2:
            return math.inf
        spread = statistics.stdev(self.differences)
        return t_975(self.n_seeds - 1) * spread / math.sqrt(self.n_seeds)

    @property
    def tuned_is_ahead(self) -> bool:
        """Whether the mean over the seeds is better with the tuned schedule, be it by noise."""
        return self.mean_difference < 0 if self.mode == "min" else self.mean_difference > 0

    @property
    def beyond_noise(self) -> bool:
        """Whether the 95 % interval of the difference leaves out 0."""
        return abs(self.mean_difference) > self.half_width

    @property
    def lost(self) -> bool:
        """Whether the tuned schedule was trained on fresh seeds and was not better there."""
        return bool(self.seeds) and not self.selected and not self.tuned_is_ahead

    def verdict(self) -> str:
        """Say in a sentence or two what the comparison shows."""
        said = [self._main_sentence()]
        if self.selected and self.seeds:
            said.append("The tuned value is the best of a search, which flatters it: confirm it with other seeds.")
        if self.tuned_lost:
            said.append(f"{counted(self.tuned_lost, 'run')} of the tuned schedule ended without a value.")
        if self.today_lost:
            said.append(f"{counted(self.today_lost, 'run')} of today's schedule ended without a value.")
        return " ".join(said)

    def _main_sentence(self) -> str:
        if not self.seeds:
            return "No seed was finished by both the tuned and today's schedule: nothing to compare."
        values = f"{self.monitor} {number(statistics.fmean(self.tuned_values), 5)}"
        against = f"{values} against {number(statistics.fmean(self.today_values), 5)}"
        by = number(abs(self.mean_difference))
        if self.n_seeds == 1:
            how = f"ahead by {by}" if self.tuned_is_ahead else "not better than today's schedule"
            return f"Tuned is {how}: {against}. One seed cannot tell that from noise."
        noise = f"(95 % interval +- {number(self.half_width, 2)}, {self.n_seeds} seeds)"
        if self.tuned_is_ahead and self.beyond_noise:
            return f"Tuned is better by {by} {noise}: {against}."
        if self.tuned_is_ahead:
            return f"Tuned is ahead by {by}, within noise {noise}: {against}. Call it a tie."
        if self.beyond_noise:
            return f"Tuned is worse than today's schedule by {by} {noise}: {against}. Keep today's."
        return f"Tuned is not better than today's schedule {noise}: {against}. Call it a tie."


def comparisons(
    records: Iterable[TrialRecord], answers: Mapping[Horizon, Answer | None] | None = None
) -> list[Comparison]:
    """Compare what was tuned with the `baseline` records, horizon by horizon, the largest first.

    Each schedule that `confirm` records repeat is compared, the answer first, then from the best to the worst; but
    not today's with itself. Without any, the best of the search stands in (`selected`), with all its seeds.

    Args:
        records: of one study.
        answers: `answer_of` of its horizons, where they are known already.

    Raises:
        RecordError: the records of a horizon watch different metrics.
    """
    records = list(records)
    # most are of the search, and compared with nothing
    checks = [r for r in records if r.role in ("baseline", "confirm")]
    found: list[Comparison] = []
    for horizon in horizons(records):
        here = [r for r in checks if r.horizon == horizon]
        baselines = by_schedule([r for r in here if r.role == "baseline"])
        answer = answers[horizon] if answers is not None else answer_of(records, horizon)
        candidates = answer.candidates if answer is not None else ()
        order = [c.record.schedule for c in candidates]
        today = [c.record.schedule for c in candidates if c.is_today]
        confirmed = [g for g in by_schedule([r for r in here if r.role == "confirm"]) if g[0].schedule not in today]
        confirmed.sort(key=lambda runs: order.index(runs[0].schedule) if runs[0].schedule in order else len(order))
        tuned: list[list[TrialRecord]] = confirmed
        if not tuned and answer is not None and not (candidates and answer.fresh):
            tuned = [list(answer.chosen.runs) if answer.chosen is not None else [answer.record]]
        found += [_compare(a, b, selected=not confirmed) for a in tuned for b in baselines]
    return found


def _compare(tuned: Sequence[TrialRecord], today: Sequence[TrialRecord], *, selected: bool) -> Comparison:
    check_one_metric([*tuned, *today])
    a, b = _by_seed(tuned), _by_seed(today)
    seeds = tuple(sorted(a.keys() & b.keys()))
    first = tuned[0]
    return Comparison(
        horizon=first.horizon,
        monitor=first.monitor,
        mode=first.mode,
        tuned=schedule_words(first),
        today=schedule_words(today[0]),
        seeds=seeds,
        tuned_values=tuple(a[seed] for seed in seeds),
        today_values=tuple(b[seed] for seed in seeds),
        tuned_lost=sum(not has_value(r) for r in tuned),
        today_lost=sum(not has_value(r) for r in today),
        selected=selected,
    )


def schedule_words(record: TrialRecord) -> str:
    """Describe what a record trained with: the schedule, or the job's own scheduler by its label."""
    return record.label if record.schedule is None else str(record.schedule)


def _by_seed(records: Sequence[TrialRecord]) -> dict[int, float]:
    # A repeated (schedule, seed) is a rerun of the same thing: the last one counts.
    return {r.seed: r.value for r in records if has_value(r) and r.value is not None}
