"""A Python module without autowarm: the schedule's one formula, and a LambdaLR over it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from autowarm.decays import DecayName
from autowarm.export.laid_out import LaidOut
from autowarm.export.python_text import constants, end_name, head, length_of_decay, scaled, since_began
from autowarm.export.source import Source

_TEXT = '''\
{head}
{imports}from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

{constants}

def multiplier_at({argument}: int) -> float:
    """Return the learning rate over INITIAL_LR at an optimizer step, counted from 0."""
{formula}


def lr_at(step: int) -> float:
    """Return the learning rate at an optimizer step, counted from 0."""
    return INITIAL_LR * multiplier_at(step)


def build_scheduler(optimizer: Optimizer) -> LambdaLR:
    """Return the scheduler; call its step() once after each optimizer.step().

    The first param group follows lr_at, the others keep their ratio to it.
    """
    groups = optimizer.param_groups
    built = [float(group.get("initial_lr", group["lr"])) for group in groups]
    for group, lr in zip(groups, built, strict=True):
        group["initial_lr"] = INITIAL_LR * (1.0 if lr == built[0] else lr / built[0])
    return LambdaLR(optimizer, multiplier_at)
'''


def torch_text(source: Source) -> str:
    """Return the module: ``lr_at(step)`` and ``build_scheduler(optimizer)``.

    Raises:
        ScheduleError: the number of steps is not known, or the schedule does not fit into it.
    """
    schedule, total_steps = source.resolved("torch")
    laid = LaidOut.of(schedule, total_steps)
    lines = [*_start(laid), *_warmup(laid), *_DECAYS[schedule.decay](laid)]
    formula = "\n".join(f"    {line}" for line in lines)
    return _TEXT.format(
        head=head(source, schedule, file_format="torch", needs="torch"),
        imports="import math\n\n" if "math." in formula else "",
        constants=constants(laid),
        argument="step" if "step" in formula else "_step",
        formula=formula,
    )


def _start(laid: LaidOut) -> list[str]:
    """Return the step that the formula is asked for: the run may go beyond the end, where the lr stays."""
    if not laid.warmup_steps and laid.schedule.decay == "constant":
        return []
    if laid.step_offset:
        return ["# the first step takes the first rise", f"step = min(step + 1, {end_name(laid)})"]
    return [f"step = min(step, {end_name(laid)})"]


def _warmup(laid: LaidOut) -> list[str]:
    if not laid.warmup_steps:
        return []
    start, shape = laid.schedule.warmup_start_ratio, laid.schedule.warmup
    if shape == "exponential":
        lines = ["return math.pow(WARMUP_START_RATIO, 1 - step / WARMUP_STEPS)"]
    elif shape == "one_minus_sqrt":
        lines = _risen("1 - math.sqrt(1 - step / WARMUP_STEPS)", start)
    elif shape == "cosine":
        lines = _risen("0.5 * (1 - math.cos(math.pi * (step / WARMUP_STEPS)))", start)
    else:
        lines = _risen("step / WARMUP_STEPS", start)
    return ["if step < WARMUP_STEPS:", *(f"    {line}" for line in lines)]


def _risen(shape: str, start: float) -> list[str]:
    if not start:
        return [f"return {shape}"]
    return [f"shape = {shape}", "return WARMUP_START_RATIO + (1 - WARMUP_START_RATIO) * shape"]


def _progress(laid: LaidOut) -> str:
    return f"progress = {since_began(laid)} / {length_of_decay(laid)}"


def _constant(_laid: LaidOut) -> list[str]:
    return ["return 1.0"]


def _linear(laid: LaidOut) -> list[str]:
    return [_progress(laid), *scaled("1 - progress", laid)]


def _cosine(laid: LaidOut) -> list[str]:
    if laid.schedule.num_cycles is None:
        return [_progress(laid), *scaled("0.5 * (1 + math.cos(math.pi * progress))", laid)]
    turns = f"turns = NUM_CYCLES * ({since_began(laid)} / {length_of_decay(laid)})"
    return [turns, *scaled("0.5 * (1 + math.cos(2 * math.pi * (turns % 1)))", laid)]


def _cosine_restarts(laid: LaidOut) -> list[str]:
    return [
        f"if step == {end_name(laid)}:",
        f"    return {'FINAL_LR_RATIO' if laid.schedule.final_lr_ratio else '0.0'}",
        f"decay_steps = {length_of_decay(laid).strip('()')}",
        "# in whole steps, so that each restart falls on its step",
        f"within = ({since_began(laid)} * NUM_CYCLES % decay_steps) / decay_steps",
        *scaled("0.5 * (1 + math.cos(math.pi * within))", laid),
    ]


def _polynomial(laid: LaidOut) -> list[str]:
    return [_progress(laid), *scaled("math.pow(1 - progress, POWER)", laid)]


def _exponential(laid: LaidOut) -> list[str]:
    return [_progress(laid), "return math.pow(GAMMA, progress)"]


def _step(laid: LaidOut) -> list[str]:
    return [f"return math.pow(GAMMA, {since_began(laid)} // STEP_SIZE)"]


def _inverse_sqrt(laid: LaidOut) -> list[str]:
    if laid.timescale == laid.began:
        return ["return math.sqrt(WARMUP_STEPS / step)"]
    return [f"return math.sqrt(TIMESCALE / ({since_began(laid).strip('()')} + TIMESCALE))"]


_COOLDOWNS: Mapping[str, str] = {
    "linear": "1 - cooled",
    "one_minus_sqrt": "1 - math.sqrt(cooled)",
    "cosine": "0.5 * (1 + math.cos(math.pi * cooled))",
    "exponential": "2 * math.pow(0.5, cooled) - 1",
}


def _wsd(laid: LaidOut) -> list[str]:
    shape = _COOLDOWNS[laid.schedule.cooldown or "linear"]
    return [
        f"cooldown_start = {end_name(laid)} - COOLDOWN_STEPS",
        "cooled = max(step - cooldown_start, 0) / COOLDOWN_STEPS",
        *scaled(shape, laid),
    ]


_DECAYS: Mapping[DecayName, Callable[[LaidOut], list[str]]] = {
    "constant": _constant,
    "linear": _linear,
    "cosine": _cosine,
    "cosine_restarts": _cosine_restarts,
    "polynomial": _polynomial,
    "exponential": _exponential,
    "step": _step,
    "inverse_sqrt": _inverse_sqrt,
    "wsd": _wsd,
}
