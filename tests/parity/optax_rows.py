"""optax's schedules, in float64 (x64): functions of the count, which is 0 at the first update."""

from __future__ import annotations

from parity.rows import Row

# What is no Schedule, and why; the page lists them.
NOT_EXPRESSIBLE = {
    "linear_onecycle_schedule": "goes down in two straight lines",
    "piecewise_interpolate_schedule": "any number of pieces",
    "join_schedules": "any schedules one after the other",
    "inject_hyperparams": "no schedule itself: it applies one",
    "inject_stateful_hyperparams": "no schedule itself: it applies one",
}


def _row(theirs: str, ours: str, **more: object) -> Row:
    return Row(library="optax", theirs=theirs, ours=ours, **more)  # type: ignore[arg-type]


ROWS = [
    _row("constant_schedule(lr)", "decay='constant'", when="w == 0"),
    _row(
        "linear_schedule(init_value=lr, end_value=f * lr, transition_steps=T)",
        "decay='linear', final_lr_ratio=f",
        when="w == 0",
    ),
    _row(
        "linear_schedule(init_value=lr, end_value=f * lr, transition_steps=c, transition_begin=T - c)",
        "decay='wsd', decay_ratio=c / T, final_lr_ratio=f",
        when="w == 0",
    ),
    _row(
        "polynomial_schedule(init_value=lr, end_value=f * lr, power=p, transition_steps=T)",
        "decay='polynomial', power=p, final_lr_ratio=f",
        when="w == 0",
        values={"p": ("1", "2", "0.5"), "f": ("0.1", "0")},
    ),
    _row(
        "cosine_decay_schedule(init_value=lr, decay_steps=T, alpha=f)",
        "decay='cosine', final_lr_ratio=f",
        when="w == 0",
        values={"f": ("0.1", "0")},
        rounding=1,
    ),
    _row(
        "exponential_decay(init_value=lr, transition_steps=k, decay_rate=g)",
        "decay='exponential', gamma=g ** (T / k)",
        when="w == 0",
        values={"g": ("0.5",)},
    ),
    _row(
        "exponential_decay(init_value=lr, transition_steps=k, decay_rate=g, staircase=True)",
        "decay='step', gamma=g, step_size_ratio=k / T",
        when="w == 0",
        values={"g": ("0.5",)},
    ),
    _row(
        "piecewise_constant_schedule(lr, {k: g, 2 * k: g, 3 * k: g})",
        "decay='step', gamma=g, step_size_ratio=k / T",
        when="w == 0 and T <= 4 * k",
        values={"g": ("0.5",), "k": ("max(1, T // 3)", "max(1, (T + 3) // 4)")},
        note="boundaries at equal distances, equal scales",
    ),
    _row(
        "warmup_constant_schedule(init_value=r * lr, peak_value=lr, warmup_steps=w)",
        "warmup_steps=w, warmup_start_ratio=r, decay='constant'",
        when="1 <= w < T",
        values={"r": ("0.01", "0")},
        note="with w = 0 optax stays at init_value",
    ),
    _row(
        "warmup_cosine_decay_schedule(init_value=r * lr, peak_value=lr, warmup_steps=w, decay_steps=T, "
        "end_value=f * lr)",
        "warmup_steps=w, warmup_start_ratio=r, decay='cosine', final_lr_ratio=f",
        values={"f": ("0.1", "0"), "r": ("0.01", "0")},
        rounding=1,
    ),
    _row(
        "warmup_exponential_decay_schedule(init_value=r * lr, peak_value=lr, warmup_steps=w, transition_steps=k, "
        "decay_rate=g)",
        "warmup_steps=w, warmup_start_ratio=r, decay='exponential', gamma=g ** ((T - w) / k)",
        values={"g": ("0.5",), "r": ("0.01", "0")},
    ),
    _row(
        "warmup_exponential_decay_schedule(init_value=r * lr, peak_value=lr, warmup_steps=w, transition_steps=k, "
        "decay_rate=g, staircase=True)",
        "warmup_steps=w, warmup_start_ratio=r, decay='step', gamma=g, step_size_ratio=k / (T - w)",
        values={"g": ("0.5",), "r": ("0.01", "0")},
    ),
    _row(
        "sgdr_schedule(["
        "dict(init_value=r * lr, peak_value=lr, warmup_steps=w, decay_steps=w + (T - w) // n, end_value=f * lr), "
        "*(n - 1) * [dict(init_value=lr, peak_value=lr, warmup_steps=0, decay_steps=(T - w) // n, end_value=f * lr)]])",
        "warmup_steps=w, warmup_start_ratio=r, decay='cosine_restarts', num_cycles=n, final_lr_ratio=f",
        when="w < T and (T - w) % n == 0",
        values={"n": ("1", "2", "3")},
        rounding=1,
        note="equal cycles, a warmup before the first alone",
    ),
    _row(
        "cosine_onecycle_schedule(transition_steps=T, peak_value=lr, pct_start=q, div_factor=1 / r, "
        "final_div_factor=r / f)",
        "warmup_steps=int(q * T), warmup='cosine', warmup_start_ratio=r, decay='cosine', final_lr_ratio=f",
        when="w == 0",
        values={"q": ("0.3",), "f": ("4e-6",), "r": ("0.04",)},
        rounding=1,
    ),
]
