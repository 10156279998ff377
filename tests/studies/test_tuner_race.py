from __future__ import annotations

import dataclasses
import doctest
import json
import math
import random
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

from autowarm.record import TrialRecord
from autowarm.schedule import Schedule
from studies.tuner_race import figures, race, report, store
from studies.tuner_race import standings as standing_figures
from studies.tuner_race.contestants.autowarm_tune import trials_of
from studies.tuner_race.contestants.ray_asha import draw
from studies.tuner_race.contestants.run import Run, Trial, trial_of
from studies.tuner_race.entries import (
    BUDGET,
    ENTRIES,
    EVALUATION_SEEDS,
    EXTRAS,
    FURTHER_SEEDS,
    SELECTION_SEEDS,
    SPACE,
    SWEEP_SEED,
    Entry,
    rule_of_thumb,
    search_seed,
)
from studies.tuner_race.figures import key_of
from studies.tuner_race.fitting import Meter, evaluate, search_fit
from studies.tuner_race.jobs import char_gpt, digits_conv
from studies.tuner_race.standings import Standings, standings

DIGITS = ENTRIES["digits_conv"]
GPT = ENTRIES["char_gpt"]


def schedule(lr: float) -> Schedule:
    return Schedule(initial_lr=lr, warmup_ratio=0.1, decay="linear")


def trial(lr: float, value: float | None, share: float = 1.0, **fields: Any) -> Trial:
    """A trial on the digits that ran a share of its steps and validations."""
    given: dict[str, Any] = {"outcome": "COMPLETE" if share == 1.0 else "PRUNED", **fields}
    return Trial(
        schedule=schedule(lr).to_dict(),
        value=value,
        steps=round(300 * share),
        val_batches=round(20 * share),
        seconds=1.0,
        **given,
    )


def run_of(*trials: Trial, contestant: str = "random", seed: int = 0, budget: float = BUDGET) -> Run:
    return Run(contestant, "digits_conv", seed, budget, trials, seconds=len(trials) * 1.5)


def reference(entry: Entry = DIGITS) -> dict[tuple[str, str, int], float]:
    """Retrainings of a sweep whose values rise by a percent from point to point, with less on later seeds."""
    worth = {}
    for i, key in enumerate(figures.sweep()):
        for seed in (SWEEP_SEED, *SELECTION_SEEDS):
            worth[entry.name, key, seed] = 0.5 * (1 + 0.01 * i)
        for seed in (*EVALUATION_SEEDS, *FURTHER_SEEDS):
            worth[entry.name, key, seed] = 0.4 * (1 + 0.01 * i) + (0.002 if seed in EVALUATION_SEEDS else -0.002)
    for key in figures.untuned(entry).values():
        worth |= {(entry.name, key, seed): 0.8 for seed in EVALUATION_SEEDS}
    return worth


def with_worth(worth: dict[tuple[str, str, int], float], lr: float, value: float) -> None:
    for seed in (*EVALUATION_SEEDS, *FURTHER_SEEDS):
        worth["digits_conv", key_of(schedule(lr)), seed] = value


def test_a_full_run_costs_one_equivalent() -> None:
    assert pytest.approx(306 + 2 / 3) == DIGITS.run_cost
    assert pytest.approx(326 + 2 / 3) == GPT.run_cost
    assert trial(0.1, 0.5).cost == pytest.approx(DIGITS.run_cost)
    assert trial(0.1, 0.5, share=0.25).cost == pytest.approx(DIGITS.run_cost / 4)


def test_jobs_are_what_the_entries_say() -> None:
    for name, build in (("char_gpt", char_gpt.build), ("digits_conv", digits_conv.build)):
        entry, training = ENTRIES[name], build()
        assert training.trainer["max_steps"] == entry.total_steps
        assert entry.total_steps % 20 == 0
        assert isinstance(training.val_data, DataLoader)
        assert len(training.val_data) == entry.val_batches
        optimizer: Any = training.module.configure_optimizers()
        group = optimizer.param_groups[0]
        assert group["lr"] == entry.today.initial_lr
        assert isinstance(optimizer, torch.optim.SGD) == entry.sgd
        assert group.get("betas", (0, None))[1] == entry.beta2


