from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
import sample_info
from hypothesis import given
from hypothesis import strategies as st

from autowarm.errors import StudyError
from autowarm.planning.range_test import (
    SEEDS,
    Bracket,
    Sweep,
    bracket,
    bracket_of,
    found_range,
    plan_range_test,
    read,
    sweep_of,
)
from autowarm.record import TrialRecord
from autowarm.words import number

MakeRecord = Callable[..., TrialRecord]

INFO = replace(sample_info.INFO, val_batches=6, fixed_seconds=0.5, lrs=(1e-3,) * 1000, beta2=0.999)
LRS = tuple(float(x) for x in np.geomspace(1e-6, 10, 71))


def curve(
    *,
    start: float = 1e-3,
    edge: float | None = 0.1,
    level: float = 4.0,
    fall: float = 1.5,
    noise: float = 0.02,
    seed: int = 0,
    lrs: Sequence[float] = LRS,
) -> Sweep:
    """Losses that fall by `fall` from `start` on, linearly in log lr for two orders, and explode from `edge` on."""
    x = np.log10(np.asarray(lrs))
    losses = level - fall * np.clip((x - math.log10(start)) / 2, 0, 1)
    if edge is not None:
        losses += np.where(x >= math.log10(edge), fall * 3 * (1 + 5 * (x - math.log10(edge))), 0.0)
    losses += noise * np.random.default_rng(seed).standard_normal(len(x))
    return Sweep(lrs=tuple(lrs), losses=tuple(float(y) for y in losses))


def within(value: float | None, truth: float, factor: float) -> bool:
    return value is not None and truth / factor <= value <= truth * factor


def of_seeds(**arguments: float | None) -> Bracket:
    return bracket([curve(seed=seed, **arguments) for seed in range(SEEDS)])  # type: ignore[arg-type]


@pytest.mark.parametrize("noise", [0.0, 0.02, 0.1, 0.25])
@pytest.mark.parametrize(("start", "edge"), [(1e-4, 0.03), (1e-3, 0.1), (1e-2, 3.0)])
def test_the_start_of_the_fall_and_the_edge_are_found(start: float, edge: float, noise: float) -> None:
    found = of_seeds(start=start, edge=edge, noise=noise)
    assert (found.fell, found.edged) == (True, True)
    assert within(found.high, edge, 2), found.words
    assert all(within(r.start, start, 8) for r in found.readings), found.words
    assert found.low <= found.high / 100
    assert found.low <= start
    assert all(figure in found.words for figure in (number(found.low), number(found.high), "3 seeds"))


def test_a_run_that_was_ended_has_its_break_there() -> None:
    whole = curve(edge=None)
    cut = replace(whole, lrs=LRS[:50], losses=whole.losses[:50], broke_at=LRS[49])
    assert read(cut).breaks == LRS[49]
    assert read(whole).breaks is None


def test_between_instability_and_break_lies_the_edge() -> None:
    # half of the fall is lost from 0.01 on, and everything from 1 on
    x = np.asarray(LRS)
    losses = np.where(x < 1e-3, 4.0, 3.0) + np.where(x >= 0.01, 0.6, 0.0) + np.where(x >= 1, 5.0, 0.0)
    reading = read(Sweep(lrs=LRS, losses=tuple(losses)))
    assert within(reading.unstable, 0.01, 1.3)
    assert within(reading.breaks, 1.0, 1.3)
    assert within(reading.edge, 0.1, 1.3)


def test_a_spike_of_a_step_is_no_instability() -> None:
    losses = list(curve(edge=None, noise=0.0).losses)
    losses[45] += 20
    losses[50] += 20
    assert read(Sweep(lrs=LRS, losses=tuple(losses))).edge is None


