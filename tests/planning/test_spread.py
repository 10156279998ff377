from __future__ import annotations

from dataclasses import replace

import pytest

from autowarm.planning.spread import spread, value_at
from autowarm.schedule import Schedule
from autowarm.space import Choice, Fixed, Range, SearchSpace

SPACE = SearchSpace(initial_lr=Range(1e-4, 1.0), warmup=["linear", "cosine"])


def test_each_part_of_the_range_has_one_peak_from_the_middle_out() -> None:
    found = list(spread(SPACE, decay="linear"))
    peaks = [schedule.initial_lr for schedule in found]
    assert sorted(peaks) == pytest.approx([10 ** (-3.6 + 0.8 * k) for k in range(5)])
    assert peaks[0] == pytest.approx(1e-2)
    shapes = {replace(schedule, initial_lr=1.0) for schedule in found}
    assert shapes == {Schedule(initial_lr=1.0, warmup_ratio=0.15, decay="linear", warmup="cosine")}


@pytest.mark.parametrize(("high", "parts"), [(1.1e-4, 3), (1e-2, 3), (1.0, 5), (100.0, 8)])
def test_a_wide_range_has_more_parts(high: float, parts: int) -> None:
    space = SearchSpace(initial_lr=Range(1e-4, high))
    assert len(list(spread(space, decay="cosine"))) == parts


def test_peaks_and_warmups_that_are_named_are_taken_as_they_are() -> None:
    space = SearchSpace(initial_lr=[0.1, 0.2, 0.3], warmup_ratio=[0.0, 0.06, 0.3], decay="wsd")
    found = list(spread(space, decay="wsd"))
    assert [s.initial_lr for s in found] == [0.2, 0.1, 0.3]
    assert {s.warmup_ratio for s in found} == {0.06}
    fixed = SearchSpace(initial_lr=0.1, warmup_ratio=Range(0.2, 0.4), decay="wsd")
    assert [(s.initial_lr, s.warmup_ratio) for s in spread(fixed, decay="wsd")] == [(0.1, 0.2)]


def test_a_place_has_a_value() -> None:
    assert value_at(Fixed("x"), 0.9) == "x"
    assert [value_at(Choice((1, 2)), p) for p in (0.0, 0.49, 0.5, 0.999)] == [1, 1, 2, 2]
    assert [value_at(Range(1, 4, whole=True), p) for p in (0.0, 0.25, 0.999)] == [1, 2, 4]
    assert value_at(Range(1e-4, 1e-2, log=True), 0.5) == pytest.approx(1e-3)
    assert value_at(Range(1.0, 3.0), 0.5) == 2.0
