"""The schedule for a training that nobody ran: initial_lr, warmup and decay for its steps, its dataset, its batch."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from autowarm.analysis.cells import horizon_logs, usable
from autowarm.analysis.decay_peaks import log_lr, relative_peak
from autowarm.analysis.estimate import Estimate
from autowarm.analysis.runs import Floats, Runs, decay_of
from autowarm.analysis.scaling import NAMES, Z95, Scaling, scaling
from autowarm.analysis.warmup_choice import WarmupChoice, shortest_share
from autowarm.errors import RecordError, ScheduleError, SettingsError
from autowarm.schedule import Schedule
from autowarm.words import counted, number, percent

# Beyond this factor over what was seen, an extrapolation is far.
_FAR = 4.0
# So many of them, those of the nearest horizons first.
_NEAREST = 150
# Without any known warmup.
_HABIT = 0.1


@dataclass(frozen=True)
class Recommendation:
    """A schedule for a budget, and how far it can be relied upon.

    Attributes:
        total_steps: the budget.
        dataset_size: asked for, or of the runs; NaN where unknown; so is `batch_size`.
        initial_lr: `value` is the one to use, see `shaded`; `low` and `high` are the 90 % band of the best one.
        warmup_ratio: the shortest share within noise of the best, with its interval.
        warmup_steps: the same in optimizer steps.
        decay: that the lr goes with; "" where unknown.
        far: whether the budget is far beyond the runs.
        factor: how many times it is beyond them, 1 inside.
        notes: sentences about what it rests on.
    """

    total_steps: int
    dataset_size: float
    batch_size: float
    initial_lr: Estimate
    warmup_ratio: Estimate
    warmup_steps: int
    decay: str
    far: bool
    factor: float
    notes: tuple[str, ...]

    def sentences(self) -> list[str]:
        """Say what to use, how sure that is, and why."""
        lr, warmup = self.initial_lr, self.warmup_ratio
        with_decay = f", decay {self.decay}" if self.decay else ""
        return [
            f"For {self.total_steps:,} steps: initial_lr {number(lr.value, 2)}, warmup "
            f"{percent(warmup.value)} of the steps "
            f"({self.warmup_steps:,}){with_decay}.",
            f"The best initial_lr lies between {number(lr.low, 2)} and {number(lr.high, 2)} (90 %); the one "
            "to use is on the low "
            "side, as twice too high costs more than half.",
            *self.notes,
        ]


def schedule_of(found: Recommendation, answer: Schedule | None = None) -> Schedule:
    """Return a recommendation as a schedule, with the decay of a study's answer where there is one.

    The learning rate is that of the recommendation, brought to the decay by what is known of their peaks, to three
    digits.

    Args:
        found: the recommendation.
        answer: what a study found for its own horizon; by default the decay that the recommendation is for, cosine
            where that is unknown.

    Raises:
        SettingsError: the decay has parameters that nobody knows.
        ScheduleError: warmup and cooldown do not fit into one run.
    """
    decay, ratio = decay_of(found.decay or "cosine")
    share = round(found.warmup_ratio.value, 4)
    if answer is None:
        own = {"decay_ratio": ratio} if ratio is not None else {}
        try:
            return Schedule(initial_lr=_three_digits(found.initial_lr.value), warmup_ratio=share, decay=decay, **own)  # type: ignore[arg-type]
        except ScheduleError as e:
            raise SettingsError(f"the decay of the runs, {decay}, cannot be written as a schedule: {e}") from None
    moved = relative_peak(answer.decay, answer.decay_ratio) / relative_peak(decay, ratio)
    return replace(
        answer,
        initial_lr=_three_digits(found.initial_lr.value * moved),
        warmup_ratio=share,
        warmup_steps=None,
        warmup_epochs=None,
    )


def _three_digits(lr: float) -> float:
    return float(f"{lr:.3g}")


def shaded(mean: Floats, sd: Floats) -> Floats:
    """Return the ln lr to use where ln lr* is normal with a mean and a standard deviation: mean - min(sd^2, .6 sd).

    A lr that is off by u = ln(lr / lr*) costs about exp(2u) - 1 - 2u: twice too high costs 2.5 times what half does
    (2.6 was measured). With ln lr* ~ N(m, s^2), ln lr = d has the expected cost exp(2(d - m) + 2 s^2) - 1 - 2(d - m),
    least at d = m - s^2: a lr 9 % below the median at s = .3, 22 % at s = .5.

    Farther out the cost grows less steeply than that: of language models the medians are .91, .32, .84, 3.9 % at a
    quarter, half, twice and four times the best lr. With powers drawn through those, the least expected cost,
    integrated numerically, is at m - .09, .23, .40, .67, 1.18 for s = .3, .5, .7, 1, 1.5: up to s = .5 as above, then
    about .6 s, which costs at most 3 % more than the least.
    """
    return mean - np.minimum(sd**2, 0.6 * sd)


def banded(used: float, mean: float, sd: float) -> Estimate:
    """Return the lr to use, with the 90 % band of the best one; all are given as ln lr."""
    return Estimate(math.exp(used), math.exp(mean - Z95 * sd), math.exp(mean + Z95 * sd))


def lr_band(
    law: Scaling, total_steps: Floats, dataset_size: float | None = None, batch_size: float | None = None
) -> tuple[Floats, Floats, Floats]:
    """Return the lr to use and the 90 % band of the best lr over many numbers of steps, each of shape (n,).

    Args:
        law: see `scaling`.
        total_steps: of shape (n,), positive.
        dataset_size: the runs' own by default.
        batch_size: likewise.
    """
    at = np.column_stack(
        [np.log(total_steps), *(np.full(len(total_steps), _log(v)) for v in (dataset_size, batch_size))]
    )
    mean, sd = law.predict(at)
    return np.exp(shaded(mean, sd)), np.exp(mean - Z95 * sd), np.exp(mean + Z95 * sd)


def recommend(
    runs: Runs, total_steps: float, dataset_size: float | None = None, batch_size: float | None = None
) -> Recommendation:
    """Return the schedule to use for a budget, from runs of other budgets.

    Args:
        runs: any; see `scaling` for what they are read for.
        total_steps: of the training to come, positive.
        dataset_size: its training examples; by default those of the runs (in the middle, where they differ).
        batch_size: examples of an optimizer step; likewise.

    Raises:
        SettingsError: an argument is not a positive number.
        RecordError: no run ended with a value.
    """
    asked = dict(zip(NAMES, (total_steps, dataset_size, batch_size), strict=True))
    for name, value in asked.items():
        if value is not None and not (math.isfinite(value) and value > 0):
            raise SettingsError(f"{name} must be a positive number, got {value}")
    n_runs, runs = len(runs), usable(runs)
    law = scaling(runs)
    if law is None:
        raise RecordError(
            f"nothing to recommend from: of {n_runs} runs, none ended with a value and did not fail. "
            "Run some with a lower initial_lr first"
        )
    at = np.array([_log(value) for value in asked.values()])
    at = np.where(np.isfinite(at), at, law.centre)
    mean, sd = law.predict(at[None])
    used = float(shaded(mean, sd)[0])
    factor, notes = _extrapolation(law, asked)
    tried = np.exp(log_lr(runs, law.decay))
    if not tried.min() <= math.exp(used) <= tried.max():
        notes.append(
            f"No run had such an initial_lr: they are between {number(tried.min(), 2)} and {number(tried.max(), 2)}."
        )
    notes.append(_basis(law))
    choice = choose_warmup(runs, law, at)
    notes.append(_warmup_words(choice))
    share = Estimate(_HABIT, 0.0, 1.0) if choice is None else choice.share
    steps = max(round(total_steps), 1)
    return Recommendation(
        total_steps=steps,
        dataset_size=_or_nan(at[1]),
        batch_size=_or_nan(at[2]),
        initial_lr=banded(used, float(mean[0]), float(sd[0])),
        warmup_ratio=share,
        warmup_steps=min(round(share.value * steps), steps - 1),
        decay=law.decay,
        far=factor > _FAR,
        factor=factor,
        notes=tuple(notes),
    )


def choose_warmup(runs: Runs, law: Scaling, at: Floats) -> WarmupChoice | None:
    """Return the shortest warmup within noise, by the runs of the nearest horizons.

    Args:
        runs: usable ones that `law` is of, or some of them.
        law: tells which lr of another horizon is as high as one of this.
        at: ln of (total_steps, dataset_size, batch_size), of shape (3,).
    """
    rows = np.flatnonzero(np.isfinite(runs.warmup_ratio))
    z = horizon_logs(runs)
    above = log_lr(runs, law.decay) - law.predict(z)[0]
    if len(rows) > _NEAREST:
        distance = np.nansum(np.abs(z[rows] - at), axis=1)
        # a horizon as a whole: of equally near runs any choice would be one by their place in the table
        rows = rows[distance <= np.partition(distance, _NEAREST)[_NEAREST]]
    kept = np.zeros(len(runs), dtype=bool)
    kept[rows] = True
    return shortest_share(runs.where(kept), above[kept])


def _extrapolation(law: Scaling, asked: dict[str, float | None]) -> tuple[float, list[str]]:
    factor, notes = 1.0, []
    for power in law.powers:
        value = asked[power.name]
        if value is None:
            continue
        if math.isnan(power.seen_low):
            notes.append(f"The runs do not say their {power.name}: yours is not taken into account.")
            continue
        beyond = max(value / power.seen_high, power.seen_low / value, 1.0)
        factor = max(factor, beyond)
        if beyond > _FAR:
            notes.append(
                f"Far extrapolation: {power.name} {value:,.0f} is {beyond:.1f} times beyond the runs "
                f"({power.seen_low:,.0f} to {power.seen_high:,.0f}). Try it on a shorter training first."
            )
        elif beyond > 1:
            notes.append(
                f"Extrapolation: {power.name} {value:,.0f} is {beyond:.1f} times beyond the runs "
                f"({power.seen_low:,.0f} to {power.seen_high:,.0f})."
            )
    return factor, notes


def _basis(law: Scaling) -> str:
    runs = sum(h.runs for h in law.horizons)
    told = [p for p in law.powers if p.from_data]
    horizons = f"{counted(len(law.horizons), 'horizon')} or groups of near ones"
    said = f"It rests on {counted(runs, 'run')} near the best of {horizons}"
    if not told:
        return f"{said}; the exponents are published ones, the runs do not move them."
    words = ", ".join(f"{p.name}^{p.exponent.value:.2f}" for p in told)
    return f"{said}; they moved the published exponents to {words}."


def _warmup_words(choice: WarmupChoice | None) -> str:
    if choice is None:
        return f"The runs do not say their warmup: {percent(_HABIT)} is a habit, not a finding."
    words = f"The shortest warmup within noise of the best, from {counted(choice.runs, 'run')} near this lr and horizon"
    longest = (
        f"; it may have to be up to {percent(choice.share.high)}"
        if choice.share.high > choice.share.value + 0.01
        else ""
    )
    if choice.raised:
        words += (
            f": by the metric alone {percent(choice.by_metric)}, but with less than {percent(choice.share.value)} more "
            "runs fail, or too few had less to know that they train"
        )
    lost = f" With such a warmup, near the best lr and just above, {percent(choice.failed)} of the runs failed."
    return f"{words}{longest}.{'' if math.isnan(choice.failed) else lost}"


def _log(value: float | None) -> float:
    return math.nan if value is None or math.isnan(value) else math.log(value)


def _or_nan(log: float) -> float:
    # a logarithm and back is not quite the number
    return round(math.exp(log), 6) if math.isfinite(log) else math.nan
