"""Each decay against values worked out by hand, and against the laws it declares."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autowarm.decays import COOLDOWNS, DECAY_PARAMETERS, DECAYS, DecayName, cooldown_steps_of

# (decay, its own parameters, final_lr_ratio, warmup_steps, total_steps, lr over peak at s = w .. T), where
# sqrt(1/2) = .70710678118654752, sqrt(3)/2 = .86602540378443865, cos 36 deg = .80901699437494742
GOLDEN: list[tuple[DecayName, dict[str, Any], float, int, int, list[float]]] = [
    ("constant", {}, 0.0, 2, 5, [1, 1, 1, 1]),
    ("linear", {}, 0.0, 2, 10, [1, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125, 0]),
    ("linear", {}, 0.2, 2, 10, [1, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2]),
    # p in sixths: cosines of 0, 30, .. 180 degrees
    (
        "cosine",
        {"num_cycles": 0.5},
        0.0,
        2,
        8,
        [1, 0.93301270189221932, 0.75, 0.5, 0.25, 0.066987298107780677, 0],
    ),
    (
        "cosine",
        {"num_cycles": 0.5},
        0.5,
        2,
        8,
        [1, 0.96650635094610966, 0.875, 0.75, 0.625, 0.53349364905389034, 0.5],
    ),
    # 0, 60, .. 360 degrees: one wave is back at the peak; then a quarter of one, 0, 22.5, .. 90 degrees, with
    # (1 + cos 22.5 deg) / 2 = .96193976625564338 and (1 + cos 67.5 deg) / 2 = .69134171618254489
    ("cosine", {"num_cycles": 1.0}, 0.0, 2, 8, [1, 0.75, 0.25, 0, 0.25, 0.75, 1]),
    (
        "cosine",
        {"num_cycles": 0.25},
        0.0,
        0,
        4,
        [1, 0.96193976625564338, 0.85355339059327376, 0.69134171618254489, 0.5],
    ),
    # three halves, 0, 90, .. 270 .. 540 degrees, above the floor of .2
    ("cosine", {"num_cycles": 1.5}, 0.2, 1, 7, [1, 0.6, 0.2, 0.6, 1, 0.6, 0.2]),
    (
        "cosine_restarts",
        {"num_cycles": 2},
        0.0,
        2,
        10,
        # 0, 45, 90, 135 degrees, twice
        [
            1,
            0.85355339059327376,
            0.5,
            0.14644660940672624,
            1,
            0.85355339059327376,
            0.5,
            0.14644660940672624,
            0,
        ],
    ),
    (
        "cosine_restarts",
        {"num_cycles": 2},
        0.0,
        0,
        5,
        # a restart between two steps: 0, 72, 144, 216 = 36 after the restart, 108 degrees, the end
        [1, 0.65450849718747371, 0.095491502812526288, 0.90450849718747371, 0.34549150281252629, 0],
    ),
    ("cosine_restarts", {"num_cycles": 1}, 0.5, 0, 2, [1, 0.75, 0.5]),
    ("polynomial", {"power": 2.0}, 0.0, 2, 6, [1, 0.5625, 0.25, 0.0625, 0]),
    ("polynomial", {"power": 2.0}, 0.2, 2, 6, [1, 0.65, 0.4, 0.25, 0.2]),
    ("polynomial", {"power": 0.5}, 0.0, 0, 4, [1, 0.86602540378443865, 0.70710678118654752, 0.5, 0]),
    ("exponential", {"gamma": 0.0625}, 0.0, 2, 6, [1, 0.5, 0.25, 0.125, 0.0625]),
    ("exponential", {"gamma": 0.01}, 0.0, 0, 4, [1, 0.31622776601683793, 0.1, 0.031622776601683793, 0.01]),
    # a third of 9 steps
    (
        "step",
        {"gamma": 0.1, "step_size_ratio": 1 / 3},
        0.0,
        2,
        11,
        [1, 1, 1, 0.1, 0.1, 0.1, 0.01, 0.01, 0.01, 0.001],
    ),
    ("step", {"gamma": 0.5, "step_size_ratio": 0.5}, 0.0, 0, 4, [1, 1, 0.5, 0.5, 0.25]),
    # .45 x 4 = 1.8 steps are 2; .01 x 4 are at least 1
    ("step", {"gamma": 0.5, "step_size_ratio": 0.45}, 0.0, 1, 5, [1, 1, 0.5, 0.5, 0.25]),
    ("step", {"gamma": 0.5, "step_size_ratio": 0.01}, 0.0, 0, 4, [1, 0.5, 0.25, 0.125, 0.0625]),
    # sqrt of 4/4, 4/5, .. 4/9
    (
        "inverse_sqrt",
        {"timescale": None},
        0.0,
        4,
        9,
        [1, 0.89442719099991588, 0.81649658092772603, 0.75592894601845445, 0.70710678118654752, 2 / 3],
    ),
    # sqrt of 10000/10000, 10000/10001, 10000/10002
    ("inverse_sqrt", {"timescale": None}, 0.0, 0, 2, [1, 0.99995000374968752, 0.99990001499750037]),
    # sqrt of 3/3, 3/4, 3/5, 3/6, whatever the warmup
    ("inverse_sqrt", {"timescale": 3}, 0.0, 0, 3, [1, 0.86602540378443865, 0.77459666924148338, 0.70710678118654752]),
    ("inverse_sqrt", {"timescale": 3}, 0.0, 5, 8, [1, 0.86602540378443865, 0.77459666924148338, 0.70710678118654752]),
    ("wsd", {"decay_ratio": 0.2, "cooldown": "linear"}, 0.0, 2, 10, [1, 1, 1, 1, 1, 1, 1, 0.5, 0]),
    ("wsd", {"decay_ratio": 0.4, "cooldown": "linear"}, 0.2, 2, 10, [1, 1, 1, 1, 1, 0.8, 0.6, 0.4, 0.2]),
    (
        "wsd",
        {"decay_ratio": 0.4, "cooldown": "one_minus_sqrt"},
        0.0,
        2,
        10,
        [1, 1, 1, 1, 1, 0.5, 0.29289321881345248, 0.13397459621556135, 0],
    ),
    # 0, 45, .. 180 degrees
    (
        "wsd",
        {"decay_ratio": 0.4, "cooldown": "cosine"},
        0.0,
        2,
        10,
        [1, 1, 1, 1, 1, 0.85355339059327376, 0.5, 0.14644660940672624, 0],
    ),
    # 2^(3/4) - 1, 2^(1/2) - 1, 2^(1/4) - 1
    (
        "wsd",
        {"decay_ratio": 0.4, "cooldown": "exponential"},
        0.0,
        2,
        10,
        [1, 1, 1, 1, 1, 0.68179283050742909, 0.41421356237309505, 0.18920711500272107, 0],
    ),
    # half and half of 3 steps round to 2 + 2: the cooldown gives the step up
    ("wsd", {"decay_ratio": 0.5, "cooldown": "linear"}, 0.0, 2, 3, [1, 0]),
    # a cooldown of less than a step is one step
    ("wsd", {"decay_ratio": 0.001, "cooldown": "linear"}, 0.0, 0, 3, [1, 1, 1, 0]),
]


def multiplier(
    name: DecayName, own: dict[str, Any], final: float, w: int, total: int
) -> np.ndarray[Any, np.dtype[np.float64]]:
    return DECAYS[name].multiplier(own, final, np.arange(w, total + 1, dtype=np.float64), w, total)


@pytest.mark.parametrize("row", GOLDEN, ids=lambda row: row[0])
def test_golden_values(row: tuple[DecayName, dict[str, Any], float, int, int, list[float]]) -> None:
    name, own, final, w, total, expected = row
    assert multiplier(name, own, final, w, total).tolist() == pytest.approx(expected, rel=1e-12, abs=1e-15)


def test_every_decay_and_every_parameter_has_a_golden_row() -> None:
    assert {name for name, *_ in GOLDEN} == set(DECAYS) == set(get_args(DecayName))
    for name, decay in DECAYS.items():
        rows = [own for row_name, own, *_ in GOLDEN if row_name == name]
        assert all(set(own) == set(decay.parameters) for own in rows)


def test_the_registry_lists_every_parameter_once() -> None:
    assert (
        *("num_cycles", "power", "gamma", "step_size_ratio", "timescale", "decay_ratio", "cooldown"),
    ) == DECAY_PARAMETERS


def test_every_cooldown_has_a_golden_row() -> None:
    assert {own["cooldown"] for name, own, *_ in GOLDEN if name == "wsd"} == set(COOLDOWNS)


@pytest.mark.parametrize("name", DECAYS)
def test_defaults_are_in_their_own_domain(name: DecayName) -> None:
    assert all(p.check(p.default) for p in DECAYS[name].parameters.values())


@pytest.mark.parametrize(
    ("ratio", "total", "steps"),
    [(0.2, 100, 20), (0.2, 1, 1), (0.2, 2, 1), (1.0, 7, 7), (0.25, 10, 2), (0.35, 10, 4)],
)
def test_cooldown_steps_are_the_nearest_whole_number_and_at_least_one(ratio: float, total: int, steps: int) -> None:
    assert cooldown_steps_of(ratio, total) == steps


OWN: dict[str, st.SearchStrategy[Any]] = {
    "num_cycles": st.integers(1, 8),
    "timescale": st.none() | st.integers(1, 2000),
    "power": st.floats(0.1, 5.0),
    "gamma": st.floats(1e-6, 1.0),
    "cooldown": st.sampled_from(COOLDOWNS),
}
# of a cosine
WAVES = st.sampled_from([0.25, 0.5, 0.75, 1.0, 1.5]) | st.floats(0.05, 3.0)


@pytest.mark.parametrize("name", [name for name, decay in DECAYS.items() if decay.stretches])
@given(data=st.data())
def test_a_decay_that_stretches_depends_on_the_share_of_the_run_alone(name: DecayName, data: st.DataObject) -> None:
    own = {parameter: data.draw(OWN[parameter]) for parameter in DECAYS[name].parameters if parameter in OWN}
    own |= {"num_cycles": data.draw(WAVES)} if name == "cosine" else {}
    total, factor = data.draw(st.integers(1, 60)), data.draw(st.integers(2, 9))
    w, final = data.draw(st.integers(0, total - 1)), data.draw(st.floats(0.0, 1.0))
    # lengths in whole steps must scale exactly, or there is nothing to compare
    length = data.draw(st.integers(1, total - w))
    if name == "step":
        own["step_size_ratio"] = length / (total - w)
    if name == "wsd":
        own["decay_ratio"] = length / total
    short_run = multiplier(name, own, final, w, total)
    long_run = multiplier(name, own, final, w * factor, total * factor)
    assert long_run[::factor].tolist() == pytest.approx(short_run.tolist(), rel=1e-12, abs=1e-15)


def test_inverse_sqrt_stretches_with_a_warmup_alone() -> None:
    own = {"timescale": None}
    with_warmup = [multiplier("inverse_sqrt", own, 0.0, w, 10 * w)[-1] for w in (5, 50)]
    without = [multiplier("inverse_sqrt", own, 0.0, 0, total)[-1] for total in (50, 500)]
    of_its_own = [multiplier("inverse_sqrt", {"timescale": 5}, 0.0, w, 10 * w)[-1] for w in (5, 50)]
    assert with_warmup[0] == pytest.approx(with_warmup[1], rel=1e-12)
    assert without[0] != pytest.approx(without[1], rel=1e-3)
    assert of_its_own[0] != pytest.approx(of_its_own[1], rel=1e-3)


@pytest.mark.parametrize(
    ("num_cycles", "never_rises", "ends_at_final_lr_ratio"),
    [(0.5, True, True), (0.25, True, False), (0.75, False, False), (1.0, False, False), (2.5, False, True)],
)
def test_the_laws_of_a_cosine_hang_on_its_waves(
    num_cycles: float, never_rises: bool, ends_at_final_lr_ratio: bool
) -> None:
    own, cosine = {"num_cycles": num_cycles}, DECAYS["cosine"]
    assert cosine.keeps("stretches", own)
    assert cosine.keeps("never_rises", own) is never_rises
    assert cosine.keeps("ends_at_final_lr_ratio", own) is ends_at_final_lr_ratio
    values = multiplier("cosine", own, 0.25, 3, 43)
    assert bool(np.all(np.diff(values) <= 0)) is never_rises
    assert bool(values[-1] == 0.25) is ends_at_final_lr_ratio


@pytest.mark.parametrize("name", DECAYS)
def test_the_other_laws_hang_on_no_parameter(name: DecayName) -> None:
    defaults = {key: p.default for key, p in DECAYS[name].parameters.items()}
    assert DECAYS[name].exceptions(defaults) == frozenset()
    assert not DECAYS["step"].keeps("ends_at_final_lr_ratio", {})


@pytest.mark.parametrize("waves", [1e308, 2.0**60, 1e17])
def test_more_waves_than_digits_still_give_numbers(waves: float) -> None:
    values = multiplier("cosine", {"num_cycles": waves}, 0.0, 3, 30)
    assert values[0] == 1
    assert np.all((values >= 0) & (values <= 1))


@pytest.mark.parametrize("cycles", [1e308, 2**53 + 1, 10**300])
def test_more_cycles_than_steps_still_give_numbers(cycles: float) -> None:
    values = multiplier("cosine_restarts", {"num_cycles": int(cycles)}, 0.0, 3, 30)
    assert np.all((values >= 0) & (values <= 1))


def test_a_restart_at_each_step_stays_at_the_peak_until_the_end() -> None:
    assert multiplier("cosine_restarts", {"num_cycles": 7}, 0.0, 3, 10).tolist() == [1.0] * 7 + [0.0]
