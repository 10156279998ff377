"""Which wanted trials share a trunk: with its branch it has each schedule's own learning rates at every step."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import sample_info
from hypothesis import given
from hypothesis import strategies as st

from autowarm.decays import COOLDOWNS
from autowarm.errors import ScheduleError
from autowarm.planning.trunks import Branch, Trunk, plan_trunks, price_of_trunk, price_together
from autowarm.pruning import ema_rungs_of, rungs_of
from autowarm.record import VALIDATION_BATCH_COST
from autowarm.schedule import Schedule
from autowarm.specs import JobSpec, TrainingSpec, TrunkSpec

INFO = replace(sample_info.INFO, val_batches=9, step_seconds=0.5, validation_seconds=2.0, fixed_seconds=30.0)
PEAKS = (0.1, 0.3, 7e-4)


def wsd(decay_ratio: float, **fields: Any) -> Schedule:
    return Schedule(**{"initial_lr": 0.1, "warmup_steps": 4, "decay": "wsd", "decay_ratio": decay_ratio, **fields})


def constant(**fields: Any) -> Schedule:
    return Schedule(**{"initial_lr": 0.1, "warmup_steps": 4, **fields})


def steps_of(trunk: Trunk) -> list[tuple[int, int]]:
    return [(branch.index, branch.step) for branch in trunk.branches]


@st.composite
def wanted_trials(draw: st.DrawFn) -> tuple[Schedule, int]:
    """A trial of few enough kinds that some of them meet in a trunk."""
    total = draw(st.sampled_from((7, 20, 40, 41, 80)))
    warmup: dict[str, Any] = draw(st.sampled_from(({"warmup_steps": 0}, {"warmup_steps": 3}, {"warmup_ratio": 0.1})))
    shape: dict[str, Any] = draw(
        st.sampled_from(({}, {"warmup": "cosine"}, {"warmup_start_ratio": 0.5}, {"warmup_start_ratio": 1.0}))
    )
    decays: tuple[dict[str, Any], ...] = (
        {"decay": "constant"},
        {"decay": "cosine"},
        {"decay": "step", "step_size_ratio": 0.4},
        {"decay": "linear", "final_lr_ratio": 1.0},
        {"decay": "cosine_restarts"},
        *({"decay": "wsd", "decay_ratio": r, "cooldown": c} for r in (0.1, 0.5) for c in COOLDOWNS),
        {"decay": "wsd", "decay_ratio": 0.2, "final_lr_ratio": 0.3},
    )
    options: dict[str, Any] = draw(
        st.sampled_from(({}, {}, {"step_offset": 1}, {"decay_to": "last_step"}, {"decay_from": "start"}))
    )
    peak = draw(st.sampled_from(PEAKS))
    return Schedule(initial_lr=peak, **warmup, **shape, **draw(st.sampled_from(decays)), **options), total


@given(st.lists(wanted_trials(), max_size=12))
def test_trunk_and_branch_have_the_learning_rates_of_each_schedule(wanted: list[tuple[Schedule, int]]) -> None:
    trunks, alone = plan_trunks(wanted)
    placed = [branch.index for trunk in trunks for branch in trunk.branches]
    assert sorted([*placed, *alone]) == list(range(len(wanted))), "each trial once"
    for trunk in trunks:
        carrier = trunk.carrier
        lrs_of_trunk = carrier.schedule.lrs(total_steps=carrier.total_steps)[: trunk.shared_steps]
        peak = carrier.schedule.initial_lr
        for branch in trunk.branches:
            schedule, total = wanted[branch.index]
            assert (schedule, total) == (branch.schedule, branch.total_steps)
            own = schedule.lrs(total_steps=total)
            assert 1 <= branch.step <= min(total, len(lrs_of_trunk))
            # the very numbers: a difference of the last bit would be another training
            np.testing.assert_array_equal(np.concatenate([lrs_of_trunk[: branch.step], own[branch.step :]]), own)
            # and it leaves no sooner than it must
            assert own[branch.step - 1] == peak
            assert branch.step == total or own[branch.step] != peak
        assert trunk.steps <= trunk.represented_steps
        # what runs a trunk takes what plans it
        trials = tuple(
            TrainingSpec(
                job=JobSpec(factory="a:b"), monitor="m", total_steps=b.total_steps, schedule=b.schedule, rungs=()
            )
            for b in trunk.branches
        )
        spec = TrunkSpec(name="x", trials=trials, branch_steps=tuple(b.step for b in trunk.branches))
        assert trunk.branches[spec.carrier] == carrier


@given(st.lists(wanted_trials(), min_size=2, max_size=8), st.randoms())
def test_the_order_of_the_wanted_says_nothing(wanted: list[tuple[Schedule, int]], random: Any) -> None:
    order = list(range(len(wanted)))
    random.shuffle(order)
    trunks, alone = plan_trunks(wanted)
    shuffled, shuffled_alone = plan_trunks([wanted[i] for i in order])

    def members(found: tuple[Trunk, ...], names: list[int]) -> set[frozenset[tuple[int, int]]]:
        return {frozenset((names[b.index], b.step) for b in trunk.branches) for trunk in found}

    assert members(trunks, list(range(len(wanted)))) == members(shuffled, order)
    assert set(alone) == {order[i] for i in shuffled_alone}


def test_a_grid_of_cooldowns_and_horizons_is_one_trunk() -> None:
    wanted = [(wsd(ratio), steps) for steps in (50, 100, 200) for ratio in (0.1, 0.4)] + [(constant(), 200)]
    (trunk,), alone = plan_trunks(wanted)
    assert alone == ()
    # the first step of a cooldown still has the peak, and is shared
    assert steps_of(trunk) == [(1, 31), (0, 46), (3, 61), (2, 91), (5, 121), (4, 181), (6, 200)]
    assert trunk.carrier.index == 6
    assert trunk.steps == 200 + 19 + 4 + 39 + 9 + 79 + 19
    assert trunk.represented_steps == 900


@pytest.mark.parametrize(
    "change",
    [
        {"initial_lr": 0.2},
        {"warmup_steps": 5},
        {"warmup": "cosine"},
        {"warmup_start_ratio": 0.5},
        {"step_offset": 1},
    ],
)
def test_another_peak_or_warmup_is_another_trunk(change: dict[str, Any]) -> None:
    wanted = [(constant(), 40), (wsd(0.2), 40), (constant(**change), 40), (wsd(0.2, **change), 40)]
    trunks, alone = plan_trunks(wanted)
    assert [[b.index for b in sorted(t.branches, key=lambda b: b.index)] for t in trunks] == [[0, 1], [2, 3]]
    assert alone == ()


def test_a_ratio_of_warmup_is_of_other_steps_where_the_run_is_longer() -> None:
    short, long = replace(wsd(0.2), warmup_steps=None, warmup_ratio=0.1), constant()
    # 4 steps of 40, 8 of 80
    assert plan_trunks([(short, 40), (long, 80)])[1] == ()
    assert plan_trunks([(short, 80), (long, 80)]) == ((), (0, 1))


def test_the_shape_of_no_warmup_makes_no_other_trunk() -> None:
    cosine = constant(warmup_steps=0, warmup="cosine")
    (trunk,), _ = plan_trunks([(cosine, 20), (wsd(0.5, warmup_steps=0), 20)])
    assert [branch.index for branch in trunk.branches] == [1, 0]


def test_a_decay_that_holds_nothing_shares_its_warmup_where_that_is_worth_it() -> None:
    wanted = [(constant(), 40), (replace(constant(), decay="cosine"), 40), (wsd(0.5), 40)]
    for least in (1, 5):
        (trunk,), alone = plan_trunks(wanted, least_shared=least)
        assert steps_of(trunk) == [(1, 5), (2, 21), (0, 40)]
    (trunk,), alone = plan_trunks(wanted, least_shared=6)
    assert steps_of(trunk) == [(2, 21), (0, 40)]
    assert alone == (1,)
    assert plan_trunks(wanted, least_shared=22) == ((), (0, 1, 2))


def test_a_schedule_that_never_has_its_peak_is_trained_by_itself() -> None:
    under = Schedule(initial_lr=0.1, warmup_steps=4, decay="linear", decay_from="start")
    assert plan_trunks([(under, 40), (under, 40)]) == ((), (0, 1))


def test_a_cooldown_to_the_peak_is_no_cooldown() -> None:
    (trunk,), _ = plan_trunks([(wsd(0.5, final_lr_ratio=1.0), 20), (constant(), 20)])
    assert steps_of(trunk) == [(0, 20), (1, 20)]
    assert trunk.steps == 20


def test_nothing_wanted_is_nothing_planned() -> None:
    assert plan_trunks([]) == ((), ())


def test_a_schedule_that_does_not_fit_is_an_error() -> None:
    with pytest.raises(ScheduleError, match="warmup_steps=4 must be less than total_steps=4"):
        plan_trunks([(constant(), 4)])


def test_a_trunk_costs_what_it_trains_and_validates_once() -> None:
    trunk = Trunk(
        (
            Branch(0, wsd(0.4), 50, 31),
            Branch(1, constant(), 50, 50),
            Branch(2, constant(), 100, 100),
        )
    )
    rungs = [(10, 30, 31, 40, 50), (10, 50), (20, 50, 100)]
    price = price_of_trunk(trunk, INFO, rungs=rungs)
    # on the trunk at 10, 20, 30, 31, 50 and 100; the branch at 40 and 50
    assert price.cost == 100 + 19 + 8 * 3
    assert price.cost_alone == 200 + 10 * 3
    # what ends on the trunk is not built
    assert price.seconds == 2 * 30 + 119 * 0.5 + 8 * 2
    assert price.seconds_alone == 3 * 30 + 200 * 0.5 + 10 * 2
    emas = [(30, 40), (30,), (20, 50)]
    averaged = price_of_trunk(trunk, INFO, rungs=rungs, ema_rungs=emas)
    # a window of its own for each number of steps: at 30 one for both, at 20 and 50 the other; at 40 the branch's
    assert averaged.cost == price.cost + 4 * 3
    assert averaged.cost_alone == price.cost_alone + 5 * 3


def test_trials_together_cost_their_trunks_and_what_shares_nothing() -> None:
    info = replace(INFO, total_steps=400)
    held = [(wsd(0.2), 200), (wsd(0.4), 400)]
    (trunk,), _ = plan_trunks(held)
    rungs = [rungs_of(b.total_steps) for b in trunk.branches]
    expected = price_of_trunk(trunk, info, rungs=rungs)
    assert price_together(held, info, averaged=False) == expected
    averaged = price_of_trunk(trunk, info, rungs=rungs, ema_rungs=[ema_rungs_of(b.total_steps) for b in trunk.branches])
    assert price_together(held, info, averaged=True) == averaged
    linear = [(Schedule(initial_lr=0.5, decay="linear"), 100)]
    found = price_together([*held, *linear], info, averaged=False, seeds=3)
    assert found is not None
    # a validation has three batches, each a third of a step
    alone = 100 + 20 * INFO.val_batches * VALIDATION_BATCH_COST
    assert found.cost == 3 * (expected.cost + alone)
    assert found.cost_alone == 3 * (expected.cost_alone + alone)
    assert price_together(linear, info, averaged=False) is None
