"""Which trials that wait are trained as one trunk: those that have their first steps in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import TypeAlias

from autowarm.lane import Lane, Task
from autowarm.planning.trunks import LEAST_SHARED, Trunk, plan_trunks
from autowarm.specs import TrunkSpec
from autowarm.study.horizon import Proposal
from autowarm.study.mutex import TurnLostError

# Trials to start together: one by itself, several as a trunk, in the order that they leave it.
Group: TypeAlias = list[tuple[Lane, Task]]


@dataclass
class Sharing:
    """Whether trials of a study may share a trunk.

    Attributes:
        asked: whether they are to.
        refused: why they cannot; None where nothing is known against it.
    """

    asked: bool = False
    refused: str | None = None

    @property
    def on(self) -> bool:
        """Whether they do."""
        return self.asked and self.refused is None


@dataclass(frozen=True)
class _Waiting:
    """A trial that waits, and where: `lane` is a place in the lanes given."""

    lane: int
    proposal: Proposal

    @property
    def shares(self) -> bool:
        """Whether it may be trained with others: not what has ended a process, or was left by a trunk."""
        return not (self.proposal.alone or self.proposal.deaths)


def trunks_of_waiting(lanes: Sequence[Lane]) -> list[Trunk]:
    """Return the trunks that what waits would make."""
    waiting = [w for w in _waiting(lanes) if w.shares]
    seeds = {_seed(lanes, w) for w in waiting}
    return [
        trunk for seed in sorted(seeds) for trunk in _planned([w for w in waiting if _seed(lanes, w) == seed], lanes)
    ]


def group_of_waiting(lanes: Sequence[tuple[Lane, Callable[[int], bool]]], *, n_jobs: int) -> Group:
    """Claim the first trial that waits in the first lane and all that share its trunk; in a turn of ours.

    A trunk takes no more trials than leave each of the jobs as many of those that wait: many short trainings at once
    end sooner than a few long ones.

    Args:
        lanes: each with what tells whether it starts one more trial, beside a number that run. Trials of the others
            only come with those of the first one.
        n_jobs: trainings at once.

    Returns:
        The trials; one alone where it shares nothing; none where nothing waits there, or there is no room.

    Raises:
        TurnLostError: another process has had a turn meanwhile.
    """
    every = [lane for lane, _ in lanes]
    waiting = _waiting(every)
    first = next((w for w in waiting if w.lane == 0), None)
    if first is None:
        return []
    together = [first]
    if first.shares:
        peak, seed = first.proposal.schedule.initial_lr, _seed(every, first)
        alike = [w for w in waiting if w.shares and w.proposal.schedule.initial_lr == peak and _seed(every, w) == seed]
        for trunk in _planned(alike, every):
            branches = [alike[branch.index] for branch in trunk.branches]
            if first in branches:
                together = branches
    together = _with_room(together, first, lanes, most=ceil(len(waiting) / n_jobs))
    claimed: Group = []
    try:
        for w in together:
            lane = every[w.lane]
            claimed.append((lane, lane.task_of(lane.study.claim(w.proposal.number))))
    except TurnLostError:
        for lane, task in claimed:
            lane.give_up(task, "the database ended the turn in which it began")
        raise
    return claimed


def trunk_of(group: Group) -> TrunkSpec:
    """Return the trunk of trials that share one; its name is that of its first trial."""
    wanted = [(task.schedule, lane.info.total_steps) for lane, task in group if task.schedule is not None]
    (trunk,), alone = plan_trunks(wanted)
    assert not alone  # noqa: S101 - they were found to share one
    steps = {branch.index: branch.step for branch in trunk.branches}
    parts = max(lane.split_batches for lane, _ in group)
    specs = [replace(lane.spec_of(task), checkpoint=None, split_batches=parts) for lane, task in group]
    lane, task = group[0]
    size = f", {lane.dataset_size} examples" if lane.dataset_size is not None else ""
    return TrunkSpec(
        name=f"trial {task.trial} of {lane.info.total_steps} steps{size}",
        trials=tuple(specs),
        branch_steps=tuple(steps[i] for i in range(len(group))),
    )


def _waiting(lanes: Sequence[Lane]) -> list[_Waiting]:
    return [_Waiting(i, proposal) for i, lane in enumerate(lanes) for proposal in lane.study.peek()]


def _seed(lanes: Sequence[Lane], w: _Waiting) -> int:
    return lanes[w.lane].task_of(w.proposal).seed


def _planned(waiting: Sequence[_Waiting], lanes: Sequence[Lane]) -> tuple[Trunk, ...]:
    wanted = [(w.proposal.schedule, lanes[w.lane].info.total_steps) for w in waiting]
    return plan_trunks(wanted, least_shared=LEAST_SHARED)[0]


def _with_room(
    together: Sequence[_Waiting],
    first: _Waiting,
    lanes: Sequence[tuple[Lane, Callable[[int], bool]]],
    *,
    most: int,
) -> list[_Waiting]:
    """Return as many of the trials as there is room for, the first one before all others, in their order."""
    running = [lane.study.running for lane, _ in lanes]
    kept: list[_Waiting] = []
    for w in [first, *(w for w in together if w is not first)]:
        if len(kept) < max(1, most) and lanes[w.lane][1](running[w.lane]):
            running[w.lane] += 1
            kept.append(w)
        elif w is first:
            return []
    return [w for w in together if w in kept]
