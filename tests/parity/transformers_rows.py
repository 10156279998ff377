"""The closed-form schedules of transformers.optimization."""

from __future__ import annotations

from parity.rows import Row

# What is no function of the step alone, and why; the page lists them.
NOT_EXPRESSIBLE = {
    "get_reduce_on_plateau_schedule": "follows a metric",
    "get_greedy_schedule": "follows a metric",
    "get_adafactor_schedule": "reads the lr that the Adafactor optimizer chose itself",
}
# The name that makes one of the others.
DISPATCHER = "get_scheduler"
# Parameters of the others that no row sets, and why.
NOT_COVERED = {("get_wsd_schedule", "num_cycles"): "a cooldown that rises again; only 0.5, the default"}

_ANY_WAVES = {"n": ("0.5", "0.25", "1", "1.5", "2")}
_MIN = "num_warmup_steps=w, num_training_steps=T, num_cycles=n, "


def _row(theirs: str, ours: str, **more: object) -> Row:
    return Row(library="transformers", theirs=theirs, ours=ours, **more)  # type: ignore[arg-type]


def _wsd(warmup: str, ours_warmup: str, decay: str, ours_cooldown: str) -> Row:
    return _row(
        "get_wsd_schedule(optimizer, num_warmup_steps=w, num_decay_steps=c, num_training_steps=T, "
        f"warmup_type='{warmup}', decay_type='{decay}', min_lr_ratio=f)",
        f"warmup_steps=w, warmup='{ours_warmup}', warmup_start_ratio=f, decay='wsd', decay_ratio=c / T, "
        f"cooldown='{ours_cooldown}', final_lr_ratio=f",
        values={"f": ("0.1", "0")},
        rounding=1 if "cosine" in (warmup, decay) else 0,
    )


_SHAPES = {"linear": "linear", "cosine": "cosine", "1-sqrt": "one_minus_sqrt"}

ROWS = [
    _row("get_constant_schedule(optimizer)", "decay='constant'", when="w == 0"),
    _row("get_constant_schedule_with_warmup(optimizer, num_warmup_steps=w)", "warmup_steps=w, decay='constant'"),
    _row(
        "get_linear_schedule_with_warmup(optimizer, num_warmup_steps=w, num_training_steps=T)",
        "warmup_steps=w, decay='linear'",
    ),
    _row(
        "get_cosine_schedule_with_warmup(optimizer, num_warmup_steps=w, num_training_steps=T, num_cycles=n)",
        "warmup_steps=w, decay='cosine', num_cycles=n",
        values=_ANY_WAVES,
        rounding=1,
    ),
    _row(
        "get_cosine_with_hard_restarts_schedule_with_warmup("
        "optimizer, num_warmup_steps=w, num_training_steps=T, num_cycles=n)",
        "warmup_steps=w, decay='cosine_restarts', num_cycles=n",
        values={"n": ("1", "2", "3", "4")},
        rounding=1,
    ),
    _row(
        "get_polynomial_decay_schedule_with_warmup("
        "optimizer, num_warmup_steps=w, num_training_steps=T, lr_end=f * lr, power=p)",
        "warmup_steps=w, decay='polynomial', power=p, final_lr_ratio=f",
        values={"p": ("1", "2", "0.5", "3.5"), "f": ("0.1", "0")},
        note="transformers' own defaults are p = 1 and f = 1e-7 / lr",
    ),
    _row(
        "get_inverse_sqrt_schedule(optimizer, num_warmup_steps=w, timescale=t)",
        "warmup_steps=w, decay='inverse_sqrt', timescale=t",
        values={"t": ("None", "1", "10_000")},
        note="t = None is the default of both",
    ),
    _row(
        f"get_cosine_with_min_lr_schedule_with_warmup(optimizer, {_MIN}min_lr_rate=f)",
        "warmup_steps=w, decay='cosine', num_cycles=n, final_lr_ratio=f",
        values={**_ANY_WAVES, "f": ("0.1", "0")},
        rounding=1,
    ),
    _row(
        f"get_cosine_with_min_lr_schedule_with_warmup(optimizer, {_MIN}min_lr=f * lr)",
        "warmup_steps=w, decay='cosine', num_cycles=n, final_lr_ratio=f",
        values={"n": ("0.5",)},
        rounding=1,
    ),
    _row(
        f"get_cosine_with_min_lr_schedule_with_warmup_lr_rate(optimizer, {_MIN}min_lr_rate=f)",
        "warmup_steps=w, decay='cosine', num_cycles=n, final_lr_ratio=f, step_offset=1",
        values={**_ANY_WAVES, "f": ("0.1", "0")},
        rounding=1,
        note="the first step takes the first rise, the last one has the final lr",
    ),
    _row(
        f"get_cosine_with_min_lr_schedule_with_warmup_lr_rate(optimizer, {_MIN}min_lr=f * lr, warmup_lr_rate=r)",
        "warmup_steps=w - 1, warmup_start_ratio=r, decay='cosine', num_cycles=n, final_lr_ratio=f, "
        "decay_to='last_step'",
        when="2 <= w < T",
        values=_ANY_WAVES,
        rounding=1,
        note="a warmup of one step never has the peak there: its only step has r * lr",
    ),
    *(_wsd(warmup, ours, "cosine", "cosine") for warmup, ours in _SHAPES.items()),
    *(_wsd("linear", "linear", decay, ours) for decay, ours in _SHAPES.items() if decay != "cosine"),
]
