"""The formats of an export by name, and the one call that writes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from autowarm.errors import SettingsError, unknown
from autowarm.export.lightning import lightning_text, pytorch_lightning_text
from autowarm.export.optax import optax_text
from autowarm.export.source import Source
from autowarm.export.torch import torch_text
from autowarm.export.transformers import transformers_text
from autowarm.export.yaml import yaml_text
from autowarm.record import TrialRecord
from autowarm.schedule import Schedule


@dataclass(frozen=True)
class Format:
    """One format of an export.

    Attributes:
        write: from what is exported to the text of the file.
        about: in a line, what the file is for.
    """

    write: Callable[[Source], str]
    about: str


FORMATS: Mapping[str, Format] = {
    "yaml": Format(yaml_text, "for autowarm.TunedSchedule, build_scheduler and `autowarm show`"),
    "lightning": Format(lightning_text, "a file for LightningCLI, passed after your own --config"),
    "pytorch_lightning": Format(pytorch_lightning_text, "the same for projects on the pytorch_lightning package"),
    "transformers": Format(transformers_text, "keywords of transformers' TrainingArguments, as YAML"),
    "torch": Format(torch_text, "a Python module that needs torch alone"),
    "optax": Format(optax_text, "a Python module that needs jax and optax alone"),
}


def export(
    source: TrialRecord | Schedule | Source, file_format: str = "yaml", *, total_steps: int | None = None
) -> str:
    """Return the text of a file that holds a schedule.

    The files of `yaml`, `lightning` and `pytorch_lightning` hold the schedule itself, and stretch with the run. Those
    of `transformers`, `torch` and `optax` hold its numbers for one run of `total_steps`.

    Args:
        source: a schedule; or a record or a `Source`, whose provenance then goes with it.
        file_format: one of `FORMATS`.
        total_steps: optimizer steps of the run; default: those of `source`.

    Raises:
        SettingsError: an unknown format.
        StudyError: the record trained with the job's own scheduler, which is no Schedule.
        ScheduleError: the format needs a number of steps and none is known, the schedule does not fit into it, or the
            format cannot express the schedule exactly; says what can.
    """
    if file_format not in FORMATS:
        raise SettingsError(unknown("export format", file_format, FORMATS))
    if isinstance(source, TrialRecord):
        source = Source.of_record(source)
    elif isinstance(source, Schedule):
        source = Source(source)
    return FORMATS[file_format].write(source.over(total_steps))
