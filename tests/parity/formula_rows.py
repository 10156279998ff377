"""timm, the original Transformer, nanoGPT and Megatron-LM, by the formulas of `parity.formulas`."""

from __future__ import annotations

from parity.rows import Row

# What is no Schedule, and why; the page lists them.
NOT_EXPRESSIBLE = {
    "timm": {
        "cycle_mul, cycle_decay": "cycles that grow, or peaks that fall",
        "k_decay": "a power of the progress; only 1, the default",
        "noise_range_t": "random",
        "TanhLRScheduler": "another shape",
        "MultiStepLRScheduler": "drops at any steps; at equal distances it is StepLRScheduler",
        "PlateauLRScheduler": "follows a metric",
        "WSDLRScheduler": "with stable_fn other than constant, or decay_fn power or exp",
    },
    "Megatron-LM": {"min_lr": "with inverse-square-root, where it is a floor that cuts the curve off"},
}


def _timm(theirs: str, ours: str, **more: object) -> list[Row]:
    """Put a call together with and without warmup_prefix; <L> is the length of the decay."""
    return [
        Row(
            library="timm",
            theirs=f"{theirs}, warmup_t=w, warmup_lr_init=r * lr, warmup_prefix={prefix})".replace("<L>", length),
            ours=f"warmup_steps=w, warmup_start_ratio=r, {ours}{counted}".replace("<L>", length),
            **{key: value.replace("<L>", length) if isinstance(value, str) else value for key, value in more.items()},  # type: ignore[arg-type]
        )
        for prefix, length, counted in ((True, "(T - w)", ""), (False, "T", ", decay_from='start'"))
    ]


def _megatron(style: str, ours: str, more: str = "", **settings: object) -> Row:
    return Row(
        library="Megatron-LM",
        theirs=f"megatron('{style}', init_lr=r * lr, max_lr=lr, lr_warmup_steps=w, lr_decay_steps=T{more})",
        ours=f"warmup_steps=w, warmup_start_ratio=r, {ours}",
        **{"values": {"r": ("0", "0.01")}, "rounding": float("cosine" in ours), **settings},  # type: ignore[arg-type]
    )


_COOLDOWNS = {"linear": "linear", "cosine": "cosine", "exponential": "exponential", "minus_sqrt": "one_minus_sqrt"}

ROWS = [
    *_timm(
        "CosineLRScheduler(optimizer, t_initial=<L>, lr_min=f * lr",
        "decay='cosine', final_lr_ratio=f",
        values={"f": ("0.1", "0"), "r": ("0.01", "0")},
        rounding=1,
    ),
    *_timm(
        "CosineLRScheduler(optimizer, t_initial=<L> // n, cycle_limit=n, lr_min=f * lr",
        "decay='cosine_restarts', num_cycles=n, final_lr_ratio=f",
        when="w < T and <L> % n == 0",
        values={"n": ("1", "2", "3")},
        rounding=1,
    ),
    *_timm(
        "PolyLRScheduler(optimizer, t_initial=<L>, power=p, lr_min=f * lr",
        "decay='polynomial', power=p, final_lr_ratio=f",
        values={"p": ("0.5", "1", "2"), "f": ("0.1", "0")},
    ),
    *_timm(
        "StepLRScheduler(optimizer, decay_t=k, decay_rate=g",
        "decay='step', gamma=g, step_size_ratio=k / <L>",
        values={"g": ("0.5",), "k": ("max(1, (T - w) // 3)", "max(1, (T - w) // 7)")},
    ),
    Row(
        library="papers and scripts",
        theirs="noam(d_model=512, warmup_steps=w, factor=n)",
        ours="initial_lr=n * (512 * w) ** -0.5, warmup_steps=w, decay='inverse_sqrt', step_offset=1",
        when="1 <= w < T",
        values={"n": ("1.0", "2.0")},
        note="Vaswani et al. 2017, whose step_num is 1 at the first update; n their factor, 512 the width",
    ),
    Row(
        library="papers and scripts",
        theirs="nanogpt(learning_rate=lr, warmup_iters=w, lr_decay_iters=T, min_lr=f * lr)",
        ours="warmup_steps=w, warmup_start_ratio=1 / (w + 1), decay='cosine', final_lr_ratio=f",
        values={"f": ("0.1", "0")},
        rounding=1,
        note="nanoGPT's get_lr: the warmup rises from 1 / (w + 1), the decay counts from 0; before, it rose from 0",
    ),
    Row(
        library="papers and scripts",
        theirs="one_based(learning_rate=lr, warmup_steps=w, total_steps=T)",
        ours="warmup_steps=w, decay='linear', step_offset=1",
        note="lr * (step + 1) / w, then lr * (T - step - 1) / (T - w)",
    ),
    _megatron("constant", "decay='constant'"),
    _megatron("linear", "decay='linear', final_lr_ratio=f", ", min_lr=f * lr"),
    _megatron("cosine", "decay='cosine', final_lr_ratio=f", ", min_lr=f * lr"),
    _megatron("inverse-square-root", "decay='inverse_sqrt'", when="1 <= w < T"),
    Row(
        library="Megatron-LM",
        theirs="megatron('inverse-square-root', max_lr=lr, lr_warmup_steps=0, lr_decay_steps=T)",
        ours="warmup_steps=1, warmup_start_ratio=1, decay='inverse_sqrt'",
        when="w == 0 and T > 1",
        note="without a warmup the first two steps have the peak",
    ),
    *(
        _megatron(
            "WSD",
            f"decay='wsd', decay_ratio=c / T, cooldown='{ours}', final_lr_ratio=f",
            f", min_lr=f * lr, wsd_decay_steps=c, lr_wsd_decay_style='{theirs}'",
            values={"r": ("0", "0.01"), "f": ("0.1", "0")},
            rounding=float(ours in ("cosine", "exponential")),
        )
        for theirs, ours in _COOLDOWNS.items()
    ),
]
