"""The best schedule of a study as a file: for `load_schedule`, or on top of a LightningCLI config."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from autowarm.analysis.best import Horizon, best_record, horizon_words, horizons, warmup_steps
from autowarm.analysis.spend import spend
from autowarm.errors import SettingsError, StudyError, unknown
from autowarm.record import TrialRecord
from autowarm.schedule import Schedule, schedule_yaml
from autowarm.yaml_files import to_yaml

_AFTER = """\
# Pass this file AFTER your own config; before it, it is silently lost:
#     python train.py fit --config yours.yaml --config this.yaml
"""


def export(source: TrialRecord | Schedule, file_format: str = "yaml") -> str:
    """Return the text of a file that holds a schedule; loading it gives an equal Schedule.

    Args:
        source: a schedule, or a record, whose provenance then goes with it.
        file_format: `yaml`, for `autowarm.load_schedule` and `TunedSchedule`; or `lightning`, a config file
            that adds `TunedSchedule` to the callbacks of a LightningCLI project.

    Raises:
        SettingsError: an unknown format.
        StudyError: the record trained with the job's own scheduler, which is no Schedule.
    """
    if file_format not in _FORMATS:
        raise SettingsError(unknown("export format", file_format, FORMATS))
    if isinstance(source, Schedule):
        return _FORMATS[file_format](source, {})
    if source.schedule is None:
        own = f"the job's own scheduler ({source.label})"
        raise StudyError(f"trial {source.trial} used {own}: it has no schedule to export")
    return _FORMATS[file_format](source.schedule, provenance(source))


def provenance(record: TrialRecord) -> dict[str, Any]:
    """Return where a record's schedule comes from, as plain data; what is not known is left out."""
    told = {
        "study": record.study,
        "trial": record.trial,
        "role": record.role,
        "monitor": record.monitor,
        "value": record.value,
        "total_steps": record.total_steps,
        "warmup_steps": warmup_steps(record),
        "dataset_size": record.dataset_size,
        "batch_size": record.batch_size,
        "seed": record.seed,
        "versions": dict(record.versions) if record.versions else None,
    }
    return {key: value for key, value in told.items() if value is not None}


def choose(
    records: Sequence[TrialRecord], total_steps: int | None = None, dataset_size: int | None = None
) -> TrialRecord:
    """Return the best COMPLETE `search` record of a horizon.

    Args:
        records: of one study.
        total_steps: of the horizon; by default the largest that was searched.
        dataset_size: of the horizon; by default the largest at `total_steps`.

    Raises:
        StudyError: no such horizon was searched (those that were are listed), or no trial there is COMPLETE.
        RecordError: the records of the horizon watch different metrics.
    """
    searched = [r for r in records if r.role == "search"]
    present = horizons(searched)
    if not present:
        raise StudyError("there is no search trial to choose from: run `autowarm tune` first")
    asked = [(steps, size) for steps, size in present if total_steps in (None, steps) and dataset_size in (None, size)]
    if not asked:
        wanted = {"total_steps": total_steps, "dataset_size": dataset_size}
        words = ", ".join(f"{name} {value:,}" for name, value in wanted.items() if value is not None)
        raise StudyError(f"no trial was searched at {words}. There are: {_list(present)}")
    best = best_record(searched, asked[0])
    if best is None:
        raise StudyError(_why_nothing(searched, asked[0]))
    return best


def _why_nothing(searched: Sequence[TrialRecord], horizon: Horizon) -> str:
    here = [r for r in searched if r.horizon == horizon]
    outcomes = ", ".join(f"{count} {name}" for name, count in spend(here).outcomes.items())
    said = f"no search trial at {horizon_words(horizon)} is COMPLETE with a finite value ({outcomes})"
    others = [other for other in horizons(searched) if best_record(searched, other) is not None]
    return (
        f"{said}. There is one at: {_list(others)}" if others else f"{said}: see `autowarm report` for what to change"
    )


def _list(found: Sequence[Horizon]) -> str:
    return "; ".join(horizon_words(horizon) for horizon in found)


def _yaml(schedule: Schedule, origin: Mapping[str, Any]) -> str:
    return schedule_yaml(schedule, origin)


def _lightning(schedule: Schedule, origin: Mapping[str, Any]) -> str:
    callback = {"class_path": "autowarm.TunedSchedule", "init_args": {"schedule": schedule.to_dict()}}
    # In comments, since LightningCLI refuses keys it does not know. YAML quotes the line breaks in a name.
    told = "".join(f"# {line}\n" for line in to_yaml({"provenance": dict(origin)}).splitlines()) if origin else ""
    return _AFTER + told + to_yaml({"trainer": {"callbacks+": [callback]}})


_FORMATS: Mapping[str, Callable[[Schedule, Mapping[str, Any]], str]] = {
    "yaml": _yaml,
    "lightning": _lightning,
}
FORMATS: tuple[str, ...] = tuple(_FORMATS)
