"""What is raced on and over what: the jobs, the space that every contestant searches, and the seeds."""

from __future__ import annotations

from dataclasses import dataclass

from autowarm.record import VALIDATION_BATCH_COST
from autowarm.schedule import Schedule
from autowarm.space import SearchSpace

# validations of a full run, evenly spread
VALIDATIONS = 20
# full-run equivalents at which the schedule named so far is looked at
CHECKPOINTS = (1, 1.5, 2, 3, 4, 6, 8, 10, 14, 20, 26, 32)
BUDGET = 20

# All disjoint, and from the seeds of the searches (see `search_seed`): of the sweep, of its selection, of the schedules
# named, and of the schedules that may be better than the best of the sweep.
SWEEP_SEED = 900
SELECTION_SEEDS = (901, 902, 903)
EVALUATION_SEEDS = (911, 912, 913)
FURTHER_SEEDS = (921, 922, 923, 924, 925)


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A job of the race.

    Attributes:
        name: of its module in `jobs`.
        total_steps: of a run, a multiple of VALIDATIONS.
        val_batches: of one validation.
        today: what the job trains with as it is.
        beta2: Adam's; None for SGD.
        useless: `val_loss` that a training has to beat: before the first step (char_gpt, finetune_gpt), of the best
            constant answer (the others).
        sgd: whether the optimizer is SGD.
        swept: whether a reference sweep tells the best schedule; otherwise the best of those named stands for it.
    """

    name: str
    total_steps: int
    val_batches: int
    today: Schedule
    beta2: float | None
    useless: float
    sgd: bool = False
    swept: bool = True

    @property
    def factory(self) -> str:
        """The job as autowarm names it."""
        return f"studies.tuner_race.jobs.{self.name}:build"

    @property
    def run_cost(self) -> float:
        """Cost of one full run with its validations, in training steps: one full-run equivalent."""
        return cost(self.total_steps, VALIDATIONS * self.val_batches)


def cost(steps: int, val_batches: int) -> float:
    """Return what a training cost, in training steps; a validation batch counts a third."""
    return steps + val_batches * VALIDATION_BATCH_COST


def _constant(lr: float) -> Schedule:
    return Schedule(initial_lr=lr, warmup_ratio=0.0, decay="constant")


ENTRIES = {
    entry.name: entry
    for entry in (
        Entry(name="char_gpt", total_steps=300, val_batches=4, today=_constant(1e-3), beta2=0.999, useless=4.3),
        Entry(
            name="digits_conv",
            total_steps=300,
            val_batches=1,
            today=_constant(1e-2),
            beta2=None,
            useless=2.302,
            sgd=True,
        ),
        Entry(name="diamonds", total_steps=500, val_batches=1, today=_constant(1e-3), beta2=0.999, useless=1.04),
        Entry(name="finetune_gpt", total_steps=300, val_batches=4, today=_constant(3e-4), beta2=0.999, useless=3.21),
    )
}

# A real pretrained model, whose steps cost too much for a sweep: two contestants, two seeds.
EXTRAS = {
    entry.name: entry
    for entry in (
        Entry(
            name="headlines_minilm",
            total_steps=60,
            val_batches=1,
            today=Schedule(initial_lr=5e-5, warmup_ratio=0.0, decay="linear"),
            beta2=0.999,
            # the logarithm of 5 sections
            useless=1.609,
            swept=False,
        ),
    )
}
ALL = ENTRIES | EXTRAS

# four decades, as somebody who does not know would give
SPACE = SearchSpace(initial_lr={"low": 1e-4, "high": 1.0}, warmup_ratio={"low": 0.0, "high": 0.3})


def sampler_seed(entry: Entry, seed: int) -> int:
    """Return the seed of a search's sampler: another one for each job, or all would start with the same luck.

    Args:
        entry: the job.
        seed: number of the search, from 0.
    """
    if entry.name in EXTRAS:
        return 1_000 + len(EXTRAS) * seed + list(EXTRAS).index(entry.name)
    return len(ENTRIES) * seed + list(ENTRIES).index(entry.name)


def search_seed(entry: Entry, seed: int) -> int:
    """Return the seed that all trials of a search train with; the next few are left to its confirmation.

    Args:
        entry: the job.
        seed: number of the search, from 0.
    """
    return 10_000 + 1_000 * sampler_seed(entry, seed)


def rule_of_thumb(entry: Entry) -> Schedule:
    """Return the untuned schedule: today's peak, warmed up over 2/(1-beta2) steps, at most half the run, then linear.

    The length of the warmup is that of Ma & Yarats 2021 for Adam; without a beta2 there is none.
    """
    warmup = min(2 / (1 - entry.beta2), entry.total_steps / 2) if entry.beta2 is not None else 0.0
    return Schedule(initial_lr=entry.today.initial_lr, warmup_ratio=round(warmup) / entry.total_steps, decay="linear")
