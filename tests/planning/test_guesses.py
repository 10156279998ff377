from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import sample_info
from hypothesis import given
from hypothesis import strategies as st

from autowarm.decays import DECAYS
from autowarm.planning.guesses import incumbent_of, starting_guesses
from autowarm.schedule import Schedule
from autowarm.specs import JobInfo

COPIED = ["no warmup", "6 % warmup", "10 % warmup"]


def info(**changes: Any) -> JobInfo:
    return replace(sample_info.INFO, **changes)


def test_the_search_begins_with_what_the_job_has_and_what_scripts_copy() -> None:
    guesses = starting_guesses(info(lrs=(0.01,) * 1000))
    assert list(guesses) == ["today", *COPIED]
    assert guesses["today"] == Schedule(initial_lr=0.01)
    assert {g.initial_lr for g in guesses.values()} == {0.01}
    assert [g.warmup_ratio for g in guesses.values()] == [0.0, 0.0, 0.06, 0.1]


def test_what_is_guessed_counts_as_the_search_does_and_what_the_job_has_as_it_does() -> None:
    guesses = starting_guesses(info(lrs=(0.01,) * 1000, beta2=0.95), {"step_offset": 1})
    assert list(guesses) == ["today", *COPIED, "2/(1-beta2) steps"]
    assert [g.step_offset for g in guesses.values()] == [0, 1, 1, 1, 1]


def test_a_warmup_of_the_job_keeps_its_steps_whatever_it_spans() -> None:
    schedule = Schedule(initial_lr=0.1, warmup_steps=800, decay="cosine", decay_to="last_step")
    today = starting_guesses(info(schedule=schedule))["today"]
    assert today.warmup_ratio is not None
    assert today.warmup_steps_of(1000) == 800


def test_a_scheduler_that_is_no_schedule_still_gives_its_peak() -> None:
    guesses = starting_guesses(info(total_steps=5, lrs=(0.1, 0.5, 0.1, 0.5, 0.1)))
    assert "today" not in guesses
    assert {g.initial_lr for g in guesses.values()} == {0.5}


def test_a_scheduler_that_waits_for_metrics_gives_the_highest_lr_seen() -> None:
    guesses = starting_guesses(info(lrs=None, scheduler="ReduceLROnPlateau", seen_lrs=(0.1, 0.5, 0.5)))
    assert list(guesses) == COPIED
    assert {g.initial_lr for g in guesses.values()} == {0.5}
    assert incumbent_of(info(lrs=None, seen_lrs=(0.5, 0.5))) is None


@pytest.mark.parametrize("lrs", [None, (), (0.0, 0.0), (-0.1, -0.1)])
def test_without_a_known_lr_nothing_is_guessed(lrs: tuple[float, ...] | None) -> None:
    assert starting_guesses(info(lrs=lrs, beta2=0.9)) == {}


@pytest.mark.parametrize(
    ("beta2", "total_steps", "steps"),
    [(0.999, 4000, 2000), (0.999, 3999, None), (0.95, 100, 40), (0.95, 79, None), (1.0, 100, None), (None, 100, None)],
)
def test_the_rule_of_two_over_one_minus_beta2_is_guessed_where_it_is_at_most_half_of_the_run(
    beta2: float | None, total_steps: int, steps: int | None
) -> None:
    guess = starting_guesses(info(total_steps=total_steps, lrs=(0.01,) * total_steps, beta2=beta2)).get(
        "2/(1-beta2) steps"
    )
    assert (guess and guess.warmup_steps_of(total_steps)) == steps
    if guess is not None:
        assert guess.decay == "linear"


def test_no_guess_is_made_twice() -> None:
    today = Schedule(initial_lr=0.01, warmup_ratio=0.1, decay="cosine")
    assert list(starting_guesses(info(schedule=today))) == ["today", "no warmup", "6 % warmup"]
    # 6 % of 100 steps is what beta2 says, too
    twice = starting_guesses(info(total_steps=100, lrs=(0.01,) * 100, beta2=1 - 2 / 6))
    assert "2/(1-beta2) steps" not in twice


@pytest.mark.parametrize("shape", [{"warmup": "cosine"}, {"warmup": "exponential", "warmup_start_ratio": 0.1}])
def test_without_warmup_its_shape_makes_no_other_guess(shape: dict[str, Any]) -> None:
    today = Schedule(initial_lr=0.01, decay="cosine", **shape)
    assert list(starting_guesses(info(schedule=today))) == ["today", *COPIED[1:]]


@given(
    total_steps=st.integers(1, 50),
    warmup_steps=st.integers(0, 49),
    decay=st.sampled_from(sorted(DECAYS)),
    beta2=st.one_of(st.none(), st.floats(0, 1)),
)
def test_whatever_the_job_follows_its_guesses_are_that_and_different_schedules(
    total_steps: int, warmup_steps: int, decay: Any, beta2: float | None
) -> None:
    warmup_ratio = min(warmup_steps, total_steps - 1) / total_steps
    own: dict[str, Any] = {"decay_ratio": 1 - warmup_ratio} if decay == "wsd" else {}
    today = Schedule(initial_lr=0.01, warmup_ratio=warmup_ratio, decay=decay, **own)
    guesses = starting_guesses(info(total_steps=total_steps, schedule=today, beta2=beta2))
    assert guesses["today"].lrs(total_steps=total_steps).tolist() == pytest.approx(
        today.lrs(total_steps=total_steps).tolist()
    )
    assert len(set(guesses.values())) == len(guesses)


def test_a_cooldown_that_rounding_leaves_a_step_too_few_is_kept_as_it_is() -> None:
    today = Schedule(initial_lr=0.01, warmup_ratio=0.5, decay="wsd", decay_ratio=0.5)
    assert starting_guesses(info(total_steps=3, schedule=today))["today"] == today


def test_a_warmup_in_epochs_is_counted_in_steps() -> None:
    today = Schedule(initial_lr=0.01, warmup_epochs=0.5, decay="linear")
    assert incumbent_of(info(schedule=today)) == Schedule(initial_lr=0.01, warmup_steps=40, decay="linear")
    assert starting_guesses(info(schedule=today))["today"].warmup_ratio == 0.04


def test_its_own_schedule_goes_before_what_the_curve_looks_like() -> None:
    today = Schedule(initial_lr=0.01, decay="wsd")
    assert incumbent_of(info(schedule=today, lrs=(0.5, 0.5))) == today
    assert incumbent_of(info(lrs=(0.5, 0.5))) == Schedule(initial_lr=0.5, warmup_steps=0)
    assert incumbent_of(info()) is None