def test_a_loss_that_never_falls_leaves_three_orders_below_the_edge() -> None:
    found = of_seeds(fall=0.0, edge=None)
    assert (found.fell, found.edged, found.low, found.high) == (False, False, 0.01, 10.0)
    assert "never falls beyond its noise" in found.words
    lost = of_seeds(fall=1e-9, edge=0.1, level=2.0)
    rises = bracket([replace(curve(fall=0.0, edge=None, seed=s), broke_at=LRS[50]) for s in range(3)])
    assert not lost.fell
    assert (rises.fell, rises.edged) == (False, True)
    assert within(rises.high, LRS[50], 1.1)
    assert rises.low == pytest.approx(rises.high / 1000, rel=0.1)


def test_a_training_that_never_breaks_is_searched_up_to_where_the_test_ended() -> None:
    found = of_seeds(edge=None)
    assert (found.edged, found.high) == (False, 10.0)
    assert "never becomes unstable" in found.words
    assert within(found.readings[0].start, 1e-3, 4)


@pytest.mark.parametrize("shift", [-4.0, -100.0, 1000.0])
def test_only_differences_of_losses_count(shift: float) -> None:
    moved = [replace(s, losses=tuple(y + shift for y in s.losses)) for s in map(curve_of_seed, range(3))]
    assert bracket(moved).words == bracket([curve_of_seed(seed) for seed in range(3)]).words


def curve_of_seed(seed: int) -> Sweep:
    return curve(seed=seed)


def test_what_follows_a_loss_that_is_not_finite_does_not_count() -> None:
    losses = list(curve(edge=None).losses)
    losses[50] = math.nan
    losses[60] = -1e9
    reading = read(Sweep(lrs=LRS, losses=tuple(losses)))
    assert reading.breaks == LRS[50]
    assert within(reading.start, 1e-3, 4)


def test_a_seed_that_is_nan_from_its_first_step_is_left_out() -> None:
    dead = Sweep(lrs=LRS[:1], losses=(math.nan,), broke_at=LRS[0])
    assert bracket([curve(seed=0), dead, curve(seed=1)]).readings == tuple(read(curve(seed=s)) for s in (0, 1))
    with pytest.raises(StudyError, match=r"not finite from a learning rate of 1e-6 on, .*: run the job on its own"):
        bracket([dead, dead])
    with pytest.raises(StudyError, match="the training loss is not finite, too low"):
        bracket([Sweep(lrs=(), losses=(), broke_at=1e-6)])


def test_one_odd_seed_of_three_does_not_decide() -> None:
    usual = [curve(seed=0), curve(seed=1)]
    for odd in (curve(edge=1e-5), curve(edge=None), curve(start=1.0, edge=None)):
        assert within(bracket([*usual, odd]).high, 0.1, 2)
        assert within(bracket([*usual, odd]).low, 1e-4, 4)


@given(
    sweeps=st.lists(
        st.lists(st.floats(-1e30, 1e30) | st.just(math.nan) | st.just(math.inf), min_size=0, max_size=71).map(tuple),
        min_size=1,
        max_size=5,
    ),
    broke=st.booleans(),
)
def test_any_losses_give_a_range_within_the_test_or_a_reason(sweeps: list[tuple[float, ...]], broke: bool) -> None:
    given_sweeps = [
        Sweep(lrs=LRS[: len(x)], losses=x, broke_at=LRS[len(x) - 1] if broke and x else None) for x in sweeps
    ]
    readable = any(len(x) >= 3 and all(map(math.isfinite, x[:3])) for x in sweeps)
    if not readable:
        with pytest.raises(StudyError, match="not finite"):
            bracket(given_sweeps)
        return
    found = bracket(given_sweeps)
    assert 0 < found.low <= found.high / 90
    assert found.high <= LRS[-1] * 1.1
    assert found.words
    for reading in found.readings:
        assert reading.edge is None or reading.unstable is not None
        if reading.unstable is not None and reading.breaks is not None:
            assert reading.unstable <= reading.edge * (1 + 1e-9) <= reading.breaks * (1 + 2e-9)  # type: ignore[operator]


