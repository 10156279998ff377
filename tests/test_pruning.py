"""Pruning by schedule phase: each half of the rule, and a replay of recorded trials."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autowarm.errors import SettingsError
from autowarm.pruning import MIN_SHARE, MIN_TRIALS, PERCENTILES, PRUNINGS, PhasePruner, Pruning, ema_rungs_of, rungs_of

CURVES = Path(__file__).parents[1] / "../shared/data/curves"


def pruner_with(
    values: list[float], pruning: Pruning = "balanced", mode: Any = "min", share: float = 0.5
) -> PhasePruner:
    """Return a pruner to which trials 0, 1, .. have reported these values at a share."""
    pruner = PhasePruner(pruning, mode)
    for trial, value in enumerate(values):
        # during its warmup no trial is pruned
        assert pruner.report(trial, share=share, value=value, warmup_share=0.9) is None
    return pruner


# --- the rule -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pruning", "bar"),
    # of 11 trials 0, 1, .. 10: percentile 75 lies at rank 7.5, so the bar is 8
    [("safe", 8.0), ("balanced", 5.0), ("aggressive", 3.0)],
)
def test_a_trial_worse_than_the_percentile_is_pruned(pruning: Pruning, bar: float) -> None:
    values = [7.0, 0.0, 5.0, 1.0, 10.0, 3.0, 9.0, 2.0, 8.0, 6.0, 4.0]
    assert pruner_with(values, pruning).report(99, share=0.5, value=bar, warmup_share=0.1) is None
    assert pruner_with(values, pruning).report(99, share=0.5, value=bar + 0.01, warmup_share=0.1) is not None


def test_the_reason_is_told_in_words() -> None:
    pruner = pruner_with([1.0, 2.0, 3.0, 4.0, 5.0])
    assert pruner.report(99, share=0.5, value=4.5, warmup_share=0.1) == (
        "its best by 50 % of its schedule, 4.5, is worse than 3, which at least 50 % of 5 other trials had there"
    )


def test_in_mode_max_less_is_worse() -> None:
    pruner = pruner_with([0.1, 0.2, 0.3, 0.4, 0.5], mode="max")
    assert pruner.report(98, share=0.5, value=0.3, warmup_share=0.1) is None
    assert pruner.report(99, share=0.5, value=0.25, warmup_share=0.1) == (
        "its best by 50 % of its schedule, 0.25, is worse than 0.3, which at least 50 % of 6 other trials had there"
    )


def test_off_prunes_nothing() -> None:
    pruner = pruner_with([1.0] * 20, "off")
    assert pruner.report(99, share=0.5, value=math.nan, warmup_share=0.0) is None


@pytest.mark.parametrize(("share", "pruned"), [(0.3, False), (0.45, False), (0.5, True), (0.95, True), (1.0, False)])
def test_a_trial_is_judged_from_the_end_of_its_warmup_to_before_its_own_end(share: float, *, pruned: bool) -> None:
    pruner = pruner_with([1.0] * 5, share=share)
    assert (pruner.report(99, share=share, value=2.0, warmup_share=0.5) is not None) is pruned


@pytest.mark.parametrize(("share", "pruned"), [(0.05, False), (0.29, False), (0.3, True)])
def test_a_trial_is_not_judged_before_the_least_share(share: float, *, pruned: bool) -> None:
    pruner = pruner_with([1.0] * 5, share=share)
    assert (pruner.report(99, share=share, value=2.0, warmup_share=0.0) is not None) is pruned


def test_steps_that_others_need_are_not_judged_but_what_was_reached_there_is() -> None:
    pruner = pruner_with([1.0] * 5, share=0.4)
    assert pruner.report(99, share=0.4, value=2.0, warmup_share=0.0, shared=True) is None
    assert pruner.audit_of(99) is None
    for trial in range(5):
        pruner.report(trial, share=0.5, value=1.0, warmup_share=0.9)
    assert "2, is worse than 1" in (pruner.report(99, share=0.5, value=3.0, warmup_share=0.0) or "")


def test_the_trial_itself_is_not_among_those_it_is_judged_by() -> None:
    pruner = pruner_with([1.0] * (MIN_TRIALS - 1))
    for share in (0.4, 0.5, 0.5):
        assert pruner.report(99, share=share, value=2.0, warmup_share=0.0) is None
    assert pruner.report(5, share=0.5, value=1.0, warmup_share=0.0) is None
    assert pruner.report(99, share=0.5, value=2.0, warmup_share=0.0) is not None


def test_trials_are_compared_at_the_same_share_alone() -> None:
    pruner = pruner_with([1.0] * 5, share=0.5)
    for share in (0.4, 0.45, 0.55, 0.6):
        assert pruner.report(99, share=share, value=2.0, warmup_share=0.0) is None
    # two horizons whose rungs fall between steps: 9 of 19 and 10 of 21
    assert pruner.report(99, share=10 / 21, value=2.0, warmup_share=0.0) is not None


def test_of_two_reports_near_a_share_the_nearer_counts() -> None:
    pruner = PhasePruner()
    for trial in range(5):
        for share, value in ((0.49, 5.0), (0.5, 1.0), (0.51, 5.0)):
            assert pruner.report(trial, share=share, value=value, warmup_share=0.9) is None
    assert pruner.report(99, share=0.5, value=2.0, warmup_share=0.0) is not None


def test_reported_again_the_later_value_holds() -> None:
    pruner = pruner_with([1.0] * 5)
    for trial in range(5):
        pruner.report(trial, share=0.5, value=3.0, warmup_share=0.9)
    assert pruner.report(99, share=0.5, value=2.0, warmup_share=0.0) is None


def test_what_pruned_trials_reported_stays_in_the_comparison() -> None:
    pruner = pruner_with([1.0] * 5)
    for trial in range(10, 13):
        assert pruner.report(trial, share=0.5, value=3.0, warmup_share=0.0) is not None
    assert pruner.report(13, share=0.5, value=3.0, warmup_share=0.0) is not None
    assert pruner.report(14, share=0.5, value=3.0, warmup_share=0.0) is not None
    # of 1 x 5 and 3 x 5 the rank of 50 %, 4.5 rounded up, holds a 3
    assert pruner.report(99, share=0.5, value=2.0, warmup_share=0.0) is None


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_not_finite_is_the_worst(bad: float, mode: str) -> None:
    assert pruner_with([1.0] * 5, mode=mode).report(99, share=0.5, value=bad, warmup_share=0.0) is not None
    # ... among the earlier ones, too: 3 of 5 leave the bar at the worst
    assert pruner_with([1.0, 1.0, bad, bad, bad], mode=mode).report(99, share=0.5, value=9.0, warmup_share=0) is None
    assert pruner_with([bad] * 5, mode=mode).report(99, share=0.5, value=bad, warmup_share=0) is None


def test_the_averaged_weights_count_where_they_are_better() -> None:
    assert pruner_with([1.0] * 5).report(99, share=0.5, value=2.0, ema=1.5, warmup_share=0.0) is not None
    assert pruner_with([1.0] * 5).report(99, share=0.5, value=2.0, ema=1.0, warmup_share=0.0) is None
    assert pruner_with([1.0] * 5).report(99, share=0.5, value=1.0, ema=2.0, warmup_share=0.0) is None
    better = pruner_with([1.0] * 5, mode="max")
    assert better.report(98, share=0.5, value=0.5, ema=1.0, warmup_share=0.0) is None
    assert better.report(99, share=0.5, value=0.5, ema=0.9, warmup_share=0.0) is not None


def test_the_averaged_weights_of_the_others_raise_the_bar() -> None:
    pruner = PhasePruner()
    for trial in range(5):
        pruner.report(trial, share=0.5, value=2.0, ema=1.0, warmup_share=0.9)
    assert pruner.report(99, share=0.5, value=1.5, warmup_share=0.0) is not None


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_an_average_that_is_not_finite_does_not_count_and_does_not_save_weights_that_are_not(bad: float) -> None:
    assert pruner_with([1.0] * 5).report(99, share=0.5, value=2.0, ema=bad, warmup_share=0.0) is not None
    assert pruner_with([1.0] * 5).report(99, share=0.5, value=1.0, ema=bad, warmup_share=0.0) is None
    assert pruner_with([1.0] * 5).report(99, share=0.5, value=bad, ema=0.5, warmup_share=0.0) is not None


def test_a_trial_is_judged_by_its_best_so_far_and_the_others_by_what_they_have() -> None:
    pruner = pruner_with([1.0] * 5, share=0.5)
    assert pruner.report(98, share=0.4, value=0.9, warmup_share=0.0) is None
    # it bounces
    assert pruner.report(98, share=0.5, value=3.0, warmup_share=0.0) is None
    assert pruner.report(99, share=0.4, value=1.1, warmup_share=0.0) is None
    assert pruner.report(99, share=0.5, value=3.0, warmup_share=0.0) is not None
    later = pruner_with([0.5, 0.5, 0.5, 3.0, 3.0], share=0.4)
    for trial in range(5):
        later.report(trial, share=0.5, value=2.0, warmup_share=0.9)
    assert later.report(99, share=0.5, value=1.9, warmup_share=0.0) is None


def test_an_audit_finishes_its_share_of_what_would_be_pruned_and_remembers_why() -> None:
    def stopped(audit: float, seed: int) -> tuple[list[int], PhasePruner]:
        pruner = PhasePruner(audit=audit, seed=seed)
        for trial in range(5):
            pruner.report(trial, share=0.5, value=1.0, warmup_share=0.9)
            pruner.report(trial, share=0.6, value=1.0, warmup_share=0.9)
        worse = range(100, 600)
        first = [t for t in worse if pruner.report(t, share=0.5, value=t, warmup_share=0.0) is not None]
        for trial in set(worse) - set(first):
            assert pruner.report(trial, share=0.6, value=trial, warmup_share=0.0) is None
        return first, pruner

    assert len(stopped(0.0, 0)[0]) == 500
    assert len(stopped(1.0, 0)[0]) == 0
    tenth, pruner = stopped(0.1, 0)
    # 500 draws of .1: 50, with a standard deviation of 6.7
    assert 30 <= 500 - len(tenth) <= 70
    assert tenth == stopped(0.1, 0)[0]
    assert tenth != stopped(0.1, 1)[0]
    assert pruner.audit_of(tenth[0]) is None
    spared = next(t for t in range(100, 600) if t not in tenth)
    audit = pruner.audit_of(spared)
    assert audit is not None
    assert audit.share == 0.5
    assert audit.reason.startswith(f"its best by 50 % of its schedule, {spared}")


def test_equal_trials_go_on() -> None:
    assert pruner_with([1.0] * 9, "aggressive").report(99, share=0.5, value=1.0, warmup_share=0.0) is None


@given(st.lists(st.floats(), min_size=5, max_size=12), st.sampled_from(PRUNINGS), st.sampled_from(["min", "max"]))
def test_the_best_so_far_is_never_pruned(values: list[float], pruning: Pruning, mode: str) -> None:
    finite = [value for value in values if math.isfinite(value)]
    best = (min(finite) if mode == "min" else max(finite)) if finite else 0.0
    pruner = pruner_with(values, pruning, mode)
    assert pruner.report(99, share=0.5, value=best, warmup_share=0.0) is None


@given(st.lists(st.floats(-1e6, 1e6), min_size=5, max_size=12), st.floats(-1e6, 1e6))
def test_a_safer_choice_prunes_nothing_more_and_max_mirrors_min(values: list[float], value: float) -> None:
    def pruned(pruning: Pruning) -> bool:
        told = pruner_with(values, pruning).report(99, share=0.5, value=value, warmup_share=0.0)
        mirrored = pruner_with([-v for v in values], pruning, "max")
        assert (mirrored.report(99, share=0.5, value=-value, warmup_share=0.0) is None) == (told is None)
        return told is not None

    assert pruned("safe") <= pruned("balanced") <= pruned("aggressive")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"pruning": "balance"},
            "unknown pruning 'balance': did you mean 'balanced'? Known: aggressive, balanced, off, safe",
        ),
        ({"pruning": None}, "unknown pruning None. Known: "),
        ({"pruning": ["off"]}, "unknown pruning ['off']. Known: "),
        ({"audit": 1.1}, "audit must be in [0, 1], got 1.1"),
        ({"audit": math.nan}, "audit must be in [0, 1], got nan"),
        ({"mode": "maxi"}, "unknown mode 'maxi': did you mean 'max'? Known: max, min"),
    ],
)
def test_an_unknown_choice_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        PhasePruner(**settings)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("bad", [-0.1, 1.1, math.nan])
@pytest.mark.parametrize("name", ["share", "warmup_share"])
def test_a_share_lies_between_zero_and_one(name: str, bad: float) -> None:
    shares = {"share": 0.5, "warmup_share": 0.5, name: bad}
    with pytest.raises(SettingsError, match=rf"^{name} must be in \[0, 1\], got {bad}$"):
        PhasePruner().report(0, value=1.0, share=shares["share"], warmup_share=shares["warmup_share"])


def test_every_choice_but_off_has_a_percentile() -> None:
    assert PRUNINGS == ("off", "safe", "balanced", "aggressive")
    assert set(PERCENTILES) == set(PRUNINGS) - {"off"}
    # what the figures in the docstring of autowarm.pruning were measured with
    assert (MIN_SHARE, MIN_TRIALS) == (0.3, 5)


# --- rungs --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("total", "n", "rungs"),
    [
        (100, 4, (25, 50, 75, 100)),
        # i x 10 / 4 = 2.5, 5, 7.5, 10
        (10, 4, (3, 5, 8, 10)),
        (3, 20, (1, 2, 3)),
        (1, 20, (1,)),
        (7, 1, (7,)),
        (20, 20, tuple(range(1, 21))),
    ],
)
def test_golden_rungs(total: int, n: int, rungs: tuple[int, ...]) -> None:
    assert rungs_of(total, n) == rungs


@given(st.integers(1, 10**9), st.integers(1, 200))
def test_rungs_rise_to_the_end_at_equal_shares(total: int, n: int) -> None:
    rungs = rungs_of(total, n)
    assert len(rungs) == min(n, total)
    assert all(a < b for a, b in pairwise(rungs))
    assert rungs[0] >= 1
    assert rungs[-1] == total
    # never before its share, and less than a step after it
    assert all(0 <= rung * len(rungs) - i * total < len(rungs) for i, rung in enumerate(rungs, start=1))


def test_averages_are_validated_where_trials_are_judged_alone() -> None:
    assert ema_rungs_of(100) == tuple(range(30, 100, 5))
    assert ema_rungs_of(41) == tuple(step for step in rungs_of(41) if 12.3 <= step < 41)
    # a window of a step is no average
    assert ema_rungs_of(40) == ()
    with pytest.raises(SettingsError, match="total_steps must be at least 1, got 0"):
        rungs_of(0)


def test_there_are_20_rungs_and_the_least_share_is_one_of_them() -> None:
    assert len(rungs_of(1000)) == 20
    for total in (20, 333, 600, 1001):
        assert rungs_of(total)[5] / total >= MIN_SHARE > rungs_of(total)[4] / total


@pytest.mark.parametrize(("total", "n", "name"), [(0, 20, "total_steps"), (-5, 20, "total_steps"), (10, 0, "n")])
def test_rungs_need_steps(total: int, n: int, name: str) -> None:
    with pytest.raises(SettingsError, match=f"^{name} must be at least 1, got "):
        rungs_of(total, n)


# --- replay -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("pool", "stride"), [("lm", 1), ("digits_adamw", 2)])
@pytest.mark.parametrize(("pruning", "most"), [("safe", 0.73), ("balanced", 0.57), ("aggressive", 0.5), ("off", 1.01)])
def test_recorded_pools_lose_no_winner_and_cost_less(pool: str, stride: int, pruning: Pruning, most: float) -> None:
    path = CURVES / f"{pool}.npz"
    if not path.exists():
        pytest.skip("the recorded runs are not part of the project: no ../shared/data beside it")
    data = np.load(path)
    values = data["val"][:, stride::stride].tolist()
    averaged = data["ema"][:, stride::stride, 0].tolist()
    shares = (data["steps"][stride::stride] / data["steps"][-1]).tolist()
    warmups = data["wr"].tolist()
    assert len(shares) == 20
    rng = np.random.default_rng(0)
    costs = []
    for _ in range(3):
        pruner = PhasePruner(pruning)
        finals = []
        cost = 0.0
        for trial in rng.permutation(len(values)).tolist():
            for share, value, ema in zip(shares, values[trial], averaged[trial], strict=True):
                if pruner.report(trial, share=share, value=value, ema=ema, warmup_share=warmups[trial]) is not None:
                    break
            else:
                finals.append(value)
            cost += share / len(values)
        assert min(finals) == min(curve[-1] for curve in values)
        costs.append(cost)
    # means of three orders were up to .04 above the figures in the docstring of autowarm.pruning
    assert most - 0.2 < np.mean(costs) < most


def test_what_ended_without_a_result_is_forgotten() -> None:
    pruner = PhasePruner("balanced")
    for trial in range(6):
        pruner.report(trial, share=0.5, value=1.0, warmup_share=0.1)
    assert pruner.report(9, share=0.5, value=2.0, warmup_share=0.1) is not None
    for trial in range(6):
        pruner.forget(trial)
    pruner.forget(77)
    assert pruner.report(10, share=0.5, value=3.0, warmup_share=0.1) is None
