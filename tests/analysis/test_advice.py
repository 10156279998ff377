from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from autowarm.analysis.advice import advise

if TYPE_CHECKING:
    from collections.abc import Callable

    from autowarm.record import TrialRecord

    MakeRecord = Callable[..., TrialRecord]

ONE_SEED = "The best schedule was trained with one seed only"
LRS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)


def searched(make_record: MakeRecord, best_lr: float) -> list[TrialRecord]:
    """Return a trial for each of LRS, the value growing with the distance from `best_lr`."""
    records = [make_record(trial=i, lr=lr, value=1 + abs(lr - best_lr)) for i, lr in enumerate(LRS)]
    return [*records, make_record(lr=best_lr, seed=1, role="confirm")]


def test_of_nothing_there_is_nothing_to_say() -> None:
    assert advise([]) == []


def test_a_best_in_the_middle_needs_no_advice(make_record: MakeRecord) -> None:
    assert advise(searched(make_record, 0.03)) == []


def test_all_diverged(make_record: MakeRecord) -> None:
    records = [make_record(trial=i, lr=0.03 * (1 + i), outcome="DIVERGED") for i in range(12)]
    assert advise(records) == [
        "All 12 trials diverged; the lowest initial_lr tried was 0.03: lower space.initial_lr.low."
    ]


def test_all_failed(make_record: MakeRecord) -> None:
    (said,) = advise([make_record(outcome="FAILED"), make_record(outcome="FAILED")])
    assert said.startswith("All 2 trials failed: run the job on its own")


def test_one_that_diverged_and_one_pruned(make_record: MakeRecord) -> None:
    (said,) = advise([make_record(outcome="DIVERGED"), make_record(outcome="PRUNED")])
    assert said.startswith("No trial reached the end with a value")


@pytest.mark.parametrize(
    ("best_lr", "said"),
    [
        (0.001, "The best initial_lr, 0.001, is at the low end of 0.001 to 1: lower space.initial_lr.low."),
        (1.0, "The best initial_lr, 1, is at the high end of 0.001 to 1: raise space.initial_lr.high."),
    ],
)
def test_a_best_at_the_edge_of_what_was_tried(make_record: MakeRecord, best_lr: float, said: str) -> None:
    assert advise(searched(make_record, best_lr)) == [said]


def test_nearness_to_a_bound_is_measured_in_factors(make_record: MakeRecord) -> None:
    records = searched(make_record, 0.3)
    assert advise(records, {"initial_lr": (0.001, 0.4)}) != [], "log(.4 / .3) is 4.8 % of log(.4 / .001)"
    assert advise(records, {"initial_lr": (0.001, 0.6)}) == []
    # on a linear scale .003 would be at the low end of .0001 .. 1
    assert advise(searched(make_record, 0.003), {"initial_lr": (0.0001, 1.0)}) == []


def test_too_few_trials_have_no_edge(make_record: MakeRecord) -> None:
    records = [make_record(lr=0.1 * (1 + i), value=2 - i, seed=i) for i in range(2)]
    assert [s for s in advise(records) if "end of" in s] == []


def test_a_warmup_at_the_top_is_raised_and_none_cannot_be_lowered(make_record: MakeRecord) -> None:
    shares = (0.0, 0.1, 0.2, 0.3, 0.4)
    top = [make_record(warmup_ratio=w, value=1 - w) for w in shares]
    none = [make_record(warmup_ratio=w, value=1 + w) for w in shares]
    assert advise(top)[0] == (
        "The best warmup_ratio, 0.4, is at the high end of 0 to 0.4: raise space.warmup_ratio.high."
    )
    assert [s for s in advise(none) if "warmup_ratio" in s] == []
    some = [make_record(warmup_ratio=w + 0.1, value=1 + w) for w in shares]
    assert "lower space.warmup_ratio.low" in advise(some)[0]


def test_each_horizon_is_named_where_there_are_several(make_record: MakeRecord) -> None:
    records = [make_record(total_steps=total, outcome="DIVERGED") for total in (100, 2000)]
    assert [said[:28] for said in advise(records)] == [
        "At total_steps 2,000, datase",
        "At total_steps 100, dataset_",
    ]


def test_the_share_that_failed(make_record: MakeRecord) -> None:
    records = [make_record(seed=i) for i in range(8)]
    failed = [make_record(outcome="FAILED") for _ in range(2)]
    assert "2 of 10 trials (20 %) failed, whatever their schedule: see the errors." in advise(records + failed)
    assert advise([make_record(seed=i) for i in range(30)] + failed) == []


def test_one_seed_is_too_few(make_record: MakeRecord) -> None:
    assert advise([make_record()])[0].startswith(ONE_SEED)
    assert advise([make_record(), make_record(seed=1, role="confirm")]) == []
    assert advise([make_record(), make_record(seed=1, role="confirm", lr=0.7)])[0].startswith(ONE_SEED)
