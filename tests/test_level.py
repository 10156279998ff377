from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import cast

from autowarm.lane import Lane
from autowarm.level import Allowance
from autowarm.planning.ladder import Ladder, Level
from autowarm.record import TrialRecord

MakeRecord = Callable[..., TrialRecord]
LOWEST = Level(total_steps=10, rungs=2, price=10.0, limit=40.0, trials=4, pruning="off")
TARGET = Level(total_steps=80, rungs=20, price=80.0, limit=120.0, trials=1, pruning="off")
LADDER = Ladder(levels=(LOWEST, TARGET), checks=0, price=80.0, total=120.0, in_seconds=True, n_jobs=1)


@dataclass
class Running:
    running: int = 0


@dataclass
class Searched:
    records: list[TrialRecord] = field(default_factory=list)
    grows: bool = False
    study: Running = field(default_factory=Running)

    @property
    def searched(self) -> list[TrialRecord]:
        return [r for r in self.records if r.role == "search"]


def more(level: Level, lane: Searched, earlier: list[TrialRecord], ladder: Ladder = LADDER) -> Callable[[int], bool]:
    return allowance(level, lane, earlier, ladder).room


def allowance(level: Level, lane: Searched, earlier: list[TrialRecord], ladder: Ladder = LADDER) -> Allowance:
    return Allowance(ladder, level, cast("Lane", lane), ladder.spent(earlier))


def test_a_level_runs_what_its_limit_pays_for_beside_what_runs(make_record: MakeRecord) -> None:
    lane = Searched([make_record(seconds=10.0), make_record(seconds=10.0), make_record(seconds=99.0, role="baseline")])
    allowed = more(LOWEST, lane, [])
    assert allowed(0)
    assert allowed(1)
    assert not allowed(2)
    lane.records.append(make_record(seconds=2.0, outcome="DIVERGED"))
    assert allowed(0)
    assert not allowed(1)


def test_what_was_spent_before_counts(make_record: MakeRecord) -> None:
    assert not more(LOWEST, Searched(), [make_record(seconds=31.0, role="range_test")])(0)


def test_two_at_once_take_half_the_time(make_record: MakeRecord) -> None:
    lane = Searched([make_record(seconds=30.0)])
    assert more(LOWEST, lane, [], replace(LADDER, n_jobs=2))(0)
    assert not more(LOWEST, lane, [], LADDER)(1)


def test_one_whole_run_is_made_although_the_levels_below_took_longer_than_foreseen(make_record: MakeRecord) -> None:
    late = [make_record(seconds=300.0)]
    assert more(TARGET, Searched(), late)(0)
    assert not more(TARGET, Searched(), late)(1)
    assert not more(TARGET, Searched([make_record(seconds=80.0)]), late)(0)


def test_what_goes_on_from_a_shorter_run_is_priced_without_what_it_shares(make_record: MakeRecord) -> None:
    target = replace(TARGET, shared=30, step_price=1.0)
    assert target.price_after(30) == 50
    spent = [make_record(seconds=60.0)]
    lane = Searched([make_record(seconds=10.0)], grows=True)
    # 50 of the limit are left
    assert allowance(target, lane, spent).room(0)
    assert allowance(target, lane, spent).affords(30)
    assert not allowance(target, lane, spent).affords(29)
    assert not allowance(target, replace(lane, grows=False), spent).room(0)
    busy = replace(lane, study=Running(1))
    assert not allowance(target, busy, spent).affords(30)
