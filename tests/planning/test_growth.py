"""What a ladder searches where its trials go on from shorter ones, and who goes on from whom."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from autowarm.planning.climb import EXPONENT
from autowarm.planning.decay_priors import relative_peak
from autowarm.planning.growth import (
    MOST_KEPT,
    WARMUP_STEP,
    carry_on,
    exploration,
    goes_on_from,
    grown_decay,
    held_share,
    in_as_many_steps,
    left_by,
)
from autowarm.planning.trunks import held_by
from autowarm.record import TrialRecord
from autowarm.schedule import Schedule
from autowarm.space import Range, SearchSpace

MakeRecord = Callable[..., TrialRecord]
SPACE = SearchSpace(initial_lr=Range(1e-3, 1.0), decay=["linear", "wsd"])
WHOLE = 800


def grown(make_record: MakeRecord, peak: float, value: float = 1.0, steps: int = 100, **fields: Any) -> TrialRecord:
    """Return a trial of a trunk: as many steps of warmup, whatever its length."""
    schedule = Schedule(initial_lr=peak, warmup_ratio=20 / steps, decay="wsd", decay_ratio=0.2)
    given = {"trunk": "t", "shared_steps": 0, "exact": True, **fields}
    return replace(make_record(total_steps=steps, value=value), schedule=schedule, **given)


@pytest.mark.parametrize(
    ("space", "decay", "explored"),
    [
        ({"decay": ["constant", "wsd"]}, "wsd", "wsd"),
        ({"decay": "wsd", "warmup_ratio": 0.1}, "wsd", "wsd"),
        ({"decay": "constant"}, "constant", "constant"),
        ({"decay": ["constant", "cosine", "wsd"]}, None, "wsd"),
        ({"decay": ["constant", "linear"]}, None, None),
        ({"decay": ["linear", "cosine"]}, None, None),
        ({"decay": "wsd", "warmup_ratio": [0.0, 0.1]}, None, None),
    ],
)
def test_trials_go_on_where_the_decays_that_are_searched_hold_their_peak(
    space: dict[str, Any], decay: str | None, explored: str | None
) -> None:
    assert grown_decay(SearchSpace(**space)) == decay
    assert grown_decay(SearchSpace(**space), explore=True) == explored


def test_a_level_has_one_cooldown_and_warmups_that_are_meant_for_the_whole_run() -> None:
    lowest = exploration(SPACE, "wsd", total_steps=100, whole=WHOLE, lowest=True)
    assert lowest.space.decays == ("wsd",)
    assert lowest.space.dimensions("wsd")["wsd.decay_ratio"].holds(0.2)
    assert lowest.warmups == (WARMUP_STEP * WHOLE / 100,)
    next_one = exploration(SPACE, "wsd", total_steps=200, whole=WHOLE, lowest=False)
    # of 30 % of the whole run at most, and before the cooldown
    assert next_one.warmups == (0.0, 0.25, 0.5)
    assert (next_one.space.warmup_ratio.low, next_one.space.warmup_ratio.high) == (0.0, 0.5)
    assert exploration(SPACE, "wsd", total_steps=400, whole=WHOLE, lowest=False).warmups == (0, 0.125, 0.25, 0.375, 0.5)


def test_warmups_that_no_level_has_room_for_are_as_long_as_there_is_room() -> None:
    long = replace(SPACE, warmup_ratio=0.3)
    level = exploration(long, "wsd", total_steps=100, whole=WHOLE, lowest=True)
    assert list(level.warmups) == pytest.approx([0.9 * 0.8])
    longer = exploration(long, "wsd", total_steps=400, whole=WHOLE, lowest=False)
    assert list(longer.warmups) == [0.6]


def test_peaks_of_the_grid_double_exactly_and_stay_in_their_range() -> None:
    level = exploration(SPACE, "wsd", total_steps=100, whole=WHOLE, lowest=True)
    one = level.place(Schedule(initial_lr=0.0111, warmup_ratio=0.1, decay="wsd", decay_ratio=0.2), total_steps=100)
    assert one.initial_lr == pytest.approx(2**-6.5)
    assert one.warmup_steps_of(100) == 50
    two = level.place(replace(one, initial_lr=0.0221), total_steps=100)
    assert two.initial_lr == 2 * one.initial_lr
    edge = level.place(replace(one, initial_lr=1e-3), total_steps=100)
    assert edge.initial_lr == 1e-3, "2^-10 lies below the range"
    named = exploration(replace(SPACE, initial_lr=[0.01, 0.02]), "wsd", total_steps=100, whole=WHOLE, lowest=True)
    assert named.place(replace(one, initial_lr=0.01), total_steps=100).initial_lr == 0.01
    assert list(named.beside(one, total_steps=100)) == []


def test_beside_a_peak_are_all_others_of_the_grid_the_nearest_first() -> None:
    level = exploration(replace(SPACE, initial_lr=Range(0.1, 0.6)), "wsd", total_steps=100, whole=WHOLE, lowest=True)
    one = level.place(Schedule(initial_lr=0.25, warmup_ratio=0.1, decay="wsd", decay_ratio=0.2), total_steps=100)
    beside = [schedule.initial_lr for schedule in level.beside(one, total_steps=100)]
    assert beside == pytest.approx([2**-2.5, 2**-1.5, 2**-3, 2**-1])


def test_what_is_carried_has_the_learning_rates_of_the_shorter_run() -> None:
    level = exploration(SPACE, "wsd", total_steps=100, whole=WHOLE, lowest=True)
    short = level.place(Schedule(initial_lr=0.25, warmup_ratio=0.1, decay="wsd", decay_ratio=0.2), total_steps=100)
    above = exploration(SPACE, "wsd", total_steps=200, whole=WHOLE, lowest=False)
    long = above.place(in_as_many_steps(short, from_steps=100, to_steps=200), total_steps=200)
    held, longer = held_by(short, total_steps=100), held_by(long, total_steps=200)
    assert held is not None
    assert longer is not None
    assert held.key == longer.key
    assert (held.steps, longer.steps) == (81, 161)
    assert held_share(SPACE, "wsd") == pytest.approx(0.8)
    assert held_share(SearchSpace(decay="constant"), "constant") == 1.0
    for given, share in ((0.5, 0.5), ([0.15, 0.3, 0.4], 0.85), ({"low": 0.3, "high": 0.5}, 0.7)):
        assert held_share(SearchSpace(decay="wsd", decay_ratio=given), "wsd") == pytest.approx(share)


@pytest.mark.parametrize("options", [{"decay_to": "last_step"}, {"step_offset": 1}, {"decay_from": "start"}])
def test_however_schedules_count_their_steps_what_is_carried_begins_alike(options: dict[str, Any]) -> None:
    space = replace(SPACE, **options)
    short: Schedule | None = None
    keys, steps = set(), []
    for total in (100, 200, 400):
        level = exploration(space, "wsd", total_steps=total, whole=WHOLE, lowest=total == 100)
        if short is None:
            short = level.space.schedule({"decay": "wsd", "initial_lr": 0.25})
        else:
            short = level.place(in_as_many_steps(short, from_steps=total // 2, to_steps=total), total_steps=total)
        held = held_by(short, total_steps=total)
        assert held is not None
        keys.add(held.key)
        steps.append(held.steps)
    assert len(keys) == 1
    assert steps == sorted(set(steps))


def test_the_best_that_have_left_a_state_are_kept(make_record: MakeRecord) -> None:
    trials = [grown(make_record, 0.1 + i / 100, value=10.0 - i) for i in range(MOST_KEPT + 2)]
    trials += [grown(make_record, 0.5, value=0.1, trunk=None, shared_steps=None, exact=None)]
    trials += [replace(grown(make_record, 0.6), outcome="DIVERGED", value=None, reason="nan")]
    assert [r.value for r in left_by(trials)] == [3.0, 4.0, 5.0, 6.0, 7.0, 8.0]


def test_a_trial_goes_on_from_the_furthest_that_has_its_learning_rates(make_record: MakeRecord) -> None:
    short, long = grown(make_record, 0.25, steps=100), grown(make_record, 0.25, steps=200)
    other = grown(make_record, 0.5, steps=200)
    asked = grown(make_record, 0.25, steps=400).schedule
    assert asked is not None

    def ask(*left: TrialRecord, seed: int = 0, total_steps: int = 400) -> Any:
        return goes_on_from(asked, left, total_steps=total_steps, seed=seed)

    assert ask(short, long, other) == (long, 161)
    assert ask(other) is None
    assert ask(short, long, seed=1) is None
    # the other way round: it lets go before that one does
    assert goes_on_from(short.schedule, [long], total_steps=100, seed=0) is None  # type: ignore[arg-type]
    linear = Schedule(initial_lr=0.25, warmup_ratio=0.05, decay="linear")
    assert goes_on_from(linear, [short], total_steps=400, seed=0) is None


HELD = SearchSpace(initial_lr=Range(1e-4, 1.0), decay=["cosine", "linear", "wsd"], decay_ratio=0.35)


def level(make_record: MakeRecord, *trials: tuple[float, float, float], total_steps: int = 100) -> list[TrialRecord]:
    """Return trials of (peak, warmup ratio, value) with a wsd."""
    found = []
    for i, (lr, ratio, value) in enumerate(trials):
        schedule = Schedule(initial_lr=lr, warmup_ratio=ratio, decay="wsd", decay_ratio=0.35)
        found.append(replace(make_record(total_steps=total_steps, trial=i, value=value), schedule=schedule))
    return found


def test_below_the_target_peak_and_warmup_in_steps_stay_and_then_come_the_sides(make_record: MakeRecord) -> None:
    below = level(make_record, (0.25, 0.5, 0.3), (0.5, 0.5, 0.4), (0.0625, 0.5, 0.5))
    here = level(make_record, (0.25, 0.25, 0.2), total_steps=200)
    found = list(carry_on(below, here, from_steps=100, to_steps=200, space=HELD, last=False))
    assert [(name, s.initial_lr, s.warmup_steps_of(200), s.decay) for name, s in found] == [
        ("carried from 100 steps", 0.25, 50, "wsd"),
        ("carried from 100 steps", 0.5, 50, "wsd"),
        ("half the best peak", 0.125, 50, "wsd"),
        ("twice the best peak", 0.5, 50, "wsd"),
        ("the best warmup as a share", 0.25, 100, "wsd"),
        ("carried from 100 steps", 0.0625, 50, "wsd"),
    ]
    assert [name for name, _ in carry_on(below, [], from_steps=100, to_steps=200, space=HELD, last=False)] == [
        "carried from 100 steps"
    ] * 3


def test_at_the_target_what_has_a_longer_warmup_comes_before_what_goes_on(make_record: MakeRecord) -> None:
    below = level(make_record, (0.25, 0.5, 0.3), (0.5, 0.5, 0.4))
    space = replace(HELD, decay_ratio=None)
    found = list(carry_on(below, [], from_steps=100, to_steps=800, space=space, last=True))
    assert [(name, s.decay, s.warmup_steps_of(800), s.decay_ratio) for name, s in found] == [
        ("the best with a longer warmup", "wsd", 120, 0.6),
        ("half the best peak", "wsd", 120, 0.6),
        ("with linear", "linear", 120, None),
        ("with cosine", "cosine", 120, None),
        *[("carried from 100 steps", "wsd", 50, 0.6)] * 2,
    ]
    short = below[0].schedule
    assert short is not None
    cosine = 0.25 * 8**-EXPONENT / relative_peak(short)
    assert [s.initial_lr for _, s in found] == pytest.approx([0.25, 0.125, 1.03 * cosine, cosine, 0.25, 0.5])


def test_of_nothing_that_ended_well_nothing_is_carried(make_record: MakeRecord) -> None:
    below = [replace(r, outcome="DIVERGED", value=None, reason="nan") for r in level(make_record, (0.25, 0.5, 0.3))]
    for last in (False, True):
        assert list(carry_on(below, [], from_steps=100, to_steps=200, space=HELD, last=last)) == []
