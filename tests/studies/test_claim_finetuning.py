"""Fine-tuning with and without warmup: the study's files, and what its findings say of planted truths."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from planted import planted

from autowarm.errors import RecordError
from autowarm.record import TrialRecord
from studies.claims.places import Place, Scale
from studies.claims.warmups import warmups_of
from studies.finetuning.findings import costs_of, findings

LRS = (5e-5, 1e-4, 2e-4, 4e-4, 8e-4)
SHARES = (0.0, 0.06, 0.1, 0.3)


def records(truth: Callable[[float, float], float], noise: float = 0.004) -> list[TrialRecord]:
    """Records whose value is that of (lr, warmup), give or take; a seed is as hard with every warmup."""
    rng = np.random.default_rng(3)
    made: list[TrialRecord] = []
    for share in SHARES:
        for lr in LRS:
            for seed, hard in enumerate((0.0, 0.02, -0.02)):
                value = truth(lr, share) + hard + noise * rng.standard_normal()
                made.append(planted("study", len(made), value, initial_lr=lr, warmup_ratio=share, seed=seed))
    return made


def bowl(lr: float, peak: float, least: float) -> float:
    return least + 0.05 * math.log(lr / peak) ** 2


def needed(lr: float, share: float) -> float:
    """Warmup doubles the best learning rate and takes .1 off the loss; 30 % is too much."""
    return bowl(lr, 1e-4, 0.5) if share == 0 else bowl(lr, 2e-4, 0.4 if share < 0.2 else 0.45)


def indifferent(lr: float, _share: float) -> float:
    return bowl(lr, 2e-4, 0.4)


def test_a_warmup_that_is_needed_is_found_with_its_gain() -> None:
    of = warmups_of(records(needed))
    for share, truth in ((0.06, 0.1), (0.1, 0.1), (0.3, 0.05)):
        gain = of.gain(share)
        assert gain is not None
        assert truth in gain
        assert gain.low > 0
    body = findings({"study": records(needed)}).body
    assert "warmup 6 %, warmup 10 % and warmup 30 % is better than none beyond the noise." in body
    found = findings({"study": records(needed)}).found
    assert "the habit is better than none: gain in val_loss with warmup 6 % 0.1" in found


def test_the_cost_of_none_at_each_learning_rate_is_that_put_in() -> None:
    costs = costs_of(warmups_of(records(needed, noise=0.002)), 0.1)
    assert [cost.lr for cost in costs] == list(LRS)
    held = []
    for cost in costs:
        assert cost.cost is not None
        truth = needed(cost.lr, 0.0) - needed(cost.lr, 0.1)
        assert cost.cost.value == pytest.approx(truth, abs=0.005)
        held.append(truth in cost.cost)
        # seeds are paired: their .02 is no noise
        assert cost.cost.high - cost.cost.low < 0.04
    # 95 % of them
    assert sum(held) >= len(held) - 1


def test_no_effect_is_claimed_where_none_was_put_in() -> None:
    found = findings({"study": records(indifferent)})
    assert "none of the warmups can be told from no warmup" in found.body
    assert "At none of 5 learning rates is the cost of no warmup beyond noise." in found.body
    assert "the habit is not told apart from none" in found.found
    assert found.found.endswith("beyond noise at none of 5 learning rates.")


def test_what_diverges_has_no_cost_and_is_counted() -> None:
    def truth(lr: float, share: float) -> float:
        return math.inf if share == 0 and lr > 5e-4 else indifferent(lr, share)

    of = warmups_of(records(truth))
    last = costs_of(of, 0.1)[-1]
    assert (last.none, last.cost) == (math.inf, None)
    body = findings({"study": records(truth)}).body
    assert "| 0.0008 | diverged | " in body
    assert "| 3 of 15 |" in body


def test_too_few_runs_are_told() -> None:
    few = [r for r in records(needed) if r.schedule is not None and r.schedule.initial_lr > 3e-4]
    with pytest.raises(RecordError, match="too few runs ended to compare warmups"):
        findings({"study": few})


def test_the_picture_has_a_line_a_warmup() -> None:
    figure = findings({"study": records(needed)}).pictures["losses"]()
    legend = figure.axes[0].get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["no warmup", "warmup 6 %", "warmup 10 %", "warmup 30 %"]


@pytest.mark.parametrize("scale", ["cpu", "gpu"])
def test_the_grid_has_the_habit_and_what_lies_around_it(scale: Scale) -> None:
    settings = Place("finetuning", scale).settings("study")
    schedules = settings.space.grid
    assert {s.warmup_ratio for s in schedules} >= set(SHARES)
    assert {s.decay for s in schedules} == {"linear"}
    # transformers' default is among them
    assert 5e-5 in {s.initial_lr for s in schedules}
