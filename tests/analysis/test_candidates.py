from __future__ import annotations

from conftest import MakeRecord

from autowarm.analysis.candidates import alike, candidates, same_lrs
from autowarm.schedule import Schedule


def test_the_best_come_first_and_what_is_alike_once(make_record: MakeRecord) -> None:
    order = [make_record(trial=i, lr=lr) for i, lr in enumerate((0.1, 0.103, 0.12, 0.097, 0.121, 0.2))]
    assert [r.trial for r in candidates(order, 3)] == [0, 2, 5]
    assert [r.trial for r in candidates(order, 1)] == [0]
    assert [r.trial for r in candidates(order, 9)] == [0, 2, 5]
    assert candidates([], 3) == []


def test_what_is_alike(make_record: MakeRecord) -> None:
    one = make_record(schedule=Schedule(initial_lr=0.1, warmup_ratio=0.1, decay="cosine"), total_steps=1000)

    def like(**changes: object) -> bool:
        schedule = Schedule(**{"initial_lr": 0.1, "warmup_ratio": 0.1, "decay": "cosine", **changes})  # type: ignore[arg-type]
        return alike(one, make_record(schedule=schedule, total_steps=1000))

    assert like(initial_lr=0.104)
    assert not like(initial_lr=0.106)
    assert like(warmup_ratio=0.11)
    assert not like(warmup_ratio=0.12), "20 steps of 1000 more, 1 % of the curve, may decide"
    assert like(warmup_ratio=None, warmup_steps=100)
    assert not like(decay="linear"), "the same area lies elsewhere"
    assert like(decay="polynomial", power=1.0) is like(decay="linear")


def test_of_a_short_run_a_step_of_warmup_is_no_difference(make_record: MakeRecord) -> None:
    first, second, third = (make_record(warmup_ratio=steps / 60, total_steps=60) for steps in (0, 1, 2))
    assert alike(first, second), "1 % of 60 steps is less than one"
    assert not alike(first, third)


def test_a_schedule_is_the_same_however_it_is_written(make_record: MakeRecord) -> None:
    by_ratio = Schedule(initial_lr=0.1, warmup_ratio=0.1, decay="cosine")
    by_steps = Schedule(initial_lr=0.1, warmup_steps=10, decay="cosine")
    assert same_lrs(by_ratio, by_steps, 100)
    assert not same_lrs(by_ratio, by_steps, 200)
    assert not same_lrs(by_ratio, None, 100)
    assert not same_lrs(None, None, 100)
    too_long = Schedule(initial_lr=0.1, warmup_steps=200)
    assert same_lrs(too_long, too_long, 100)
    assert not same_lrs(too_long, by_ratio, 100)
    in_epochs = make_record(schedule=Schedule(initial_lr=0.1, warmup_epochs=0.1, decay="cosine"))
    assert alike(in_epochs, make_record(schedule=by_steps)), "a tenth of the 100 steps of an epoch"
    unknown = make_record(schedule=in_epochs.schedule, batch_size=None)
    assert not alike(unknown, make_record(schedule=by_steps))
    assert alike(unknown, unknown)
