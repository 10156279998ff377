"""A schedule laid out over one run: the whole numbers of steps that a formula in code needs."""

from __future__ import annotations

from dataclasses import dataclass

from autowarm.decays import INVERSE_SQRT_TIMESCALE, cooldown_steps_of
from autowarm.schedule import Schedule


@dataclass(frozen=True)
class LaidOut:
    """A schedule and the run it is laid out over; counts are optimizer steps.

    Attributes:
        schedule: the schedule, its warmup not in epochs.
        total_steps: steps of the run.
        end_step: the step at which the formula is at its end.
        warmup_steps: length of the warmup.
        began: the step that the decay counts from.
        step_offset: optimizer step s uses the formula at s + `step_offset`.
    """

    schedule: Schedule
    total_steps: int
    end_step: int
    warmup_steps: int
    began: int
    step_offset: int

    @classmethod
    def of(cls, schedule: Schedule, total_steps: int) -> LaidOut:
        """Lay a schedule out.

        Raises:
            ScheduleError: it does not fit into `total_steps`.
        """
        warmup_steps = schedule.warmup_steps_of(total_steps)
        began = 0 if schedule.decay_from == "start" else warmup_steps
        return cls(schedule, total_steps, schedule.span_of(total_steps), warmup_steps, began, schedule.step_offset)

    @property
    def decay_steps(self) -> int:
        """Length of the decay."""
        return self.end_step - self.began

    @property
    def cooldown_steps(self) -> int:
        """Length of wsd's cooldown; 0 for other decays."""
        if self.schedule.decay_ratio is None:
            return 0
        # warmup and cooldown that add up to 1 may round to one step too many, which the cooldown gives up
        return min(cooldown_steps_of(self.schedule.decay_ratio, self.end_step), self.decay_steps)

    @property
    def step_size(self) -> int:
        """Steps between two drops of the decay `step`; 0 for other decays."""
        ratio = self.schedule.step_size_ratio
        return 0 if ratio is None else max(1, round(ratio * self.decay_steps))

    @property
    def timescale(self) -> int:
        """Timescale of `inverse_sqrt`."""
        return self.schedule.timescale or self.began or INVERSE_SQRT_TIMESCALE
