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
