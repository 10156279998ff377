from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autowarm.decays import DECAYS
from autowarm.errors import SettingsError
from autowarm.schedule import OPTIONS, Schedule
from autowarm.space import Choice, Dimension, Fixed, Range, SearchSpace

LRS = {"low": 1e-5, "high": 1e-1}
USUAL = SearchSpace(initial_lr=LRS)
EVERYTHING = SearchSpace(
    initial_lr=LRS,
    decay=list(DECAYS),
    warmup=["linear", "cosine", "exponential"],
    warmup_start_ratio={"low": 1e-4, "high": 0.5},
    final_lr_ratio={"low": 0.0, "high": 0.5},
    cooldown=["linear", "one_minus_sqrt"],
)
SHARED = ["initial_lr", "warmup_ratio", "warmup", "warmup_start_ratio"]


def _values(dimension: Dimension) -> st.SearchStrategy[Any]:
    if isinstance(dimension, Fixed):
        return st.just(dimension.value)
    if isinstance(dimension, Choice):
        return st.sampled_from(dimension.values)
    if dimension.whole:
        return st.integers(int(dimension.low), int(dimension.high))
    return st.floats(dimension.low, dimension.high)


@st.composite
def points(draw: st.DrawFn, space: SearchSpace = EVERYTHING) -> dict[str, Any]:
    decay = draw(st.sampled_from(space.decays))
    return {"decay": decay, **{n: draw(_values(d)) for n, d in space.dimensions(decay).items()}}


@pytest.mark.parametrize(
    ("decay", "own"),
    [
        ("constant", []),
        ("linear", ["final_lr_ratio"]),
        ("cosine", ["final_lr_ratio"]),
        ("cosine_restarts", ["final_lr_ratio", "cosine_restarts.num_cycles"]),
        ("polynomial", ["final_lr_ratio", "polynomial.power"]),
        ("exponential", ["exponential.gamma"]),
        ("step", ["step.gamma", "step.step_size_ratio"]),
        ("inverse_sqrt", []),
        ("wsd", ["final_lr_ratio", "wsd.decay_ratio", "wsd.cooldown"]),
    ],
)
def test_a_decay_brings_its_own_dimensions_named_after_both(decay: str, own: list[str]) -> None:
    assert list(EVERYTHING.dimensions(decay)) == SHARED + own


def test_where_nothing_is_said_the_usual_decays_and_wide_ranges_are_searched() -> None:
    space = SearchSpace()
    assert space.decays == ("constant", "linear", "cosine", "wsd")
    assert space.initial_lr is None
    assert space.warmup_ratio == Range(0.0, 0.3, log=False)
    assert space.dimensions("wsd")["wsd.decay_ratio"] == Range(0.1, 0.6)
    assert [n for n, d in space.dimensions("cosine").items() if not isinstance(d, Fixed)] == [
        "warmup_ratio",
    ]


def test_a_space_without_lrs_has_no_schedule_before_their_range_is_known() -> None:
    space = SearchSpace.from_dict({"initial_lr": None, "decay": ["linear"]})
    assert space.bounds == {"warmup_ratio": (0.0, 0.3)}
    assert "initial_lr" not in space.to_dict()
    with pytest.raises(SettingsError, match=r"space\.initial_lr is not known before a range test"):
        space.schedule({"decay": "linear", "warmup_ratio": 0.1})
    found = space.with_initial_lr(1e-4, 0.1)
    assert found == SearchSpace(initial_lr=Range(1e-4, 0.1, log=True), decay=["linear"])
    assert found.schedule({"decay": "linear", "warmup_ratio": 0.1, "initial_lr": 0.01}).initial_lr == 0.01
    # what no schedule allows is refused all the same
    with pytest.raises(SettingsError, match="must add up to at most 1"):
        SearchSpace(warmup_ratio=0.6, decay="wsd", decay_ratio=0.5)