@given(
    start=st.floats(-5, -2),
    gap=st.floats(1.5, 3),
    noise=st.floats(0, 0.15),
    level=st.floats(-50, 50),
    scale=st.floats(0.01, 100),
    seed=st.integers(0, 1000),
)
def test_the_truth_is_bracketed_at_any_level_and_scale(  # noqa: PLR0917 - hypothesis names them
    start: float, gap: float, noise: float, level: float, scale: float, seed: int
) -> None:
    edge = 10 ** min(start + gap, 0.5)
    sweeps = [
        curve(start=10**start, edge=edge, level=level, fall=scale, noise=noise * scale, seed=seed + i) for i in range(3)
    ]
    found = bracket(sweeps)
    assert within(found.high, edge, 3), found.words
    assert found.low <= 10**start, found.words


def test_the_plan_rises_through_what_the_job_uses_and_says_its_price() -> None:
    plan = plan_range_test(INFO, seed=5, run_cost=1040.0)
    assert (plan.high, plan.steps, plan.seeds) == (10.0, 71, (5, 6, 7))
    assert plan.low == pytest.approx(1e-6)
    assert plan.cost == pytest.approx(3 * (71 + 6 / 3))
    assert plan.share == pytest.approx(219 / 1040)
    lrs = plan.schedule.lrs(total_steps=plan.steps)
    assert lrs == pytest.approx(np.geomspace(1e-6, 10, 71), rel=1e-9)


@pytest.mark.parametrize(
    ("today", "low", "high"),
    [(1e-7, 1e-8, 10.0), (0.1, 1e-4, 100.0), (30.0, 1e-3, 30000.0), (0.0, 1e-7, 10.0), (math.nan, 1e-7, 10.0)],
)
def test_a_job_whose_lr_is_odd_is_tested_within_reason(today: float, low: float, high: float) -> None:
    plan = plan_range_test(replace(INFO, lrs=None, seen_lrs=(today,)), seed=2**32 - 1, run_cost=1000.0)
    assert [plan.low, plan.high] == pytest.approx([low, high])
    assert plan.steps == math.ceil(10 * math.log10(high / low) - 1e-9) + 1
    assert plan.seeds == (2**32 - 1, 0, 1)


def records_of(make_record: MakeRecord, sweeps: Sequence[Sweep], **fields: object) -> list[TrialRecord]:
    schedule = plan_range_test(INFO, seed=0, run_cost=1.0).schedule
    return [
        make_record(
            role="range_test",
            trial=i,
            seed=i,
            schedule=schedule,
            total_steps=71,
            steps=len(sweep.losses),
            train_curve=tuple(enumerate(sweep.losses, start=1)),
            **{"outcome": "DIVERGED", **fields},
        )
        for i, sweep in enumerate(sweeps)
    ]


def test_records_are_read_by_their_learning_rates(make_record: MakeRecord) -> None:
    sweeps = [curve(seed=seed) for seed in range(3)]
    records = records_of(make_record, [replace(s, losses=s.losses[:60]) for s in sweeps])
    first = sweep_of(records[0])
    assert first.lrs == pytest.approx(LRS[:60], rel=1e-9)
    assert first.broke_at == pytest.approx(LRS[59])
    assert sweep_of(replace(records[0], outcome="COMPLETE")).broke_at is None
    thinned = sweep_of(replace(records[0], train_curve=((2, 4.0), (4, 3.0))))
    assert thinned.lrs == pytest.approx([math.sqrt(LRS[0] * LRS[1]), math.sqrt(LRS[2] * LRS[3])])
    found = bracket_of([make_record(), *records])
    assert found.high == pytest.approx(bracket(sweeps).high, rel=0.5)
    # one that failed is left out, and says why where there is no other
    failed = replace(records[0], outcome="FAILED", reason="no luck")
    assert len(bracket_of([failed, *records[1:]]).readings) == 2
    with pytest.raises(StudyError, match=r"did not run \(no luck\): give space.initial_lr a low and a high"):
        bracket_of([failed])
    assert found_range([failed]) is None
    assert found_range(records) == bracket_of(records)
