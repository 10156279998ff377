"""A config file that adds the tuned schedule to the callbacks of a LightningCLI project."""

from __future__ import annotations

from autowarm.export.source import Source
from autowarm.export.words import commented
from autowarm.yaml_files import to_yaml

_AFTER = """\
# Pass this file AFTER your own config; before it, it is silently lost:
#     python train.py fit --config yours.yaml --config this.yaml
"""


def lightning_text(source: Source) -> str:
    """Return an overlay for projects on the package `lightning`."""
    return _overlay(source, "autowarm.TunedSchedule")


def pytorch_lightning_text(source: Source) -> str:
    """Return an overlay for projects on the package `pytorch_lightning`, whose Trainer wants a callback of its own."""
    return _overlay(source, "autowarm.adapters.pytorch_lightning.TunedSchedule")


def _overlay(source: Source, class_path: str) -> str:
    callback = {"class_path": class_path, "init_args": {"schedule": source.schedule.to_dict()}}
    # in comments, since LightningCLI refuses keys it does not know
    return _AFTER + commented(source.provenance) + to_yaml({"trainer": {"callbacks+": [callback]}})