def test_each_field_takes_a_range_a_list_or_one_value() -> None:
    space = SearchSpace(
        initial_lr={"low": 1e-4, "high": 1},
        warmup_ratio=[0, 0.1],
        decay=["linear"],
        final_lr_ratio={"low": 0, "high": 1},
    )
    assert space.initial_lr == Range(1e-4, 1, log=True)
    assert space.warmup_ratio == Choice((0, 0.1))
    assert space.decay == Fixed("linear")
    assert space.final_lr_ratio == Range(0, 1, log=False)
    assert SearchSpace(initial_lr=Range(1, 2)).initial_lr == Range(1, 2, log=True)


@pytest.mark.parametrize("name", ["initial_lr", "gamma", "warmup_start_ratio"])
def test_orders_of_magnitude_are_searched_unless_the_range_says_otherwise(name: str) -> None:
    bounds = {"low": 0.1, "high": 0.9}
    assert getattr(SearchSpace(decay="step", **{name: bounds}), name).log
    assert not getattr(SearchSpace(decay="step", **{name: {**bounds, "log": False}}), name).log
    assert SearchSpace(decay="linear", warmup_ratio={**bounds, "log": True}).warmup_ratio.log


@pytest.mark.parametrize("cycles", [{"low": 1, "high": 5}, Range(1, 5), Range(1.0, 5.0)])
def test_cycles_are_whole_in_every_form_of_a_range(cycles: Any) -> None:
    assert SearchSpace(decay="cosine_restarts", num_cycles=cycles).num_cycles == Range(1, 5, log=False, whole=True)


@given(params=points())
def test_params_of_inverts_schedule(params: dict[str, Any]) -> None:
    schedule = EVERYTHING.schedule(params)
    found = EVERYTHING.params_of(schedule, total_steps=200)
    assert found is not None
    assert np.array_equal(EVERYTHING.schedule(found).lrs(total_steps=200), schedule.lrs(total_steps=200))
    # without warmup its shape says nothing
    free = () if schedule.warmup_steps_of(200) else ("warmup", "warmup_start_ratio")
    assert {**found, **{name: params[name] for name in free}} == params


def test_what_is_fixed_is_no_parameter() -> None:
    space = SearchSpace(initial_lr=0.1, decay="wsd", decay_ratio=0.2)
    schedule = space.schedule({"decay": "wsd", "warmup_ratio": 0.1})
    assert schedule == Schedule(initial_lr=0.1, warmup_ratio=0.1, decay="wsd", decay_ratio=0.2)
    assert space.params_of(schedule, total_steps=100) == {"warmup_ratio": 0.1}


@pytest.mark.parametrize(
    "schedule",
    [
        Schedule(initial_lr=1.0, warmup_ratio=0.1, decay="cosine"),
        Schedule(initial_lr=1e-3, warmup_ratio=0.4, decay="cosine"),
        Schedule(initial_lr=1e-3, decay="inverse_sqrt"),
        Schedule(initial_lr=1e-3, decay="cosine", final_lr_ratio=0.1),
        Schedule(initial_lr=1e-3, warmup_ratio=0.1, warmup="cosine"),
        Schedule(initial_lr=1e-3, decay="wsd", decay_ratio=0.05),
        Schedule(initial_lr=1e-3, decay="wsd", decay_ratio=0.3, cooldown="cosine"),
        Schedule(initial_lr=1e-3, decay="cosine", num_cycles=1),
        Schedule(initial_lr=1e-3, decay="cosine", step_offset=1),
        Schedule(initial_lr=1e-3, decay="linear", decay_from="start"),
        Schedule(initial_lr=1e-3, decay="linear", decay_to="last_step"),
    ],
    ids=str,
)
def test_a_schedule_outside_of_the_space_has_no_params(schedule: Schedule) -> None:
    assert USUAL.params_of(schedule, total_steps=100) is None


def test_a_warmup_in_steps_becomes_a_ratio() -> None:
    params = USUAL.params_of(Schedule(initial_lr=1e-3, warmup_steps=30), total_steps=100)
    assert params == {"decay": "constant", "initial_lr": 1e-3, "warmup_ratio": 0.3}


def test_a_hair_outside_by_rounding_is_clipped_into_the_range() -> None:
    params = USUAL.params_of(Schedule(initial_lr=0.1 * (1 + 1e-12), warmup_ratio=0.3 + 1e-12), total_steps=100)
    assert params == {"decay": "constant", "initial_lr": 0.1, "warmup_ratio": 0.3}


