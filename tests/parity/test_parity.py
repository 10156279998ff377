"""Each foreign schedule and the Schedule that equals it, at every step of runs of 1 to 10,000 steps."""

from __future__ import annotations

import importlib.util
import inspect
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from parity import foreign, formula_rows, optax_rows, torch_rows, transformers_rows
from parity.rows import PEAK, TOTALS, Array, Row, assert_equal
from parity.table import ROWS

from autowarm.decays import COOLDOWNS, DECAYS
from autowarm.schedule import OPTIONS
from autowarm.warmups import WARMUPS


def _missing(library: str) -> pytest.MarkDecorator:
    absent = importlib.util.find_spec(library) is None
    return pytest.mark.skipif(absent, reason=f"{library} is not installed")


def _compare(row: Row, total: int, lrs: Callable[[Row, dict[str, Any]], Array]) -> None:
    for letters in row.cases(total):
        ours = row.schedule(letters).lrs(total_steps=total)
        assert_equal(ours, lrs(row, letters), peak=letters["lr"], rounding=row.rounding)


@_missing("transformers")
@pytest.mark.parametrize("total", TOTALS)
@pytest.mark.parametrize("row", transformers_rows.ROWS, ids=str)
def test_transformers(row: Row, total: int) -> None:
    _compare(row, total, foreign.transformers_lrs)


@pytest.mark.parametrize("total", TOTALS)
@pytest.mark.parametrize("row", torch_rows.ROWS, ids=str)
def test_torch(row: Row, total: int) -> None:
    _compare(row, total, foreign.torch_closed_form)


@pytest.mark.parametrize("total", TOTALS)
@pytest.mark.parametrize("row", torch_rows.ROWS, ids=str)
def test_torch_step_by_step(row: Row, total: int) -> None:
    # what a training sees; the roundings of 10,000 updates do not add up to more than the table allows
    _compare(row, total, foreign.torch_recursion)


@pytest.mark.parametrize("total", TOTALS)
@pytest.mark.parametrize("row", formula_rows.ROWS, ids=str)
def test_formulas(row: Row, total: int) -> None:
    _compare(row, total, foreign.formula_lrs)


@pytest.fixture(scope="module")
def optax_told(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Array], set[str]]:
    asked = [
        (row.theirs, letters, total) for row in optax_rows.ROWS for total in TOTALS for letters in row.cases(total)
    ]
    curves, names = foreign.optax_lrs(asked, tmp_path_factory.mktemp("optax"))
    return {str(one): curve for one, curve in zip(asked, curves, strict=True)}, names


@_missing("optax")
@pytest.mark.parametrize("total", TOTALS)
@pytest.mark.parametrize("row", optax_rows.ROWS, ids=str)
def test_optax(row: Row, total: int, optax_told: tuple[dict[str, Array], set[str]]) -> None:
    _compare(row, total, lambda row, letters: optax_told[0][str((row.theirs, letters, total))])


# --- the table is complete, and says something --------------------------------------------------------------


@_missing("transformers")
def test_every_schedule_of_transformers_has_a_row_or_a_reason() -> None:
    from transformers import optimization
    from transformers.trainer_utils import SchedulerType

    own = {name: f for name, f in vars(optimization).items() if name.startswith("get_") and inspect.isfunction(f)}
    own = {name: f for name, f in own.items() if f.__module__ == optimization.__name__}
    covered = {row.theirs.partition("(")[0] for row in transformers_rows.ROWS}
    assert set(own) == covered | set(transformers_rows.NOT_EXPRESSIBLE) | {transformers_rows.DISPATCHER}
    # none is made from elsewhere
    assert {f.__name__ for f in optimization.TYPE_TO_SCHEDULER_FUNCTION.values()} <= set(own)
    assert set(optimization.TYPE_TO_SCHEDULER_FUNCTION) == set(SchedulerType)


