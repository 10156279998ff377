"""Starting guesses: what a careful engineer would try first. The search begins with them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from autowarm.errors import ScheduleError
from autowarm.planning.incumbent import recognise
from autowarm.schedule import Schedule
from autowarm.specs import JobInfo


def incumbent_of(info: JobInfo) -> Schedule | None:
    """Return the schedule that the job has today, or None where its own scheduler is no Schedule."""
    if info.schedule is not None:
        schedule = info.schedule
        return schedule.resolved(steps_per_epoch=info.steps_per_epoch) if info.steps_per_epoch else schedule
    return recognise(info.lrs) if info.lrs is not None else None


def starting_guesses(info: JobInfo, options: Mapping[str, Any] | None = None) -> dict[str, Schedule]:
    """Return the schedules to try first, by where they come from; none twice.

    - what the job has today;
    - its peak (the highest learning rate seen, where its scheduler waits for a metric or an epoch) without warmup, and
      with the linear warmups of 6 % (RoBERTa's) and 10 % (BERT's) that scripts copy, decaying to 0;
    - for Adam, a linear warmup of 2 / (1 - beta2) steps, the rule of thumb of Ma & Yarats 2021, where it is at most
      half of the run.

    Args:
        info: what a look at the job told.
        options: how the schedules of the search count their steps (`step_offset` and so on), and so those guessed here;
            what the job has today stays as it is.
    """
    counting = options or {}
    today = incumbent_of(info)
    peak = today.initial_lr if today is not None else max(info.lrs or info.seen_lrs or (0.0,))
    guesses = {"today": today} if today is not None else {}
    if peak > 0:
        guesses |= {
            "no warmup": Schedule(initial_lr=peak, warmup_ratio=0.0, decay="cosine", **counting),
            "6 % warmup": Schedule(initial_lr=peak, warmup_ratio=0.06, decay="linear", **counting),
            "10 % warmup": Schedule(initial_lr=peak, warmup_ratio=0.1, decay="cosine", **counting),
        }
        untuned = round(2 / (1 - info.beta2)) if info.beta2 is not None and info.beta2 < 1 else 0
        if 0 < untuned <= info.total_steps // 2:
            guesses["2/(1-beta2) steps"] = Schedule(
                initial_lr=peak, warmup_ratio=untuned / info.total_steps, decay="linear", **counting
            )
    found: dict[str, Schedule] = {}
    for name, guess in guesses.items():
        same = _in_whole_steps(guess, info.total_steps)
        if same not in found.values():
            found[name] = same
    return found


def _in_whole_steps(guess: Schedule, total_steps: int) -> Schedule:
    """Return the same schedule with its warmup as the ratio of whole steps, so that equal ones are found equal."""
    ratio = guess.warmup_steps_of(total_steps) / guess.span_of(total_steps)
    # without warmup its shape says nothing
    shape = {} if ratio else {"warmup": "linear", "warmup_start_ratio": 0.0}
    try:
        return replace(guess, warmup_steps=None, warmup_epochs=None, warmup_ratio=ratio, **shape)  # type: ignore[arg-type]
    except ScheduleError:
        # rounded up, it leaves a cooldown one step too few
        return guess
