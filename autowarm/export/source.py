"""What is exported: a schedule, the length of the run where it is known, and where the schedule comes from."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from autowarm.analysis.best import warmup_steps
from autowarm.errors import ScheduleError, StudyError
from autowarm.export.laid_out import LaidOut
from autowarm.record import TrialRecord
from autowarm.schedule import Schedule, load_schedule
from autowarm.values import is_whole
from autowarm.yaml_files import read_yaml

# What an export tells of the study. A file may hold more than that, which is its owner's and goes no further.
PROVENANCE = (
    "study",
    "trial",
    "role",
    "monitor",
    "value",
    "total_steps",
    "warmup_steps",
    "cooldown_steps",
    "dataset_size",
    "batch_size",
    "seed",
    "confirmed_seeds",
    "versions",
    "exported_for",
)


@dataclass(frozen=True)
class Source:
    """A schedule on its way into a file.

    Attributes:
        schedule: the schedule.
        total_steps: optimizer steps of the run it is exported for; None where nobody has said.
        provenance: where it comes from, as plain data; keys are those of `PROVENANCE`.
    """

    schedule: Schedule
    total_steps: int | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of_record(cls, record: TrialRecord, seeds: Sequence[int] = ()) -> Source:
        """Return the schedule of a record; `seeds` are those it was confirmed on.

        Raises:
            StudyError: the record trained with the job's own scheduler, which is no Schedule.
        """
        if record.schedule is None:
            own = f"the job's own scheduler ({record.label})"
            raise StudyError(f"trial {record.trial} used {own}: it has no schedule to export")
        return cls(record.schedule, record.total_steps, provenance(record, seeds))

    @classmethod
    def of_file(cls, path: str | Path) -> Source:
        """Read a schedule file, with the provenance that stands in it.

        Raises:
            ScheduleError: the file cannot be read, or holds no valid schedule.
        """
        schedule = load_schedule(path)
        told = read_yaml(Path(path), ScheduleError).get("provenance")
        told = {key: told[key] for key in PROVENANCE if key in told} if isinstance(told, dict) else {}
        exported_for = told.get("exported_for")
        asked = exported_for.get("total_steps") if isinstance(exported_for, dict) else None
        total_steps = told.get("total_steps") if asked is None else asked
        if total_steps is not None and not (is_whole(total_steps) and isinstance(total_steps, int)):
            raise ScheduleError(
                f"{path}: total_steps must be a whole number of at least 1, got {total_steps!r} in its provenance"
            )
        return cls(schedule, total_steps, told)

    def over(self, total_steps: int | None) -> Source:
        """Return the same schedule for a run of another length, which the provenance then tells; None changes nothing.

        Raises:
            ScheduleError: the schedule does not fit into so many steps.
        """
        if total_steps is None or (total_steps == self.total_steps and "total_steps" in self.provenance):
            return self
        told = {key: value for key, value in self.provenance.items() if key != "exported_for"}
        if total_steps != told.get("total_steps"):
            told["exported_for"] = steps_of(self._in_steps(), total_steps)
        return replace(self, total_steps=total_steps, provenance=told)

    def resolved(self, file_format: str) -> tuple[Schedule, int]:
        """Return the schedule without epochs and the length of its run, for a format that counts in steps.

        Raises:
            ScheduleError: the length of the run, or of an epoch, is not known; or the schedule does not fit in.
        """
        if self.total_steps is None:
            raise ScheduleError(f"the format {file_format!r} counts in steps: give total_steps, the run's")
        schedule = self._in_steps()
        schedule.warmup_steps_of(self.total_steps)
        return schedule, self.total_steps

    def _in_steps(self) -> Schedule:
        if self.schedule.warmup_epochs is None:
            return self.schedule
        size: Any = self.provenance.get("dataset_size")
        batch: Any = self.provenance.get("batch_size")
        if not (is_whole(size) and is_whole(batch)):
            raise ScheduleError(
                f"warmup_epochs={self.schedule.warmup_epochs} has no length in steps, since nothing says how many "
                "steps an epoch takes: give the warmup as warmup_steps or warmup_ratio"
            )
        return self.schedule.resolved(steps_per_epoch=math.ceil(size / batch))


def provenance(record: TrialRecord, seeds: Sequence[int] = ()) -> dict[str, Any]:
    """Return where a record's schedule comes from, as plain data; what is not known is left out.

    Args:
        record: whose schedule is exported.
        seeds: those that the schedule was trained on again.
    """
    warmup = warmup_steps(record)
    told = {
        "study": record.study,
        "trial": record.trial,
        "role": record.role,
        "monitor": record.monitor,
        "value": record.value,
        "total_steps": record.total_steps,
        "warmup_steps": warmup,
        # of a schedule that fits into its run; one that failed may not
        "cooldown_steps": cooldown_steps(record.schedule, record.total_steps)
        if record.schedule and warmup is not None
        else None,
        "dataset_size": record.dataset_size,
        "batch_size": record.batch_size,
        "seed": record.seed,
        "confirmed_seeds": list(seeds) or None,
        "versions": dict(record.versions) if record.versions else None,
    }
    return {key: value for key, value in told.items() if value is not None}


def steps_of(schedule: Schedule, total_steps: int) -> dict[str, int]:
    """Return the lengths of a schedule's parts in a run of `total_steps`, in optimizer steps."""
    told = {
        "total_steps": total_steps,
        "warmup_steps": schedule.warmup_steps_of(total_steps),
        "cooldown_steps": cooldown_steps(schedule, total_steps),
    }
    return {key: value for key, value in told.items() if value is not None}


def cooldown_steps(schedule: Schedule, total_steps: int) -> int | None:
    """Return the length of the cooldown in optimizer steps; None for a decay without one, or a warmup in epochs."""
    if schedule.decay_ratio is None or schedule.warmup_epochs is not None:
        return None
    return LaidOut.of(schedule, total_steps).cooldown_steps
