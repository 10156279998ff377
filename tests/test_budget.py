from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autowarm.budget import Budget, Unit, read_budget
from autowarm.errors import SettingsError


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (2, Budget(2)),
        (0.5, Budget(0.5)),
        ("2.5", Budget(2.5)),
        ("3 full runs", Budget(3)),
        ("1 run", Budget(1)),
        ("5000 steps", Budget(5000, "steps")),
        ("5_000 Steps", Budget(5000, "steps")),
        ("1e4 steps", Budget(10_000, "steps")),
        ("90s", Budget(90, "seconds")),
        ("90 min", Budget(5400, "seconds")),
        ("1.5h", Budget(5400, "seconds")),
        (Budget(7, "steps"), Budget(7, "steps")),
    ],
)
def test_a_budget_is_read_from_a_number_or_words(value: Any, expected: Budget) -> None:
    assert read_budget(value) == expected


@pytest.mark.parametrize("value", ["", "two", "2 weeks", "1.2.3", "-1", None, True, [2], {"h": 1}, "h"])
def test_what_is_no_budget_is_refused_with_examples(value: Any) -> None:
    with pytest.raises(SettingsError, match=r"budget must look like 2 \(full runs\), 5000 steps, 90 min or 1.5 h, got"):
        read_budget(value)


@pytest.mark.parametrize("value", [0, -1.0, "0 steps", float("1e309"), float("nan")])
def test_a_budget_is_more_than_nothing_and_finite(value: Any) -> None:
    with pytest.raises(SettingsError, match="budget must"):
        read_budget(value)


@given(
    amount=st.floats(0.01, 1e7).map(lambda x: float(f"{x:.6g}")),
    unit=st.sampled_from(["full_runs", "steps", "seconds"]),
)
def test_a_budget_reads_what_it_says(amount: float, unit: Unit) -> None:
    budget = Budget(amount, unit)
    read = read_budget(str(budget))
    assert read.unit == unit
    assert read.amount == pytest.approx(amount, rel=1e-5)