def test_labels_are_wrong_in_training_alone() -> None:
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    _, digits = load_digits(return_X_y=True)
    train, val = train_test_split(range(len(digits)), test_size=0.2, stratify=digits, random_state=0)
    noisy, clean = digits_conv.datasets()
    wrong = (noisy.tensors[1] != torch.as_tensor(digits[train])).float().mean()
    # a tenth of those drawn at random are right
    assert 0.23 < float(wrong) < 0.31
    assert torch.equal(clean.tensors[1], torch.as_tensor(digits[val]))


@pytest.mark.parametrize("module", [figures, standing_figures])
def test_examples_in_docstrings(module: ModuleType) -> None:
    failed, tried = doctest.testmod(module)
    assert tried > 0
    assert failed == 0


def test_seeds_are_disjoint() -> None:
    seeds = [SWEEP_SEED, *SELECTION_SEEDS, *EVALUATION_SEEDS, *FURTHER_SEEDS]
    # a search confirms on the seeds after its own
    seeds += [search_seed(entry, seed) + i for entry in ENTRIES.values() for seed in range(10) for i in range(100)]
    assert len(set(seeds)) == len(seeds)


def test_rule_of_thumb_warms_up_for_half_the_run_at_most() -> None:
    assert rule_of_thumb(GPT) == Schedule(initial_lr=1e-3, warmup_ratio=0.5, decay="linear")
    assert rule_of_thumb(dataclasses.replace(GPT, beta2=0.95)).warmup_ratio == pytest.approx(40 / 300)
    assert rule_of_thumb(DIGITS) == Schedule(initial_lr=1e-2, warmup_ratio=0.0, decay="linear")


def test_sweep_and_draws_cover_the_space() -> None:
    generator = random.Random(0)
    for keys in (figures.sweep(), [key_of(draw(generator)) for _ in range(100)]):
        found = [Schedule.from_dict(json.loads(key)) for key in keys]
        assert len(set(keys)) == 100
        assert all(SPACE.params_of(s, total_steps=300) is not None for s in found)
        assert {s.decay for s in found} == set(SPACE.decays)
        low = sum(s.initial_lr < 1e-2 for s in found)
        assert 35 <= low <= 65


def test_named_is_what_is_paid_for() -> None:
    run = run_of(
        trial(0.1, 0.7, named=0),
        trial(0.2, 0.9, share=0.5, named=0),
        trial(0.3, 0.5, named=2),
        trial(0.4, 0.6, named=2),
    )
    named = [figures.named_after(run, DIGITS, c) for c in (0.9, 1, 2.4, 2.5, 20)]
    assert [t and t.value for t in named] == [None, 0.7, 0.7, 0.5, 0.5]
    # nothing yet: today's
    assert figures.key_at([run], DIGITS, 0.5) == key_of(DIGITS.today)
    assert [t.value for t in figures.within(run, DIGITS, 2.5).trials] == [0.7, 0.9, 0.5]


def test_a_budgeted_contestant_is_taken_at_its_largest_budget_paid() -> None:
    runs = [
        run_of(trial(0.1 * b, 0.5, named=0), contestant="autowarm", budget=b)  # each names a schedule of its own
        for b in (2, 4)
    ]
    assert figures.named_at(runs, DIGITS, 1) is None
    for checkpoint, lr in ((2, 0.2), (3, 0.2), (4, 0.4), (6, 0.4)):
        named = figures.named_at(runs, DIGITS, checkpoint)
        assert named is not None
        assert named.schedule == schedule(lr).to_dict()


def test_what_confirms_is_told_from_the_search() -> None:
    run = run_of(
        trial(0.1, 0.7, named=0),
        trial(0.2, 0.5, named=1),
        trial(0.2, 0.9, named=0, confirming=True),
        contestant="autowarm",
    )
    assert figures.spent_on_search(run, DIGITS) == pytest.approx(2)
    assert figures.key_before_confirmation(run, DIGITS) == key_of(schedule(0.2))
    assert figures.key_at([run], DIGITS, BUDGET) == key_of(schedule(0.1))


def test_best_known_is_the_best_of_the_sweep() -> None:
    worth = reference()
    best = figures.best_known(worth, DIGITS, [])
    assert (best.key, best.named_by_contestant) == (figures.sweep()[0], False)
    assert best.value == pytest.approx(0.402)
    assert best.regret(0.402 * 1.05) == pytest.approx(5)
    assert best.near == 1
    noisy = dict(worth)
    noisy["digits_conv", best.key, FURTHER_SEEDS[0]] += 0.1
    assert figures.best_known(noisy, DIGITS, []).near > 5


