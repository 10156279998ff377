"""What a study would do at one horizon."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from autowarm.planning.ladder import Ladder
from autowarm.planning.price import Price
from autowarm.planning.range_test import RangeTestPlan
from autowarm.schedule import Schedule
from autowarm.specs import JobInfo


@dataclass(frozen=True)
class HorizonPlan:
    """What a study would do at one horizon.

    Attributes:
        info: what a look at the job told.
        guesses: schedules to try first, by where they come from.
        today: the schedule the job has today; None where its scheduler is no Schedule.
        price: of the horizon, at most.
        dataset_size: what the study asks for; None: all.
        range_test: what finds the range of `initial_lr` of all horizons, before this one; None: nothing does.
        split_batches: parts that batches are cut into, as whole ones do not fit into memory.
        ladder: how a budget is split; None: a number of trials is searched, all at this horizon.
    """

    info: JobInfo
    guesses: Mapping[str, Schedule]
    today: Schedule | None
    price: Price
    dataset_size: int | None
    range_test: RangeTestPlan | None = None
    ladder: Ladder | None = None
    split_batches: int = 1
