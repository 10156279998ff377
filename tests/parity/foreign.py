"""The lrs that another library's schedule gives at steps 0 .. total_steps - 1."""

from __future__ import annotations

import bisect
import json
import os
import subprocess
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from parity import formulas
from parity.rows import TOTALS, Array, Row, evaluate

_OPTAX_LRS = Path(__file__).with_name("optax_lrs.py")


def formula_lrs(row: Row, letters: dict[str, Any]) -> Array:
    step_to_lr = evaluate(row.theirs, {**vars(formulas), **letters, "optimizer": _optimizer(letters["lr"])})
    return np.array([step_to_lr(step) for step in range(letters["T"])])


def transformers_lrs(row: Row, letters: dict[str, Any]) -> Array:
    from transformers import optimization

    scheduler = _built(row, vars(optimization), letters)
    if letters["T"] == TOTALS[-1]:
        # what step() multiplies the base lr with, without what else it does
        (factor,), (base,) = scheduler.lr_lambdas, scheduler.base_lrs
        return np.array([base * factor(step) for step in range(letters["T"])])
    return _stepped(scheduler, letters["T"])


def torch_recursion(row: Row, letters: dict[str, Any]) -> Array:
    """Return what a training sees: each lr computed from the one before, where torch does so."""
    return _stepped(_built(row, vars(torch.optim.lr_scheduler), letters), letters["T"])


def torch_closed_form(row: Row, letters: dict[str, Any]) -> Array:
    """Return the same schedule from torch's own closed forms; OneCycleLR has no other."""
    scheduler = _built(row, vars(torch.optim.lr_scheduler), letters)
    if not hasattr(scheduler, "_get_closed_form_lr") and not hasattr(scheduler, "_schedulers"):
        return _stepped(scheduler, letters["T"])
    parts, milestones = getattr(scheduler, "_schedulers", [scheduler]), getattr(scheduler, "_milestones", [])
    lrs = []
    for step in range(letters["T"]):
        number = bisect.bisect_right(milestones, step)
        parts[number].last_epoch = step - (milestones[number - 1] if number else 0)
        lrs.append(parts[number]._get_closed_form_lr()[0])
    return np.array(lrs)


def optax_lrs(asked: Sequence[tuple[str, dict[str, Any], int]], scratch: Path) -> tuple[list[Array], set[str]]:
    """Return a curve for each (expression, letters, total_steps), and the names of optax's functions."""
    out = scratch / "curves.npz"
    path = os.pathsep.join([str(_OPTAX_LRS.parents[1]), str(_OPTAX_LRS.parents[2])])
    done = subprocess.run(
        [sys.executable, str(_OPTAX_LRS), str(out)],
        input=json.dumps(asked),
        env={**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    with np.load(out) as curves:
        return [curves[f"arr_{number}"] for number in range(len(asked))], set(curves["names"].tolist())


def _optimizer(lr: float) -> torch.optim.Optimizer:
    return torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=lr, momentum=0.9)


def _built(row: Row, names: dict[str, Any], letters: dict[str, Any]) -> Any:
    with warnings.catch_warnings():
        # the schedulers inside of a SequentialLR have stepped the optimizer's lr before it resets them
        warnings.simplefilter("ignore")
        return evaluate(row.theirs, {**names, **letters, "optimizer": _optimizer(letters["lr"])})


def _stepped(scheduler: Any, total_steps: int) -> Array:
    lrs = []
    with warnings.catch_warnings():
        # no optimizer steps here, which torch takes for a mistake
        warnings.simplefilter("ignore")
        for _ in range(total_steps):
            lrs.append(float(scheduler.optimizer.param_groups[0]["lr"]))
            scheduler.step()
    return np.array(lrs)
