"""Schedules that meet every format: each decay with its options, times each shape of warmup."""

from __future__ import annotations

from typing import Any

from autowarm.schedule import Schedule

DECAYS: dict[str, dict[str, Any]] = {
    "constant": {"decay": "constant"},
    "linear": {"decay": "linear"},
    "linear to .1": {"decay": "linear", "final_lr_ratio": 0.1},
    "linear to 1": {"decay": "linear", "final_lr_ratio": 1.0},
    "cosine": {"decay": "cosine"},
    "1.5 waves": {"decay": "cosine", "num_cycles": 1.5},
    "1.3 waves to .1": {"decay": "cosine", "num_cycles": 1.3, "final_lr_ratio": 0.1},
    "cosine to .1": {"decay": "cosine", "final_lr_ratio": 0.1},
    "2 restarts": {"decay": "cosine_restarts"},
    "3 restarts to .1": {"decay": "cosine_restarts", "num_cycles": 3, "final_lr_ratio": 0.1},
    "5 restarts": {"decay": "cosine_restarts", "num_cycles": 5},
    "polynomial": {"decay": "polynomial"},
    "polynomial to .1": {"decay": "polynomial", "power": 0.7, "final_lr_ratio": 0.1},
    "exponential": {"decay": "exponential", "gamma": 0.03},
    "step": {"decay": "step"},
    "4 steps": {"decay": "step", "gamma": 0.5, "step_size_ratio": 0.21},
    "inverse_sqrt": {"decay": "inverse_sqrt"},
    "inverse_sqrt of 8": {"decay": "inverse_sqrt", "timescale": 8},
    "wsd": {"decay": "wsd"},
    "wsd to .1": {"decay": "wsd", "decay_ratio": 0.4, "final_lr_ratio": 0.1},
    "wsd 1-sqrt": {"decay": "wsd", "cooldown": "one_minus_sqrt"},
    "wsd cosine": {"decay": "wsd", "cooldown": "cosine"},
    "wsd exponential": {"decay": "wsd", "cooldown": "exponential"},
    "wsd exponential to .1": {"decay": "wsd", "cooldown": "exponential", "final_lr_ratio": 0.1},
    "wsd 1-sqrt to .1": {"decay": "wsd", "cooldown": "one_minus_sqrt", "final_lr_ratio": 0.1},
}
WARMUPS: dict[str, dict[str, Any]] = {
    "no warmup": {},
    "linear": {"warmup_ratio": 0.15},
    "linear, steps": {"warmup_steps": 3},
    "linear from .1": {"warmup_ratio": 0.15, "warmup_start_ratio": 0.1},
    "cosine": {"warmup_ratio": 0.15, "warmup": "cosine"},
    "cosine from .1": {"warmup_ratio": 0.15, "warmup": "cosine", "warmup_start_ratio": 0.1},
    "one_minus_sqrt": {"warmup_ratio": 0.15, "warmup": "one_minus_sqrt"},
    "one_minus_sqrt from .1": {"warmup_ratio": 0.15, "warmup": "one_minus_sqrt", "warmup_start_ratio": 0.1},
    "exponential": {"warmup_ratio": 0.15, "warmup": "exponential", "warmup_start_ratio": 1e-3},
}
OPTIONS: dict[str, dict[str, Any]] = {
    "offset 1": {"step_offset": 1},
    "from start": {"decay_from": "start"},
    "to last step": {"decay_to": "last_step"},
    "offset 1, from start": {"step_offset": 1, "decay_from": "start"},
    "from start, to last step": {"decay_from": "start", "decay_to": "last_step"},
}


def _schedule(*parts: dict[str, Any]) -> Schedule:
    fields: dict[str, Any] = {"initial_lr": 3e-3}
    for part in parts:
        fields |= part
    return Schedule(**fields)


SCHEDULES: dict[str, Schedule] = {
    f"{decay}; {warmup}": _schedule(DECAYS[decay], WARMUPS[warmup]) for decay in DECAYS for warmup in WARMUPS
}
# how steps are counted touches each decay, and whether there is a warmup
SCHEDULES |= {
    f"{decay}; {warmup}; {option}": _schedule(DECAYS[decay], WARMUPS[warmup], OPTIONS[option])
    for decay in DECAYS
    for warmup in ("no warmup", "linear", "cosine from .1")
    for option in OPTIONS
}
