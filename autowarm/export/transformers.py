"""Keywords of transformers' TrainingArguments, for schedules that one of its own types equals step for step.

What the types compute, with T = max_steps and w = warmup_steps, is in `transformers.optimization`; every one warms up
linearly from 0, and `warmup_stable_decay` alone as a cosine too, both from its `min_lr_ratio`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any, TypeAlias

import numpy as np

from autowarm.decays import DecayName
from autowarm.errors import ScheduleError
from autowarm.export.laid_out import LaidOut
from autowarm.export.source import Source
from autowarm.export.words import commented
from autowarm.yaml_files import to_yaml

# the type's name and its lr_scheduler_kwargs
_Type: TypeAlias = tuple[str, dict[str, Any]]

# What is written for where transformers is not installed.
_ASSUMED = (5, 24)
# The oldest that the tests were run with.
_OLDEST = (4, 57)
# Since then, a float warmup_steps below 1 is the ratio, and there is no warmup_ratio.
_RATIO_IN_STEPS = (5, 0)
# Since then, inverse_sqrt is given its lr_scheduler_kwargs; before, they are dropped in silence.
_TIMESCALE = (5, 4)


def transformers_text(source: Source) -> str:
    """Return the keywords as YAML, right for the version of transformers that is installed.

    Raises:
        ScheduleError: the number of steps is not known, the schedule does not fit into it, or no type of transformers
            equals the schedule.
    """
    schedule, total_steps = source.resolved("transformers")
    laid = LaidOut.of(schedule, total_steps)
    name, own = _type_of(laid)
    keywords: dict[str, Any] = {"learning_rate": schedule.initial_lr, "lr_scheduler_type": name}
    if own:
        keywords["lr_scheduler_kwargs"] = own
    keywords |= {"warmup_steps": laid.warmup_steps, "max_steps": total_steps}
    return _said(laid) + commented(source.provenance) + to_yaml(keywords)


def _said(laid: LaidOut) -> str:
    installed = _installed()
    which = installed or f"{_ASSUMED[0]}.x (none is installed here)"
    first = laid.schedule.lr_at(0, total_steps=laid.total_steps)
    lines = [
        f"Keywords of TrainingArguments in transformers {which}:",
        "    HfArgumentParser(TrainingArguments).parse_yaml_file(FILE), or TrainingArguments(**keywords)",
        f"The first step has learning rate {first:g}.",
    ]
    if laid.warmup_steps:
        ratio = laid.schedule.warmup_ratio or laid.warmup_steps / laid.total_steps
        key = "warmup_steps" if _version() >= _RATIO_IN_STEPS else "warmup_ratio"
        share = to_yaml({key: ratio}).strip()
        lines.append(f"For another max_steps, the ratio is {share}; transformers rounds it up.")
    if laid.cooldown_steps:
        lines.append(f"num_decay_steps is decay_ratio {laid.schedule.decay_ratio!r} of max_steps.")
    return "".join(f"# {line}\n" for line in lines)


def _installed() -> str | None:
    try:
        return version("transformers")
    except PackageNotFoundError:
        return None


def _version() -> tuple[int, ...]:
    installed = _installed()
    return tuple(int(part) for part in installed.split(".")[:2]) if installed else _ASSUMED


def _type_of(laid: LaidOut) -> _Type:
    schedule = laid.schedule
    if _version() < _OLDEST:
        oldest = ".".join(map(str, _OLDEST))
        raise ScheduleError(f"transformers {_installed()} is older than {oldest}, the oldest exported for: update it")
    if laid.step_offset:
        found = _offset(laid)
    elif schedule.final_lr_ratio == 1 and schedule.decay in ("linear", "polynomial"):
        # lr_end must be below the peak in transformers; and a decay to the peak is none
        found = _constant(laid)
    else:
        found = _TYPES[schedule.decay](laid)
    if not found[0].startswith("constant"):
        if laid.end_step != laid.total_steps and schedule.decay != "inverse_sqrt":
            _refuse(laid, "its decays end one step after the last one executed")
        if laid.began != laid.warmup_steps:
            _refuse(laid, "its decays begin where the warmup ends")
    if found[0] != "warmup_stable_decay":
        _check_warmup(laid)
    return found


def _check_warmup(laid: LaidOut) -> None:
    if not laid.warmup_steps:
        return
    if laid.schedule.warmup != "linear":
        _refuse(laid, f"its {laid.schedule.decay} warms up linearly, not as {laid.schedule.warmup}")
    if laid.schedule.warmup_start_ratio:
        _refuse(laid, "its warmups start at lr 0, and this one has a warmup_start_ratio")


def _refuse(laid: LaidOut, why: str) -> None:
    raise ScheduleError(
        f"no lr_scheduler_type of transformers equals this schedule ({laid.schedule}): {why}. Use the schedule itself, "
        "with autowarm.adapters.transformers.use_schedule(trainer, FILE), or --format torch"
    )


def _offset(laid: LaidOut) -> _Type:
    if laid.schedule.decay != "cosine":
        _refuse(laid, "only its cosine_warmup_with_min_lr takes the first rise on the first step")
    return "cosine_warmup_with_min_lr", _cycles(laid) | {"min_lr_rate": laid.schedule.final_lr_ratio}


def _constant(laid: LaidOut) -> _Type:
    return ("constant_with_warmup" if laid.warmup_steps else "constant"), {}


def _linear(laid: LaidOut) -> _Type:
    if not laid.schedule.final_lr_ratio:
        return "linear", {}
    return "polynomial", {"power": 1.0, "lr_end": _lr_end(laid)}


def _cosine(laid: LaidOut) -> _Type:
    cycles = _cycles(laid)
    if not laid.schedule.final_lr_ratio:
        return "cosine", cycles
    return "cosine_with_min_lr", cycles | {"min_lr_rate": laid.schedule.final_lr_ratio}


def _cycles(laid: LaidOut) -> dict[str, Any]:
    cycles = laid.schedule.num_cycles
    return {} if cycles is None else {"num_cycles": cycles}


def _cosine_restarts(laid: LaidOut) -> _Type:
    if laid.schedule.final_lr_ratio:
        _refuse(laid, "its cosine_with_restarts ends at 0")
    cycles = laid.schedule.num_cycles or 1
    # Counted as a share of the decay, a restart may miss its step by a rounding error: lr 0 where the peak is due.
    steps = np.arange(laid.decay_steps)
    theirs = (float(cycles) * (steps / laid.decay_steps)) % 1.0
    ours = steps * (cycles % laid.decay_steps) % laid.decay_steps / laid.decay_steps
    apart = np.flatnonzero(np.abs(theirs - ours) > 1e-13)
    if len(apart):
        step = apart[0] + laid.warmup_steps
        _refuse(laid, f"by a rounding error, its cosine_with_restarts is off at step {step}")
    return "cosine_with_restarts", {"num_cycles": cycles}


def _polynomial(laid: LaidOut) -> _Type:
    return "polynomial", {"power": laid.schedule.power, "lr_end": _lr_end(laid)}


def _lr_end(laid: LaidOut) -> float:
    return laid.schedule.final_lr_ratio * laid.schedule.initial_lr


def _inverse_sqrt(laid: LaidOut) -> _Type:
    # without one, transformers takes the warmup's length, and 10,000 where there is no warmup
    default = laid.warmup_steps or 10_000
    if laid.timescale == default:
        return "inverse_sqrt", {}
    if _version() < _TIMESCALE:
        _refuse(laid, f"{_installed()} does not pass inverse_sqrt a timescale; 5.4 does")
    return "inverse_sqrt", {"timescale": laid.timescale}


# what warmup_stable_decay calls the shapes of warmups and cooldowns
_SHAPES: Mapping[str, str] = {"linear": "linear", "one_minus_sqrt": "1-sqrt", "cosine": "cosine"}


def _wsd(laid: LaidOut) -> _Type:
    schedule = laid.schedule
    cooldown = schedule.cooldown or "linear"
    shapes = [cooldown, *([schedule.warmup] if laid.warmup_steps else [])]
    if not set(shapes) <= set(_SHAPES):
        _refuse(laid, "its warmup_stable_decay has no exponential warmup or cooldown")
    own: dict[str, Any] = {"num_decay_steps": laid.cooldown_steps, "decay_type": _SHAPES[cooldown]}
    if laid.warmup_steps:
        if schedule.warmup_start_ratio != schedule.final_lr_ratio:
            _refuse(laid, "its warmup_stable_decay starts the warmup at the ratio that the cooldown ends at")
        own["warmup_type"] = _SHAPES[schedule.warmup]
    return "warmup_stable_decay", own | {"min_lr_ratio": schedule.final_lr_ratio}


def _none(laid: LaidOut) -> _Type:
    _refuse(laid, f"it has no {laid.schedule.decay} decay")
    raise AssertionError


_TYPES: Mapping[DecayName, Callable[[LaidOut], _Type]] = {
    "constant": _constant,
    "linear": _linear,
    "cosine": _cosine,
    "cosine_restarts": _cosine_restarts,
    "polynomial": _polynomial,
    "exponential": _none,
    "step": _none,
    "inverse_sqrt": _inverse_sqrt,
    "wsd": _wsd,
}
