"""The study of trunks: its page says what its records say, and those reach what was asked of them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from autowarm.record import TrialRecord, read_jsonl
from studies.trunk import grid


@pytest.fixture(scope="module")
def records() -> list[TrialRecord]:
    return read_jsonl(grid.RECORDS)


def of(records: list[TrialRecord], study: str) -> dict[int, TrialRecord]:
    return {r.trial: r for r in records if r.study == study}


def test_the_page_is_what_the_records_say(records: list[TrialRecord]) -> None:
    assert grid.REPORT.read_text(encoding="utf-8") == grid.report(records, grid.read_times(grid.TIMES))


def test_each_trial_has_the_same_values_in_both_ways(records: list[TrialRecord]) -> None:
    alone, trunks = of(records, grid.ALONE), of(records, grid.TRUNKS)
    assert len(alone) == len(grid.PEAKS) * len(grid.WARMUPS) * len(grid.COOLDOWNS) * len(grid.LENGTHS)
    assert alone.keys() == trunks.keys()
    for number, record in alone.items():
        shared = trunks[number]
        assert (shared.schedule, shared.total_steps, shared.exact) == (record.schedule, record.total_steps, True)
        assert (shared.outcome, shared.value, shared.rungs) == (record.outcome, record.value, record.rungs)


def test_trunks_take_at_most_45_percent_of_the_steps(records: list[TrialRecord]) -> None:
    alone, trunks = of(records, grid.ALONE).values(), of(records, grid.TRUNKS).values()
    assert sum(r.own_steps for r in trunks) <= 0.45 * sum(r.steps for r in alone)
    assert all(r.own_steps == r.steps for r in alone)


def test_a_difference_of_one_trial_is_told(records: list[TrialRecord]) -> None:
    times = grid.read_times(grid.TIMES)
    last = max(i for i, r in enumerate(records) if r.study == grid.TRUNKS and r.value is not None)
    value = records[last].value
    assert value is not None
    other = [*records[:last], replace(records[last], value=value - 10.0), *records[last + 1 :]]
    page = grid.report(other, times)
    assert f"The same values: {len(records) // 2 - 1} of {len(records) // 2}" in page
    assert "The largest difference of a final metric is 10." in page.replace("\n  ", " ")
    assert "The same ranking of the trials of each length: no." in page


def test_the_trials_of_one_peak_and_warmup_are_one_trunk() -> None:
    specs = grid.group(0.01, 8)
    trunk, order = grid.trunk_of(specs, "one")
    assert sorted(order) == list(range(9))
    assert [trunk.trials[order.index(i)] for i in range(9)] == specs
    assert trunk.trials[trunk.carrier].total_steps == 300
