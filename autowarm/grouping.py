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

# Trials to start together: one by itself, several as a trunk.
Group: TypeAlias = list[tuple[Lane, Task]]
# Whether a horizon starts one more search trial, beside a number that run, whoever trains them.
Room: TypeAlias = Callable[[int], bool]


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
    task: Task


def trunks_of_waiting(lanes: Sequence[Lane]) -> list[Trunk]:
    """Return the trunks that what waits would make."""
    waiting = _waiting(lanes)
    seeds = sorted({w.task.seed for w in waiting})
    return [trunk for seed in seeds for trunk in _planned([w for w in waiting if w.task.seed == seed], lanes)]


def group_of(first: Proposal, lanes: Sequence[tuple[Lane, Room]], *, n_jobs: int) -> Group:
    """Claim the trials that wait and share a trunk with one that is claimed already; in a turn of ours.

    A trunk takes no more trials than leave each of the jobs as many of those that wait: many short trainings at once
    end sooner than a few long ones.

    Args:
        first: a trial of the first lane.
        lanes: each with its room. Trials of the others only come with those of the first one.
        n_jobs: trainings at once.

    Returns:
        The trials, in the order in which they leave the trunk; the first one alone where it shares nothing.

    Raises:
        TurnLostError: another process has had a turn meanwhile.
    """
    every = [lane for lane, _ in lanes]
    begun = _Waiting(0, first, every[0].task_of(first))
    if not _shares(every[0], first):
        return [(every[0], begun.task)]
    waiting = _waiting(every)
    peak = first.schedule.initial_lr
    alike = [w for w in waiting if w.proposal.schedule.initial_lr == peak and w.task.seed == begun.task.seed]
    alike = [begun, *alike]
    found = next((t for t in _planned(alike, every) if any(b.index == 0 for b in t.branches)), None)
    if found is None:
        return [(every[0], begun.task)]
    kept = _with_room(found, alike, lanes, most=ceil((len(waiting) + 1) / n_jobs))
    claimed = [begun]
    try:
        for w in kept:
            if w is not begun:
                every[w.lane].study.claim(w.proposal.number)
                claimed.append(w)
    except TurnLostError:
        for w in claimed:
            every[w.lane].give_up(w.task, "the database ended the turn in which it began")
        raise
    return [(every[w.lane], w.task) for w in kept]


def trunk_of(group: Group) -> TrunkSpec:
    """Return the trunk of trials that share one; its name is that of its first trial."""
    wanted = [(task.schedule, lane.info.total_steps) for lane, task in group if task.schedule is not None]
    (trunk,), alone = plan_trunks(wanted)
    assert not alone  # noqa: S101 - they were found to share one
    steps = {branch.index: branch.step for branch in trunk.branches}
    parts = max(lane.split_batches for lane, _ in group)
    specs = [replace(lane.spec_of(task), checkpoint=None, trunk=None, split_batches=parts) for lane, task in group]
    lane, task = group[0]
    size = f", {lane.dataset_size} examples" if lane.dataset_size is not None else ""
    return TrunkSpec(
        name=f"trial {task.trial} of {lane.info.total_steps} steps{size}",
        trials=tuple(specs),
        branch_steps=tuple(steps[i] for i in range(len(group))),
    )


def _shares(lane: Lane, proposal: Proposal) -> bool:
    """Tell whether a trial may be trained with others.

    Not what has ended a process or was left by a trunk, nor what goes on from a checkpoint of its own.
    """
    return not (proposal.alone or proposal.deaths or lane.keeps(lane.task_of(proposal)))


def _waiting(lanes: Sequence[Lane]) -> list[_Waiting]:
    """Return what waits and may be trained with others."""
    return [
        _Waiting(i, proposal, lane.task_of(proposal))
        for i, lane in enumerate(lanes)
        for proposal in lane.study.peek()
        if _shares(lane, proposal)
    ]


def _planned(waiting: Sequence[_Waiting], lanes: Sequence[Lane]) -> tuple[Trunk, ...]:
    wanted = [(w.proposal.schedule, lanes[w.lane].info.total_steps) for w in waiting]
    return plan_trunks(wanted, least_shared=LEAST_SHARED)[0]


def _with_room(
    trunk: Trunk, waiting: Sequence[_Waiting], lanes: Sequence[tuple[Lane, Room]], *, most: int
) -> list[_Waiting]:
    """Return as many trials of a trunk as there is room for, in their order.

    Args:
        trunk: that all of them would make.
        waiting: what its branches are of; the first one runs already.
        lanes: as for `group_of`.
        most: at most so many.
    """
    running, kept = [lane.study.running for lane, _ in lanes], {0}
    for branch in trunk.branches:
        place = waiting[branch.index].lane
        if branch.index not in kept and len(kept) < most and lanes[place][1](running[place]):
            running[place] += 1
            kept.add(branch.index)
    return [waiting[b.index] for b in trunk.branches if b.index in kept]
