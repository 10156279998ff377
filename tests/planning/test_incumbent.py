from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim import lr_scheduler

from autowarm.decays import DECAYS
from autowarm.errors import ScheduleError
from autowarm.planning.incumbent import recognise
from autowarm.schedule import Schedule
from autowarm.warmups import WARMUPS

CLAIMED = ["constant", "linear", "cosine", "inverse_sqrt", "exponential"]


@st.composite
def claimed(draw: st.DrawFn) -> tuple[Schedule, int]:
    """Draw a schedule that `recognise` claims to know, and a number of steps."""
    total_steps = draw(st.one_of(st.integers(1, 4), st.integers(1, 3000)))
    decay: Any = draw(st.sampled_from(CLAIMED))
    warmup = draw(st.sampled_from(WARMUPS))
    fields: dict[str, Any] = {
        "initial_lr": draw(st.floats(1e-8, 1e3)),
        "warmup_steps": draw(st.integers(0, total_steps - 1)),
        "warmup": warmup,
        "warmup_start_ratio": draw(st.floats(1e-4, 0.9)) if warmup == "exponential" else draw(st.floats(0, 0.9)),
        "decay": decay,
    }
    if DECAYS[decay].ends_at_final_lr_ratio:
        fields["final_lr_ratio"] = draw(st.one_of(st.just(0.0), st.floats(0, 1)))
    if decay == "exponential":
        fields["gamma"] = draw(st.floats(1e-6, 1))
    # counted from 1, a schedule without a warmup never shows its peak
    if fields["warmup_steps"] and draw(st.booleans()):
        fields["step_offset"] = 1
    return Schedule(**fields), total_steps


@given(case=claimed())
def test_every_schedule_it_claims_comes_back(case: tuple[Schedule, int]) -> None:
    schedule, total_steps = case
    lrs = schedule.lrs(total_steps=total_steps)
    found = recognise(lrs.tolist())
    assert found is not None
    np.testing.assert_allclose(found.lrs(total_steps=total_steps), lrs, rtol=2e-5, atol=2e-5 * schedule.initial_lr)


@pytest.mark.parametrize("warmup", WARMUPS)
@pytest.mark.parametrize(
    ("decay", "step_offset"),
    # counted from 1, the other decays are a step later the same curve, to another end
    [*((decay, 0) for decay in CLAIMED), ("cosine", 1), ("inverse_sqrt", 1)],
)
@pytest.mark.parametrize("w", [20, 1200])
def test_its_parameters_come_back(step_offset: int, w: int, decay: Any, warmup: Any) -> None:
    fields: dict[str, Any] = {"gamma": 0.3} if decay == "exponential" else {}
    fields |= {"final_lr_ratio": 0.25} if DECAYS[decay].ends_at_final_lr_ratio else {}
    schedule = Schedule(
        initial_lr=0.3,
        warmup_steps=w,
        warmup=warmup,
        warmup_start_ratio=0.01,
        decay=decay,
        step_offset=step_offset,
        **fields,
    )
    found = recognise(schedule.lrs(total_steps=3000).tolist())
    assert found is not None
    assert (found.decay, found.warmup, found.warmup_steps, found.step_offset) == (decay, warmup, w, step_offset)
    assert found.initial_lr == 0.3
    assert found.warmup_start_ratio == pytest.approx(0.01)
    assert found.final_lr_ratio == pytest.approx(schedule.final_lr_ratio)
    assert found.gamma == pytest.approx(schedule.gamma)


@given(case=claimed())
def test_rounding_to_32_bits_does_not_hide_a_linear_warmup(case: tuple[Schedule, int]) -> None:
    schedule = Schedule.from_dict({**case[0].to_dict(), "warmup": "linear"})
    lrs = schedule.lrs(total_steps=case[1]).astype(np.float32)
    assert recognise(lrs.tolist()) is not None


Factor = Callable[[torch.optim.Optimizer, int], Any]


def _curve(make: Factor, total_steps: int) -> list[float]:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.2)
    lrs = []
    with warnings.catch_warnings():
        # torch warns of its own arguments in SequentialLR
        warnings.simplefilter("ignore")
        scheduler = make(optimizer, total_steps)
        for _ in range(total_steps):
            lrs.append(float(optimizer.param_groups[0]["lr"]))
            optimizer.step()
            scheduler.step()
    return lrs


def _linear_then_cosine(optimizer: torch.optim.Optimizer, total_steps: int) -> Any:
    first = lr_scheduler.LinearLR(optimizer, start_factor=0.01, total_iters=10)
    then = lr_scheduler.CosineAnnealingLR(optimizer, T_max=total_steps - 10, eta_min=0.02)
    return lr_scheduler.SequentialLR(optimizer, [first, then], milestones=[10])


def _like_transformers_linear(optimizer: torch.optim.Optimizer, total_steps: int) -> Any:
    return lr_scheduler.LambdaLR(
        optimizer, lambda s: s / 10 if s < 10 else max(0.0, (total_steps - s) / max(1, total_steps - 10))
    )


