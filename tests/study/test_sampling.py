from __future__ import annotations

import math
from typing import Any

import pytest

from autowarm.space import Range, SearchSpace
from autowarm.study.sampling import Known, Sampler, proposed, sampler_name

SPACE = SearchSpace(initial_lr=Range(1e-4, 1.0, log=True), decay="linear")


def points(best: float, n: int = 8) -> list[Known]:
    """Return peaks over the range, worse the further they are from the best one."""
    peaks = [1e-4 * 10 ** (4 * (i + 0.5) / n) for i in range(n)]
    return [
        Known({"initial_lr": lr, "warmup_ratio": 0.03 + 0.03 * i}, math.exp(abs(math.log(lr / best))))
        for i, lr in enumerate(peaks)
    ]


@pytest.mark.parametrize(
    ("space", "trials", "pruned", "expected"),
    [
        ({"decay": "linear"}, 40, False, "gp"),
        ({}, 40, False, "gp"),
        # it passes over pruned trials
        ({}, 40, True, "tpe"),
        ({}, 101, False, "tpe"),
        # parameters that most trials do not have
        ({"decay": ["wsd", "exponential", "polynomial"]}, 40, False, "tpe"),
        ({"decay": "step", "warmup": ["linear", "cosine"], "warmup_start_ratio": Range(0.1, 0.5)}, 40, False, "gp"),
    ],
)
def test_a_gaussian_process_is_for_small_flat_spaces(
    space: dict[str, Any], trials: int, *, pruned: bool, expected: Sampler
) -> None:
    found = SearchSpace(initial_lr=Range(1e-4, 1.0), **space)
    assert sampler_name(found, trials=trials, pruned=pruned) == expected


def test_a_gaussian_process_proposes_near_the_best_whatever_the_unit_of_the_values() -> None:
    known = points(best=0.02)
    lrs = [proposed(SPACE, known, "gp", seed=0, trial=i)["initial_lr"] for i in range(4)]
    assert sum(0.002 <= lr <= 0.2 for lr in lrs) >= 3
    scaled = [Known(point.params, 1e9 * point.value - 1e12) for point in known]
    again = [proposed(SPACE, scaled, "gp", seed=0, trial=i)["initial_lr"] for i in range(4)]
    assert again == lrs, "their order is what counts"


@pytest.mark.parametrize("sampler", ["gp", "tpe"])
def test_a_proposal_depends_on_the_seed_and_the_number_alone(sampler: Sampler) -> None:
    known = points(best=0.02)
    one = proposed(SPACE, known, sampler, seed=1, trial=3)
    assert proposed(SPACE, known, sampler, seed=1, trial=3) == one
    assert proposed(SPACE, known, sampler, seed=2, trial=3) != one
    assert proposed(SPACE, known, sampler, seed=1, trial=4) != one


def test_what_diverged_counts_as_the_worst() -> None:
    # the higher, the better, but above .02 everything diverges
    known = [Known(p.params, -p.params["initial_lr"], diverged=p.params["initial_lr"] > 0.02) for p in points(best=1.0)]
    lrs = [proposed(SPACE, known, "gp", seed=0, trial=i)["initial_lr"] for i in range(4)]
    assert sum(lr < 0.1 for lr in lrs) >= 3


def test_points_outside_of_the_space_do_not_count() -> None:
    near = SearchSpace(initial_lr=Range(0.01, 0.1, log=True), decay="linear")
    inside = [p for p in points(best=0.02) if 0.01 <= p.params["initial_lr"] <= 0.1]
    assert 0 < len(inside) < 8
    for known in (points(best=0.02), [Known({**p.params, "decay": "wsd"}, p.value) for p in points(best=0.02)]):
        assert 0.01 <= proposed(near, known, "gp", seed=0, trial=0)["initial_lr"] <= 0.1


def test_with_nothing_known_the_space_is_drawn_from() -> None:
    space = SearchSpace(initial_lr=Range(1e-4, 1.0, log=True))
    drawn = [proposed(space, [], "gp", seed=0, trial=i) for i in range(12)]
    assert {params["decay"] for params in drawn} == set(space.decays)
    assert len({params["initial_lr"] for params in drawn}) == 12


def test_a_parameter_that_only_some_have_is_drawn_without_a_word(caplog: pytest.LogCaptureFixture) -> None:
    space = SearchSpace(initial_lr=Range(1e-4, 1.0, log=True), decay=["linear", "wsd"])
    known = [
        Known({"decay": decay, **p.params, **own}, p.value / better)
        for p in points(best=0.02)
        for decay, own, better in (("linear", {}, 1.0), ("wsd", {"wsd.decay_ratio": 0.2}, 100.0))
    ]
    drawn = [proposed(space, known, "gp", seed=0, trial=i) for i in range(8)]
    assert any("wsd.decay_ratio" in params for params in drawn)
    assert "sampled independently" not in caplog.text


def test_a_sampler_leaves_the_number_of_threads_as_it_was() -> None:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        proposed(SPACE, points(best=0.02), "gp", seed=0, trial=0)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