def test_selection_seeds_overrule_the_sweep() -> None:
    worth = reference()
    lucky, second = figures.sweep()[:2]
    worth |= {("digits_conv", lucky, seed): 0.9 for seed in SELECTION_SEEDS}
    assert figures.best_of_sweep(worth, DIGITS) == second


def test_a_challenger_must_be_better_on_further_seeds() -> None:
    worth, key = reference(), key_of(schedule(0.1))
    with_worth(worth, 0.1, 0.3)
    assert figures.challengers(worth, DIGITS, [key]) == [key]
    best = figures.best_known(worth, DIGITS, [key])
    # better by what it is on further seeds
    assert (best.key, best.named_by_contestant) == (key, True)
    assert best.value == pytest.approx(0.402 + 0.3 - 0.398)
    worth |= {("digits_conv", key, seed): 0.5 for seed in FURTHER_SEEDS}
    assert not figures.best_known(worth, DIGITS, [key]).named_by_contestant


def test_divergence_counts_as_useless() -> None:
    worth = reference()
    with_worth(worth, 0.1, math.inf)
    assert figures.mean_worth(worth, DIGITS, key_of(schedule(0.1)), EVALUATION_SEEDS) == DIGITS.useless
    worth["digits_conv", key_of(schedule(0.1)), EVALUATION_SEEDS[0]] = 0.2
    mean = figures.mean_worth(worth, DIGITS, key_of(schedule(0.1)), EVALUATION_SEEDS)
    assert mean == pytest.approx((0.2 + 2 * DIGITS.useless) / 3)


@pytest.mark.parametrize(
    ("regrets", "expected"),
    [
        ({1: 0.5, 2: 0.5}, (1, 1)),
        ({1: 5.0, 2: 0.5, 3: 3.0}, (2, math.inf)),
        ({1: 5.0, 2: 3.0}, (math.inf, math.inf)),
        ({1: 5.0, 2: 1.0}, (2, 2)),
    ],
)
def test_equivalents_to_near_best(regrets: dict[float, float], expected: tuple[float, float]) -> None:
    assert figures.equivalents_to_near_best(regrets, near=1.0) == expected


def test_steps_of_diverged_trials_are_wasted() -> None:
    fine, stopped_early = trial(0.1, 0.5), trial(0.2, 2.5, share=0.1)
    no_number, useless = trial(0.3, None, share=0.5), trial(0.4, 2.303)
    guarded = trial(0.5, 1.9, share=0.2, outcome="DIVERGED")
    best, slow = figures.Best(key_of(schedule(0.1)), 0.4, 0.01, named_by_contestant=False), trial(0.001, 2.303)
    assert [figures.diverged(t, DIGITS, best) for t in (fine, stopped_early, no_number, useless, guarded, slow)] == [
        False,
        False,  # a net that has hardly been trained is no better yet
        True,
        True,
        True,
        False,  # too low a peak to get anywhere
    ]
    run = run_of(fine, stopped_early, no_number, useless, guarded)
    assert figures.wasted(run, DIGITS, best) == pytest.approx((150 + 300 + 60) / (300 + 30 + 150 + 300 + 60))


def test_eventual_winner_is_the_one_that_would_have_ended_best() -> None:
    stopped, seed = trial(0.2, 2.0, share=0.1), search_seed(DIGITS, 0)
    run = run_of(trial(0.1, 0.5), stopped, trial(0.3, None, outcome="COMPLETE"))
    assert figures.ends_of(run, DIGITS, {}, seed) == []
    finished = {("digits_conv", key_of(schedule(0.2)), seed): 0.4}
    assert sorted(figures.ends_of(run, DIGITS, finished, seed)) == [(0.4, True), (0.5, False)]
    assert figures.ends_of(run, DIGITS, finished, seed + 1) == []


def test_a_schedule_of_another_horizon_is_no_winner() -> None:
    run = run_of(trial(0.1, 0.1, total_steps=75), trial(0.2, 0.5, total_steps=300))
    assert figures.ends_of(run, DIGITS, {}, 0) == [(0.5, False)]