def test_the_same_warmup_in_whole_steps_is_the_choice() -> None:
    space = SearchSpace(initial_lr=LRS, warmup_ratio=[0.0, 0.06, 0.1])
    params = space.params_of(Schedule(initial_lr=1e-3, warmup_ratio=20 / 330), total_steps=330)
    assert params == {"decay": "constant", "initial_lr": 1e-3, "warmup_ratio": 0.06}
    assert space.params_of(Schedule(initial_lr=1e-3, warmup_ratio=21 / 330), total_steps=330) is None


def test_without_warmup_its_shape_does_not_matter() -> None:
    schedule = Schedule(initial_lr=1e-3, warmup="exponential", warmup_start_ratio=0.3)
    assert USUAL.params_of(schedule, total_steps=100) is not None


@pytest.mark.parametrize(
    "space", [SearchSpace(), USUAL, EVERYTHING, SearchSpace(initial_lr=0.1, decay="step", gamma=[0.1, 0.5])]
)
def test_from_dict_inverts_to_dict(space: SearchSpace) -> None:
    assert SearchSpace.from_dict(space.to_dict()) == space


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"initial_lr": {"low": math.nan, "high": 1}}, r"space\.initial_lr: low must be a finite number, got nan"),
        ({"initial_lr": {"low": 1, "high": math.inf}}, "high must be a finite number, got inf"),
        ({"initial_lr": {"low": True, "high": 2}}, "low must be a finite number, got True"),
        ({"initial_lr": {"low": "1e-5x", "high": 2}}, "low must be a finite number, got '1e-5x'"),
        ({"initial_lr": {"low": 1, "high": 10**400}}, "high must be a finite number"),
        ({"initial_lr": {"low": 0.1, "high": 0.1}}, r"low must be less than high, got low=0\.1 and high=0\.1"),
        ({"initial_lr": {"low": 1, "high": 0.1}}, "low must be less than high"),
        ({"initial_lr": {"low": 0, "high": 1}}, "a log range needs low greater than 0, got low=0: .* say log: false"),
        ({"initial_lr": {"low": 0, "high": 1, "log": False}}, "initial_lr must be greater than 0, got 0"),
        ({"initial_lr": {"low": 1, "high": 2, "log": "yes"}}, "log must be true or false, got 'yes'"),
        ({"initial_lr": {"low": 1}}, "a range needs low and high"),
        ({"initial_lr": {"low": 1, "hihg": 2}}, "unknown key of a range 'hihg': did you mean 'high'"),
        ({"initial_lr": []}, "a list of choices must not be empty"),
        ({"initial_lr": [0.1, 0.2, 0.1]}, r"must not repeat a value, got \[0\.1, 0\.2, 0\.1\]"),
        ({"initial_lr": [[0.1], [0.2]]}, "choices must be words or numbers"),
        (
            {"warmup_ratio": None},
            r"space\.warmup_ratio: must be a range with low and high, a list of choices, or one value",
        ),
        ({"initial_lr": "fast"}, "initial_lr must be greater than 0, got 'fast'"),
        ({"initial_lr": True}, "initial_lr must be greater than 0, got True"),
        ({"initial_lr": [0.1, -1, 0.2]}, "initial_lr must be greater than 0, got -1"),
        ({"initial_lr": [0.1, math.nan, 0.2]}, "initial_lr must be greater than 0, got nan"),
        ({"warmup_ratio": [0.0, 1.5, 0.1]}, r"warmup_ratio must be in \[0, 1\), got 1\.5"),
        ({"warmup_ratio": {"low": 0, "high": 1}}, r"warmup_ratio must be in \[0, 1\), got 1"),
        ({"warmup_ratio": {"low": -0.1, "high": 0.5}}, r"warmup_ratio must be in \[0, 1\), got -0\.1"),
        ({"warmup_ratio": 1.2}, r"warmup_ratio must be in \[0, 1\), got 1\.2"),
        ({"warmup_ratio": {"low": 0, "high": 0.5}}, r"warmup_ratio and decay_ratio must add up to at most 1"),
        ({"decay": "wsd", "warmup_ratio": [0.5, 0.1], "decay_ratio": [0.1, 0.6]}, "must add up to at most 1"),
        ({"decay": ["linear", "cosin"]}, r"space\.decay: unknown decay 'cosin': did you mean 'cosine'"),
        ({"decay": ["linear", "cosine", 3, "wsd"]}, "unknown decay 3"),
        ({"decay": {"low": 1, "high": 2}}, "takes a list of words: constant, linear"),
        ({"decay": []}, "must not be empty"),
        ({"decay": ["linear", "linear"]}, "must not repeat"),
        ({"warmup": "lniear"}, r"space\.warmup: unknown warmup 'lniear': did you mean 'linear'"),
        ({"decay": "wsd", "cooldown": "sqrt"}, r"space\.cooldown: unknown cooldown 'sqrt'"),
        ({"decay": "linear", "power": 2}, r"space\.power is given, but none of the decays searched has it"),
        ({"gamma": {"low": 0.1, "high": 0.5}}, r"space\.gamma is given, but none of the decays"),
        ({"decay": "step", "gamma": {"low": 0.1, "high": 1.5}}, r"gamma must be in \(0, 1\]"),
        ({"decay": "cosine_restarts", "num_cycles": {"low": 1.5, "high": 4}}, "low and high must be whole numbers"),
        ({"decay": "cosine_restarts", "num_cycles": [1, 2.5, 3]}, "num_cycles must be a whole number"),
        ({"warmup": "exponential"}, "warmup 'exponential' cannot start at 0"),
        ({"warmup": ["exponential", "linear"], "warmup_start_ratio": [0.1, 0]}, "'exponential' cannot start at 0"),
        ({"warmup": ["linear", "exponential", "cosine"]}, "'exponential' cannot start at 0"),
        ({"final_lr_ratio": {"low": 0, "high": 2}}, r"final_lr_ratio must be in \[0, 1\]"),
        ({"decay": "cosine", "num_cycles": 1}, r"space\.num_cycles is given, but none of the decays searched has it"),
        ({"timescale": 100}, r"space\.timescale is given, but none of the decays searched has it"),
        ({"decay": "inverse_sqrt", "timescale": [10, 2.5]}, "timescale must be a whole number of at least 1, got 2.5"),
        ({"step_offset": [0, 1]}, r"step_offset must be 0 or 1, got \[0, 1\]"),
        ({"decay_from": "peek"}, "space: unknown decay_from 'peek': did you mean 'peak'"),
        ({"step_offset": 1, "decay_to": "last_step"}, "space: with step_offset 1 the last step executed is the end"),
        ({"warmup_rato": 0.1}, "unknown key of space 'warmup_rato': did you mean 'warmup_ratio'"),
        ({1: 2}, "unknown key of space 1"),
    ],
)
def test_what_no_schedule_allows_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        SearchSpace.from_dict(fields)


