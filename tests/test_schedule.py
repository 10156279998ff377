"""Schedule: values worked out by hand, laws over random schedules, every error, and files."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import assume, given
from hypothesis import strategies as st

from autowarm.decays import COOLDOWNS, DECAYS, DecayName, Law
from autowarm.errors import AutowarmError, ScheduleError
from autowarm.schedule import OPTIONS, Schedule, load_schedule, schedule_yaml
from autowarm.warmups import WARMUPS, WarmupShape

OWN: dict[str, st.SearchStrategy[Any]] = {
    "num_cycles": st.integers(1, 8),
    "timescale": st.none() | st.integers(1, 2000),
    "power": st.floats(0.1, 5.0),
    "gamma": st.floats(1e-6, 1.0),
    "step_size_ratio": st.floats(0.01, 1.0),
    "cooldown": st.sampled_from(COOLDOWNS),
}


# Every combination of the options that a schedule may have.
COUNTINGS: list[dict[str, Any]] = [
    dict(zip(OPTIONS, values, strict=True))
    for values in itertools.product(*OPTIONS.values())
    if values[0] == 0 or values[2] == "end"
]


@st.composite
def schedules_and_totals(draw: st.DrawFn, decays: tuple[DecayName, ...] = tuple(DECAYS)) -> tuple[Schedule, int]:
    total = draw(st.integers(1, 300))
    settings: dict[str, Any] = {
        "initial_lr": draw(st.floats(1e-8, 10.0)),
        "decay": draw(st.sampled_from(decays)),
    }
    length = draw(st.sampled_from(["none", "ratio", "steps"]))
    if length == "ratio":
        settings["warmup_ratio"] = draw(st.floats(0.0, 1.0, exclude_max=True))
    elif length == "steps":
        settings["warmup_steps"] = draw(st.integers(0, total - 1))
    settings["warmup"] = draw(st.sampled_from(WARMUPS))
    least = 1e-6 if settings["warmup"] == "exponential" else 0.0
    settings["warmup_start_ratio"] = draw(st.floats(least, 1.0))
    decay = DECAYS[settings["decay"]]
    if decay.ends_at_final_lr_ratio:
        settings["final_lr_ratio"] = draw(st.floats(0.0, 1.0))
    settings |= {name: draw(OWN[name]) for name in decay.parameters if name in OWN}
    if settings["decay"] == "cosine":
        settings["num_cycles"] = draw(st.sampled_from([None, 0.5, 1.0, 1.5]) | st.floats(0.05, 3.0))
    # none of them is the likeliest
    settings |= draw(st.just({}) | st.sampled_from(COUNTINGS))
    if settings.get("decay_to") == "last_step" and settings.get("warmup_steps"):
        settings["warmup_steps"] = min(settings["warmup_steps"], max(total - 2, 0))
    if "decay_ratio" in decay.parameters:
        span = max(total - 1, 1) if settings.get("decay_to") == "last_step" else total
        taken = settings.get("warmup_ratio", settings.get("warmup_steps", 0) / span)
        # a cooldown is at least one step, and rounds to the nearest
        steps = math.floor((1 - taken) * span)
        settings["decay_ratio"] = draw(st.integers(1, max(steps, 1))) / span
        if settings.get("warmup_ratio", 0) + settings["decay_ratio"] > 1:
            settings["warmup_ratio"] = 1 - settings["decay_ratio"]
    return Schedule(**settings), total


# --- values -------------------------------------------------------------------------------------------------

# (warmup, warmup_start_ratio, lr over peak at s = 0 .. 4 for warmup_steps = 4), where
# (1 - cos 45 deg) / 2 = .14644660940672624, sqrt(.1) = .31622776601683793
WARMUP_GOLDEN: list[tuple[WarmupShape, float, list[float]]] = [
    ("linear", 0.0, [0, 0.25, 0.5, 0.75, 1]),
    ("linear", 0.2, [0.2, 0.4, 0.6, 0.8, 1]),
    ("cosine", 0.0, [0, 0.14644660940672624, 0.5, 0.85355339059327376, 1]),
    ("cosine", 0.2, [0.2, 0.31715728752538099, 0.6, 0.88284271247461901, 1]),
    ("exponential", 0.0625, [0.0625, 0.125, 0.25, 0.5, 1]),
    ("exponential", 0.01, [0.01, 0.031622776601683793, 0.1, 0.31622776601683793, 1]),
    # sqrt(3)/2 = .86602540378443865, sqrt(1/2) = .70710678118654752
    ("one_minus_sqrt", 0.0, [0, 0.13397459621556135, 0.29289321881345248, 0.5, 1]),
    ("one_minus_sqrt", 0.2, [0.2, 0.30717967697244908, 0.43431457505076198, 0.6, 1]),
]


@pytest.mark.parametrize(("warmup", "start", "expected"), WARMUP_GOLDEN)
def test_golden_warmups(warmup: WarmupShape, start: float, expected: list[float]) -> None:
    schedule = Schedule(initial_lr=3e-4, warmup_steps=4, warmup=warmup, warmup_start_ratio=start)
    assert schedule.lrs(total_steps=5).tolist() == pytest.approx([3e-4 * x for x in expected], rel=1e-12)
    assert schedule.multipliers(total_steps=5).tolist() == pytest.approx([*expected, 1], rel=1e-12)


def test_every_warmup_has_a_golden_row() -> None:
    assert {warmup for warmup, *_ in WARMUP_GOLDEN} == set(WARMUPS)


# (decay with its defaults, lr over peak at s = 0 .. 10 for a warmup of 2 of 10 steps)
DEFAULTS_GOLDEN: list[tuple[DecayName, list[float]]] = [
    ("constant", [0, 0.5, 1, 1, 1, 1, 1, 1, 1, 1, 1]),
    ("linear", [0, 0.5, 1, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125, 0]),
    ("polynomial", [0, 0.5, 1, 0.765625, 0.5625, 0.390625, 0.25, 0.140625, 0.0625, 0.015625, 0]),
    ("wsd", [0, 0.5, 1, 1, 1, 1, 1, 1, 1, 0.5, 0]),
    # a third of 8 steps is 3
    ("step", [0, 0.5, 1, 1, 1, 0.1, 0.1, 0.1, 0.01, 0.01, 0.01]),
    # .01^(1/8) = .56234132519034908
    (
        "exponential",
        [
            *(0, 0.5, 1, 0.56234132519034908, 0.31622776601683793, 0.17782794100389228),
            *(0.1, 0.056234132519034908, 0.031622776601683793, 0.017782794100389228, 0.01),
        ],
    ),
]


@pytest.mark.parametrize(("decay", "expected"), DEFAULTS_GOLDEN)
def test_golden_schedules_with_default_parameters(decay: DecayName, expected: list[float]) -> None:
    for schedule in (
        Schedule(initial_lr=0.5, warmup_ratio=0.2, decay=decay),
        Schedule(initial_lr=0.5, warmup_steps=2, decay=decay),
        Schedule(initial_lr=0.5, warmup_epochs=0.5, decay=decay).resolved(steps_per_epoch=4),
    ):
        assert schedule.multipliers(total_steps=10).tolist() == pytest.approx(expected, rel=1e-12)


def test_without_warmup_the_first_step_has_the_peak() -> None:
    for warmup in ({}, {"warmup_ratio": 0.0}, {"warmup_steps": 0}):
        assert Schedule(initial_lr=0.5, decay="linear", **warmup).lrs(total_steps=2).tolist() == [0.5, 0.25]


@pytest.mark.parametrize(
    ("ratio", "total", "steps"),
    [
        (0.0, 10, 0),
        (0.06, 100, 6),
        (0.1, 4, 0),
        (0.26, 2, 1),
        (0.999, 1, 0),
        (0.999, 2, 1),
        (0.999, 10, 9),
        (0.25, 10, 2),
    ],
)
def test_a_ratio_is_rounded_to_steps_and_leaves_one_for_the_peak(ratio: float, total: int, steps: int) -> None:
    assert Schedule(initial_lr=1.0, warmup_ratio=ratio).warmup_steps_of(total) == steps


@pytest.mark.parametrize(("epochs", "per_epoch", "steps"), [(1, 12, 12), (0.5, 9, 4), (2, 7.5, 15), (0, 9, 0)])
def test_a_warmup_in_epochs_is_rounded_to_steps(epochs: float, per_epoch: float, steps: int) -> None:
    resolved = Schedule(initial_lr=1.0, warmup_epochs=epochs).resolved(steps_per_epoch=per_epoch)
    assert (resolved.warmup_steps, resolved.warmup_epochs, resolved.warmup_ratio) == (steps, None, None)


def test_what_is_not_in_epochs_resolves_to_itself() -> None:
    schedule = Schedule(initial_lr=1.0, warmup_ratio=0.1)
    assert schedule.resolved(steps_per_epoch=3) is schedule


# --- laws ---------------------------------------------------------------------------------------------------


@given(schedules_and_totals())
def test_lrs_stay_between_zero_and_the_peak(drawn: tuple[Schedule, int]) -> None:
    schedule, total = drawn
    lrs = schedule.lrs(total_steps=total)
    assert lrs.shape == (total,)
    assert np.all((lrs >= 0) & (lrs <= schedule.initial_lr))


@given(schedules_and_totals())
def test_warmup_rises_to_exactly_the_peak(drawn: tuple[Schedule, int]) -> None:
    schedule, total = drawn
    schedule = replace(schedule, decay_from="peak")
    w = schedule.warmup_steps_of(total)
    lrs = schedule.lrs(total_steps=total)
    assert 0 <= w < total
    # with an offset the warmup is a step shorter, and without a warmup the peak is never met
    met = w - schedule.step_offset
    assert np.all(np.diff(lrs[: met + 1]) >= 0)
    if met >= 0:
        assert lrs[met] == schedule.initial_lr
    if w and not schedule.step_offset:
        assert lrs[0] == pytest.approx(schedule.initial_lr * schedule.warmup_start_ratio, rel=1e-12)


def keeps(schedule: Schedule, law: Law) -> bool:
    return DECAYS[schedule.decay].keeps(law, schedule.decay_parameters)


@given(schedules_and_totals())
def test_a_decay_that_never_rises_falls_or_stays_at_each_step(drawn: tuple[Schedule, int]) -> None:
    schedule, total = drawn
    assume(keeps(schedule, "never_rises"))
    met = max(schedule.warmup_steps_of(total) - schedule.step_offset, 0)
    assert np.all(np.diff(schedule.multipliers(total_steps=total)[met:]) <= 0)


def test_restarts_rise() -> None:
    assert not DECAYS["cosine_restarts"].never_rises
    lrs = Schedule(initial_lr=1.0, decay="cosine_restarts").lrs(total_steps=8)
    assert lrs[3] < lrs[4] == 1.0


@given(schedules_and_totals())
def test_a_decay_that_ends_there_ends_at_exactly_final_lr_ratio(drawn: tuple[Schedule, int]) -> None:
    schedule, total = drawn
    assume(keeps(schedule, "ends_at_final_lr_ratio"))
    multipliers = schedule.multipliers(total_steps=total)
    assert multipliers[-1] == schedule.final_lr_ratio
    # and where the options say so, the last step executed has it already
    if schedule.step_offset or (schedule.decay_to == "last_step" and total > 1):
        assert multipliers[-2] == schedule.final_lr_ratio


@given(schedules_and_totals())
def test_an_offset_of_one_is_the_next_step_s_lr(drawn: tuple[Schedule, int]) -> None:
    schedule, total = drawn
    plain = replace(schedule, step_offset=0)
    ahead = replace(schedule, step_offset=1, decay_to="end")
    assume(plain.decay_to == "end")
    assert ahead.warmup_steps_of(total) == plain.warmup_steps_of(total)
    assert (
        ahead.lrs(total_steps=total).tolist() == (plain.initial_lr * plain.multipliers(total_steps=total))[1:].tolist()
    )


@given(schedules_and_totals())
def test_a_decay_to_the_last_step_is_the_schedule_of_one_step_less(drawn: tuple[Schedule, int]) -> None:
    schedule, total = drawn
    to_end = replace(schedule, decay_to="end")
    to_last = replace(schedule, decay_to="last_step", step_offset=0)
    assume(not to_end.step_offset)
    try:
        expected = to_end.initial_lr * to_end.multipliers(total_steps=total)
    except ScheduleError:
        # a warmup in steps that only just fits into the one step more
        assume(False)  # hypothesis's own signature
    longer = to_last.lrs(total_steps=total + 1)
    assert to_last.warmup_steps_of(total + 1) == to_end.warmup_steps_of(total)
    assert longer.tolist() == expected.tolist()


@given(schedules_and_totals())
def test_a_decay_from_the_start_is_the_one_without_warmup(drawn: tuple[Schedule, int]) -> None:
    schedule, total = drawn
    from_peak, from_start = replace(schedule, decay_from="peak"), replace(schedule, decay_from="start")
    without = replace(from_peak, warmup_ratio=0.0, warmup_steps=None)
    met = max(schedule.warmup_steps_of(total) - schedule.step_offset, 0)
    lrs = from_start.lrs(total_steps=total).tolist()
    assert lrs[:met] == from_peak.lrs(total_steps=total)[:met].tolist()
    assert lrs[met:] == without.lrs(total_steps=total)[met:].tolist()


# (options, lr over peak at s = 0 .. 10 for a linear warmup of 4 of 10 steps and a linear decay), worked out by hand
COUNTING_GOLDEN: list[tuple[dict[str, Any], list[float]]] = [
    ({"step_offset": 1}, [0.25, 0.5, 0.75, 1, 5 / 6, 4 / 6, 0.5, 2 / 6, 1 / 6, 0, 0]),
    ({"decay_from": "start"}, [0, 0.25, 0.5, 0.75, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0]),
    ({"decay_to": "last_step"}, [0, 0.25, 0.5, 0.75, 1, 0.8, 0.6, 0.4, 0.2, 0, 0]),
    ({"decay_from": "start", "step_offset": 1}, [0.25, 0.5, 0.75, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0, 0]),
    (
        {"decay_from": "start", "decay_to": "last_step"},
        [0, 0.25, 0.5, 0.75, 5 / 9, 4 / 9, 3 / 9, 2 / 9, 1 / 9, 0, 0],
    ),
]


@pytest.mark.parametrize(("options", "expected"), COUNTING_GOLDEN)
def test_golden_ways_to_count(options: dict[str, Any], expected: list[float]) -> None:
    schedule = Schedule(initial_lr=0.5, warmup_steps=4, decay="linear", **options)
    assert schedule.multipliers(total_steps=10).tolist() == pytest.approx(expected, rel=1e-12, abs=1e-15)


def test_every_way_to_count_has_a_golden_row() -> None:
    usual = {name: values[0] for name, values in OPTIONS.items()}
    shown = [usual, *({**usual, **options} for options, _ in COUNTING_GOLDEN)]
    assert sorted(map(str, shown)) == sorted(map(str, COUNTINGS))


@pytest.mark.parametrize("counting", COUNTINGS)
def test_a_run_of_one_step_takes_every_way_to_count(counting: dict[str, Any]) -> None:
    schedule = Schedule(initial_lr=0.5, decay="linear", **counting)
    assert schedule.lrs(total_steps=1).tolist() == [0.0 if schedule.step_offset else 0.5]


@given(schedules_and_totals())
def test_one_step_and_all_steps_agree_bit_for_bit(drawn: tuple[Schedule, int]) -> None:
    schedule, total = drawn
    one_by_one = [schedule.lr_at(step, total_steps=total) for step in range(total + 1)]
    assert one_by_one[:-1] == schedule.lrs(total_steps=total).tolist()
    assert one_by_one == (schedule.initial_lr * schedule.multipliers(total_steps=total)).tolist()
    assert all(type(lr) is float for lr in one_by_one)


@given(schedules_and_totals())
def test_to_dict_then_from_dict_is_the_identity(drawn: tuple[Schedule, int]) -> None:
    schedule, _ = drawn
    assert Schedule.from_dict(schedule.to_dict()) == schedule


@given(schedules_and_totals())
def test_writing_then_reading_is_the_identity(drawn: tuple[Schedule, int]) -> None:
    schedule, _ = drawn
    assert load_schedule(yaml.safe_load(schedule_yaml(schedule))) == schedule


@pytest.mark.parametrize("decay", DECAYS)
@pytest.mark.parametrize("warmup", [{}, {"warmup_ratio": 0.3}, {"warmup_steps": 3}, {"warmup_epochs": 1.5}])
def test_save_then_load_is_the_identity(decay: DecayName, warmup: dict[str, Any], tmp_path: Path) -> None:
    final = 0.1 if DECAYS[decay].ends_at_final_lr_ratio else 0.0
    schedule = Schedule(
        initial_lr=3e-05,
        decay=decay,
        warmup="cosine",
        warmup_start_ratio=1e-3,
        final_lr_ratio=final,
        **warmup,
    )
    schedule.save(tmp_path / "schedule.yaml")
    assert load_schedule(tmp_path / "schedule.yaml") == schedule
    assert load_schedule(str(tmp_path / "schedule.yaml")) == schedule


@pytest.mark.parametrize("decay", DECAYS)
@pytest.mark.parametrize("total", [1, 2])
def test_the_shortest_runs_reach_the_peak(decay: DecayName, total: int) -> None:
    # wsd, with its cooldown of .2, leaves .8 for the warmup
    schedule = Schedule(initial_lr=0.5, warmup_ratio=0.8, decay=decay)
    assert schedule.lrs(total_steps=total).tolist() == [0.0, 0.5][-total:]


# --- errors -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"decay": "cosin"}, "unknown decay 'cosin': did you mean 'cosine'? Known: constant, cosine, "),
        ({"decay": ["cosine"]}, "unknown decay ['cosine']. Known: "),
        ({"decay": None}, "unknown decay None. Known: "),
        (
            {"warmup": "liner"},
            "unknown warmup 'liner': did you mean 'linear'? Known: cosine, exponential, linear, one_minus_sqrt",
        ),
        ({"warmup": {}}, "unknown warmup {}. Known: "),
        ({"warmup_ratio": 1.2}, "warmup_ratio must be in [0, 1), got 1.2"),
        ({"warmup_ratio": 1.0}, "warmup_ratio must be in [0, 1), got 1.0"),
        ({"warmup_ratio": -0.1}, "warmup_ratio must be in [0, 1), got -0.1"),
        ({"warmup_ratio": True}, "warmup_ratio must be in [0, 1), got True"),
        ({"warmup_ratio": "0.1"}, "warmup_ratio must be in [0, 1), got '0.1'"),
        ({"warmup_steps": -1}, "warmup_steps must be a whole number of at least 0, got -1"),
        ({"warmup_steps": 1.5}, "warmup_steps must be a whole number of at least 0, got 1.5"),
        ({"warmup_steps": True}, "warmup_steps must be a whole number of at least 0, got True"),
        ({"warmup_steps": math.nan}, "warmup_steps must be a whole number of at least 0, got nan"),
        ({"warmup_steps": math.inf}, "warmup_steps must be a whole number of at least 0, got inf"),
        ({"warmup_steps": "10"}, "warmup_steps must be a whole number of at least 0, got '10'"),
        ({"warmup_epochs": -1}, "warmup_epochs must be at least 0, got -1"),
        ({"warmup_epochs": math.inf}, "warmup_epochs must be at least 0, got inf"),
        (
            {"warmup_ratio": 0.1, "warmup_steps": 10},
            "give only one length of warmup, got warmup_ratio and warmup_steps",
        ),
        (
            {"warmup_steps": 0, "warmup_epochs": 0},
            "give only one length of warmup, got warmup_steps and warmup_epochs",
        ),
        ({"warmup_start_ratio": 1.1}, "warmup_start_ratio must be in [0, 1], got 1.1"),
        ({"warmup_start_ratio": None}, "warmup_start_ratio must be in [0, 1], got None"),
        (
            {"warmup": "exponential"},
            "warmup 'exponential' cannot start at 0: give a warmup_start_ratio above 0",
        ),
        ({"final_lr_ratio": 1.1, "decay": "linear"}, "final_lr_ratio must be in [0, 1], got 1.1"),
        ({"final_lr_ratio": math.nan, "decay": "linear"}, "final_lr_ratio must be in [0, 1], got nan"),
        (
            {"final_lr_ratio": 0.1, "decay": "inverse_sqrt"},
            "decay 'inverse_sqrt' has no final_lr_ratio: it goes with linear, cosine, cosine_restarts, ",
        ),
        ({"power": 2.0, "decay": "cosine"}, "power belongs to decay polynomial, not to 'cosine'"),
        ({"gamma": 0.1, "decay": "wsd"}, "gamma belongs to decay exponential, step, not to 'wsd'"),
        ({"decay_ratio": 0.1}, "decay_ratio belongs to decay wsd, not to 'constant'"),
        ({"cooldown": "linear"}, "cooldown belongs to decay wsd, not to 'constant'"),
        ({"power": 0, "decay": "polynomial"}, "power must be greater than 0, got 0"),
        ({"power": math.inf, "decay": "polynomial"}, "power must be greater than 0, got inf"),
        ({"power": "2", "decay": "polynomial"}, "power must be greater than 0, got '2'"),
        ({"gamma": 1.1, "decay": "exponential"}, "gamma must be in (0, 1], got 1.1"),
        ({"gamma": 0, "decay": "step"}, "gamma must be in (0, 1], got 0"),
        ({"step_size_ratio": 0, "decay": "step"}, "step_size_ratio must be in (0, 1], got 0"),
        (
            {"num_cycles": 0, "decay": "cosine_restarts"},
            "num_cycles must be a whole number of at least 1, got 0",
        ),
        (
            {"num_cycles": 1.5, "decay": "cosine_restarts"},
            "num_cycles must be a whole number of at least 1, got 1.5",
        ),
        (
            {"num_cycles": True, "decay": "cosine_restarts"},
            "num_cycles must be a whole number of at least 1, got True",
        ),
        (
            {"num_cycles": 10**400, "decay": "cosine_restarts"},
            "num_cycles must be a whole number of at least 1, got 1",
        ),
        ({"decay_ratio": 1.1, "decay": "wsd"}, "decay_ratio must be in (0, 1], got 1.1"),
        ({"decay_ratio": np.float64(1.1), "decay": "wsd"}, "decay_ratio must be in (0, 1], got 1.1"),
        (
            {"cooldown": "polynomial", "decay": "wsd"},
            "cooldown must be one of linear, one_minus_sqrt, cosine, exponential, got 'polynomial'",
        ),
        ({"num_cycles": 0, "decay": "cosine"}, "num_cycles must be greater than 0, got 0"),
        ({"num_cycles": 2, "decay": "linear"}, "num_cycles belongs to decay cosine, cosine_restarts, not to 'linear'"),
        ({"timescale": 0, "decay": "inverse_sqrt"}, "timescale must be a whole number of at least 1, got 0"),
        ({"timescale": 1.5, "decay": "inverse_sqrt"}, "timescale must be a whole number of at least 1, got 1.5"),
        ({"timescale": 100}, "timescale belongs to decay inverse_sqrt, not to 'constant'"),
        ({"step_offset": 2}, "step_offset must be 0 or 1, got 2"),
        ({"step_offset": True}, "step_offset must be 0 or 1, got True"),
        ({"step_offset": "1"}, "step_offset must be 0 or 1, got '1'"),
        ({"step_offset": [1]}, "step_offset must be 0 or 1, got [1]"),
        ({"step_offset": None}, "step_offset must be 0 or 1, got None"),
        ({"decay_from": "peek"}, "unknown decay_from 'peek': did you mean 'peak'? Known: peak, start"),
        ({"decay_from": ["peak"]}, "unknown decay_from ['peak']. Known: peak, start"),
        ({"decay_to": "last"}, "unknown decay_to 'last'"),
        (
            {"decay_to": "last_step", "step_offset": 1},
            "with step_offset 1 the last step executed is the end already: leave decay_to out, or step_offset",
        ),
        (
            {"warmup_ratio": 0.9, "decay": "wsd"},
            "warmup_ratio and decay_ratio must add up to at most 1, got 0.9 + 0.2",
        ),
    ],
)
def test_a_bad_value_is_refused_in_words(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ScheduleError) as caught:
        Schedule(**{"initial_lr": 1e-3, **settings})
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    "bad",
    [
        0,
        -1e-3,
        math.nan,
        math.inf,
        -math.inf,
        True,
        np.True_,
        "3e-4",
        None,
        [1e-3],
        1j,
        10**400,
        Fraction(1, 2),
    ],
)
def test_the_peak_is_a_number_above_zero(bad: Any) -> None:
    with pytest.raises(ScheduleError, match="initial_lr must be greater than 0, got "):
        Schedule(initial_lr=bad)


@pytest.mark.parametrize(
    ("settings", "total", "message"),
    [
        (
            {"warmup_steps": 10},
            10,
            r"warmup_steps=10 must be less than total_steps=10: shorten the warmup, or give it as",
        ),
        ({"warmup_steps": 1}, 1, r"warmup_steps=1 must be less than total_steps=1"),
        (
            {"warmup_steps": 9, "decay": "wsd"},
            10,
            r"warmup_steps=9 and decay_ratio=0\.2 do not both fit into total_steps=10",
        ),
        (
            {"warmup_epochs": 1},
            10,
            r"warmup_epochs=1\.0 has no length in steps yet: call \.resolved\(steps_per_epoch",
        ),
        (
            {"warmup_steps": 9, "decay_to": "last_step"},
            10,
            r"warmup_steps=9 must be less than total_steps - 1 = 9: shorten the warmup, or give it as",
        ),
        ({}, 0, "total_steps must be a whole number of at least 1, got 0"),
        ({}, True, "total_steps must be a whole number of at least 1, got True"),
        ({}, 2.5, r"total_steps must be a whole number of at least 1, got 2\.5"),
        ({}, math.inf, "total_steps must be a whole number of at least 1, got inf"),
    ],
)
def test_what_does_not_fit_into_the_run_is_refused(settings: dict[str, Any], total: Any, message: str) -> None:
    schedule = Schedule(initial_lr=1e-3, **settings)
    for call in (
        schedule.warmup_steps_of,
        lambda n: schedule.lrs(total_steps=n),
        lambda n: schedule.lr_at(0, total_steps=n),
    ):
        with pytest.raises(ScheduleError, match=message):
            call(total)


def test_the_longest_warmup_and_cooldown_that_fit_are_taken() -> None:
    schedule = Schedule(initial_lr=1.0, warmup_steps=8, decay="wsd")
    assert schedule.multipliers(total_steps=10)[7:].tolist() == [0.875, 1, 0.5, 0]


@pytest.mark.parametrize("step", [-1, 0.5, True, None])
def test_a_step_is_a_whole_number(step: Any) -> None:
    with pytest.raises(ScheduleError, match="step must be a whole number of at least 0, got "):
        Schedule(initial_lr=1.0).lr_at(step, total_steps=10)


def test_a_step_beyond_the_run_is_refused() -> None:
    with pytest.raises(ScheduleError, match=r"step must be in \[0, total_steps=10\], got 11"):
        Schedule(initial_lr=1.0).lr_at(11, total_steps=10)


@pytest.mark.parametrize("per_epoch", [0, -1, math.inf, math.nan, True, None])
def test_steps_per_epoch_are_a_number_above_zero(per_epoch: Any) -> None:
    with pytest.raises(ScheduleError, match="steps_per_epoch must be greater than 0, got "):
        Schedule(initial_lr=1.0, warmup_epochs=1).resolved(steps_per_epoch=per_epoch)


def test_a_warmup_too_long_to_count_is_refused() -> None:
    with pytest.raises(ScheduleError, match=r"warmup_epochs=1e\+308 times 10000\.0 steps is beyond any run"):
        Schedule(initial_lr=1.0, warmup_epochs=1e308).resolved(steps_per_epoch=1e4)


# --- plain data ---------------------------------------------------------------------------------------------


def test_numpy_numbers_become_plain_ones() -> None:
    schedule = Schedule(
        initial_lr=np.float64(1e-3),
        warmup_steps=np.int64(3),  # type: ignore[arg-type]
        decay="cosine_restarts",
        num_cycles=np.float32(4.0),  # type: ignore[arg-type]
        final_lr_ratio=np.float64(0.5),
    )
    assert {type(value) for value in schedule.to_dict().values()} == {float, int, str}
    assert schedule == Schedule(
        initial_lr=1e-3, warmup_steps=3, decay="cosine_restarts", num_cycles=4, final_lr_ratio=0.5
    )
    assert schedule.lrs(total_steps=np.int64(9)).shape == (9,)  # type: ignore[arg-type]


def test_a_schedule_is_frozen_and_hashable() -> None:
    schedule = Schedule(initial_lr=1.0)
    with pytest.raises(AttributeError):
        schedule.initial_lr = 2.0  # type: ignore[misc]
    assert len({schedule, Schedule(initial_lr=1, warmup_ratio=0)}) == 1


def test_to_dict_tells_what_says_something_in_order() -> None:
    assert list(Schedule(initial_lr=1.0, decay="constant").to_dict().items()) == [
        ("initial_lr", 1.0),
        ("warmup_ratio", 0.0),
        ("decay", "constant"),
    ]
    full = Schedule(
        initial_lr=1.0,
        warmup_steps=5,
        warmup="cosine",
        warmup_start_ratio=0.1,
        decay="wsd",
        final_lr_ratio=0.2,
    )
    assert list(full.to_dict().items()) == [
        ("initial_lr", 1.0),
        ("warmup_steps", 5),
        ("warmup", "cosine"),
        ("warmup_start_ratio", 0.1),
        ("decay", "wsd"),
        ("decay_ratio", 0.2),
        ("cooldown", "linear"),
        ("final_lr_ratio", 0.2),
    ]


def test_to_dict_tells_options_and_optional_parameters_only_where_they_are_unusual() -> None:
    usual = Schedule(initial_lr=1.0, decay="cosine", num_cycles=0.5, step_offset=0, decay_from="peak", decay_to="end")
    assert usual == Schedule(initial_lr=1.0, decay="cosine")
    assert usual.decay_parameters == {"num_cycles": 0.5}
    assert usual.to_dict() == {"initial_lr": 1.0, "warmup_ratio": 0.0, "decay": "cosine"}
    waves = Schedule(initial_lr=1.0, decay="cosine", num_cycles=2, final_lr_ratio=0.5, step_offset=1.0)  # type: ignore[arg-type]
    assert list(waves.to_dict().items())[2:] == [
        ("decay", "cosine"),
        ("num_cycles", 2.0),
        ("final_lr_ratio", 0.5),
        ("step_offset", 1),
    ]
    assert [type(value) for value in waves.to_dict().values()] == [float, float, str, float, float, int]
    slow = Schedule(initial_lr=1.0, decay="inverse_sqrt", timescale=9, decay_from="start", decay_to="last_step")
    assert list(slow.to_dict().items())[3:] == [("timescale", 9), ("decay_from", "start"), ("decay_to", "last_step")]


def test_text_that_is_a_number_is_taken_as_one() -> None:
    # what yaml.safe_load makes of these
    schedule = Schedule.from_dict({"initial_lr": "3e-4", "warmup_steps": " 1_00 ", "decay": "linear"})
    assert schedule == Schedule(initial_lr=3e-4, warmup_steps=100, decay="linear")


def test_whole_numbers_in_text_keep_every_digit() -> None:
    assert Schedule.from_dict({"initial_lr": 1, "warmup_steps": "9007199254740993"}).warmup_steps == 2**53 + 1


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({}, "a schedule needs an initial_lr, the peak learning rate"),
        ({"decay": "linear"}, "a schedule needs an initial_lr, the peak learning rate"),
        (
            {"initial_lr": 1, "warmup_ration": 0.1},
            "unknown key of a schedule 'warmup_ration': did you mean 'warmup_ratio'?",
        ),
        ({"initial_lr": 1, 3: 0.1}, "unknown key of a schedule 3. Known: "),
        ({"initial_lr": "fast"}, "initial_lr must be greater than 0, got 'fast'"),
        ({"initial_lr": "nan"}, "initial_lr must be greater than 0, got nan"),
        (
            {"autowarm": 2, "schedule": {"initial_lr": 1}},
            "the file has format version 2, this autowarm reads 1: update",
        ),
        ({"autowarm": None, "initial_lr": 1}, "the file has format version None, this autowarm reads 1"),
        ({"schedule": None}, "'schedule' must hold 'key: value' lines"),
        ({"schedule": ["initial_lr"]}, "'schedule' must hold 'key: value' lines"),
    ],
)
def test_data_that_is_no_schedule_is_refused(data: dict[Any, Any], message: str) -> None:
    with pytest.raises(ScheduleError) as caught:
        load_schedule(data)
    assert str(caught.value).startswith(message)


def test_load_schedule_takes_a_schedule_a_mapping_and_both_forms_of_it() -> None:
    schedule = Schedule(initial_lr=1e-3, warmup_ratio=0.1, decay="cosine")
    data = schedule.to_dict()
    assert load_schedule(schedule) is schedule
    for form in (data, {"autowarm": 1, **data}, {"schedule": data, "provenance": {"study": "demo"}}):
        assert load_schedule(form) == schedule


def test_a_file_carries_its_version_and_where_it_came_from() -> None:
    text = schedule_yaml(Schedule(initial_lr=1e-3), {"commit": "123e456"})
    assert text.splitlines() == [
        "autowarm: 1",
        "schedule:",
        "  initial_lr: 0.001",
        "  warmup_ratio: 0.0",
        "  decay: constant",
        "provenance:",
        "  commit: '123e456'",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("initial_lr: 3e-4\nwarmup: [\n", "schedule.yaml, line 3: invalid YAML: "),
        (
            "initial_lr: 3e-4\ninitial_lr: 1e-4\n",
            "schedule.yaml, line 2: invalid YAML: the key 'initial_lr' is given twice",
        ),
        ("initial_lr: 3e-4foo\n", "schedule.yaml: initial_lr must be greater than 0, got '3e-4foo'"),
        ("initial_lr: 2001-01-01\n", "schedule.yaml: initial_lr must be greater than 0, got datetime.date"),
        ("autowarm: 2\nschedule: {}\n", "schedule.yaml: the file has format version 2"),
    ],
)
def test_a_bad_file_is_named(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "schedule.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ScheduleError) as caught:
        load_schedule(path)
    assert str(caught.value).startswith(f"{tmp_path}/{message}")


def test_a_missing_file_is_named() -> None:
    with pytest.raises(ScheduleError, match=r"absent\.yaml: there is no such file"):
        load_schedule("absent.yaml")


ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.just(10**400)
    | st.floats()
    | st.text()
    | st.sampled_from(tuple(DECAYS)),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=3,
)
KEYS = st.sampled_from([*Schedule.__dataclass_fields__, "autowarm", "schedule"]) | st.text(max_size=5)


@given(st.dictionaries(KEYS, ANYTHING, max_size=4), ANYTHING, st.booleans())
def test_any_mapping_gives_a_schedule_or_an_error_of_ours(data: dict[str, Any], lr: Any, nested: bool) -> None:
    mapping = {"initial_lr": lr, **data}
    try:
        schedule = load_schedule({"schedule": mapping} if nested else mapping)
        lrs = schedule.lrs(total_steps=20)
    except AutowarmError:
        return
    assert np.all((lrs >= 0) & (lrs <= schedule.initial_lr))


# --- words --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "lr 0.0003, no warmup, constant"),
        ({"warmup_ratio": 0.06}, "lr 0.0003, warmup 6 %, constant"),
        ({"warmup_steps": 100, "warmup": "cosine"}, "lr 0.0003, warmup 100 steps cosine, constant"),
        (
            {"warmup_epochs": 2.5, "warmup_start_ratio": 0.1},
            "lr 0.0003, warmup 2.5 epochs from 0.1, constant",
        ),
        ({"decay": "linear", "final_lr_ratio": 0.1}, "lr 0.0003, no warmup, linear (final_lr_ratio 0.1)"),
        ({"decay": "step"}, "lr 0.0003, no warmup, step (gamma 0.1, step_size_ratio 0.333)"),
        ({"decay": "cosine"}, "lr 0.0003, no warmup, cosine"),
        ({"decay": "cosine", "num_cycles": 1.5}, "lr 0.0003, no warmup, cosine (num_cycles 1.5)"),
        ({"step_offset": 1}, "lr 0.0003, no warmup, constant (step_offset 1)"),
        (
            {"decay": "linear", "final_lr_ratio": 0.1, "decay_from": "start", "decay_to": "last_step"},
            "lr 0.0003, no warmup, linear (final_lr_ratio 0.1, decay_from start, decay_to last_step)",
        ),
    ],
)
def test_a_schedule_in_words(settings: dict[str, Any], words: str) -> None:
    assert str(Schedule(initial_lr=3e-4, **settings)) == words


def test_an_overlay_is_no_schedule_file(tmp_path: Path) -> None:
    (tmp_path / "tuned.yaml").write_text("trainer: {callbacks+: []}\n")
    with pytest.raises(ScheduleError, match="a file for LightningCLI, not a schedule file"):
        load_schedule(tmp_path / "tuned.yaml")
