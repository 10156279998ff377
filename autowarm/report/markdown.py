"""The report of a study in Markdown: the answer first, then what it rests on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from autowarm.analysis.advice import Bounds, advise
from autowarm.analysis.answer import Answer, answer_of
from autowarm.analysis.audit import pruning_audit
from autowarm.analysis.best import best_record, horizon_words, horizons, ranked, target_horizon
from autowarm.analysis.compare import comparisons
from autowarm.analysis.spend import Spend, full_run_cost, spend, spend_by_horizon
from autowarm.planning.range_test import found_range
from autowarm.record import TrialRecord
from autowarm.report.cells import decay_cell, escape, lr_cell, table, warmup_cell
from autowarm.report.repeated import repeated
from autowarm.report.tables import last_line
from autowarm.words import counted, duration

RANGE_PICTURE = "range_test.png"
# Of the answer in the search: the best of it may have been lucky.
_PLACES = {1: "the best", 2: "the second best", 3: "the third best"}
TOP = 5
# Rows of the tables of what went wrong; trials.csv has them all.
MANY = 20

_USE = """\
```python
from autowarm import TunedSchedule

trainer = Trainer(max_steps={total_steps}, callbacks=[TunedSchedule("schedule.yaml")])
trainer.fit(model)
```

`autowarm export DIR --format yaml -o schedule.yaml` writes that file; DIR is the folder of this report. For a
LightningCLI project, `autowarm export DIR --format lightning -o tuned.yaml` writes a file to pass after your own:
`--config yours.yaml --config tuned.yaml`."""


def report_md(
    records: Iterable[TrialRecord], *, name: str, picture: str | None = None, bounds: Bounds | None = None
) -> str:
    """Return the report on the records of a study.

    Args:
        records: of one study; any horizons, roles and outcomes, or none at all.
        name: the title.
        picture: the address of an image to show below the answer.
        bounds: (low, high) of `initial_lr` and `warmup_ratio` as searched, for the advice.

    Raises:
        RecordError: the records of a horizon watch different metrics.
    """
    records = list(records)
    parts = [f"# {escape(name)}", _answer(records)]
    parts += [f"![Learning-rate and validation curves]({picture})"] if picture and records else []
    sections = [
        ("Best schedules", _best(records)),
        ("Trained again on fresh seeds", repeated(records)),
        ("Tuned against today's schedule", _compared(records)),
        ("The ladder", _ladder(records)),
        ("Range of initial_lr", _range(records, with_picture=picture is not None)),
        ("What was spent", _spent(records)),
        ("Was pruning right", _audited(records)),
        ("What diverged", _diverged(records)),
        ("What failed", _failed(records)),
        ("Advice", [f"- {escape(sentence)}" for sentence in advise(records, bounds_of(records, bounds))]),
        ("How to use the schedule", _use(records)),
    ]
    for title, lines in sections:
        if lines:
            parts += [f"## {title}", "\n".join(lines)]
    return "\n\n".join(parts) + "\n"


def bounds_of(records: Sequence[TrialRecord], bounds: Bounds | None) -> Bounds | None:
    """Return the bounds of a search, that of `initial_lr` from the range test where the study names none."""
    found = found_range(records) if "initial_lr" not in (bounds or {}) else None
    return bounds if found is None else {**(bounds or {}), "initial_lr": (found.low, found.high)}


def _answer(records: Sequence[TrialRecord]) -> str:
    target = target_horizon(records)
    if target is None:
        return "**There is no answer yet:** no trial has run."
    here = [r for r in records if r.horizon == target]
    answer = answer_of(records, target)
    if answer is None or answer.record.schedule is None:
        outcomes = _counts(spend(here).outcomes) or f"{len(records)} shorter runs so far"
        return f"**There is no answer yet:** no search trial at {horizon_words(target)} ended well ({outcomes})."
    shorter = sum(r.target == target != r.horizon and r.role == "search" for r in records)
    schedule = escape(answer.record.schedule)
    reached = _reached(answer, sum(r.role == "search" for r in here), shorter)
    against = comparisons(here)[:1] if not answer.is_today else []
    said = f"**Use {schedule}**: it {reached}"
    if answer.is_today:
        said = f"**Keep today's schedule, {schedule}**: it {reached}"
    elif any(c.lost for c in against):
        said = (
            "**Keep today's schedule for now**, or search on with more trials: the best one found, "
            f"{schedule}, did not beat it on fresh seeds. In the search it {reached}"
        )
    verdicts = [c.verdict() for c in against]
    return " ".join([said, *(escape(sentence) for sentence in (*verdicts, *answer.sentences()))])


def _reached(answer: Answer, trials: int, shorter: int) -> str:
    best, where = answer.record, horizon_words(answer.horizon)
    if answer.place is None:
        return f"is the best of those trained at {where}."
    place = (
        "the only trial" if trials == 1 else f"{_PLACES.get(answer.place, f'no. {answer.place}')} of {trials} trials"
    )
    after = f", after {shorter} shorter ones" if shorter else ""
    return f"reached {escape(best.monitor)} {best.value:.5g}, {place} at {where}{after}."


def _best(records: Sequence[TrialRecord]) -> list[str]:
    blocks: list[str] = []
    for horizon in horizons(r for r in records if r.role == "search"):
        here = [r for r in records if r.horizon == horizon and r.role == "search"]
        if not here:
            # a ladder that has not got there
            continue
        order = ranked(here, horizon)
        said = [
            f"### At {horizon_words(horizon)}",
            f"{counted(len(here), 'trial')}: {_counts(spend(here).outcomes)}.",
        ]
        rows = [
            (place, f"{r.value:.5g}", lr_cell(r.schedule), warmup_cell(r), decay_cell(r.schedule), r.seed, r.trial)
            for place, r in enumerate(order[:TOP], start=1)
        ]
        header = ("", here[0].monitor, "initial_lr", "warmup", "decay", "seed", "trial")
        blocks.append("\n\n".join([*said, *(["\n".join(table(header, rows))] if rows else [])]))
    return ["\n\n".join(blocks)] if blocks else []


def _compared(records: Sequence[TrialRecord]) -> list[str]:
    found = comparisons(records)
    if not found:
        return []
    header = ("horizon", "tuned", "today", "seeds", "mean difference (tuned - today)", "95 % interval")
    rows = [
        (
            horizon_words(c.horizon),
            c.tuned,
            c.today,
            c.n_seeds,
            f"{c.mean_difference:+.3g}" if c.seeds else "-",
            f"+- {c.half_width:.2g}" if c.n_seeds > 1 else "-",
        )
        for c in found
    ]
    counts = Counter((c.horizon, c.today) for c in found)
    said = [
        # which one is meant, where several were
        f"- {escape(horizon_words(c.horizon))}"
        + (f", {escape(c.tuned)}" if counts[c.horizon, c.today] > 1 else "")
        + f": {escape(c.verdict())}"
        for c in found
    ]
    return [*table(header, rows), "", *said]


def _ladder(records: Sequence[TrialRecord]) -> list[str]:
    """Show the levels that a budget was spent on, and the best of each."""
    climbed = [r for r in records if r.target_steps is not None]
    targets = horizons(climbed)
    rows = []
    for target in targets:
        here = [r for r in records if r.target == target and r.role == "search"]
        for steps in sorted({r.total_steps for r in here}):
            level = [r for r in here if r.total_steps == steps]
            best = best_record(level, (steps, target[1]))
            row: tuple[str, ...] = ("-",) * 4
            if best is not None:
                told = (lr_cell(best.schedule), warmup_cell(best), decay_cell(best.schedule))
                row = (f"{best.value:.5g}", *told)
            cost = f"{sum(r.cost for r in level) / full_run_cost(records, target):.2f}"
            rows.append((horizon_words(target), f"{steps:,}", _counts(spend(level).outcomes), cost, *row))
    if not rows:
        return []
    header = ("searched for", "steps", "trials", "full runs", climbed[0].monitor, "initial_lr", "warmup", "decay")
    return [
        "Short runs explore, and hand their best on. Values of different numbers of steps do not compare.",
        "",
        *table(header, rows),
    ]


def _range(records: Sequence[TrialRecord], *, with_picture: bool) -> list[str]:
    found = found_range(records)
    if found is None:
        return []
    cost = spend([r for r in records if r.role == "range_test"], target_horizon(records))
    said = f"{escape(found.words)}. It took {cost.steps:,} training steps, {cost.full_runs:.2g} full runs."
    return [said, *(["", f"![Training loss over the learning rate]({RANGE_PICTURE})"] if with_picture else [])]


def _spent(records: Sequence[TrialRecord]) -> list[str]:
    if not records:
        return []
    by_horizon = spend_by_horizon(records)
    rows = [_spend_row(horizon_words(horizon), spent) for horizon, spent in by_horizon.items()]
    target = target_horizon(records)
    roles = list(spend(records).roles)
    if len(roles) > 1:
        rows += [_spend_row(f"of it {n}", spend([r for r in records if r.role == n], target)) for n in roles]
    unit = "Full runs are cost over the cost of one run at the same horizon"
    if len(by_horizon) > 1:
        rows.append(_spend_row("all", spend(records)))
        unit += "; below the horizons, at the largest one"
    header = ("", "trials", "steps", "validation batches", "cost", "full runs", "time")
    return [
        *table(header, rows),
        "",
        f"Cost is in training steps, a validation batch being a third of one. {unit}.",
    ]


def _spend_row(title: str, spent: Spend) -> tuple[object, ...]:
    return (
        title,
        f"{spent.trials} ({_counts(spent.outcomes)})",
        f"{spent.steps:,}",
        f"{spent.val_batches:,}",
        f"{spent.cost:,.0f}",
        f"{spent.full_runs:.1f}",
        duration(spent.seconds),
    )


def _audited(records: Sequence[TrialRecord]) -> list[str]:
    said = []
    for horizon in horizons(r for r in records if r.role == "search"):
        found = pruning_audit(r for r in records if r.horizon == horizon)
        if found.at_most is not None:
            said.append(
                f"- {escape(horizon_words(horizon))}: of the {found.pruned + found.audited} trials that pruning would "
                f"have stopped, {found.audited} were finished as an audit. {found.best} of these would have been the "
                f"best ({found.at_most:.0%} of all such trials at most, with 95 % confidence), {found.top} in the best "
                "tenth."
            )
    return said


def _diverged(records: Sequence[TrialRecord]) -> list[str]:
    # to diverge is what a range test is for
    found = [r for r in records if r.outcome == "DIVERGED" and r.role != "range_test"]
    # the lowest lr that diverges says most
    found.sort(key=lambda r: (r.schedule is None, r.schedule.initial_lr if r.schedule else 0.0, r.trial))
    rows = [
        (
            lr_cell(r.schedule),
            warmup_cell(r),
            decay_cell(r.schedule),
            f"{r.steps:,} of {r.total_steps:,}",
            r.seed,
            r.reason or "-",
        )
        for r in found[:MANY]
    ]
    header = ("initial_lr", "warmup", "decay", "at step", "seed", "reason")
    return [*table(header, rows), *_more(len(found))] if rows else []


def _failed(records: Sequence[TrialRecord]) -> list[str]:
    found = [r for r in records if r.outcome == "FAILED"]
    counts = Counter(last_line(r.error) or r.reason or "no reason was recorded" for r in found)
    rows = [(count, error) for error, count in counts.most_common(MANY)]
    return [*table(("trials", "error"), rows), *_more(len(counts))] if rows else []


def _use(records: Sequence[TrialRecord]) -> list[str]:
    answer = answer_of(records)
    return [] if answer is None else [_USE.format(total_steps=answer.record.total_steps)]


def _more(count: int) -> list[str]:
    return ["", f"... and {count - MANY} more, in trials.csv."] if count > MANY else []


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items())
