"""A Python module without autowarm: the schedule as optax takes it, a function of the step that works under jit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from autowarm.decays import DecayName
from autowarm.errors import ScheduleError
from autowarm.export.laid_out import LaidOut
from autowarm.export.python_text import constants, end_name, head, length_of_decay, scaled, since_began
from autowarm.export.source import Source

_TEXT = '''\
{head}
{imports}

{constants}{statements}{functions}

def schedule(step: ArrayLike) -> Array:
    """Return the learning rate at an optimizer step, counted from 0."""
{body}
'''
_ROUNDED = "compiled, the division may round to just above 1"
# jax counts in 32 bits unless it is told otherwise
_LARGEST = 2**31 - 1


@dataclass(frozen=True)
class _Part:
    """The warmup or the decay: the call of it at `step`, and what defines it, statements or the text of a function."""

    call: str
    statements: tuple[str, ...] = ()
    function: str = ""


def optax_text(source: Source) -> str:
    """Return the module: ``schedule(step) -> lr``.

    Raises:
        ScheduleError: the number of steps is not known, or the schedule does not fit into it; or its steps are beyond
            what jax counts to.
    """
    schedule, total_steps = source.resolved("optax")
    laid = LaidOut.of(schedule, total_steps)
    _check_counts(laid)
    parts = [_warmup(laid)] if laid.warmup_steps else []
    parts.append(_DECAYS[schedule.decay](laid))
    statements = [line for part in parts for line in part.statements]
    imports = ["import jax.numpy as jnp"]
    imports += ["import optax"] if statements else []
    imports += ["from jax import Array", "from jax.typing import ArrayLike"]
    needs = "jax and optax" if statements else "jax"
    return _TEXT.format(
        head=head(source, schedule, file_format="optax", needs=needs),
        imports="\n".join(imports),
        constants=constants(laid),
        statements="\n" + "".join(f"{line}\n" for line in statements) if statements else "",
        functions="".join(part.function for part in parts),
        body="\n".join(f"    {line}" for line in _body(laid, parts)),
    )


def _check_counts(laid: LaidOut) -> None:
    cycles = laid.schedule.num_cycles if laid.schedule.decay == "cosine_restarts" else 1
    if laid.total_steps * (cycles or 1) > _LARGEST:
        raise ScheduleError(
            f"optax counts steps in 32 bits, and {laid.total_steps} steps times {cycles} cycles is beyond that: "
            "use --format torch, or fewer cycles"
        )


def _body(laid: LaidOut, parts: list[_Part]) -> list[str]:
    offset = " + 1" if laid.step_offset else ""
    first = ["# the first step takes the first rise"] if laid.step_offset else []
    first += [f"step = jnp.minimum(jnp.asarray(step){offset}, {end_name(laid)})"]
    if len(parts) == 1:
        return [*first, f"return jnp.asarray({parts[0].call})"]
    return [*first, f"decayed = {parts[1].call}", f"return jnp.where(step < WARMUP_STEPS, {parts[0].call}, decayed)"]


def _function(name: str, about: str, lines: list[str]) -> _Part:
    body = "".join(f"    {line}\n" for line in lines)
    return _Part(f"{name}(step)", function=f'\n\ndef {name}(step: Array) -> Array:\n    """{about}"""\n{body}')


_RISES: Mapping[str, str] = {
    "cosine": "0.5 * (1 - jnp.cos(jnp.pi * step / WARMUP_STEPS))",
    # the decay's steps have no part in it, but jnp.where computes both
    "one_minus_sqrt": "1 - jnp.sqrt(jnp.maximum(1 - step / WARMUP_STEPS, 0))",
}


def _warmup(laid: LaidOut) -> _Part:
    start, shape = laid.schedule.warmup_start_ratio, laid.schedule.warmup
    if shape == "linear":
        begin = "START_LR = WARMUP_START_RATIO * INITIAL_LR" if start else "START_LR = 0.0"
        return _Part("warmup(step)", (begin, "warmup = optax.linear_schedule(START_LR, INITIAL_LR, WARMUP_STEPS)"))
    if shape == "exponential":
        lines = ["return INITIAL_LR * jnp.power(WARMUP_START_RATIO, 1 - step / WARMUP_STEPS)"]
    else:
        lines = [f"shape = {_RISES[shape]}"]
        risen = "(WARMUP_START_RATIO + (1 - WARMUP_START_RATIO) * shape)" if start else "shape"
        lines += [f"return INITIAL_LR * {risen}"]
    return _function("warmup", "Rise to INITIAL_LR.", lines)


def _own(lines: list[str]) -> _Part:
    return _function("decay", "Fall from INITIAL_LR.", lines)


def _named(laid: LaidOut, call: str) -> _Part:
    """Return a decay that optax has; a schedule of optax counts from 0."""
    steps = (f"DECAY_STEPS = {length_of_decay(laid).strip('()')}",) if "DECAY_STEPS" in call else ()
    return _Part(f"decay({since_began(laid).strip('()')})", (*steps, *_end_lr(laid, call), f"decay = optax.{call}"))


def _end_lr(laid: LaidOut, call: str) -> tuple[str, ...]:
    if "END_LR" not in call:
        return ()
    return ("END_LR = FINAL_LR_RATIO * INITIAL_LR" if laid.schedule.final_lr_ratio else "END_LR = 0.0",)


def _constant(_laid: LaidOut) -> _Part:
    return _Part("decay(step)", ("decay = optax.constant_schedule(INITIAL_LR)",))


def _linear(laid: LaidOut) -> _Part:
    return _named(laid, "linear_schedule(INITIAL_LR, END_LR, DECAY_STEPS)")


def _cosine(laid: LaidOut) -> _Part:
    if laid.schedule.num_cycles is None:
        alpha = ", alpha=FINAL_LR_RATIO" if laid.schedule.final_lr_ratio else ""
        return _named(laid, f"cosine_decay_schedule(INITIAL_LR, DECAY_STEPS{alpha})")
    lines = [f"turns = NUM_CYCLES * ({since_began(laid)} / {length_of_decay(laid)})"]
    return _own([*lines, *scaled("0.5 * (1 + jnp.cos(2 * jnp.pi * (turns % 1)))", laid, peak="INITIAL_LR", atom=True)])


def _cosine_restarts(laid: LaidOut) -> _Part:
    lines = [
        f"decay_steps = {length_of_decay(laid).strip('()')}",
        "# in whole steps, so that each restart falls on its step",
        f"within = ({since_began(laid)} * NUM_CYCLES % decay_steps) / decay_steps",
        f"within = jnp.where(step == {end_name(laid)}, 1.0, within)",
    ]
    return _own([*lines, *scaled("0.5 * (1 + jnp.cos(jnp.pi * within))", laid, peak="INITIAL_LR", atom=True)])


def _polynomial(laid: LaidOut) -> _Part:
    left = f"left = jnp.maximum(1 - {since_began(laid)} / {length_of_decay(laid)}, 0)"
    return _own(["# " + _ROUNDED, left, *scaled("jnp.power(left, POWER)", laid, peak="INITIAL_LR", atom=True)])


def _exponential(laid: LaidOut) -> _Part:
    return _named(laid, "exponential_decay(INITIAL_LR, DECAY_STEPS, GAMMA)")


def _step(laid: LaidOut) -> _Part:
    # optax's staircase divides floats, which a compiler may round to just below the drop
    return _own([f"return INITIAL_LR * jnp.power(GAMMA, {since_began(laid)} // STEP_SIZE)"])


def _inverse_sqrt(laid: LaidOut) -> _Part:
    if laid.timescale == laid.began:
        # the warmup's steps have no part in it, but jnp.where computes both
        return _own(["return INITIAL_LR * jnp.sqrt(WARMUP_STEPS / jnp.maximum(step, WARMUP_STEPS))"])
    if not laid.began:
        return _own(["return INITIAL_LR * jnp.sqrt(TIMESCALE / (step + TIMESCALE))"])
    since = "since = jnp.maximum(step - WARMUP_STEPS, 0)"
    return _own([since, "return INITIAL_LR * jnp.sqrt(TIMESCALE / (since + TIMESCALE))"])


_COOLDOWNS: Mapping[str, tuple[str, bool]] = {
    "linear": ("1 - cooled", False),
    "one_minus_sqrt": ("1 - jnp.sqrt(cooled)", False),
    "cosine": ("0.5 * (1 + jnp.cos(jnp.pi * cooled))", True),
    "exponential": ("2 * jnp.power(0.5, cooled) - 1", False),
}


def _wsd(laid: LaidOut) -> _Part:
    cooldown = laid.schedule.cooldown or "linear"
    start = f"{end_name(laid)} - COOLDOWN_STEPS"
    if cooldown == "linear":
        call = "linear_schedule(INITIAL_LR, END_LR, COOLDOWN_STEPS)"
        # optax holds the first value at counts below 0
        return _Part(f"cooldown(step - ({start}))", (*_end_lr(laid, call), f"cooldown = optax.{call}"))
    shape, atom = _COOLDOWNS[cooldown]
    lines = [
        f"cooled = jnp.clip((step - ({start})) / COOLDOWN_STEPS, 0, 1)",
        *scaled(shape, laid, peak="INITIAL_LR", atom=atom),
    ]
    return _own(lines)


_DECAYS: Mapping[DecayName, Callable[[LaidOut], _Part]] = {
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
