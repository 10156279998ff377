from __future__ import annotations

from collections.abc import Callable

from autowarm.planning.known_divergence import Diverged, bound_to_diverge, diverged
from autowarm.record import TrialRecord
from autowarm.schedule import Schedule


def schedule(lr: float, warmup_ratio: float, decay: str = "cosine") -> Schedule:
    return Schedule(initial_lr=lr, warmup_ratio=warmup_ratio, decay=decay)  # type: ignore[arg-type]


# 10 of 100 steps of warmup to .5, and it diverged 5 steps later
KNOWN = [Diverged(schedule(0.5, 0.1), total_steps=100, steps=15)]


def test_a_higher_peak_with_no_longer_a_warmup_is_bound_to_diverge() -> None:
    reason = bound_to_diverge(schedule(0.6, 0.1), 100, KNOWN)
    assert reason is not None
    assert "lr 0.5, warmup 10 %, cosine diverged within 15 steps" in reason
    assert bound_to_diverge(schedule(0.5, 0.05, "constant"), 100, KNOWN) is not None
    assert bound_to_diverge(schedule(0.5, 0.1), 100, KNOWN) is not None


def test_a_lower_peak_or_a_slower_warmup_may_train() -> None:
    assert bound_to_diverge(schedule(0.4, 0.1), 100, KNOWN) is None
    assert bound_to_diverge(schedule(0.6, 0.3), 100, KNOWN) is None


def test_steps_count_and_not_shares_of_the_run() -> None:
    assert bound_to_diverge(schedule(0.5, 0.1, "constant"), 800, KNOWN) is None, "a warmup of 80 steps"
    assert bound_to_diverge(schedule(0.5, 0.01, "constant"), 800, KNOWN) is not None
    assert bound_to_diverge(schedule(0.6, 0.1), 12, KNOWN) is None, "it ends before that"


def test_only_searches_that_diverged_are_known(make_record: Callable[..., TrialRecord]) -> None:
    records = [
        make_record(outcome="DIVERGED", steps=15),
        make_record(outcome="DIVERGED", steps=15, role="range_test"),
        make_record(outcome="DIVERGED", steps=0),
        make_record(outcome="PRUNED", steps=15),
        make_record(),
    ]
    assert diverged(records) == [Diverged(records[0].schedule or schedule(1, 0), 100, 15)]


def curve(first: float, last: float) -> tuple[tuple[int, float], ...]:
    return tuple((i, first + (last - first) * i / 10) for i in range(11))


def test_what_broke_down_above_the_best_is_known_as_well(make_record: Callable[..., TrialRecord]) -> None:
    best = make_record(trial=0, lr=0.1, value=0.5, steps=100, train_curve=curve(2.3, 0.5))
    dead = make_record(trial=1, lr=0.4, value=2.3, steps=100, train_curve=curve(2.3, 2.299))
    slow = make_record(trial=2, lr=1e-4, value=2.3, steps=100, train_curve=curve(2.3, 2.299))
    behind = make_record(trial=3, lr=0.3, value=1.5, steps=100, train_curve=curve(2.3, 1.5))
    assert [d.schedule for d in diverged([best, dead, slow, behind])] == [dead.schedule]
    assert diverged([dead, slow]) == [], "nothing is known to learn"


def test_runs_that_tell_no_losses_have_not_broken_down(make_record: Callable[..., TrialRecord]) -> None:
    best = make_record(trial=0, lr=0.1, value=0.5, steps=100, train_curve=curve(2.3, 0.5))
    silent = make_record(trial=1, lr=0.4, value=2.3, steps=100)
    assert diverged([best, silent]) == []
    elsewhere = make_record(trial=1, lr=0.4, value=2.3, steps=50, total_steps=50, train_curve=curve(2.3, 2.3))
    assert diverged([best, elsewhere]) == [], "values of different horizons do not compare"
