"""autowarm: which learning-rate schedule should this training use?

The names below are loaded on first use, so that ``import autowarm`` costs next to nothing and needs no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autowarm.adapters.lightning import TunedSchedule, WarmupModule
    from autowarm.adapters.torch import build_scheduler
    from autowarm.errors import AutowarmError
    from autowarm.job import Training
    from autowarm.record import TrialRecord
    from autowarm.schedule import Schedule, load_schedule
    from autowarm.space import SearchSpace
    from autowarm.tuning import TuneResult, tune

__version__ = "0.1.0"

_HOMES = {
    "AutowarmError": "errors",
    "Schedule": "schedule",
    "SearchSpace": "space",
    "Training": "job",
    "TrialRecord": "record",
    "TuneResult": "tuning",
    "TunedSchedule": "adapters.lightning",
    "WarmupModule": "adapters.lightning",
    "build_scheduler": "adapters.torch",
    "load_schedule": "schedule",
    "tune": "tuning",
}

__all__ = [
    "AutowarmError",
    "Schedule",
    "SearchSpace",
    "Training",
    "TrialRecord",
    "TuneResult",
    "TunedSchedule",
    "WarmupModule",
    "build_scheduler",
    "load_schedule",
    "tune",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'autowarm' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"autowarm.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
