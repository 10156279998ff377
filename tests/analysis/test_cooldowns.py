"""The table that one trunk gives, on records whose truth is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from autowarm.analysis.cooldowns import Cooldown, cooldown_table
from autowarm.record import TrialRecord
from autowarm.report.contents import contents_of
from autowarm.report.document import Table, Text
from autowarm.report.plot import Line, Points
from autowarm.report.plots.registry import plot_of
from autowarm.report.sections import sections_of
from autowarm.schedule import Schedule

MakeRecord = Callable[..., TrialRecord]
LENGTHS, SHARES = (100, 200), (0.0, 0.1, 0.4)


def loss(steps: int, share: float, lr: float) -> float:
    """Return a loss that is best with a short cooldown in a short run and with a long one in a long run."""
    return 1.0 + lr + 10 / steps - share * (1 if steps == 200 else -1) - 0.2 * (share == 0.1)


def grid(make_record: MakeRecord, lr: float = 0.1, seeds: int = 1, **fields: Any) -> list[TrialRecord]:
    records = []
    for seed in range(seeds):
        for steps in LENGTHS:
            for share in SHARES:
                decay: dict[str, Any] = {"decay": "wsd", "decay_ratio": share} if share else {"decay": "constant"}
                record = make_record(
                    value=loss(steps, share, lr) + 0.2 * seed,
                    total_steps=steps,
                    steps=steps,
                    seed=seed,
                    trunk=f"{lr} {seed}",
                    shared_steps=0 if (steps, share) == (200, 0.0) else round(steps * (1 - share)),
                    exact=True,
                    **fields,
                )
                # the same warmup in steps
                schedule = Schedule(initial_lr=lr, warmup_ratio=10 / steps, **decay)
                records.append(replace(record, schedule=schedule))
    return records


def test_a_trunk_gives_the_final_metric_by_length_and_cooldown(make_record: MakeRecord) -> None:
    found = cooldown_table(grid(make_record))
    assert found is not None
    assert found.total_steps == LENGTHS
    assert [(c.share, c.shape) for c in found.cooldowns] == [(0.0, ""), (0.1, "linear"), (0.4, "linear")]
    assert all(found.values[steps, c] == loss(steps, c.share, 0.1) for steps in LENGTHS for c in found.cooldowns)
    assert [found.best_of(steps) for steps in LENGTHS] == [Cooldown(0.1, "linear"), Cooldown(0.4, "linear")]
    # a carrier of 200 steps, and what the others do not share: 0, 10, 40 of 100 steps, and 20, 80 of 200
    assert (found.trials, found.steps, found.represented) == (6, 200 + 10 + 40 + 20 + 80, 900)
    assert found.sentences() == [
        "Peak 0.1, 10 steps of warmup; one seed, so differences of noise are in it.",
        "6 trials of 900 steps took 350: what they have in common was trained once.",
    ]


def test_seeds_are_averaged_and_the_better_peak_is_told_of(make_record: MakeRecord) -> None:
    records = [*grid(make_record, lr=0.3), *grid(make_record, lr=0.1, seeds=2)]
    found = cooldown_table(records)
    assert found is not None
    assert (found.initial_lr, found.seeds) == (0.1, 2)
    assert found.values[100, Cooldown(0.0)] == pytest.approx(loss(100, 0.0, 0.1) + 0.1)
    assert "means over 2 seeds" in found.sentences()[0]
    assert cooldown_table(grid(make_record, lr=0.1)[:-1] + grid(make_record, lr=0.3)).initial_lr == 0.3  # type: ignore[union-attr]
    flipped = [replace(r, mode="max") for r in records]
    assert cooldown_table(flipped).initial_lr == 0.3  # type: ignore[union-attr]


def test_what_ended_without_a_value_is_no_cell_and_what_ran_alone_is_no_branch(make_record: MakeRecord) -> None:
    records = grid(make_record)
    broken = [replace(records[0], outcome="DIVERGED", value=None), *records[1:]]
    found = cooldown_table(broken)
    assert found is not None
    assert (100, Cooldown(0.0)) not in found.values
    assert found.trials == 6
    assert cooldown_table([replace(r, trunk=None, shared_steps=None) for r in records]) is None
    assert cooldown_table(records[:1]) is None


def test_the_report_has_the_table_with_the_best_of_each_length_and_the_plot_a_line_a_cooldown(
    make_record: MakeRecord,
) -> None:
    contents = contents_of(grid(make_record)[1:], name="x")
    section = next(s for s in sections_of(contents) if s.title == "Length and cooldown")
    cost = next(s for s in sections_of(contents) if s.title == "What was spent")
    said = " ".join(block.text for block in cost.blocks if isinstance(block, Text))
    assert "The trials have 800 steps, of which 350 were trained" in said
    (table,) = (block for block in section.blocks if isinstance(block, Table))
    assert table.header == ("total_steps", "cooldown none", "cooldown 10 % linear", "cooldown 40 % linear")
    assert table.rows == (("100", "-", "1.1 (lowest)", "1.6"), ("200", "1.15", "0.85", "0.75 (lowest)"))
    marks = plot_of(contents, "cooldowns").marks
    lines = [mark for mark in marks if isinstance(mark, Line)]
    assert [(line.label, line.x) for line in lines] == [
        ("cooldown 10 % linear", (100.0, 200.0)),
        ("cooldown 40 % linear", (100.0, 200.0)),
    ]
    single = next(mark for mark in marks if isinstance(mark, Points) and mark.label)
    assert (single.label, single.x) == ("cooldown none", (200.0,))


def test_of_one_length_the_cooldown_is_across(make_record: MakeRecord) -> None:
    contents = contents_of([r for r in grid(make_record) if r.total_steps == 200], name="x")
    plot = plot_of(contents, "cooldowns")
    assert plot.x.title == "cooldown, % of the run"
    (line,) = (mark for mark in plot.marks if isinstance(mark, Line))
    assert line.x == (0.0, 10.0, 40.0)
