"""The schedule file of autowarm itself: what `load_schedule` reads."""

from __future__ import annotations

from autowarm.export.source import Source
from autowarm.schedule import schedule_yaml


def yaml_text(source: Source) -> str:
    """Return a schedule file; loading it gives an equal Schedule."""
    return schedule_yaml(source.schedule, source.provenance)
