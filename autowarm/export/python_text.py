"""What the exports in Python share: the head of the module, and the schedule's numbers as named constants."""

from __future__ import annotations

from importlib.metadata import version
from textwrap import wrap

from autowarm.export.laid_out import LaidOut
from autowarm.export.source import Source
from autowarm.export.words import docstring
from autowarm.schedule import Schedule


def head(source: Source, schedule: Schedule, *, file_format: str, needs: str) -> str:
    """Return the docstring of the module: what it is, what it needs, and where the schedule comes from."""
    lines = [
        "A learning-rate schedule, as a function of the optimizer step.",
        "",
        *wrap(str(schedule), 80),
        "",
        f"Written by `autowarm export --format {file_format}` (autowarm {version('autowarm')});",
        f"needs {needs} and nothing else.",
    ]
    return docstring(lines, source.provenance)


def constants(laid: LaidOut) -> str:
    """Return the numbers that the schedule's own formula uses, one a line."""
    schedule = laid.schedule
    named: list[tuple[str, float, str]] = [
        ("INITIAL_LR", schedule.initial_lr, "the peak"),
        ("TOTAL_STEPS", laid.total_steps, "optimizer steps in the run"),
    ]
    if laid.end_step != laid.total_steps:
        named.append(("END_STEP", laid.end_step, "where the decay is at its end"))
    if laid.warmup_steps:
        ratio = schedule.warmup_ratio
        named.append(("WARMUP_STEPS", laid.warmup_steps, f"warmup_ratio {ratio!r}" if ratio else ""))
    if laid.warmup_steps and schedule.warmup_start_ratio:
        named.append(("WARMUP_START_RATIO", schedule.warmup_start_ratio, "lr at step 0 over INITIAL_LR"))
    named += _own(laid)
    if schedule.final_lr_ratio:
        named.append(("FINAL_LR_RATIO", schedule.final_lr_ratio, "lr at the end over INITIAL_LR"))
    return "".join(f"{name} = {value!r}{f'  # {said}' if said else ''}\n" for name, value, said in named)


def end_name(laid: LaidOut) -> str:
    """Return the name of the constant that holds the step at which the decay is at its end."""
    return "TOTAL_STEPS" if laid.end_step == laid.total_steps else "END_STEP"


def since_began(laid: LaidOut) -> str:
    """Return the steps since the decay began, as an expression that binds as tightly as a name."""
    return "(step - WARMUP_STEPS)" if laid.began else "step"


def length_of_decay(laid: LaidOut) -> str:
    """Return the length of the decay, as an expression that binds as tightly as a name."""
    return f"({end_name(laid)} - WARMUP_STEPS)" if laid.began else end_name(laid)


def scaled(shape: str, laid: LaidOut, *, peak: str = "", atom: bool = False) -> list[str]:
    """Return the lines that end a function with a shape that falls from 1, put so that it falls to the final ratio.

    Args:
        shape: an expression.
        laid: the schedule.
        peak: a factor of the whole, such as ``INITIAL_LR``; none by default.
        atom: the expression binds as tightly as a product.
    """
    factor = f"{peak} * " if peak else ""
    if not laid.schedule.final_lr_ratio:
        return [f"return {factor}{shape if atom or not peak else f'({shape})'}"]
    between = "FINAL_LR_RATIO + (1 - FINAL_LR_RATIO) * shape"
    return [f"shape = {shape}", f"return {factor}({between})" if peak else f"return {between}"]


def _own(laid: LaidOut) -> list[tuple[str, float, str]]:
    schedule = laid.schedule
    own: list[tuple[str, float, str]] = []
    if schedule.power is not None:
        own.append(("POWER", schedule.power, ""))
    if schedule.gamma is not None:
        said = "the factor of each drop" if schedule.decay == "step" else "the factor over the whole decay"
        own.append(("GAMMA", schedule.gamma, said))
    if laid.step_size:
        own.append(("STEP_SIZE", laid.step_size, f"steps between two drops, {schedule.step_size_ratio!r} of the decay"))
    if schedule.num_cycles is not None:
        own.append(("NUM_CYCLES", schedule.num_cycles, ""))
    if schedule.decay == "inverse_sqrt" and laid.timescale != laid.began:
        own.append(("TIMESCALE", laid.timescale, ""))
    if laid.cooldown_steps:
        own.append(("COOLDOWN_STEPS", laid.cooldown_steps, f"decay_ratio {schedule.decay_ratio!r}"))
    return own
