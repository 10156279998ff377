from __future__ import annotations

import numpy as np
import pytest
from conftest import MakeRecord
from numpy.typing import NDArray

from autowarm.analysis.runs import Runs, decay_name, failure_bar, runs_of, with_failures
from autowarm.errors import RecordError
from autowarm.schedule import Schedule


def a_few(make_record: MakeRecord) -> Runs:
    return runs_of(
        [
            make_record(trial=0, lr=0.1, warmup_ratio=0.25, value=2.0, seed=3),
            make_record(trial=1, lr=0.2, warmup_ratio=0.0, value=1.0),
            make_record(trial=2, lr=0.4, outcome="DIVERGED"),
            make_record(trial=3, lr=0.8, outcome="PRUNED"),
            make_record(trial=4, lr=0.9, outcome="FAILED"),
            make_record(trial=5, lr=0.2, role="confirm", value=1.5, seed=7),
            make_record(trial=6, lr=0.7, role="range_test", value=0.5),
        ]
    )


def test_records_become_columns_and_what_tells_nothing_of_a_schedule_is_left_out(make_record: MakeRecord) -> None:
    runs = a_few(make_record)
    assert len(runs) == 5
    np.testing.assert_array_equal(runs.initial_lr, [0.1, 0.2, 0.4, 0.8, 0.2])
    np.testing.assert_array_equal(runs.warmup_steps[:2], np.round(runs.total_steps[:2] * [0.25, 0.0]))
    np.testing.assert_array_equal(runs.failed, [False, False, True, False, False])
    np.testing.assert_array_equal(runs.stopped, [False, False, False, True, False])
    np.testing.assert_array_equal(runs.ended, [True, True, False, False, True])
    np.testing.assert_array_equal(runs.searched, [True, True, True, True, False])
    assert runs.best() == 1


def test_no_records_are_no_runs() -> None:
    runs = runs_of([])
    assert len(runs) == 0
    assert runs.best() is None


def test_a_part_of_the_runs_keeps_the_metric(make_record: MakeRecord) -> None:
    runs = a_few(make_record)
    part = runs.where(runs.ended)
    assert len(part) == 3
    assert part.metric == runs.metric


def test_runs_of_different_metrics_are_refused(make_record: MakeRecord) -> None:
    with pytest.raises(RecordError, match="different metrics"):
        runs_of([make_record(value=1.0), make_record(trial=1, value=1.0, monitor="other")])


@pytest.mark.parametrize(
    ("schedule", "name"),
    [
        (Schedule(initial_lr=1.0, warmup_ratio=0.0, decay="cosine"), "cosine"),
        (Schedule(initial_lr=1.0, warmup_ratio=0.0, decay="wsd", decay_ratio=0.01), "wsd 10 %"),
        (Schedule(initial_lr=1.0, warmup_ratio=0.0, decay="wsd", decay_ratio=0.44), "wsd 40 %"),
    ],
)
def test_a_wsd_is_named_with_its_share(schedule: Schedule, name: str) -> None:
    assert decay_name(schedule) == name


def accuracies(failed: int = 30) -> NDArray[np.float64]:
    rng = np.random.default_rng(0)
    return np.concatenate([rng.normal(0.88, 0.02, 70), rng.normal(0.33, 0.01, failed)])


@pytest.mark.parametrize("mode", ["min", "max"])
def test_runs_that_learned_nothing_lie_beyond_the_bar(mode: str) -> None:
    values = accuracies() if mode == "max" else -accuracies()
    bar = failure_bar(values, "max" if mode == "max" else "min")
    assert 0.4 < abs(bar) < 0.8


@pytest.mark.parametrize(
    "values",
    [
        np.random.default_rng(0).normal(2.0, 0.3, 100),
        np.random.default_rng(1).uniform(0.0, 1.0, 100),
        np.random.default_rng(2).lognormal(0.0, 0.5, 100),
        np.full(100, 0.5),
        accuracies()[-40:-21],
        np.array([]),
    ],
)
def test_values_of_one_kind_have_no_bar(values: NDArray[np.float64]) -> None:
    assert np.isnan(failure_bar(values, "max"))


def test_large_values_do_not_hide_the_bar() -> None:
    assert failure_bar(accuracies() + 1e6, "max") == pytest.approx(1e6 + failure_bar(accuracies(), "max"))


def test_what_ended_beyond_the_bar_has_failed(make_record: MakeRecord) -> None:
    records = [make_record(trial=i, value=float(v), mode="max") for i, v in enumerate(accuracies())]
    runs = runs_of(records)
    assert runs.failed.sum() == 30
    assert with_failures(runs_of(records[:70]), bar=0.88).failed.sum() == sum(accuracies()[:70] <= 0.88)


def test_a_bar_of_ones_own_takes_no_notice_of_stopped_runs(make_record: MakeRecord) -> None:
    runs = with_failures(a_few(make_record), bar=1.4)
    np.testing.assert_array_equal(runs.failed, [True, False, True, False, True])