def test_standings_and_report() -> None:
    worth = reference()
    for lr, value in ((0.1, 0.6), (0.2, 0.402)):
        with_worth(worth, lr, value)
    run = run_of(trial(0.1, 0.5, named=0), trial(0.2, 0.39, named=1), trial(0.3, 2.0, share=0.1, named=1))
    finished = {("digits_conv", key_of(schedule(0.3)), search_seed(DIGITS, 0)): 0.2}
    found = standings({("random", "digits_conv", 0): [run]}, worth, finished)
    (result,) = found.results
    assert result.regrets[1] == pytest.approx(100 * (0.6 / 0.402 - 1))
    assert result.regrets[2] == pytest.approx(0)
    assert (result.first, result.for_good) == (2, 2)
    assert result.optimism == pytest.approx(100 * (0.402 - 0.39) / 0.402)
    assert (result.killed, result.top_stopped) == (True, 1.0)
    assert result.overhead == pytest.approx(0.5)
    assert found.untuned["today", "digits_conv"] == pytest.approx(100 * (0.8 / 0.402 - 1))
    text = report.text(found)
    assert "autowarm has not raced yet" in text
    assert "| random search |  | 49.3 | 49.3 | 0.0 | 0.0 |" in text
    assert "| random search | 2 \\| 2 | 2 \\| 2 |" in text
    assert "| random search | 3 | 33% | 1 of 1 |" in text
    # what is not retrained yet is not judged
    del worth["digits_conv", key_of(schedule(0.2)), EVALUATION_SEEDS[0]]
    assert standings({("random", "digits_conv", 0): [run]}, worth, finished).results == []


@pytest.mark.parametrize(("rival", "said"), [(14, "NOT reached"), (20, "reached")])
def test_targets_are_judged(rival: int, said: str) -> None:
    worth = reference()
    for lr, value in ((0.1, 0.6), (0.2, 0.402)):
        with_worth(worth, lr, value)
    steps = [trial(0.1, 0.5, named=0)] * (rival - 1) + [trial(0.2, 0.4, named=rival - 1)]
    ours = (trial(0.1, 0.5, named=0), trial(0.2, 0.4, named=1), trial(0.2, 0.4, named=1, confirming=True))
    runs = {
        ("tpe_median", "digits_conv", 0): [run_of(*steps, contestant="tpe_median", budget=32)],
        ("autowarm", "digits_conv", 0): [run_of(*ours, contestant="autowarm", budget=3)],
    }
    lines = report.text(standings(runs, worth, {})).split("## Targets\n\n")[1].split("\n\n")[0].split("\n")
    assert lines[0] == "- reached: 2 equivalents to name a near-best schedule before confirmation (at most 3)."
    assert lines[1] == "- reached: 3 with confirmation (at most 6)."
    assert lines[2].startswith(f"- {said}: 2 before confirmation and 3 with it, TPE + MedianPruner {rival} ")
    assert lines[3].startswith(f"- {said}: for good 2 before confirmation and 3 with it, TPE + MedianPruner {rival} ")
    assert lines[4].startswith("- reached: at most 0.0% ")
    assert lines[-1].startswith("- overhead: ")


def test_a_budget_without_a_confirmation_counts_before_it_alone() -> None:
    worth = reference()
    for lr, value in ((0.1, 0.6), (0.2, 0.402)):
        with_worth(worth, lr, value)
    near = (trial(0.1, 0.5, named=0), trial(0.2, 0.4, named=1))
    searched = run_of(*near, contestant="autowarm", budget=2)
    confirmed = run_of(*near, trial(0.2, 0.4, named=1, confirming=True), contestant="autowarm", budget=6)
    (result,) = standings({("autowarm", "digits_conv", 0): [searched, confirmed]}, worth, {}).results
    assert (result.first_before, result.first, result.for_good) == (2, 6, 6)
    assert set(result.regrets) == {2, 6}


