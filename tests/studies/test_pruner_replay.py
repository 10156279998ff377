"""The replay of pruners on recorded trials: on made-up pools whose outcome is known, and beside Optuna's own pruner."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import optuna
import pytest
from numpy.typing import NDArray

from autowarm.pruning import rungs_of
from studies.pruner_replay.replay import Median, Outcome, Phase, Pool, load, mean, orders_of, replay, rules, table

SHARES = tuple(i / 20 for i in range(1, 21))


def pool_of(values: NDArray[np.float64], *, warmup: float = 0.0, ema: NDArray[np.float64] | None = None) -> Pool:
    averaged = values if ema is None else ema
    return Pool("made", SHARES, values, {"T/40": averaged, "T/10": averaged}, (warmup,) * len(values))


def noisy(trials: int = 30, seed: int = 0) -> NDArray[np.float64]:
    """Curves that fall to different ends and cross on their way."""
    generator = np.random.default_rng(seed)
    ends = generator.uniform(1, 2, trials)[:, None]
    falls = generator.uniform(1, 8, trials)[:, None]
    noise = generator.normal(0, 0.05, (trials, 20))
    return np.asarray(ends + np.exp(-falls * np.array(SHARES)) + noise, dtype=np.float64)


class Stopper:
    """Stops trials by a table: trial -> rung."""

    def __init__(self, stops: dict[int, int]) -> None:
        self.at = stops
        self.seen: list[tuple[int, int, float, float | None]] = []
        self.done: list[int] = []

    def stops(self, trial: int, rung: int, value: float, ema: float | None) -> bool:
        self.seen.append((trial, rung, value, ema))
        return self.at.get(trial) == rung

    def ended(self, trial: int) -> None:
        self.done.append(trial)


def test_cost_regret_and_what_is_killed_are_counted() -> None:
    pool = pool_of(np.array([[3.0] * 20, [2.0] * 20, [2.5] * 20, [4.0] * 20]))
    rule = Stopper({1: 4, 3: 9})
    # of four trials, two go to the end, one to a quarter and one to a half
    assert replay(pool, [3, 0, 1, 2], rule, None) == Outcome(cost=2.75 / 4, regret=25.0, killed=True)
    assert rule.done == [0, 2]
    assert len(rule.seen) == 20 + 20 + 5 + 10
    assert replay(pool, [0, 2], Stopper({}), None) == Outcome(1.0, 0.0, killed=False)
    # at its end a trial is complete, and without a trial kept there is no answer
    assert replay(pool, [1], Stopper({1: 19}), None) == Outcome(1.0, 0.0, killed=False)
    assert replay(pool, [1], Stopper({1: 18}), None) == Outcome(0.95, np.inf, killed=True)


def test_averages_are_shown_where_a_trial_may_be_judged_alone() -> None:
    values = np.ones((1, 20))
    rule = Stopper({})
    replay(pool_of(values, ema=values / 2), [0], rule, "T/40")
    assert [ema for *_, ema in rule.seen] == [None] * 5 + [0.5] * 14 + [None]
    rule = Stopper({})
    replay(pool_of(values, ema=values / 2), [0], rule, None)
    assert {ema for *_, ema in rule.seen} == {None}


@pytest.mark.parametrize("start", [0.0, 0.3])
@pytest.mark.parametrize("seed", range(3))
def test_the_median_pruner_is_optunas(start: float, seed: int) -> None:
    values = noisy(seed=seed)
    pruner = optuna.pruners.MedianPruner(n_warmup_steps=round(20 * start))
    study = optuna.create_study(pruner=pruner, sampler=optuna.samplers.RandomSampler(seed=0))
    rule = Median(pool_of(values), start)
    stopped = []
    for trial, curve in enumerate(values):
        asked = study.ask()
        for rung, value in enumerate(curve[:-1]):
            asked.report(float(value), rung + 1)
            prunes = asked.should_prune()
            assert rule.stops(trial, rung, float(value), None) == prunes
            if prunes:
                stopped.append(trial)
                study.tell(asked, state=optuna.trial.TrialState.PRUNED)
                break
        else:
            rule.stops(trial, 19, float(curve[-1]), None)
            rule.ended(trial)
            asked.report(float(curve[-1]), 20)
            study.tell(asked, float(curve[-1]))
    assert 5 < len(stopped) < 25


def test_a_winner_with_a_long_warmup_is_killed_by_the_median_and_not_by_the_phase_rule() -> None:
    values = np.full((12, 20), 2.0)
    # until its warmup ends it is behind, then ahead
    values[11] = [3.0] * 9 + [1.0] * 11
    pool = pool_of(values, warmup=0.5)
    order = list(range(12))
    assert replay(pool, order, Median(pool), None).killed
    assert replay(pool, order, Phase(pool, "aggressive"), None) == Outcome(1.0, 0.0, killed=False)


def test_a_winner_whose_weights_bounce_is_saved_by_the_average() -> None:
    values = np.full((12, 20), 2.0)
    values[11] = [3.0] * 19 + [1.0]
    averaged = values.copy()
    averaged[11] = 1.5
    pool = pool_of(values, ema=averaged)
    order = list(range(12))
    assert replay(pool, order, Phase(pool, "balanced"), None).killed
    assert not replay(pool, order, Phase(pool, "balanced"), "T/40").killed


def test_orders_are_seeded_and_draws_have_other_winners() -> None:
    pool = pool_of(noisy())
    orders = orders_of(pool, 5, None)
    assert orders == orders_of(pool, 5, None)
    assert all(sorted(order) == list(range(30)) for order in orders)
    assert len({tuple(order) for order in orders}) == 5
    draws = orders_of(pool, 20, 10)
    assert all(len(set(order)) == 10 for order in draws)
    assert len({min(order, key=lambda trial: pool.values[trial, -1]) for order in draws}) > 1


def test_means_are_over_the_orders() -> None:
    assert mean([Outcome(0.2, 3.0, killed=True), Outcome(0.4, 0.0, killed=False)]) == pytest.approx((0.3, 1.5, 0.5))


def test_a_file_is_thinned_to_the_rungs_of_a_trial(tmp_path: Path) -> None:
    steps = np.arange(0, 601, 15)
    values = np.arange(2 * 41, dtype=float).reshape(2, 41)
    averaged = np.stack([values + 100, values + 200], axis=2)
    np.savez(tmp_path / "two.npz", steps=steps, val=values, ema=averaged, wr=np.array([0.1, 0.2]))
    pool = load(tmp_path / "two.npz")
    assert pool.name == "two"
    assert pool.warmups == (0.1, 0.2)
    assert pool.shares == tuple(step / 600 for step in rungs_of(600))
    assert pool.values[0].tolist() == list(range(2, 41, 2))
    assert pool.emas["T/40"][0].tolist() == [v + 100 for v in range(2, 41, 2)]
    assert pool.emas["T/10"][0, 0] == 202
    np.savez(tmp_path / "odd.npz", steps=np.array([0, 300, 600]), val=values, ema=averaged, wr=np.array([0.1, 0.2]))
    with pytest.raises(ValueError, match=r"odd.npz: nothing was recorded at the steps \[30, 60, "):
        load(tmp_path / "odd.npz")


def test_the_table_says_of_every_rule_what_it_costs_and_whether_the_targets_are_reached() -> None:
    text = table([pool_of(noisy(50))], orders=3)
    lines = text.splitlines()
    for name, weights in rules():
        assert sum(line.startswith(f"| {name} | {weights} |") for line in lines) == 2
    off = [line for line in lines if line.startswith("| autowarm, off | raw |")]
    assert all("| 1.00 | 0.00 | 0.000 |" in line for line in off)
    verdicts = [line for line in lines if line.startswith(("- balanced, ", "- safe, "))]
    assert len(verdicts) == 4
    assert all(": reached. Regret " in line or ": NOT reached. Regret " in line for line in verdicts)
    # the rules of a pool in which all trials are one lose nothing
    assert "NOT reached" not in table([pool_of(np.ones((45, 20)))], orders=1)