@pytest.mark.parametrize("options", [{"step_offset": 1}, {"decay_from": "start", "decay_to": "last_step"}], ids=str)
def test_every_schedule_of_a_space_counts_as_it_says(options: dict[str, Any]) -> None:
    space = SearchSpace(decay="cosine", initial_lr=0.1, **options)
    schedule = space.schedule({"decay": "cosine", "warmup_ratio": 0.1})
    assert schedule == Schedule(initial_lr=0.1, warmup_ratio=0.1, decay="cosine", **options)
    assert space.params_of(schedule, total_steps=100) == {"warmup_ratio": 0.1}
    assert space.params_of(replace(schedule, step_offset=0, decay_to="end"), total_steps=100) is None
    assert {name: space.to_dict()[name] for name in options} == options
    assert SearchSpace.from_dict(space.to_dict()) == space


def test_a_warmup_in_steps_is_a_share_of_the_steps_it_spans() -> None:
    space = SearchSpace(decay="linear", initial_lr=1.0, warmup_ratio={"low": 0, "high": 0.9}, decay_to="last_step")
    schedule = Schedule(initial_lr=1.0, warmup_steps=80, decay="linear", decay_to="last_step")
    params = space.params_of(schedule, total_steps=101)
    assert params == {"warmup_ratio": 0.8}
    assert space.schedule({"decay": "linear", **params}).warmup_steps_of(101) == 80