@_missing("transformers")
def test_every_parameter_of_a_transformers_schedule_is_set_by_a_row_or_has_a_reason() -> None:
    from transformers import optimization

    for name in {row.theirs.partition("(")[0] for row in transformers_rows.ROWS}:
        calls = " ".join(row.theirs for row in transformers_rows.ROWS if row.theirs.startswith(f"{name}("))
        for parameter in inspect.signature(getattr(optimization, name)).parameters:
            # the length of the hold is what is left of the run; last_epoch says where a training goes on
            if parameter not in ("optimizer", "last_epoch", "num_stable_steps"):
                reason = (name, parameter) in transformers_rows.NOT_COVERED
                assert reason != (f"{parameter}=" in calls), (name, parameter)


def test_every_scheduler_of_torch_has_a_row_or_a_reason() -> None:
    from torch.optim import lr_scheduler

    calls = " ".join(row.theirs for row in torch_rows.ROWS)
    covered = {name for name in lr_scheduler.__all__ if f"{name}(" in calls}
    assert not covered & set(torch_rows.NOT_EXPRESSIBLE)
    assert set(lr_scheduler.__all__) == covered | set(torch_rows.NOT_EXPRESSIBLE) | torch_rows.BASES


@_missing("optax")
def test_every_schedule_of_optax_has_a_row_or_a_reason(optax_told: tuple[dict[str, Array], set[str]]) -> None:
    covered = {row.theirs.partition("(")[0] for row in optax_rows.ROWS}
    assert not covered & set(optax_rows.NOT_EXPRESSIBLE)
    assert optax_told[1] == covered | set(optax_rows.NOT_EXPRESSIBLE)


def test_every_shape_and_every_option_has_a_row() -> None:
    ours = " ".join(row.ours for row in ROWS)
    assert all(f"decay='{name}'" in ours for name in DECAYS)
    assert all(f"cooldown='{name}'" in ours for name in COOLDOWNS)
    # linear is the default; no other library has a warmup by equal factors
    assert {name for name in WARMUPS if f"warmup='{name}'" not in ours} == {"exponential"}
    assert all(f"{name}=" in ours for name in OPTIONS)


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_each_row_is_compared_at_short_and_long_runs_with_and_without_warmup(row: Row) -> None:
    letters = {total: [case["w"] for case in row.cases(total)] for total in TOTALS}
    assert all(letters[total] for total in (10, 100, 1000, 10_000))
    if "w == 0" in row.when:
        assert {w for lengths in letters.values() for w in lengths} == {0}
    else:
        assert set(letters[1000]) >= {2, 100, 500, 999} or "%" in row.when
        assert 600 in letters[10_000]
        assert (0 in letters[1]) is (row.when.startswith("w < T"))


@pytest.mark.parametrize("row", [row for row in ROWS if any(name in row.ours for name in OPTIONS)], ids=str)
def test_without_its_option_a_row_would_not_hold(row: Row) -> None:
    for letters in row.cases(100):
        schedule = row.schedule(letters)
        usual = replace(schedule, **{name: values[0] for name, values in OPTIONS.items()})
        # nothing begins under a warmup of no steps; and next to nothing is left after one of 99
        if letters["w"] in (10, 50) or "round(q * T)" in row.ours:
            with pytest.raises(AssertionError, match="step "):
                assert_equal(
                    usual.lrs(total_steps=100), schedule.lrs(total_steps=100), peak=PEAK, rounding=row.rounding
                )


@pytest.mark.parametrize("theirs", [0.0, 1e-3, 0.5, 1.0])
def test_the_comparison_sees_a_difference(theirs: float) -> None:
    curve = np.array([1.0, theirs, 0.25])
    assert_equal(curve, curve.copy(), peak=1.0, rounding=0)
    for rounding in (0, 1):
        # by a rounding error more than is allowed: beside a 0, by the least there is
        off = curve + np.array([0, theirs * 2e-12 + rounding * 3e-16 or 5e-324, 0])
        with pytest.raises(AssertionError, match="step 1: ours"):
            assert_equal(off, curve, peak=1.0, rounding=rounding)