def _like_transformers_cosine(optimizer: torch.optim.Optimizer, total_steps: int) -> Any:
    def factor(s: int) -> float:
        progress = (s - 10) / max(1, total_steps - 10)
        return s / 10 if s < 10 else max(0.0, 0.5 * (1.0 + math.cos(math.pi * 0.5 * 2.0 * progress)))

    return lr_scheduler.LambdaLR(optimizer, factor)


def _like_transformers_inverse_sqrt(optimizer: torch.optim.Optimizer, _total_steps: int) -> Any:
    return lr_scheduler.LambdaLR(optimizer, lambda s: s / 10 if s < 10 else 1.0 / math.sqrt(s / 10))


def _counted_from_one(optimizer: torch.optim.Optimizer, total_steps: int) -> Any:
    return lr_scheduler.LambdaLR(optimizer, lambda s: min((s + 1) / 10, (total_steps - s - 1) / (total_steps - 10)))


def _like_transformers_cosine_warmup_with_min_lr(optimizer: torch.optim.Optimizer, total_steps: int) -> Any:
    def factor(s: int) -> float:
        progress = (s - 10 + 1) / max(1, total_steps - 10)
        return (s + 1) / 10 if s < 10 else 0.25 + 0.75 * 0.5 * (1.0 + math.cos(math.pi * progress))

    return lr_scheduler.LambdaLR(optimizer, factor)


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (_counted_from_one, {"warmup_steps": 10, "step_offset": 1, "decay": "linear", "final_lr_ratio": 0.0}),
        (
            _like_transformers_cosine_warmup_with_min_lr,
            {"warmup_steps": 10, "step_offset": 1, "decay": "cosine", "final_lr_ratio": 0.25},
        ),
        (
            _linear_then_cosine,
            {"warmup_steps": 10, "warmup_start_ratio": 0.01, "decay": "cosine", "final_lr_ratio": 0.1},
        ),
        (_like_transformers_linear, {"warmup_steps": 10, "decay": "linear"}),
        (_like_transformers_cosine, {"warmup_steps": 10, "decay": "cosine"}),
        (_like_transformers_inverse_sqrt, {"warmup_steps": 10, "decay": "inverse_sqrt"}),
        (lambda o, t: lr_scheduler.CosineAnnealingLR(o, T_max=t), {"warmup_steps": 0, "decay": "cosine"}),
        (lambda o, t: lr_scheduler.LinearLR(o, 1.0, 0.0, total_iters=t), {"warmup_steps": 0, "decay": "linear"}),
        (lambda o, _: lr_scheduler.ExponentialLR(o, 0.99), {"decay": "exponential", "gamma": 0.99**100}),
        (lambda o, _: lr_scheduler.ConstantLR(o, 1.0), {"warmup_steps": 0, "decay": "constant"}),
        (lambda o, t: lr_scheduler.PolynomialLR(o, total_iters=t), {"warmup_steps": 0, "decay": "linear"}),
    ],
)
def test_the_curves_of_torch_and_transformers_are_recognised(make: Factor, expected: dict[str, Any]) -> None:
    found = recognise(_curve(make, 100))
    assert found is not None
    assert found.initial_lr == pytest.approx(0.2)
    assert {name: getattr(found, name) for name in expected} == pytest.approx(expected)


@pytest.mark.parametrize(
    "lrs",
    [
        _curve(lambda o, t: lr_scheduler.OneCycleLR(o, max_lr=0.3, total_steps=t + 1), 100),
        _curve(lambda o, _: lr_scheduler.StepLR(o, step_size=30), 100),
        _curve(lambda o, _: lr_scheduler.CosineAnnealingWarmRestarts(o, T_0=25), 100),
        _curve(lambda o, _: lr_scheduler.CyclicLR(o, 0.01, 0.1, step_size_up=10), 100),
        Schedule(initial_lr=0.1, decay="wsd").lrs(total_steps=100).tolist(),
        Schedule(initial_lr=0.1, decay="polynomial").lrs(total_steps=100).tolist(),
        np.random.default_rng(0).uniform(0.1, 0.2, 100).tolist(),
        [0.1, math.nan, 0.1],
        [0.1, math.inf, 0.1],
        [0.0, 0.0],
        [-0.1, -0.2],
        [0.1, -0.1, 0.1, -0.1],
        [0.1, 0.0, 0.2],
        [],
    ],
    ids=[
        "onecycle",
        "step",
        "restarts",
        "sawtooth",
        "wsd",
        "polynomial",
        "noise",
        "nan",
        "inf",
        "zero",
        "negative",
        "alternating",
        "up at the end",
        "empty",
    ],
)
def test_what_is_none_of_them_is_none(lrs: list[float]) -> None:
    assert recognise(lrs) is None


@given(lrs=st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=8))
def test_whatever_the_curve_no_error_comes_out_and_no_wrong_answer(lrs: list[float]) -> None:
    try:
        found = recognise(lrs)
    except ScheduleError as e:
        raise AssertionError(lrs) from e
    if found is not None:
        np.testing.assert_allclose(found.lrs(total_steps=len(lrs)), lrs, rtol=2e-5, atol=2e-5 * max(lrs))
