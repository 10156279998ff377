from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest

from autowarm.analysis.compare import comparisons
from autowarm.schedule import Schedule

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from autowarm.record import TrialRecord

    MakeRecord = Callable[..., TrialRecord]


def study(
    make_record: MakeRecord, tuned: Sequence[float | None], today: Sequence[float | None], mode: str = "min"
) -> list[TrialRecord]:
    """Return a search record, and runs of it and of today's scheduler with seeds 0, 1, ...: None diverged."""
    records = [make_record(value=0.5, mode=mode, seed=99)]
    for role, values in (("confirm", tuned), ("baseline", today)):
        change = {"schedule": None, "label": "StepLR"} if role == "baseline" else {}
        for seed, value in enumerate(values):
            outcome = "DIVERGED" if value is None else "COMPLETE"
            records.append(make_record(role=role, seed=seed, value=value, outcome=outcome, mode=mode, **change))
    return records


def test_without_a_baseline_there_is_nothing_to_compare(make_record: MakeRecord) -> None:
    assert comparisons([]) == []
    assert comparisons([make_record()]) == []


def test_seeds_are_paired(make_record: MakeRecord) -> None:
    # seed 3 ran with the tuned schedule only, seed 1 diverged with today's
    (found,) = comparisons(study(make_record, [1.0, 1.1, 1.3, 0.1], [2.0, None, 2.1]))
    assert found.seeds == (0, 2)
    assert found.tuned_values == (1.0, 1.3)
    assert found.today_values == (2.0, 2.1)
    assert found.mean_difference == pytest.approx(-0.9)
    assert found.n_seeds == 2
    assert (found.tuned_lost, found.today_lost) == (0, 1)
    assert found.today == "StepLR"
    assert "1 run of today's schedule ended without a value." in found.verdict()


def test_the_interval_is_students_on_the_pairs(make_record: MakeRecord) -> None:
    (found,) = comparisons(study(make_record, [1.0, 1.0, 1.0], [1.1, 1.2, 1.3]))
    assert found.half_width == pytest.approx(4.303 * 0.1 / math.sqrt(3))
    assert found.tuned_is_ahead
    assert not found.beyond_noise


def test_the_interval_of_many_seeds(make_record: MakeRecord) -> None:
    today = [1.0, 2.0] * 10 + [1.5]
    (found,) = comparisons(study(make_record, [0.0] * 21, today))
    spread = math.sqrt(20 * 0.25 / 20)
    assert found.half_width == pytest.approx(2.086 * spread / math.sqrt(21), rel=1e-3), "t of 20 degrees: 2.086"


@pytest.mark.parametrize(
    ("tuned", "today", "mode", "said"),
    [
        ([1.0, 1.1, 1.2], [2.0, 2.1, 2.2001], "min", "Tuned is better by 1"),
        ([2.0, 2.1, 2.2001], [1.0, 1.1, 1.2], "max", "Tuned is better by 1"),
        ([2.0, 2.1, 2.2001], [1.0, 1.1, 1.2], "min", "Tuned is worse than today's schedule by 1"),
        ([1.0, 2.0, 3.0], [3.0, 2.0, 1.1], "min", "Tuned is ahead by 0.0333, within noise"),
        ([1.0, 2.0, 3.0], [2.9, 2.0, 1.0], "min", "Tuned is not better than today's schedule"),
        ([1.0, 1.0], [1.0, 1.0], "min", "Tuned is not better than today's schedule"),
        ([1.0], [2.0], "min", "Tuned is ahead by 1: val_loss 1 against 2. One seed cannot tell"),
        ([2.0], [1.0], "min", "Tuned is not better than today's schedule: val_loss 2 against 1. One seed"),
        ([None, None], [1.0, 1.0], "min", "nothing to compare. 2 runs of the tuned schedule ended without"),
    ],
)
def test_the_verdict_does_not_flatter(
    make_record: MakeRecord,
    tuned: list[float | None],
    today: list[float | None],
    mode: str,
    said: str,
) -> None:
    (found,) = comparisons(study(make_record, tuned, today, mode))
    assert said in found.verdict()


def test_without_confirm_the_winner_of_the_search_stands_in_and_says_so(make_record: MakeRecord) -> None:
    records = [
        make_record(value=1.0),
        make_record(value=1.5, trial=1),
        make_record(role="baseline", value=2.0, lr=0.9),
    ]
    (found,) = comparisons(records)
    assert found.selected
    assert found.tuned_values == (1.0,)
    assert "which flatters it" in found.verdict()


def test_several_horizons_and_several_confirmed_schedules(make_record: MakeRecord) -> None:
    records = [
        make_record(total_steps=total, role=role, lr=lr, value=value)
        for total in (100, 200)
        for role, lr, value in (
            *(("search", 0.1, 1.0), ("search", 0.2, 1.1), ("confirm", 0.2, 1.2)),
            *(("confirm", 0.1, 1.3), ("baseline", 0.9, 1.4)),
        )
    ]
    found = comparisons(records)
    assert [(c.horizon[0], c.tuned_values) for c in found] == [
        *((200, (1.2,)), (200, (1.3,))),
        *((100, (1.2,)), (100, (1.3,))),
    ], "the answer first: the better one on fresh seeds"


def test_todays_schedule_is_not_compared_with_itself(make_record: MakeRecord) -> None:
    baseline = make_record(role="baseline", seed=1, schedule=Schedule(initial_lr=0.1, warmup_steps=10, decay="cosine"))
    records = [make_record(value=1.0), make_record(value=1.1, lr=0.2), baseline]
    assert comparisons(records) == []
    records.append(make_record(role="confirm", seed=1, lr=0.2, value=1.5))
    (found,) = comparisons(records)
    assert found.tuned.startswith("lr 0.2,")
    # of an earlier run, which trained it twice
    assert len(comparisons([*records, make_record(role="confirm", seed=1)])) == 1
