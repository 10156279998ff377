from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from conftest import MakeRecord
from runs_of_truth import log_uniform, make_runs

from autowarm.analysis.answer import answer_of
from autowarm.analysis.runs import Runs, runs_of
from autowarm.analysis.trust import doubts


def kinds(runs: Runs, **arguments: Any) -> list[str]:
    return [doubt.kind for doubt in doubts(runs, **arguments)]


def table(n: int = 40, **columns: Any) -> Runs:
    """Runs whose best is in the middle of what was tried, at two lengths and with two seeds each."""
    lr = np.repeat(np.geomspace(1e-3, 1e-1, n // 2), 2)
    value = 1 + np.log10(lr / 1e-2) ** 2
    told = {"initial_lr": lr, "warmup_ratio": 0.1, "value": value, "seed": np.tile([0.0, 1.0], n // 2)}
    return make_runs(n, **(told | {"total_steps": np.repeat([100.0, 200.0], n // 2)} | columns))


def test_nothing_speaks_against_a_best_in_the_middle_that_was_repeated() -> None:
    assert kinds(table()) == []


@pytest.mark.parametrize(
    ("columns", "kind"),
    [
        ({"value": np.repeat(np.linspace(2, 1, 20), 2)}, "edge"),
        ({"initial_lr": np.geomspace(1e-3, 1e-1, 40), "value": 1 + np.linspace(-1, 1, 40) ** 2}, "seeds"),
        ({"value": 1.0}, "constant"),
        ({"value": np.nan}, "diverged"),
        ({"total_steps": 100.0}, "horizon"),
    ],
)
def test_each_doubt_is_named(columns: dict[str, Any], kind: str) -> None:
    assert kind in kinds(table(**columns))


def test_failures_beside_the_best_are_a_doubt() -> None:
    lr = np.full(40, 1e-2)
    assert "failures" in kinds(table(initial_lr=lr, value=np.linspace(1, 2, 40), failed=np.arange(40) % 4 == 3))


def test_noise_beyond_the_differences_is_a_doubt_and_less_is_none() -> None:
    rng = np.random.default_rng(0)
    lr = np.repeat(log_uniform(rng, 1e-3, 1e-1, 12), 5)
    seeds = np.tile(np.arange(5.0), 12)
    noisy = make_runs(60, initial_lr=lr, seed=seeds, value=1 + rng.normal(0, 0.1, 60))
    assert "noise" in kinds(noisy)
    clear = make_runs(60, initial_lr=lr, seed=seeds, value=1 + np.log10(lr) ** 2 + rng.normal(0, 0.001, 60))
    assert "noise" not in kinds(clear)


def test_no_runs_and_few_are_said() -> None:
    assert kinds(make_runs(0)) == ["none"]
    assert "few" in kinds(table(8))


def test_answers_that_are_known_make_no_difference(make_record: MakeRecord) -> None:
    records = [
        make_record(trial=i, lr=0.1 * 2**-i, value=1.0 + i, total_steps=steps) for steps in (50, 100) for i in range(6)
    ]
    records.append(make_record(trial=9, outcome="FAILED"))
    horizons = {r.target for r in records}
    answers = {h: answer_of([r for r in records if r.target == h], h) for h in horizons}
    runs = runs_of(records)
    found = doubts(runs, records)
    assert found
    assert doubts(runs, records, answers=answers) == found
