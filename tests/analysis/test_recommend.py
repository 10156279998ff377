from __future__ import annotations

import math
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray
from power_runs import Truth, make_runs
from scipy.integrate import trapezoid

from autowarm.analysis.recommend import Recommendation, lr_band, recommend, schedule_of, shaded
from autowarm.analysis.runs import Runs
from autowarm.analysis.scaling import scaling
from autowarm.analysis.warmup_need import warmup_need
from autowarm.errors import RecordError, SettingsError
from autowarm.schedule import Schedule

Floats = NDArray[np.float64]
LRS = np.geomspace(1e-4, 1e-1, 12)
TRUTH = Truth(steps=(300.0, 1000.0, 3000.0), runs=30, noise=0.005)


@cache
def some_runs() -> Runs:
    return TRUTH.draw(np.random.default_rng(0))[0]


@cache
def at(total_steps: float, dataset_size: float | None = None, batch_size: float | None = None) -> Recommendation:
    return recommend(some_runs(), total_steps, dataset_size, batch_size)


def test_the_band_at_a_horizon_nobody_ran_holds_the_best_and_the_lr_to_use_is_in_its_lower_half() -> None:
    found = at(10_000)
    best = float(TRUTH.best(10_000))
    lr = found.initial_lr
    assert best in lr
    assert lr.low < lr.value < math.sqrt(lr.low * lr.high)
    assert lr.value == pytest.approx(best, rel=0.3)
    assert (found.total_steps, found.batch_size, found.decay) == (10_000, 32, "")
    assert math.isnan(found.dataset_size)


def test_the_farther_the_wider_and_far_is_named() -> None:
    near, beyond, far = at(3000), at(6000), at(300_000)
    widths = [f.initial_lr.high / f.initial_lr.low for f in (near, beyond, far)]
    assert widths[0] < widths[1] < widths[2]
    assert (near.far, beyond.far, far.far) == (False, False, True)
    assert (near.factor, beyond.factor, far.factor) == (1, 2, 100)
    assert any("Far extrapolation: total_steps 300,000 is 100.0 times beyond" in s for s in far.sentences())
    assert any(s.startswith("Extrapolation: total_steps 6,000 is 2.0 times") for s in beyond.sentences())
    assert not any("xtrapolation" in s for s in near.sentences())
    assert at(30).factor == pytest.approx(10)


def test_a_larger_batch_has_a_higher_lr_by_the_square_root_where_runs_do_not_say() -> None:
    law = scaling(some_runs())
    assert law is not None
    _, low, high = lr_band(law, np.array([3000.0]))
    _, low4, high4 = lr_band(law, np.array([3000.0]), batch_size=128.0)
    assert math.sqrt(low4[0] * high4[0]) == pytest.approx(2 * math.sqrt(low[0] * high[0]))
    assert high4[0] / low4[0] > high[0] / low[0]


def test_the_band_over_many_horizons_is_that_of_each() -> None:
    law = scaling(some_runs())
    assert law is not None
    used, low, high = lr_band(law, np.array([1000.0, 10_000.0]), batch_size=64.0)
    lr = at(10_000, None, 64.0).initial_lr
    assert (used[1], low[1], high[1]) == pytest.approx((lr.value, lr.low, lr.high))


def measured_cost(u: Floats) -> Floats:
    """Return the cost in % of a lr off by u, by powers through the medians at a quarter, half, twice and four times."""
    doublings = np.abs(u) / math.log(2)
    return np.where(u < 0, 0.32 * doublings ** math.log2(0.91 / 0.32), 0.84 * doublings ** math.log2(3.9 / 0.84))


@pytest.mark.parametrize("sd", [0.2, 0.3, 0.5, 0.7, 1.0, 1.5])
def test_the_shaded_lr_costs_next_to_the_least_that_is_to_be_expected(sd: float) -> None:
    z = np.linspace(-6, 6, 2001)
    chance = np.exp(-0.5 * z**2) / math.sqrt(2 * math.pi)

    def expected(place: float) -> float:
        return float(trapezoid(chance * measured_cost(place - sd * z), z))

    least = min(expected(place) for place in np.linspace(-2 * sd, sd, 121))
    used = float(shaded(np.array(0.0), np.array(sd)))
    assert used < 0
    assert expected(used) <= 1.04 * least
    if sd >= 0.3:
        assert expected(used) < 0.95 * expected(0.0)


def test_the_warmup_that_the_runs_need_is_recommended_in_shares_and_in_steps() -> None:
    rng = np.random.default_rng(1)
    share = rng.uniform(0, 0.4, 400)
    u = rng.uniform(-2.5, 1.5, 400)
    steps = np.repeat([500.0, 2000.0], 200)
    value = 1 + 0.05 * u**2 + 0.2 * (share < 0.1) + 0.01 * rng.standard_normal(400) + 1 / np.log(steps)
    # with a short warmup, high learning rates fail
    value[(share < 0.1) & (u > 0.5)] = math.nan
    found = recommend(make_runs(1e-3 * np.exp(u), value, total_steps=steps, warmup=share), 4000)
    assert 0.1 <= found.warmup_ratio.value < 0.16
    assert found.warmup_steps == round(found.warmup_ratio.value * 4000)


def test_where_warmup_does_not_matter_it_is_short() -> None:
    assert at(3000).warmup_ratio.high < 0.1


def test_failures_just_above_the_lr_rule_a_warmup_out() -> None:
    rng = np.random.default_rng(2)
    share = rng.choice([0.0, 0.1], 300)
    u = rng.uniform(-2.5, 1.5, 300)
    value = 1 + 0.05 * u**2 + 0.01 * rng.standard_normal(300)
    lost = (share == 0) & (u > 0.3)
    found = [
        recommend(make_runs(1e-3 * np.exp(u), np.where(mask, math.nan, value), warmup=share), 1000).warmup_ratio.value
        for mask in (lost, np.zeros(300, dtype=bool))
    ]
    assert found == [0.1, 0.0]


