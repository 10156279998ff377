from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from runs_of_truth import log_uniform, make_runs

from autowarm.analysis.importance import Importance, importance
from autowarm.analysis.runs import Runs


def search(value: Any, n: int = 400, seed: int = 0) -> Runs:
    """Random runs whose value is a function of u and v, uniform in [-1, 1]: of lr and of warmup."""
    rng = np.random.default_rng(seed)
    lr, share = log_uniform(rng, 1e-4, 1e-2, n), rng.uniform(0.0, 0.4, n)
    u, v = np.log10(lr / 1e-3), share / 0.2 - 1
    return make_runs(n, initial_lr=lr, warmup_ratio=share, value=value(u, v) + rng.normal(0, 0.05, n))


def told(runs: Runs) -> Importance:
    found = importance(runs)
    assert found is not None
    return found


def shares(found: Importance) -> dict[str, Any]:
    return dict(zip(found.names, found.main, strict=True))


def test_what_adds_up_has_shares_that_do() -> None:
    # variances 4/3 and 1/3
    found = [told(search(lambda u, v: 2 * u + v, seed=seed)) for seed in range(6)]
    assert sum(0.8 in shares(f)["initial_lr"] for f in found) >= 5
    assert sum(0.2 in shares(f)["warmup_ratio"] for f in found) >= 5
    assert all(f.explained > 0.8 for f in found)
    assert all(share.value < 0.05 for f in found for *_, share in f.pairs)


def test_what_only_goes_together_is_a_pair() -> None:
    found = told(search(lambda u, v: u * v))
    (a, b, share), *_ = found.pairs
    assert {a, b} == {"initial_lr", "warmup_ratio"}
    assert share.low < 1.0
    assert share.value > 0.7
    assert max(main.low for main in found.main) < 0.1


def test_nothing_is_claimed_of_noise() -> None:
    found = told(search(lambda u, v: 0 * u * v))
    assert found.names == ()
    assert "explains nothing" in found.sentences()[0]


def test_the_same_runs_tell_the_same() -> None:
    assert told(search(lambda u, v: u + v, n=100)) == told(search(lambda u, v: u + v, n=100))


@pytest.mark.parametrize("columns", [{"value": 1.0}, {"value": np.nan}, {"failed": True}])
def test_where_nothing_varies_or_ended_nothing_matters(columns: dict[str, Any]) -> None:
    lr = np.geomspace(1e-4, 1.0, 50)
    assert importance(make_runs(50, initial_lr=lr, **columns)) is None
    assert importance(make_runs(0)) is None
