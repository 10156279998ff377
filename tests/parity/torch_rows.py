"""torch's schedulers; a warmup goes before them by SequentialLR, as torch's documentation joins them."""

from __future__ import annotations

import re

from parity.rows import Row

# What is no Schedule, and why; the page lists them.
NOT_EXPRESSIBLE = {
    "ReduceLROnPlateau": "follows a metric",
    "LambdaLR": "any function",
    "MultiplicativeLR": "any function",
    "ChainedScheduler": "multiplies schedules; only one after the other has a Schedule",
    "MultiStepLR": "drops at any steps; at equal distances it is StepLR",
    "CyclicLR": "goes up and down without end",
}
# No schedules themselves.
BASES = {"LRScheduler"}

_EXPONENTIAL = "decay='exponential', gamma=g ** (T - w)"
# (theirs, ours, rounding)
_DECAYS: list[tuple[str, str, float]] = [
    ("CosineAnnealingLR(optimizer, T_max=T - w, eta_min=f * lr)", "decay='cosine', final_lr_ratio=f", 1),
    ("ExponentialLR(optimizer, gamma=g)", _EXPONENTIAL, 0),
    ("PolynomialLR(optimizer, total_iters=T - w, power=p)", "decay='polynomial', power=p", 0),
    ("StepLR(optimizer, step_size=k, gamma=g)", "decay='step', gamma=g, step_size_ratio=k / (T - w)", 0),
    ("ConstantLR(optimizer, factor=1)", "decay='constant'", 0),
    (
        "LinearLR(optimizer, start_factor=1, end_factor=f, total_iters=T - w)",
        "decay='linear', final_lr_ratio=f",
        0,
    ),
]
# where a factor for the whole decay is no number any more
_WHEN = {_EXPONENTIAL: " and g ** (T - w) > 0"}
_VALUES = {"p": ("1", "2", "0.5"), "g": ("0.01 ** (1 / T)", "0.9"), "f": ("0.1", "0")}


def _values(theirs: str) -> dict[str, tuple[str, ...]]:
    return {letter: values for letter, values in _VALUES.items() if re.search(rf"={letter}\b", theirs)}


ROWS = [
    *(
        Row(
            library="torch",
            theirs=theirs.replace("T - w", "T"),
            ours=ours.replace("(T - w)", "T"),
            when="w == 0" + _WHEN.get(ours, "").replace("(T - w)", "T"),
            values=_values(theirs),
            rounding=rounding,
        )
        for theirs, ours, rounding in _DECAYS
    ),
    *(
        Row(
            library="torch",
            theirs=f"SequentialLR(optimizer, [LinearLR(optimizer, start_factor=r, total_iters=w), {theirs}], [w])",
            ours=f"warmup_steps=w, warmup_start_ratio=r, {ours}",
            when="1 <= w < T" + _WHEN.get(ours, ""),
            values=_values(theirs) | {"r": ("0.01", "1 / 3", "1")},
            rounding=rounding,
        )
        for theirs, ours, rounding in _DECAYS
    ),
    Row(
        library="torch",
        theirs="CosineAnnealingWarmRestarts(optimizer, T_0=T // n, eta_min=f * lr)",
        ours="decay='cosine_restarts', num_cycles=n, final_lr_ratio=f",
        when="w == 0 and T % n == 0",
        values={"n": ("1", "2", "5"), "f": ("0.1", "0")},
        rounding=1,
        note="T_mult = 1, the default",
    ),
    *(
        Row(
            library="torch",
            theirs="OneCycleLR(optimizer, max_lr=lr, total_steps=T, pct_start=q, div_factor=1 / r, "
            f"final_div_factor=r / f, anneal_strategy='{theirs}')",
            ours=f"warmup_steps=round(q * T) - 1, warmup='{ours}', warmup_start_ratio=r, decay='{ours}', "
            "final_lr_ratio=f, decay_to='last_step'",
            when="w == 0 and q * T == int(q * T) >= 2",
            values={"q": ("0.3", "0.5"), "f": ("4e-6",), "r": ("0.04", "0.01")},
            rounding=1,
            note="the lr alone, where q * T is a whole number: the momentum cycles too unless it is told not to",
        )
        for theirs, ours in (("cos", "cosine"), ("linear", "linear"))
    ),
]
