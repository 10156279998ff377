from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from autowarm.analysis.best import (
    best_by_horizon,
    best_record,
    horizon_words,
    horizons,
    ranked,
    target_horizon,
    warmup_share,
    warmup_steps,
)
from autowarm.errors import RecordError
from autowarm.schedule import Schedule

if TYPE_CHECKING:
    from collections.abc import Callable

    from autowarm.record import TrialRecord

    MakeRecord = Callable[..., TrialRecord]


def test_of_no_records_there_is_no_best() -> None:
    assert best_record([]) is None
    assert best_by_horizon([]) == {}
    assert target_horizon([]) is None


@pytest.mark.parametrize(("mode", "winner"), [("min", 0), ("max", 2)])
def test_the_best_follows_the_mode(make_record: MakeRecord, mode: str, winner: int) -> None:
    records = [make_record(trial=i, value=value, mode=mode) for i, value in enumerate((1.0, 2.0, 3.0))]
    best = best_record(records)
    assert best is not None
    assert best.trial == winner


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, None])
def test_what_is_no_finite_number_never_wins(make_record: MakeRecord, mode: str, value: float | None) -> None:
    records = [make_record(trial=0, value=value, mode=mode), make_record(trial=1, value=5.0, mode=mode)]
    assert [r.trial for r in ranked(records)] == [1]
    assert best_record(records[:1]) is None


@pytest.mark.parametrize("change", [{"outcome": "PRUNED"}, {"outcome": "DIVERGED"}, {"role": "baseline"}])
def test_only_complete_search_records_win(make_record: MakeRecord, change: dict[str, str]) -> None:
    records = [make_record(trial=0, **change | {"value": 0.1}), make_record(trial=1, value=5.0)]
    assert [r.trial for r in ranked(records)] == [1]


def test_an_exact_tie_goes_to_the_shorter_warmup_then_to_the_lower_lr(make_record: MakeRecord) -> None:
    records = [
        make_record(trial=0, lr=0.1, warmup_ratio=0.2),
        make_record(trial=1, lr=0.3, warmup_ratio=0.1),
        make_record(trial=2, lr=0.2, warmup_ratio=0.1),
        make_record(trial=3, lr=9.0, warmup_ratio=0.5, value=0.9),
    ]
    assert [r.trial for r in ranked(records)] == [3, 2, 1, 0]


def test_a_tie_compares_warmups_in_steps_however_they_are_given(make_record: MakeRecord) -> None:
    by_steps = make_record(trial=0, schedule=Schedule(initial_lr=0.1, warmup_steps=5))
    by_ratio = make_record(trial=1, schedule=Schedule(initial_lr=0.1, warmup_ratio=0.04))
    assert [r.trial for r in ranked([by_steps, by_ratio])] == [1, 0]


def test_each_horizon_has_its_own_best_and_the_largest_comes_first(make_record: MakeRecord) -> None:
    records = [
        make_record(trial=0, total_steps=100, dataset_size=None, value=0.1),
        make_record(trial=1, total_steps=200, dataset_size=500, value=3.0),
        make_record(trial=2, total_steps=200, dataset_size=500, value=2.0),
        make_record(trial=3, total_steps=200, dataset_size=900, outcome="DIVERGED"),
    ]
    assert horizons(records) == [(200, 900), (200, 500), (100, None)]
    assert {h: r.trial for h, r in best_by_horizon(records).items()} == {(200, 500): 2, (100, None): 0}
    assert best_record(records) is None, "the target horizon has no answer, and a smaller one does not stand in"


def test_the_target_is_the_largest_horizon_that_was_searched(make_record: MakeRecord) -> None:
    records = [make_record(total_steps=100), make_record(total_steps=900, role="baseline")]
    assert target_horizon(records) == (100, 1000)
    assert target_horizon(records[1:]) == (900, 1000)


def test_different_metrics_are_not_compared(make_record: MakeRecord) -> None:
    with pytest.raises(RecordError, match=r"val_acc \(max\), val_loss \(min\)"):
        ranked([make_record(), make_record(monitor="val_acc", mode="max")])


def test_the_warmup_of_a_record_in_steps_and_as_a_share(make_record: MakeRecord) -> None:
    in_epochs = make_record(
        schedule=Schedule(initial_lr=0.1, warmup_epochs=0.5), dataset_size=95, batch_size=10, total_steps=100
    )
    assert warmup_steps(in_epochs) == 5, "half of the 10 batches that 95 examples make"
    assert warmup_share(in_epochs) == 0.05
    assert warmup_steps(replace(in_epochs, batch_size=None)) is None
    assert warmup_share(make_record(warmup_ratio=0.123)) == 0.123
    too_long = make_record(schedule=Schedule(initial_lr=0.1, warmup_steps=500), outcome="FAILED")
    assert warmup_steps(too_long) is None
    assert warmup_share(make_record(schedule=None)) is None


def test_a_horizon_in_words() -> None:
    assert horizon_words((1000, None)) == "total_steps 1,000"
