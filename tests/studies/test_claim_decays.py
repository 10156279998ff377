"""Decays at their own best learning rates: the study's files, and what its findings say of planted truths."""

from __future__ import annotations

import math

import numpy as np
import pytest
from planted import planted

from autowarm.analysis.decay_choice import decay_choice
from autowarm.analysis.runs import runs_of
from autowarm.errors import RecordError
from autowarm.record import TrialRecord
from studies.claims.places import Place, Scale
from studies.decays.findings import findings, ratios_of, told

PEAK = 0.016
LRS = (0.002, 0.004, 0.008, 0.016, 0.032, 0.064)
# decay -> (its best peak over that of cosine, its metric there)
TRUTH = {
    "constant": (0.32, 2.10),
    "cosine": (1.0, 2.0),
    "linear": (1.03, 2.0),
    "wsd 20 %": (0.53, 2.0),
    "exponential": (2.0, 2.05),
}


def records(truth: dict[str, tuple[float, float]], noise: float = 0.004) -> list[TrialRecord]:
    rng = np.random.default_rng(7)
    made: list[TrialRecord] = []
    for name, (ratio, least) in truth.items():
        decay, _, share = name.partition(" ")
        own = {"decay_ratio": 0.2} if share else {}
        for lr in LRS:
            for seed in range(3):
                value = least + 0.05 * math.log(lr / (PEAK * ratio)) ** 2 + noise * rng.standard_normal()
                made.append(planted("gpt", len(made), value, initial_lr=lr, decay=decay, seed=seed, **own))
    return made


def test_the_ratios_of_the_best_learning_rates_are_those_put_in() -> None:
    choice = decay_choice(runs_of(records(TRUTH)))
    assert choice is not None
    ratios = ratios_of(choice)
    assert list(ratios) == ["exponential", "linear", "wsd 20 %", "constant"]
    for decay, found in ratios.items():
        assert TRUTH[decay][0] in found, decay
        assert found.high / found.low < 1.5, decay


def test_the_theory_is_told_where_there_is_one() -> None:
    assert told("constant") == 0.32
    assert told("wsd 60 %") == 0.73
    assert told("exponential") is None


def test_what_was_put_in_is_found() -> None:
    found = findings({"gpt": records(TRUTH)})
    said = "gpt: 3 of 3 ratios of best peaks hold the theory's value, in its order are "
    assert found.found.startswith(said)
    assert "; told apart from cosine's: exponential, wsd 20 % and constant; " in found.found
    assert found.found.endswith("beyond noise: exponential and constant.")
    assert "Beyond noise another best peak than cosine has exponential, wsd 20 % and constant." in found.body


def test_the_order_of_the_best_peaks_is_compared_with_the_theory_s() -> None:
    apart = {"constant": (0.3, 2.0), "wsd 20 %": (0.6, 2.0), "cosine": (1.0, 2.0), "linear": (1.3, 2.0)}
    assert "in its order are 6 of 6 pairs" in findings({"gpt": records(apart)}).found
    turned = apart | {"constant": (0.6, 2.0), "wsd 20 %": (0.3, 2.0)}
    assert "in its order are 5 of 6 pairs" in findings({"gpt": records(turned)}).found


def test_a_ratio_that_is_not_the_theory_s_is_named() -> None:
    found = findings({"gpt": records({**TRUTH, "constant": (1.0, 2.1)})})
    assert "2 of 3 ratios of best peaks hold" in found.found
    assert "; not so: constant, " in found.body
    assert "where the theory has 0.32" in found.body


def test_the_cost_of_one_learning_rate_for_all_is_told() -> None:
    truth = {"cosine": (1.0, 2.0), "linear": (1.0, 2.0), "constant": (0.25, 1.99)}
    body = findings({"gpt": records(truth, noise=0.0005)}).body
    # constant is best at its own, and loses .05 ln(4)^2 at cosine's best
    assert "At the one learning rate of 0.016, the trained one nearest to cosine's best" in body
    assert "constant is last, and constant loses 0.096 to what it reaches at its own best" in body


def test_each_job_has_a_section_and_a_sentence() -> None:
    other = records({"cosine": (1.0, 3.0), "constant": (1.0, 3.0)})
    found = findings({"gpt": records(TRUTH), "prices": other})
    assert [line for line in found.body.splitlines() if line.startswith("## ")] == [
        "## gpt", "## prices", "## Conclusion"
    ]  # fmt: skip
    assert "prices: 0 of 1 ratio of best peaks hold" in found.found
    assert "On prices, of 1 ratio" in found.body
    assert "No best peak differs from that of cosine beyond noise." in found.body
    assert set(found.pictures) == {"gpt", "prices"}


def test_without_cosine_nothing_is_compared() -> None:
    with pytest.raises(RecordError, match="best learning rate of cosine"):
        findings({"gpt": records({"linear": (1.0, 2.0)})})


def test_the_picture_is_drawn_and_shown() -> None:
    found = findings({"gpt": records(TRUTH)})
    figure = found.pictures["gpt"]()
    legend = figure.axes[0].get_legend()
    assert legend is not None
    assert {text.get_text() for text in legend.get_texts()} == set(TRUTH)


@pytest.mark.parametrize("scale", ["cpu", "gpu"])
@pytest.mark.parametrize("arm", ["char_gpt", "diamonds"])
def test_the_grid_brackets_every_decay(arm: str, scale: Scale) -> None:
    settings = Place("decays", scale).settings(arm)
    schedules = settings.space.grid
    decays = {"constant", "linear", "cosine", "exponential", "step", "inverse_sqrt", "wsd"}
    assert {s.decay for s in schedules} == decays
    assert {s.decay_ratio for s in schedules if s.decay == "wsd"} == {0.1, 0.2, 0.6}
    lrs = {s.initial_lr for s in schedules}
    assert max(lrs) / min(lrs) >= 32
    assert settings.trials == len(lrs) * 9 * settings.seeds
