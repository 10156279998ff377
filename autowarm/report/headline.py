"""What the report says first: what to use, what to expect of it, what it gains, and what it cost to find."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from autowarm.analysis.answer import Answer
from autowarm.analysis.best import horizon_words
from autowarm.analysis.compare import Comparison
from autowarm.analysis.estimate import Estimate
from autowarm.analysis.horizon_grid import GridCell
from autowarm.analysis.runs import Floats
from autowarm.analysis.spend import outcomes_of
from autowarm.report.contents import Contents
from autowarm.report.words import counts_words, interval, lr_interval, schedule_in_words
from autowarm.words import counted, duration, number, percent, signed

_PLACES = {1: "the best", 2: "the second best", 3: "the third best"}


@dataclass(frozen=True)
class Fact:
    """A number that the answer rests on: what it is, itself, and what to know of it."""

    label: str
    value: str
    detail: str


@dataclass(frozen=True)
class Headline:
    """The answer.

    Attributes:
        use: what to do, in a few words.
        rest: of that sentence.
        sentences: that follow it.
        facts: the numbers next to it.
    """

    use: str
    rest: str
    sentences: tuple[str, ...] = ()
    facts: tuple[Fact, ...] = ()

    @property
    def text(self) -> str:
        """All of it but the facts."""
        return " ".join([self.use + self.rest, *self.sentences])


def headline(contents: Contents) -> Headline:
    """Return the answer of a report."""
    return _of_runs(contents) if len(contents.runs) and not contents.records else _of_study(contents)


def _of_study(contents: Contents) -> Headline:
    target, answer = contents.target, contents.answer
    if target is None:
        return Headline("There is no answer yet:", " no trial has run.")
    here = contents.at(target)
    if answer is None or answer.record.schedule is None:
        outcomes = counts_words(outcomes_of(here)) or f"{len(contents.records)} shorter runs so far"
        rest = f" no search trial at {horizon_words(target)} ended well ({outcomes})."
        return Headline("There is no answer yet:", rest, facts=(_cost(contents),))
    shorter = sum(r.target == target != r.horizon and r.role == "search" for r in contents.records)
    schedule, against = str(answer.record.schedule), contents.against_today
    reached = _reached(answer, sum(r.role == "search" for r in here), shorter)
    use, rest = f"Use {schedule}", f": it {reached}"
    if answer.is_today:
        use = f"Keep today's schedule, {schedule}"
    elif against is not None and against.lost:
        use = "Keep today's schedule for now"
        rest = (
            f", or search on with more trials: the best one found, {schedule}, did not beat it on fresh seeds. "
            f"In the search it {reached}"
        )
    verdicts = [] if against is None else [against.verdict()]
    gains = [] if against is None else [_gain(against)]
    sentences = (*verdicts, *answer.sentences())
    return Headline(use, rest, sentences, (_expected(answer), *gains, _cost(contents)))


def _reached(answer: Answer, trials: int, shorter: int) -> str:
    best, where = answer.record, horizon_words(answer.horizon)
    if not answer.fresh and answer.chosen is not None and answer.chosen.mean is not None:
        seeds = len(answer.chosen.values)
        return f"reached a mean {best.monitor} of {number(answer.chosen.mean, 5)} over {seeds} seeds at {where}."
    if answer.place is None:
        return f"is the best of those trained at {where}."
    place = (
        "the only trial" if trials == 1 else f"{_PLACES.get(answer.place, f'no. {answer.place}')} of {trials} trials"
    )
    after = f", after {shorter} shorter ones" if shorter else ""
    return f"reached {best.monitor} {number(best.value, 5)}, {place} at {where}{after}."


def _expected(answer: Answer) -> Fact:
    chosen, label = answer.chosen, f"Expected {answer.record.monitor}"
    if chosen is None or chosen.mean is None:
        return Fact(label, number(answer.record.value, 5), "seen once, in the search, which flatters")
    n = len(chosen.values)
    fresh, of_search = ("fresh ", "") if answer.fresh else ("", " of the search")
    if chosen.spread is None:
        return Fact(label, number(chosen.mean, 5), f"on one {fresh}seed{of_search}")
    return Fact(
        label,
        f"{number(chosen.mean, 5)} ± {number(chosen.spread, 1)}",
        f"mean and standard deviation of {n} {fresh}seeds{of_search}",
    )


def _gain(against: Comparison) -> Fact:
    label = "Gain over today"
    if not against.seeds:
        return Fact(label, "unknown", "no seed was finished by both")
    gain = against.mean_difference if against.mode == "max" else -against.mean_difference
    if against.selected:
        detail = "flattered: the tuned value is the best of the search"
    elif against.n_seeds == 1:
        detail = "on one seed, which cannot tell it from noise"
    else:
        noise = "beyond noise" if against.beyond_noise else "within noise"
        detail = f"95 % interval ± {number(against.half_width, 2)}, paired over {against.n_seeds} seeds: {noise}"
    return Fact(label, f"{signed(gain)}", f"{detail}. Today: {against.today.removeprefix('today: ')}")


def _cost(contents: Contents) -> Fact:
    spent = contents.spent
    unit = "full run" if number(spent.full_runs) == "1" else "full runs"
    total = spent.total
    detail = f"{counted(total.trials, 'trial')}, {total.steps:,} steps, {duration(total.seconds)} of training"
    return Fact("Cost to find", f"{number(spent.full_runs)} {unit}", detail)


def _of_runs(contents: Contents) -> Headline:
    runs = contents.runs
    failed = int(runs.failed.sum())
    facts = [Fact("Runs", f"{len(runs):,}", _lengths(contents))]
    if failed:
        lost = "diverged, have no value" + (
            f", or ended at {number(runs.bar)} or worse" if math.isfinite(runs.bar) else ""
        )
        facts.append(Fact("Failed", f"{failed:,} ({percent(failed / len(runs))})", lost))
    row = runs.best()
    if row is None:
        return Headline("There is no answer:", f" none of {len(runs):,} runs ended well.", facts=tuple(facts))
    value, steps = runs.value[row], runs.total_steps[row]
    if any(doubt.kind == "constant" for doubt in contents.doubts):
        rest = f" all runs that ended have {runs.metric} {number(value, 5)}, which tells no schedule from another."
        return Headline("There is no answer:", rest, facts=tuple(facts))
    lr, cell = float(runs.initial_lr[row]), _cell_of(contents, row)
    used = schedule_in_words(lr, runs.warmup_ratio[row], str(runs.decay[row]))
    place = f"the best of {len(runs):,} runs" if len(runs) > 1 else "the only run"
    reached = f"reached {runs.metric} {number(value, 5)} in {steps:,.0f} steps"
    rest, sentences = f": {place}, it {reached}.", list[str]()
    if cell is not None:
        of = f"all {cell.tried:,} runs of about {cell.total_steps:,.0f} steps"
        fitted = lr_interval(cell.initial_lr)
        sentences += [f"A fit to {of} puts the best lr at {fitted}, and this one is within that."]
        if lr not in cell.initial_lr:
            # of many single runs the best is a lucky one
            sentences = [f"The best of {len(runs):,}, with {used}, {reached}: by luck, as its neighbours did not."]
            used = schedule_in_words(cell.initial_lr.value, cell.warmup_ratio, cell.decay)
            rest = f": fitted to {of}; the best lr lies between {_ends(cell.initial_lr)} (90 %)."
        if cell.tied:
            sentences.append(f"{counted(cell.n_ties, 'schedule')} there are within noise of each other: call it a tie.")
    facts = [_expected_of(cell, runs.metric, float(value)), *facts]
    return Headline(f"Use {used}", rest, tuple(sentences), tuple(facts))


def _ends(lr: Estimate) -> str:
    return f"{number(lr.low)} and {number(lr.high)}"


def _cell_of(contents: Contents, row: int) -> GridCell | None:
    """Return what runs of about the length and data of one say together; None where there is no fit to them."""
    runs = contents.runs
    at = _logs(runs.total_steps[row], runs.dataset_size[row])
    cells = [cell for row in contents.grid.cells for cell in row if cell.tried] if contents.grid is not None else []
    near = min(cells, key=lambda c: float(np.abs(_logs(c.total_steps, c.dataset_size) - at).sum()), default=None)
    # where there is no fit to these runs, what is known is from others or was believed beforehand
    return None if near is None or near.predicted or near.tried == 1 else near


def _logs(total_steps: float, dataset_size: float) -> Floats:
    return np.log([total_steps, dataset_size if math.isfinite(dataset_size) else 1.0])


def _expected_of(cell: GridCell | None, metric: str, value: float) -> Fact:
    if cell is None or cell.expected is None:
        return Fact(f"Best {metric}", number(value, 5), "one run, and the luckiest: do not expect as much again")
    detail = (
        f"90 % interval at the best lr, fitted to {cell.tried:,} runs of about {cell.total_steps:,.0f} steps; the "
        f"{number(value, 5)} of the best run was lucky"
    )
    return Fact(f"Expected {metric}", interval(cell.expected, 5), detail)


def _lengths(contents: Contents) -> str:
    steps = contents.runs.total_steps
    low, high = float(np.min(steps)), float(np.max(steps))
    each = f"of {low:,.0f} steps" if low == high else f"of {low:,.0f} to {high:,.0f} steps"
    return f"{each}, {steps.sum():,.0f} in all where none stopped early"
