"""A grid: every combination of the listed values, on each of several seeds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import searches
from scripted import Scripted, hangs, well
from searches import of, run, run_together

from autowarm.executors.events import Event
from autowarm.interrupts import Interrupts
from autowarm.record import TrialRecord
from autowarm.schedule import Schedule
from autowarm.settings import StudySettings
from autowarm.space import SearchSpace
from autowarm.specs import TrainingSpec

LRS = (0.001, 0.01, 0.1)


def grid(**changes: Any) -> StudySettings:
    space = {"initial_lr": LRS, "warmup_ratio": (0.0, 0.1), "decay": "linear"} | changes.pop("space", {})
    defaults: dict[str, Any] = {"n_trials": None, "sampler": "grid", "pruning": "off", "confirm_seeds": 0}
    return searches.settings(space=SearchSpace(**space), **(defaults | changes))


def trained(records: list[TrialRecord]) -> list[tuple[float, float | None, int]]:
    return [(r.schedule.initial_lr, r.schedule.warmup_ratio, r.seed) for r in records if r.schedule is not None]


CELLS = [(lr, warmup) for lr in LRS for warmup in (0.0, 0.1)]


def test_a_grid_trains_each_schedule_on_each_seed_and_nothing_else(tmp_path: Path) -> None:
    records = run(tmp_path, Scripted(), grid(seeds=2))
    assert trained(records) == [(lr, warmup, seed) for seed in (0, 1) for lr, warmup in CELLS]
    assert {r.role for r in records} == {"search"}


def test_a_grid_that_has_all_it_wants_goes_on_with_more_seeds_and_values(tmp_path: Path) -> None:
    run(tmp_path, Scripted(), grid())
    again = Scripted()
    run(tmp_path, again, grid())
    assert again.specs == []
    records = run(tmp_path, again, grid(seeds=2, space={"initial_lr": (*LRS, 1.0), "decay": "linear"}))
    new = [(1.0, 0.0, 0), (1.0, 0.1, 0), *((lr, w, 1) for lr, w in [*CELLS, (1.0, 0.0), (1.0, 0.1)])]
    assert trained(records)[len(CELLS) :] == new


def test_a_cell_that_was_interrupted_is_trained_on_its_seed(tmp_path: Path) -> None:
    interrupts = Interrupts()

    def stuck(key: int, spec: TrainingSpec) -> list[Event]:
        if key == 9:
            interrupts.count = 1
            return hangs(key, spec)
        return well(key, spec)

    try:
        run(tmp_path, Scripted(stuck), grid(seeds=2), interrupts=interrupts)
    except KeyboardInterrupt:
        pass
    else:
        raise AssertionError("it was not interrupted")
    records = run(tmp_path, Scripted(), grid(seeds=2))
    assert sorted(trained(records)) == sorted((lr, w, seed) for seed in (0, 1) for lr, w in CELLS)


def test_several_workers_share_a_grid(tmp_path: Path) -> None:
    executors = [Scripted(seconds=0.01) for _ in range(2)]
    records = searches.check_shared(run_together(tmp_path, executors, grid(seeds=3)), executors)
    assert sorted(trained(records)) == sorted((lr, w, seed) for seed in range(3) for lr, w in CELLS)


def test_the_best_over_the_seeds_is_confirmed_on_seeds_that_the_grid_has_not_seen(tmp_path: Path) -> None:
    def lucky(key: int, spec: TrainingSpec) -> list[Event]:
        """Let .1 be the best on the first seed, and .01 on the others."""
        schedule = spec.schedule
        if schedule is None:
            return well(key, spec)
        seen = 0.003 if schedule.initial_lr == 0.1 and spec.seed == 0 else schedule.initial_lr
        return well(key, TrainingSpec(**{**vars(spec), "schedule": Schedule(initial_lr=seen), "seed": 0}))

    records = run(tmp_path, Scripted(lucky), grid(seeds=3, confirm_seeds=2, confirm_top=1))
    confirmed = of(records, "confirm")
    assert trained(confirmed) == [(0.01, 0.0, 3), (0.01, 0.0, 4)]