def test_a_space_file_without_options_is_as_it_was() -> None:
    assert not {*OPTIONS, "timescale"} & set(SearchSpace().to_dict())


def test_cycles_are_those_of_restarts_alone() -> None:
    space = SearchSpace(decay=["cosine", "cosine_restarts"], num_cycles=[2, 3])
    assert "cosine.num_cycles" not in space.dimensions("cosine")
    assert space.dimensions("cosine_restarts")["cosine_restarts.num_cycles"] == Choice((2, 3))


def test_a_timescale_is_searched_where_it_is_given() -> None:
    assert "inverse_sqrt.timescale" not in SearchSpace(decay="inverse_sqrt").dimensions("inverse_sqrt")
    space = SearchSpace(decay="inverse_sqrt", initial_lr=0.1, warmup_ratio=0.0, timescale={"low": 10, "high": 1000})
    assert space.dimensions("inverse_sqrt")["inverse_sqrt.timescale"] == Range(10, 1000, log=False, whole=True)
    schedule = Schedule(initial_lr=0.1, decay="inverse_sqrt", timescale=50)
    assert space.params_of(schedule, total_steps=100) == {"inverse_sqrt.timescale": 50}
    assert SearchSpace(decay="inverse_sqrt").params_of(schedule, total_steps=100) is None


@given(
    warmup_ratio=st.lists(st.floats(0, 0.99), min_size=1, max_size=4, unique=True),
    decay_ratio=st.lists(st.floats(0.01, 1), min_size=1, max_size=4, unique=True),
    data=st.data(),
)
def test_a_space_that_is_accepted_holds_nothing_but_schedules(
    warmup_ratio: list[float], decay_ratio: list[float], data: st.DataObject
) -> None:
    try:
        space = SearchSpace(initial_lr=LRS, decay=["wsd", "linear"], warmup_ratio=warmup_ratio, decay_ratio=decay_ratio)
    except SettingsError:
        assert max(warmup_ratio) + max(decay_ratio) > 1
    else:
        space.schedule(data.draw(points(space)))


def test_a_range_object_is_logarithmic_where_its_dimension_is() -> None:
    space = SearchSpace(initial_lr=Range(1e-5, 1e-1), warmup_ratio=Range(0.0, 0.2))
    assert (space.initial_lr.log, space.warmup_ratio.log) == (True, False)
    assert SearchSpace(initial_lr=Range(1e-5, 1e-1, log=False)).initial_lr.log is False


def test_a_grid_is_every_combination_of_what_belongs_together() -> None:
    space = SearchSpace(
        initial_lr=[0.1, 0.2], warmup_ratio=[0, 0.1], decay=["linear", "wsd"], decay_ratio=[0.2, 0.4], warmup="linear"
    )
    linear = [Schedule(initial_lr=lr, warmup_ratio=w, decay="linear") for lr in (0.1, 0.2) for w in (0, 0.1)]
    wsd = [
        Schedule(initial_lr=lr, warmup_ratio=w, decay="wsd", decay_ratio=share, cooldown="linear")
        for lr in (0.1, 0.2)
        for w in (0, 0.1)
        for share in (0.2, 0.4)
    ]
    assert list(space.grid) == linear + wsd
    assert SearchSpace(initial_lr=0.1, warmup_ratio=0.0, decay="cosine").grid == (
        Schedule(initial_lr=0.1, warmup_ratio=0.0, decay="cosine"),
    )


def test_the_hull_of_a_space_holds_what_lies_between_its_numbers() -> None:
    space = SearchSpace(
        initial_lr=[0.1, 0.4], warmup_ratio=0.1, warmup_start_ratio=[0.0, 0.5], decay=["linear", "cosine"]
    )
    hull = space.hull
    assert (hull.initial_lr.low, hull.initial_lr.high) == (0.1, 0.4)
    assert (hull.warmup_start_ratio.low, hull.warmup_start_ratio.high) == (0.0, 0.5)
    assert (hull.warmup_ratio, hull.decay) == (space.warmup_ratio, space.decay)
    for schedule in space.grid:
        params = hull.params_of(schedule, total_steps=100)
        assert params is not None
        assert hull.schedule(params) == schedule
