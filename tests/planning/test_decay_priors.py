from __future__ import annotations

import pytest

from autowarm.decays import DECAYS
from autowarm.planning.decay_priors import PREFERENCE, reference_decay, relative_peak, with_decay, with_peak
from autowarm.schedule import Schedule
from autowarm.space import Range, SearchSpace

SPACE = SearchSpace(initial_lr=Range(1e-4, 1.0), decay=list(DECAYS), decay_ratio=0.2)
LINEAR = Schedule(initial_lr=0.1, warmup_ratio=0.2, decay="linear")


def test_every_decay_has_a_place() -> None:
    assert sorted(PREFERENCE) == sorted(DECAYS)
    assert reference_decay(("constant", "wsd")) == "wsd"
    assert reference_decay(("constant",)) == "constant"


@pytest.mark.parametrize(
    ("ratio", "factor"), [(0.05, 0.47), (0.1, 0.47), (0.2, 0.53), (0.4, 0.63), (0.6, 0.73), (0.9, 0.73)]
)
def test_a_longer_cooldown_bears_a_higher_peak(ratio: float, factor: float) -> None:
    wsd = Schedule(initial_lr=0.1, warmup_ratio=0.0, decay="wsd", decay_ratio=ratio)
    assert relative_peak(wsd) == pytest.approx(factor)


@pytest.mark.parametrize("decay", list(DECAYS))
def test_a_schedule_is_told_with_any_decay_of_the_space(decay: str) -> None:
    changed = with_decay(LINEAR, decay, SPACE)
    assert changed.decay == decay
    assert changed.warmup_ratio == 0.2
    assert SPACE.params_of(changed, total_steps=100) is not None
    expected = {"constant": 0.32, "linear": 1.03, "wsd": 0.53}.get(decay, 1.0)
    assert changed.initial_lr == pytest.approx(0.1 * expected / 1.03)
    # back again it is the same
    assert with_decay(changed, "linear", SPACE).initial_lr == pytest.approx(0.1)


def test_a_warmup_that_leaves_no_room_for_a_cooldown_keeps_its_decay() -> None:
    space = SearchSpace(initial_lr=0.1, warmup_ratio=0.7, decay=["linear", "wsd"], decay_ratio=0.3)
    schedule = Schedule(initial_lr=0.1, warmup_ratio=0.7, decay="linear")
    tight = SearchSpace(initial_lr=0.1, warmup_ratio=Range(0.0, 0.5), decay=["linear", "wsd"], decay_ratio=0.5)
    assert with_decay(schedule, "wsd", space).decay == "wsd"
    assert with_decay(schedule, "wsd", tight).decay == "linear"


def test_a_peak_stays_in_its_range_or_where_it_is() -> None:
    assert with_peak(LINEAR, 5.0, SPACE).initial_lr == 1.0
    assert with_peak(LINEAR, 0.3, SPACE).initial_lr == 0.3
    assert with_peak(LINEAR, 0.3, SearchSpace(initial_lr=[0.1, 0.2])).initial_lr == 0.1
    assert with_peak(LINEAR, 0.3, SearchSpace()).initial_lr == 0.3
