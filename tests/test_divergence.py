"""The divergence guard: what is healthy runs on, what diverges is stopped soon."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from autowarm.divergence import DivergenceGuard, GuardSettings
from autowarm.errors import SettingsError

CURVES = Path(__file__).parents[1] / "../shared/data/curves"
Losses = NDArray[np.float64]


def stopped_at(losses: Iterable[float], settings: GuardSettings | None = None) -> int | None:
    guard = DivergenceGuard(settings)
    for step, loss in enumerate(losses):
        if guard.update(step, loss) is not None:
            return step
    return None


def noise(rng: np.random.Generator, scale: float, n: int) -> Losses:
    """Lognormal, of mean 1."""
    return np.exp(rng.normal(0.0, scale, n) - scale**2 / 2)


@pytest.mark.parametrize("cut", [1, 3, 5, 30, 59, 62])
def test_a_guard_that_goes_on_from_its_state_stops_where_the_first_one_does(cut: int) -> None:
    losses = [*noise(np.random.default_rng(0), 0.2, 60).tolist(), *[2.5] * 40]
    before, after = DivergenceGuard(), DivergenceGuard()
    for step, loss in enumerate(losses[:cut]):
        assert before.update(step, loss) is None
    after.load_state(before.state())
    rest = [after.update(step, loss) for step, loss in enumerate(losses[cut:], start=cut)]
    stopped = next(step for step, reason in enumerate(rest, start=cut) if reason)
    assert stopped == stopped_at(losses)
    assert stopped == 63


def test_a_guard_that_was_off_stays_off() -> None:
    before, after = DivergenceGuard(), DivergenceGuard()
    before.update(0, -1.0)
    after.load_state(before.state())
    assert after.notice == before.notice is not None


# --- healthy ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("pool", "runs"), [("lm", 72), ("digits_adamw", 100)])
def test_no_recorded_healthy_run_is_stopped(pool: str, runs: int) -> None:
    path = CURVES / f"{pool}.npz"
    if not path.exists():
        pytest.skip("the recorded runs are not part of the project: no ../shared/data beside it")
    train = np.load(path)["train"]
    assert len(train) == runs
    assert [stopped_at(losses.tolist()) for losses in train] == [None] * runs


@pytest.mark.parametrize("scale", [0.1, 0.2, 0.3, 0.5])
def test_noisy_fine_tuning_is_not_stopped_once_in_500_runs(scale: float) -> None:
    rng = np.random.default_rng(0)
    fall = 0.3 * np.linspace(1.0, 0.7, 600)
    runs = [(fall * noise(rng, scale, 600)).tolist() for _ in range(500)]
    assert [stop for losses in runs if (stop := stopped_at(losses)) is not None] == []


def test_the_spread_is_what_spares_noisy_runs() -> None:
    rng = np.random.default_rng(0)
    runs = [(0.3 * noise(rng, 0.3, 300)).tolist() for _ in range(100)]
    ratio_alone = GuardSettings(spread_factor=0.0)
    assert sum(stopped_at(losses, ratio_alone) is not None for losses in runs) > 30


def test_a_spike_that_recovers_is_healthy() -> None:
    # ten times the best loss so far, and still below where it started
    losses = [2.0 * 0.97**i for i in range(100)] + [1.9] * 5 + [0.1] * 100
    assert stopped_at(losses) is None


def test_constant_losses_are_healthy() -> None:
    assert stopped_at([0.3] * 200) is None
    assert stopped_at([0.0] * 200) is None


# --- diverged -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("step", [0, 3, 5, 50])
def test_a_loss_that_is_not_finite_is_told_at_once(bad: float, step: int) -> None:
    guard = DivergenceGuard()
    assert [guard.update(i, 1.0) for i in range(step)] == [None] * step
    assert guard.update(step, bad) == f"the training loss is {bad} at step {step}"


def diverging(kind: str, at: int, rng: np.random.Generator, scale: float) -> list[float]:
    """A run from 2 towards 1 that diverges: grows by a share a step, or jumps to a multiple of its start."""
    steps = np.arange(at + 200)
    healthy = 1.0 + np.exp(-steps / 150)
    number = float(kind.split()[1])
    after = healthy[at] * (1 + number) ** (steps - at) if kind.startswith("grow") else np.full(len(steps), 2.0 * number)
    values: list[float] = (np.where(steps < at, healthy, after) * noise(rng, scale, len(steps))).tolist()
    return values


@pytest.mark.parametrize(
    ("kind", "within"), [("grow 0.02", 80), ("grow 0.1", 25), ("jump 2", 50), ("jump 3", 12), ("jump 100", 1)]
)
@pytest.mark.parametrize("at", [60, 300])
@pytest.mark.parametrize("scale", [0.0, 0.05, 0.2])
def test_every_diverging_run_is_stopped_soon_and_none_before(kind: str, within: int, at: int, scale: float) -> None:
    rng = np.random.default_rng(0)
    stops = [stopped_at(diverging(kind, at, rng, scale)) for _ in range(20)]
    assert all(stop is not None and at <= stop <= at + within for stop in stops), stops


def test_the_rule_by_hand() -> None:
    # mean of the first five 1, average .9 x 1 + .1 x 3.1 = 1.21 > 1.2; the spread of two losses equal is 0
    settings = GuardSettings(n_spread=2)
    assert stopped_at([1.0] * 5 + [2.9], settings) is None
    guard = DivergenceGuard(settings)
    told = [guard.update(step, loss) for step, loss in enumerate([1.0] * 5 + [3.1])]
    assert told[:5] == [None] * 5
    assert told[5] == ("the average training loss is 1.21 at step 5, above 1.2 x the mean 1 of the first 5 losses")


def test_the_floor_of_the_spread_by_hand() -> None:
    # losses 1, 2, 1, 2, 1: mean 1.4, neighbours 1 apart, spread sqrt(pi) / 2 = .8862, bar 1.4 + 3 x .8862 =
    # 4.0587;
    # average before: 1, 1.1, 1.09, 1.181, 1.1629; after a loss x: 1.04661 + .1 x
    settings = GuardSettings(n_spread=5)
    first = [1.0, 2.0, 1.0, 2.0, 1.0]
    assert stopped_at([*first, 30.1], settings) is None
    guard = DivergenceGuard(settings)
    told = [guard.update(step, loss) for step, loss in enumerate([*first, 30.2])]
    assert told[5] == (
        "the average training loss is 4.067 at step 5, above the mean 1.4 of the first 5 losses + 3 x "
        "their spread 0.8862"
    )


def test_the_spread_is_that_of_the_first_losses_alone() -> None:
    # average .9, 1.09, .981, 1.1629, 1.04661, 1.221949; were the later losses counted, the bar would be at 1.8
    losses = [1.0] * 50 + [0.0, 2.8] * 20
    assert stopped_at(losses) == 55
    assert stopped_at(losses, GuardSettings(n_spread=1000)) is None


def test_the_first_losses_are_never_judged() -> None:
    assert stopped_at([1.0, 1e3, 1e6, 1e9, 1e12]) is None


# --- where losses can be negative ---------------------------------------------------------------------------


def test_from_a_negative_loss_on_only_what_is_not_finite_counts_and_a_notice_says_so() -> None:
    guard = DivergenceGuard()
    assert [guard.update(step, 0.5) for step in range(10)] == [None] * 10
    before = guard.notice
    assert before is None
    assert guard.update(10, -0.25) is None
    assert guard.notice == (
        "the training loss is -0.25 at step 10: a loss that can be negative says little about divergence, so "
        "only losses that are not finite stop this run"
    )
    first_notice = guard.notice
    assert [guard.update(step, 10.0 - step) for step in range(11, 100)] == [None] * 89
    assert [guard.update(step, 1e9) for step in range(100, 120)] == [None] * 20
    assert guard.notice == first_notice
    assert guard.update(120, math.nan) == "the training loss is nan at step 120"


def test_a_loss_of_zero_leaves_the_rule_on() -> None:
    guard = DivergenceGuard()
    for step in range(100):
        assert guard.update(step, max(0.0, 1.0 - step / 50)) is None
    assert guard.notice is None
    assert guard.update(100, 1e3) is not None


# --- laws and settings --------------------------------------------------------------------------------------


@given(st.lists(st.floats(0.0, 1e300), max_size=30), st.sampled_from([0.25, 2.0, 1024.0]))
def test_the_unit_of_the_loss_does_not_matter(losses: list[float], unit: float) -> None:
    # powers of two scale exactly, but for the smallest of floats
    losses = [loss if loss > 1e-290 else 0.0 for loss in losses]
    assert stopped_at(losses) == stopped_at([loss * unit for loss in losses])


@given(st.lists(st.floats(), max_size=30))
def test_any_losses_are_taken(losses: list[float]) -> None:
    stop = stopped_at(losses)
    first_bad = next((i for i, loss in enumerate(losses) if not math.isfinite(loss)), None)
    assert first_bad is None or (stop is not None and stop <= first_bad)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"ratio": 1.0}, "ratio must be greater than 1, got 1.0"),
        ({"ratio": math.inf}, "ratio must be greater than 1, got inf"),
        ({"ratio": math.nan}, "ratio must be greater than 1, got nan"),
        ({"ratio": True}, "ratio must be greater than 1, got True"),
        ({"ratio": "2"}, "ratio must be greater than 1, got '2'"),
        ({"ema": 1.0}, "ema must be in [0, 1), got 1.0"),
        ({"ema": -0.1}, "ema must be in [0, 1), got -0.1"),
        ({"ema": None}, "ema must be in [0, 1), got None"),
        ({"spread_factor": -1.0}, "spread_factor must be at least 0, got -1.0"),
        ({"n_first": 0}, "n_first must be a whole number of at least 1, got 0"),
        ({"n_first": 5.0}, "n_first must be a whole number of at least 1, got 5.0"),
        ({"n_first": True}, "n_first must be a whole number of at least 1, got True"),
        ({"n_spread": 1}, "n_spread must be a whole number of at least 2, got 1"),
    ],
)
def test_settings_outside_their_domain_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        GuardSettings(**settings)
    assert str(caught.value) == message


def test_the_edges_of_the_domains_are_taken() -> None:
    settings = GuardSettings(ratio=1.0001, ema=0.0, n_first=1, n_spread=2, spread_factor=0.0)
    # without an average or a spread, the second loss alone decides
    assert stopped_at([1.0, 1.0, 1.0, 1.01], settings) == 3
