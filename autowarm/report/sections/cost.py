"""The parts of a report on what was spent, and what on: the ladder of a budget and the range test."""

from __future__ import annotations

from autowarm.analysis.best import best_record, horizon_words, horizons
from autowarm.analysis.spend import Spend, full_run_cost, outcomes_of
from autowarm.report.cells import decay_cell, lr_cell, warmup_cell
from autowarm.report.contents import Contents
from autowarm.report.document import Figure, Image, Section, Text, table
from autowarm.report.words import counts_words
from autowarm.words import duration, number

RANGE_PICTURE = "range_test.png"


def ladder(contents: Contents) -> Section | None:
    """Return the levels that a budget was spent on, and the best of each."""
    climbed = [r for r in contents.records if r.target_steps is not None]
    rows = []
    for target in horizons(climbed):
        here = [r for r in contents.records if r.target == target and r.role == "search"]
        full = full_run_cost(contents.records, target)
        for steps in sorted({r.total_steps for r in here}):
            level = [r for r in here if r.total_steps == steps]
            best = best_record(level, (steps, target[1]))
            row: tuple[str, ...] = ("-",) * 4
            if best is not None:
                told = (lr_cell(best.schedule), warmup_cell(best), decay_cell(best.schedule))
                row = (number(best.value, 5), *told)
            cost = f"{sum(r.cost for r in level) / full:.2f}"
            rows.append((horizon_words(target), f"{steps:,}", counts_words(outcomes_of(level)), cost, *row))
    if not rows:
        return None
    header = ("searched for", "steps", "trials", "full runs", climbed[0].monitor, "initial_lr", "warmup", "decay")
    said = Text("Short runs explore, and hand their best on. Values of different numbers of steps do not compare.")
    return Section("The ladder", (said, table(header, rows)))


def range_test(contents: Contents) -> Section | None:
    """Return the range of initial_lr that a range test found, and what it rests on."""
    found = contents.range_found
    if found is None:
        return None
    cost = contents.spent.of("range_test")
    said = f"{found.words}. It took {cost.total.steps:,} training steps, {number(cost.full_runs, 2)} full runs."
    picture = Image("Training loss over the learning rate", RANGE_PICTURE)
    return Section("Range of initial_lr", (Text(said), picture, Figure("range_test")))


def spent(contents: Contents) -> Section | None:
    """Return what was spent, by horizon and role."""
    if not contents.records:
        return None
    by_horizon = contents.spent_by_horizon
    rows = [_row(horizon_words(horizon), spent) for horizon, spent in by_horizon.items()]
    roles = contents.spent.roles
    if len(roles) > 1:
        rows += [_row(f"of it {name}", contents.spent.of(name)) for name in roles]
    unit = "Full runs are cost over the cost of one run at the same horizon"
    if len(by_horizon) > 1:
        rows.append(_row("all", contents.spent))
        unit += "; below the horizons, at the largest one"
    header = ("", "trials", "steps", "validation batches", "cost", "full runs", "time")
    said = f"Cost is in training steps, a validation batch being a third of one. {unit}."
    total = contents.spent.total
    if total.represented > total.steps:
        said += (
            f" The trials have {total.represented:,} steps, of which {total.steps:,} were trained: "
            "what trials have in common is trained once."
        )
    return Section("What was spent", (Figure("cost"), table(header, rows), Text(said)))


def _row(title: str, spent: Spend) -> tuple[object, ...]:
    total = spent.total
    return (
        title,
        f"{total.trials} ({counts_words(spent.outcomes)})",
        f"{total.steps:,}",
        f"{total.val_batches:,}",
        f"{total.cost:,.0f}",
        f"{spent.full_runs:.1f}",
        duration(total.seconds),
    )
