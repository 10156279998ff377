from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from runs_of_truth import curve, log_uniform, make_runs

from autowarm.analysis.decay_choice import DecayChoice, decay_choice
from autowarm.analysis.runs import Runs

BEST_LR = {"constant": 0.003, "cosine": 0.01, "linear": 0.0103}


def search(seed: int, level: dict[str, float], n: int = 90, noise: float = 0.01, **columns: Any) -> Runs:
    rng = np.random.default_rng(seed)
    decay = np.array(list(level))[np.arange(n) % len(level)]
    lr = log_uniform(rng, 3e-4, 0.1, n)
    best = np.array([BEST_LR[d] for d in decay.tolist()])
    value = np.array([level[d] for d in decay.tolist()]) + curve(lr, best) + rng.normal(0, noise, n)
    return make_runs(n, initial_lr=lr, decay=decay, value=value, **columns)


def chosen(runs: Runs) -> DecayChoice:
    found = decay_choice(runs)
    assert found is not None
    return found


def test_decays_are_compared_at_their_own_best_lr() -> None:
    found = chosen(search(0, {"constant": 1.0, "cosine": 1.1}))
    assert [d.decay for d in found.decays] == ["constant", "cosine"]
    assert not found.decays[1].tied
    for decay, level in (("constant", 1.0), ("cosine", 1.1)):
        (one,) = [d for d in found.decays if d.decay == decay]
        assert one.lr.value == pytest.approx(BEST_LR[decay], rel=0.2)
        assert one.value.value == pytest.approx(level, abs=0.02)


def test_a_tie_is_called_one_in_nine_of_ten() -> None:
    level = {"constant": 1.0, "cosine": 1.0, "linear": 1.0}
    called = sum(all(d.tied for d in chosen(search(seed, level)).decays) for seed in range(40))
    assert called >= 34


def test_no_decay_is_called_worse_where_none_is() -> None:
    """At most one table in ten, whatever the number of decays and however few the runs of each."""
    level = {"constant": 1.0, "cosine": 1.0, "linear": 1.0}
    claims = [any(not d.tied for d in chosen(search(seed, level, n=36)).decays) for seed in range(100)]
    assert np.mean(claims) <= 0.1


def test_nine_of_ten_intervals_hold_the_truth() -> None:
    level = {"constant": 1.0, "cosine": 1.1}
    found = [d for seed in range(200) for d in chosen(search(seed, level)).decays]
    assert 0.85 <= np.mean([level[d.decay] in d.value for d in found]) <= 0.95
    assert 0.85 <= np.mean([BEST_LR[d.decay] in d.lr for d in found]) <= 0.95


def test_more_may_be_better() -> None:
    runs = search(0, {"constant": 1.0, "cosine": 1.1})
    turned = make_runs(90, initial_lr=runs.initial_lr, decay=runs.decay, value=-runs.value, mode="max")
    assert [d.decay for d in chosen(turned).decays] == ["constant", "cosine"]
    assert chosen(turned).decays[0].value.value == pytest.approx(-1.0, abs=0.02)


def test_horizons_are_never_mixed() -> None:
    short = search(0, {"cosine": 0.1, "linear": 0.2})
    long = search(1, {"cosine": 1.0, "linear": 1.2}, total_steps=2000.0)
    both = make_runs(
        180,
        **{
            name: np.concatenate([getattr(short, name), getattr(long, name)])
            for name in ("initial_lr", "decay", "value", "total_steps")
        },
    )
    found = chosen(both)
    assert found.total_steps == 2000
    assert found.decays[0].value.value == pytest.approx(1.0, abs=0.02)


def test_a_best_lr_at_the_edge_of_what_was_tried_is_named() -> None:
    lr = np.geomspace(1e-5, 1e-3, 60)
    runs = make_runs(60, initial_lr=lr, decay=np.array(["cosine", "linear"] * 30), value=curve(lr, 0.01))
    assert {d.bound for d in chosen(runs).decays} == {"high"}


@pytest.mark.parametrize("columns", [{"value": np.nan}, {"failed": True}, {"decay": ""}])
def test_where_nothing_can_be_compared_nothing_is(columns: dict[str, Any]) -> None:
    assert decay_choice(make_runs(30, **columns)) is None
    assert decay_choice(make_runs(0)) is None


def test_of_one_decay_there_is_no_choice() -> None:
    lr = np.geomspace(1e-5, 1e-3, 60)
    assert decay_choice(make_runs(60, initial_lr=lr, decay="cosine", value=curve(lr, 1e-4))) is None
