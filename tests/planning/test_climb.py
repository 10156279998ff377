from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from autowarm.planning.climb import EXPONENT, around, carried, climb, different, first_new
from autowarm.record import TrialRecord
from autowarm.schedule import Schedule
from autowarm.space import Range, SearchSpace

MakeRecord = Callable[..., TrialRecord]
SPACE = SearchSpace(initial_lr=Range(1e-4, 1.0), decay=["cosine", "linear"])


def level(
    make_record: MakeRecord, *trials: tuple[float, float, float], total_steps: int = 100, **fields: Any
) -> list[TrialRecord]:
    """Return trials of (peak, warmup ratio, value)."""
    return [
        make_record(lr=lr, warmup_ratio=ratio, value=value, total_steps=total_steps, trial=i, **fields)
        for i, (lr, ratio, value) in enumerate(trials)
    ]


def test_candidates_are_the_best_that_differ(make_record: MakeRecord) -> None:
    found = different(
        level(make_record, (0.1, 0.1, 0.30), (0.11, 0.12, 0.31), (0.2, 0.1, 0.32), (0.1, 0.25, 0.33), (0.01, 0.1, 2.0))
    )
    assert [r.value for r in found] == [0.30, 0.32, 0.33, 2.0]


def test_of_a_metric_that_grows_the_largest_are_the_best(make_record: MakeRecord) -> None:
    found = different(level(make_record, (0.1, 0.1, 0.3), (0.3, 0.1, 0.9), mode="max"))
    assert [r.value for r in found] == [0.9, 0.3]


def test_those_without_an_end_are_no_candidates(make_record: MakeRecord) -> None:
    records = [make_record(outcome="DIVERGED"), make_record(outcome="PRUNED"), make_record(value=float("nan"))]
    assert different(records) == []


def test_a_peak_is_lower_in_a_longer_run_and_stays_in_its_range() -> None:
    schedule = Schedule(initial_lr=0.1, warmup_ratio=0.2, decay="cosine")
    up = carried(schedule, from_steps=100, to_steps=800, space=SPACE)
    assert up.initial_lr == pytest.approx(0.1 * 8**-EXPONENT)
    assert up.warmup_ratio == 0.2
    down = carried(schedule, from_steps=800, to_steps=100, space=SearchSpace(initial_lr=Range(1e-4, 0.12)))
    assert down.initial_lr == 0.12
    named = carried(schedule, from_steps=100, to_steps=800, space=SearchSpace(initial_lr=[0.1, 0.2]))
    assert named.initial_lr == 0.1


def test_a_level_begins_with_the_two_best_and_then_looks_to_either_side(make_record: MakeRecord) -> None:
    below = level(make_record, (0.1, 0.2, 0.3), (0.4, 0.2, 0.4), (0.02, 0.2, 0.5), (0.9, 0.2, 0.6), (0.003, 0.2, 0.7))
    first = list(climb(below, [], from_steps=100, to_steps=200, space=SPACE, last=False))
    assert [name for name, _ in first] == ["carried from 100 steps"] * 4
    here = level(make_record, (0.4, 0.2, 0.25), (0.1, 0.2, 0.27), total_steps=200)
    then = list(climb(below, here, from_steps=100, to_steps=200, space=SPACE, last=False))
    assert [name for name, _ in then] == [
        *["carried from 100 steps"] * 2,
        "twice the best peak",
        "half the best peak",
        "the best warmup in steps",
        *["carried from 100 steps"] * 2,
    ]
    peaks = [schedule.initial_lr for _, schedule in then]
    assert peaks[2:5] == pytest.approx([0.8, 0.2, 0.4])
    assert then[4][1].warmup_ratio == pytest.approx(0.1), "as many steps of 200 as 20 % of 100"


def test_without_warmup_there_is_none_to_keep_in_steps(make_record: MakeRecord) -> None:
    here = level(make_record, (0.4, 0.0, 0.25), total_steps=200)
    names = [name for name, _ in climb(here, here, from_steps=100, to_steps=200, space=SPACE, last=False)]
    assert "the best warmup in steps" not in names


def test_the_space_around_the_best_is_a_factor_of_four(make_record: MakeRecord) -> None:
    space = around(level(make_record, (0.05, 0.1, 0.3), (0.5, 0.1, 0.9)), SPACE)
    assert (space.initial_lr.low, space.initial_lr.high) == pytest.approx((0.0125, 0.2))
    edge = around(level(make_record, (0.9, 0.1, 0.3)), SPACE)
    assert edge.initial_lr.high == 1.0
    assert around([], SPACE) == SPACE


def test_what_is_tried_already_is_not_new() -> None:
    one = Schedule(initial_lr=0.1, warmup_ratio=0.2, decay="cosine")
    rounded = Schedule(initial_lr=0.1, warmup_steps=20, decay="cosine")
    two = Schedule(initial_lr=0.1, warmup_ratio=0.3, decay="cosine")
    proposals = [("a", rounded), ("b", two)]
    assert first_new(proposals, [one], total_steps=100) == ("b", two)
    assert first_new(proposals, [one, two], total_steps=100) is None


def test_below_the_target_there_is_one_decay(make_record: MakeRecord) -> None:
    below = level(make_record, (0.1, 0.2, 0.3), (0.4, 0.2, 0.4))
    found = climb(below, [], from_steps=100, to_steps=200, space=SPACE, last=False)
    assert {schedule.decay for _, schedule in found} == {"linear"}, "the records have a cosine"


def test_the_target_has_the_two_best_and_then_the_best_with_each_decay(make_record: MakeRecord) -> None:
    space = SearchSpace(initial_lr=Range(1e-4, 1.0), decay=["constant", "cosine", "linear"])
    below = level(make_record, (0.1, 0.2, 0.3), (0.4, 0.2, 0.4))
    found = list(climb(below, [], from_steps=100, to_steps=800, space=space, last=True))
    assert [(name, s.decay) for name, s in found] == [
        ("carried from 100 steps", "linear"),
        ("carried from 100 steps", "linear"),
        ("with linear", "linear"),
        ("with cosine", "cosine"),
        ("with constant", "constant"),
    ]
    peak = 0.1 * 8**-EXPONENT
    assert [s.initial_lr for _, s in found] == pytest.approx(
        [1.03 * peak, 4 * 1.03 * peak, 1.03 * peak, peak, 0.32 * peak]
    )
