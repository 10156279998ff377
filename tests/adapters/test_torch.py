from __future__ import annotations

import io
import warnings
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import SGD, AdamW, Optimizer

from autowarm import Schedule, build_scheduler
from autowarm.adapters.torch import ScheduleLR
from autowarm.errors import ScheduleError

SCHEDULE = Schedule(initial_lr=0.3, warmup_steps=4, decay="cosine", final_lr_ratio=0.1)


def optimizer_of(*lrs: float) -> Optimizer:
    return SGD([{"params": [nn.Parameter(torch.ones(1))], "lr": lr} for lr in lrs], lr=1.0)


def lrs_seen(optimizer: Optimizer, scheduler: ScheduleLR, steps: int) -> list[list[float]]:
    seen = []
    for _ in range(steps):
        seen.append([float(group["lr"]) for group in optimizer.param_groups])
        optimizer.step()
        scheduler.step()
    return seen


def test_a_plain_loop_uses_exactly_the_lrs_of_the_schedule() -> None:
    optimizer = optimizer_of(1e-3)
    scheduler = build_scheduler(optimizer, SCHEDULE, total_steps=20)
    seen = [lrs[0] for lrs in lrs_seen(optimizer, scheduler, 20)]
    assert seen == SCHEDULE.lrs(total_steps=20).tolist()


def test_param_groups_keep_their_ratio_to_the_first() -> None:
    optimizer = optimizer_of(1e-3, 1e-4, 5e-3)
    scheduler = build_scheduler(optimizer, SCHEDULE, total_steps=20)
    for first, second, third in lrs_seen(optimizer, scheduler, 20)[1:]:
        assert second == pytest.approx(first / 10, rel=1e-12)
        assert third == pytest.approx(first * 5, rel=1e-12)


def test_ratios_come_from_the_optimizers_making_not_from_a_scheduler_that_has_moved_them() -> None:
    optimizer = optimizer_of(1e-3, 1e-4)
    torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: step / 10)  # has set both lrs to 0
    scheduler = build_scheduler(optimizer, SCHEDULE, total_steps=20)
    assert scheduler.base_lrs == pytest.approx([0.3, 0.03], rel=1e-12)


def test_a_first_group_that_does_not_train_has_no_ratio() -> None:
    with pytest.raises(ScheduleError, match="first param group has learning rate 0"):
        build_scheduler(optimizer_of(0.0, 1e-3), SCHEDULE, total_steps=20)


def test_a_tensor_lr_is_changed_in_place() -> None:
    lr = torch.tensor(1e-3)
    optimizer = AdamW([nn.Parameter(torch.ones(1))], lr=lr, capturable=False, foreach=False)
    scheduler = build_scheduler(optimizer, SCHEDULE, total_steps=20)
    group = optimizer.param_groups[0]["lr"]
    lrs_seen(optimizer, scheduler, 4)
    assert optimizer.param_groups[0]["lr"] is group
    assert float(group) == pytest.approx(0.3)


def saved_and_loaded(state: dict[str, Any]) -> dict[str, Any]:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    loaded: dict[str, Any] = torch.load(file, weights_only=True)
    return loaded


@pytest.mark.parametrize("at", [0, 2, 4, 11])
def test_a_resumed_scheduler_goes_on_as_if_it_had_never_stopped(at: int) -> None:
    optimizer = optimizer_of(1e-3, 1e-4)
    scheduler = build_scheduler(optimizer, SCHEDULE, total_steps=20)
    whole = lrs_seen(optimizer, scheduler, 20)

    optimizer = optimizer_of(1e-3, 1e-4)
    scheduler = build_scheduler(optimizer, SCHEDULE, total_steps=20)
    lrs_seen(optimizer, scheduler, at)
    state = saved_and_loaded(scheduler.state_dict())

    optimizer = optimizer_of(1e-3, 1e-4)
    resumed = build_scheduler(optimizer, SCHEDULE, total_steps=20)
    resumed.load_state_dict(state)
    assert resumed.get_last_lr() == whole[at]
    assert lrs_seen(optimizer, resumed, 20 - at) == whole[at:]


def test_a_state_of_another_scheduler_is_refused() -> None:
    other = torch.optim.lr_scheduler.StepLR(optimizer_of(0.1), 1)
    scheduler = build_scheduler(optimizer_of(0.1), SCHEDULE, total_steps=20)
    with pytest.raises(ScheduleError, match="state of another scheduler"):
        scheduler.load_state_dict(other.state_dict())


@pytest.mark.parametrize(
    ("schedule", "total_steps", "named"),
    [
        (
            Schedule(initial_lr=0.2, warmup_steps=4, decay="cosine"),
            20,
            "initial_lr 0.3 there, 0.2 here, final_lr_ratio 0.1 there, None here",
        ),
        (SCHEDULE, 30, "total_steps 20 there, 30 here"),
    ],
)
def test_a_state_of_another_schedule_or_horizon_is_refused(schedule: Schedule, total_steps: int, named: str) -> None:
    state = build_scheduler(optimizer_of(0.1), SCHEDULE, total_steps=20).state_dict()
    scheduler = build_scheduler(optimizer_of(0.1), schedule, total_steps=total_steps)
    with pytest.raises(ScheduleError, match=named):
        scheduler.load_state_dict(state)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"autowarm": 2}, "version 2, this autowarm reads 1: update"),
        ({"schedule": {"initial_lr": 0.1, "shape": "new"}}, "damaged"),
        ({"last_epoch": None}, "damaged"),
        ({"base_lrs": [0.1, 0.1]}, "2 param groups, this optimizer has 1"),
    ],
)
def test_a_state_that_cannot_be_read_says_why(change: dict[str, Any], message: str) -> None:
    scheduler = build_scheduler(optimizer_of(0.1), SCHEDULE, total_steps=20)
    with pytest.raises(ScheduleError, match=message):
        scheduler.load_state_dict(scheduler.state_dict() | change)


def test_a_plain_loop_may_take_over_at_any_step() -> None:
    optimizer = optimizer_of(1e-3, 1e-4)
    scheduler = build_scheduler(optimizer, SCHEDULE, total_steps=20)
    scheduler.go_to(7)
    seen = [lrs[0] for lrs in lrs_seen(optimizer, scheduler, 13)]
    assert seen == SCHEDULE.lrs(total_steps=20).tolist()[7:]


def test_beyond_the_end_the_lr_stays_and_one_warning_says_so() -> None:
    optimizer = optimizer_of(0.1)
    scheduler = build_scheduler(optimizer, SCHEDULE, total_steps=5)
    lrs_seen(optimizer, scheduler, 5)
    optimizer.step()
    with pytest.warns(UserWarning, match="beyond the schedule's total_steps=5"):
        scheduler.step()
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.03)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scheduler.step()


def test_a_warmup_in_epochs_needs_the_steps_of_an_epoch() -> None:
    schedule = Schedule(initial_lr=1.0, warmup_epochs=0.5)
    assert build_scheduler(optimizer_of(0.1), schedule, total_steps=20, steps_per_epoch=8).schedule.warmup_steps == 4
    with pytest.raises(ScheduleError, match="steps_per_epoch"):
        build_scheduler(optimizer_of(0.1), schedule, total_steps=20)
