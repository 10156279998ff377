"""Which wanted trials share a trunk: what their learning rates have in common is trained once (`autowarm.trunk`).

All of it is read off the learning rates themselves, so it holds for every schedule: trials whose curves are the same up
to the first step with the peak, and that then hold the peak for a while, are the same training up to the first step at
which one of them lets go of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from autowarm.planning.price import price_of
from autowarm.pruning import ema_rungs_of, rungs_of
from autowarm.record import VALIDATION_BATCH_COST
from autowarm.schedule import Schedule
from autowarm.specs import JobInfo, carrier_of

# Steps that a trial must share in a study to be worth a branch. Beside its steps and building the job, which a trial by
# itself does, too, one takes some 27 ms on the demo's GPT (studies/trunk): these steps of 1.7 ms. A number of steps and
# not of seconds, which differ from run to run: a study repeats exactly.
LEAST_SHARED = 16


@dataclass(frozen=True)
class Held:
    """What a schedule does until it lets go of its peak.

    Attributes:
        key: of its learning rates up to the first one at the peak; those of the same key go on alike.
        steps: optimizer steps before the first learning rate below the peak; `total_steps` where there is none.
    """

    key: tuple[float, bytes]
    steps: int


def held_by(schedule: Schedule, *, total_steps: int) -> Held | None:
    """Return what a schedule does until it lets go of its peak; None where no step has the peak.

    Raises:
        ScheduleError: it does not fit into `total_steps`, or has a warmup in epochs.

    >>> held_by(Schedule(initial_lr=0.1, decay="wsd"), total_steps=100).steps
    81
    """
    multipliers = schedule.multipliers(total_steps=total_steps)[:-1]
    at_peak = np.flatnonzero(multipliers == 1.0)
    if len(at_peak) == 0:
        return None
    first = int(at_peak[0])
    lets_go = np.flatnonzero(multipliers[first:] != 1.0)
    steps = first + int(lets_go[0]) if len(lets_go) else total_steps
    return Held((schedule.initial_lr, multipliers[: first + 1].tobytes()), steps)


@dataclass(frozen=True)
class Branch:
    """A wanted trial that leaves a trunk.

    Attributes:
        index: its place among the wanted.
        schedule: what it follows, over `total_steps`.
        total_steps: optimizer steps of the trial.
        step: optimizer steps that it shares with the trunk: the first that it does not is this one, counted from 0;
            `total_steps` where the trunk is all of it.
    """

    index: int
    schedule: Schedule
    total_steps: int
    step: int


@dataclass(frozen=True)
class Trunk:
    """Trials of one seed with the same first learning rates.

    Attributes:
        branches: at least two, the earliest to leave first, and of those that leave together the shortest.
    """

    branches: tuple[Branch, ...]

    @property
    def carrier(self) -> Branch:
        """The trial whose training is the trunk."""
        branches = self.branches
        return branches[carrier_of([b.step for b in branches], [b.total_steps for b in branches])]

    @property
    def shared_steps(self) -> int:
        """Steps of the trunk that are trained for all."""
        return self.branches[-1].step

    @property
    def steps(self) -> int:
        """Optimizer steps to train: the trunk, and what each trial does not share."""
        return self.shared_steps + sum(b.total_steps - b.step for b in self.branches)

    @property
    def represented_steps(self) -> int:
        """Optimizer steps of the same trials by themselves."""
        return sum(b.total_steps for b in self.branches)


@dataclass(frozen=True)
class TrunkPrice:
    """What a trunk costs, and the same trials by themselves; every trial run to its end.

    Attributes:
        cost: training steps plus a third of the validation batches, in training steps.
        seconds: wall time on one machine, one training after the other.
        cost_alone: of the trials by themselves, and `seconds_alone`, their wall time.
    """

    cost: float
    seconds: float
    cost_alone: float
    seconds_alone: float


def plan_trunks(
    wanted: Sequence[tuple[Schedule, int]], *, least_shared: int = 1
) -> tuple[tuple[Trunk, ...], tuple[int, ...]]:
    """Group wanted trials of one job, data set and seed into trunks.

    Args:
        wanted: (schedule, total_steps); a warmup in epochs is `resolved` already.
        least_shared: steps that a trial must share to be worth a branch, at least 1.

    Returns:
        The trunks, in the order of their first trials; and the places of the trials that are trained by themselves.

    Raises:
        ScheduleError: a schedule does not fit into its `total_steps`.

    >>> held = [(Schedule(initial_lr=0.1, decay="wsd"), steps) for steps in (100, 200, 400)]
    >>> (trunk,), alone = plan_trunks(held)
    >>> [branch.step for branch in trunk.branches], trunk.steps, trunk.represented_steps, alone
    ([81, 161, 321], 458, 700, ())
    """
    groups: dict[tuple[float, bytes], list[Branch]] = {}
    alone: list[int] = []
    for index, (schedule, total_steps) in enumerate(wanted):
        held = held_by(schedule, total_steps=total_steps)
        if held is None:
            alone.append(index)
        else:
            groups.setdefault(held.key, []).append(Branch(index, schedule, total_steps, held.steps))
    trunks = []
    for branches in groups.values():
        kept = [branch for branch in branches if branch.step >= least_shared]
        if len(kept) < 2:
            kept = []
        else:
            trunks.append(Trunk(tuple(sorted(kept, key=lambda b: (b.step, b.total_steps, b.index)))))
        alone += [branch.index for branch in branches if branch not in kept]
    return tuple(trunks), tuple(sorted(alone))


def price_of_trunk(
    trunk: Trunk,
    info: JobInfo,
    *,
    rungs: Iterable[tuple[int, ...]],
    ema_rungs: Iterable[tuple[int, ...]] | None = None,
) -> TrunkPrice:
    """Return what a trunk costs at most.

    The trunk validates once at the rungs of all its trials that lie on it; with averaged weights, once for each
    `total_steps`.

    Args:
        trunk: from `plan_trunks`.
        info: of a look at the job.
        rungs: of each branch in the order of `branches`: steps at which it validates.
        ema_rungs: those of them at which it validates averaged weights, too; default: none.
    """
    raw = [(None, rung, b) for b, own in zip(trunk.branches, rungs, strict=True) for rung in own]
    emas = ema_rungs if ema_rungs is not None else [() for _ in trunk.branches]
    averaged = [(b.total_steps, rung, b) for b, own in zip(trunk.branches, emas, strict=True) for rung in own]
    carrier = trunk.carrier
    on_trunk, apart = set(), 0
    for window, rung, branch in [*raw, *averaged]:
        if branch is carrier or rung <= branch.step:
            on_trunk.add((window, rung))
        else:
            apart += 1
    validations, validations_alone = len(on_trunk) + apart, len(raw) + len(averaged)
    # one that ends on the trunk is not built at all
    fits = 1 + sum(b.step < b.total_steps for b in trunk.branches if b is not carrier)
    each = info.val_batches * VALIDATION_BATCH_COST

    def seconds(fits: int, steps: int, validations: int) -> float:
        return fits * info.fixed_seconds + steps * info.step_seconds + validations * info.validation_seconds

    return TrunkPrice(
        cost=trunk.steps + validations * each,
        seconds=seconds(fits, trunk.steps, validations),
        cost_alone=trunk.represented_steps + validations_alone * each,
        seconds_alone=seconds(len(trunk.branches), trunk.represented_steps, validations_alone),
    )


def price_together(
    wanted: Sequence[tuple[Schedule, int]], info: JobInfo, *, averaged: bool, seeds: int = 1
) -> TrunkPrice | None:
    """Return what wanted trials cost with the steps that they have in common trained once; None where there are none.

    Args:
        wanted: as for `plan_trunks`.
        info: of a look at the job, at any horizon.
        averaged: whether the averaged weights are validated, too.
        seeds: that each of them is trained on.
    """
    trunks, alone = plan_trunks(wanted, least_shared=LEAST_SHARED)
    if not trunks:
        return None

    def own(steps: int) -> TrunkPrice:
        emas = len(ema_rungs_of(steps)) * averaged
        price = price_of(
            replace(info, total_steps=steps), rungs=len(rungs_of(steps)), ema_rungs=emas, n_trials=1, checks=0, n_jobs=1
        )
        return TrunkPrice(price.cost, price.seconds, price.cost, price.seconds)

    prices = [own(wanted[index][1]) for index in alone]
    for trunk in trunks:
        lengths = [branch.total_steps for branch in trunk.branches]
        emas = [ema_rungs_of(steps) if averaged else () for steps in lengths]
        prices.append(price_of_trunk(trunk, info, rungs=map(rungs_of, lengths), ema_rungs=emas))
    return TrunkPrice(*(seeds * sum(getattr(price, f.name) for price in prices) for f in fields(TrunkPrice)))