def test_what_is_beside_the_race_is_judged_by_the_best_that_was_named() -> None:
    entry = EXTRAS["headlines_minilm"]
    assert not set(EXTRAS) & set(ENTRIES)
    worth = {(entry.name, key, seed): 0.9 for key in figures.untuned(entry).values() for seed in EVALUATION_SEEDS}
    for lr, value in ((0.1, 0.6), (0.2, 0.3)):
        worth |= {(entry.name, key_of(schedule(lr)), seed): value + seed / 1e6 for seed in EVALUATION_SEEDS}
    steps = dataclasses.replace(trial(0.1, 0.6, named=0), steps=60, val_batches=20)
    run = Run(
        "tpe_median",
        entry.name,
        0,
        2,
        (steps, dataclasses.replace(steps, schedule=schedule(0.2).to_dict(), named=1)),
        1.0,
    )
    runs = {("tpe_median", entry.name, 0): [run]}
    assert standings(runs, worth, {}).results == []
    found = standings(runs, worth, {}, EXTRAS.values())
    (result,) = found.results
    assert found.best[entry.name].key == key_of(schedule(0.2))
    assert result.regrets[1] == pytest.approx(100 * 0.3 / (0.3 + 912e-6))
    assert result.regrets[2] == pytest.approx(0)
    assert result.first == 2
    said = report.text(Standings(), found).split("## Beside the race")[1]
    assert "headlines_minilm" in said
    assert "1 seed," in said


def test_how_often_a_cooldown_was_tried_is_what_the_runs_say() -> None:
    tried = {}
    for budget in (6, 20):
        runs = [r for r in race.runs_in(race.RUNS) if (r.contestant, r.budget) == ("autowarm", budget)]
        trials = [trial for r in runs for trial in r.trials]
        tried[budget] = (sum((t.schedule or {}).get("decay") == "wsd" for t in trials), len(trials))
    assert tried == {6: (0, 336), 20: (36, 1030)}
    assert "in none of its 336 trials at 6 equivalents, and in 36 of 1,030 at 20" in report.text(Standings())


def test_an_empty_race_is_reported() -> None:
    assert "autowarm has not raced yet" in report.text(Standings())


def test_runs_and_lines_survive_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl"
    assert list(store.read(path)) == []
    run = run_of(trial(0.1, 0.5, named=0))
    store.append(path, run.to_dict())
    with path.open("ab") as file:
        file.write(b'{"contestant": "ra')
    assert [Run.from_dict(d) for d in store.read(path)] == [run]
    store.append(path, {"second": 2})
    assert list(store.read(path))[1:] == [{"second": 2}]


def test_trial_of_a_meter_keeps_no_nan() -> None:
    meter = SimpleNamespace(steps=15, val_batches=1, seconds=0.1, value=math.nan)
    assert trial_of(meter, schedule(0.1), "PRUNED").value is None


def record(role: Any, number: int, value: float | None, lr: float, total_steps: int = 300) -> TrialRecord:
    return TrialRecord(
        study="race",
        trial=number,
        role=role,
        schedule=schedule(lr),
        label="",
        total_steps=total_steps,
        dataset_size=None,
        batch_size=None,
        seed=0,
        monitor="val_loss",
        mode="min",
        outcome="COMPLETE" if value is not None else "PRUNED",
        value=value,
        rungs=((15, 2.0),),
        steps=total_steps,
        val_batches=20,
    )


def test_trace_of_a_study_is_read_off_its_records() -> None:
    records = (
        record("confirm", 0, 0.45, 0.2),
        record("search", 0, 0.5, 0.1),
        record("search", 1, None, 0.3),
        record("search", 2, 0.4, 0.2),
        record("range_test", 1, None, 1.0),
        record("search", 0, 0.9, 0.7, total_steps=75),
    )
    trials = trials_of(records)
    assert [t.total_steps for t in trials] == [300, 75, 300, 300, 300, 300]
    assert [t.named for t in trials] == [None, 1, 2, 2, 4, 4]
    assert [t.confirming for t in trials] == [False] * 5 + [True]
    # a range test and a confirmation are not what is named
    assert [t.schedule is None for t in trials] == [True, False, False, False, False, True]
    assert trials[3].value == 2.0


@pytest.mark.slow
@pytest.mark.slow
def test_both_ways_of_training_take_all_steps_and_repeat() -> None:
    meter = Meter()
    value = search_fit(DIGITS, schedule(0.05), 5, meter)
    assert (meter.steps, meter.val_batches) == (300, 20)
    assert meter.value == value
    assert search_fit(DIGITS, schedule(0.05), 5, Meter()) == value
    once = evaluate(DIGITS, schedule(0.05).to_dict(), 5)
    assert evaluate(DIGITS, schedule(0.05).to_dict(), 5) == once
    # other batches, the same training otherwise
    assert once == pytest.approx(value, rel=0.2)
    assert once < 0.7