def test_unknown_warmups_are_said_to_be_unknown() -> None:
    found = recommend(replace(some_runs(), warmup_ratio=np.full(90, math.nan)), 1000)
    assert found.warmup_ratio.value == 0.1
    assert any("habit, not a finding" in s for s in found.sentences())


def test_a_dataset_that_the_runs_do_not_tell_of_is_not_taken_into_account_and_it_says_so() -> None:
    found = at(3000, 5000.0)
    assert found.initial_lr == at(3000).initial_lr
    assert any("do not say their dataset_size" in s for s in found.sentences())


@pytest.mark.parametrize("bad", [0, -1, math.nan, math.inf])
def test_a_budget_is_a_positive_number(bad: float) -> None:
    with pytest.raises(SettingsError, match=r"total_steps must be a positive number, got"):
        recommend(some_runs(), bad)
    with pytest.raises(SettingsError, match=r"batch_size must be a positive number, got"):
        recommend(some_runs(), 100, None, bad)


@pytest.mark.parametrize("value", [[], LRS * math.nan, [math.inf] * 12], ids=["empty", "all failed", "infinities"])
def test_with_nothing_to_go_by_nothing_is_recommended(value: Floats) -> None:
    with pytest.raises(RecordError, match=r"nothing to recommend from: of (0|12) runs, none ended"):
        recommend(make_runs(LRS[: len(value)], value), 1000)


@pytest.mark.parametrize(
    ("lr", "value"),
    [([0.1], [1.0]), (LRS, LRS * 0 + 1), (LRS * 0 + 0.1, LRS), (LRS[:3], LRS[:3]), (LRS, LRS * 1e300)],
    ids=["one run", "constant", "one lr", "three runs", "huge"],
)
def test_little_is_a_wide_band_near_what_was_tried(lr: Floats, value: Floats) -> None:
    found = recommend(make_runs(lr, value), 1000)
    assert found.initial_lr.high / found.initial_lr.low > 10
    assert np.min(lr) / 5 < found.initial_lr.value < np.max(lr) * 5
    assert found.warmup_steps == 100


def test_what_is_recommended_below_all_that_was_tried_says_so() -> None:
    runs = make_runs(LRS, np.log(LRS / 2e-4) ** 2, total_steps=100.0)
    assert not any("No run had" in s for s in recommend(runs, 100).sentences())
    found = recommend(runs, 100_000)
    assert found.initial_lr.value < 1e-4
    assert "No run had such an initial_lr: they are between 0.0001 and 0.1." in found.sentences()


def test_the_sentences_say_what_to_use_and_what_it_rests_on() -> None:
    said = recommend(replace(some_runs(), decay=np.full(90, "cosine")), 10_000).sentences()
    assert said[0].startswith("For 10,000 steps: initial_lr 0.000")
    assert said[0].endswith("decay cosine.")
    assert "(90 %)" in said[1]
    assert any("runs near the best of 3 horizons" in s for s in said)


@pytest.mark.parametrize(("decay", "written"), [("", "cosine"), ("linear", "linear"), ("wsd 40 %", "wsd")])
def test_a_recommendation_is_a_schedule(decay: str, written: str) -> None:
    found = replace(at(3000), decay=decay)
    schedule = schedule_of(found)
    assert schedule.decay == written
    assert schedule.decay_ratio == (0.4 if written == "wsd" else None)
    assert schedule.initial_lr == pytest.approx(found.initial_lr.value, rel=5e-3)
    assert schedule.warmup_steps_of(3000) == pytest.approx(found.warmup_steps, abs=1)


def test_the_decay_of_an_answer_has_the_lr_that_goes_with_it() -> None:
    answer = Schedule(initial_lr=1.0, warmup_steps=7, decay="constant")
    schedule = schedule_of(replace(at(3000), decay="cosine"), answer)
    assert (schedule.decay, schedule.warmup_steps) == ("constant", None)
    assert schedule.initial_lr == pytest.approx(0.32 * at(3000).initial_lr.value, rel=5e-3)


def test_a_decay_with_parameters_that_nobody_knows_is_not_written() -> None:
    with pytest.raises(SettingsError, match="the decay of the runs, polynomial_of_theirs, cannot be written"):
        schedule_of(replace(at(3000), decay="polynomial_of_theirs"))


def test_a_report_and_a_recommendation_name_the_same_warmup() -> None:
    runs, _ = Truth(steps=(1000.0,), runs=60, noise=0.02).draw(np.random.default_rng(3))
    need = warmup_need(runs)
    assert need is not None
    assert need.shortest is not None
    assert recommend(runs, 1000).warmup_ratio == need.shortest


@pytest.mark.parametrize(("runs", "raised"), [(40, True), (2000, False)])
def test_a_warmup_that_the_metric_alone_does_not_ask_for_says_so(runs: int, raised: bool) -> None:
    """Without any effect of the warmup, of few runs too few had a short one to know that they train."""
    rng = np.random.default_rng(2)
    lr, share = np.exp(rng.uniform(math.log(1e-4), math.log(0.1), runs)), rng.uniform(0, 0.3, runs)
    value = 1 + 0.1 * np.log(lr / 0.01) ** 2 + 0.01 * rng.standard_normal(runs)
    notes = " ".join(recommend(make_runs(lr, value, warmup=share), 1000).notes)
    assert ("by the metric alone" in notes) == raised
    assert ("too few had less to know that they train" in notes) == raised
