"""Computes optax's curves in a process of its own: jax starts threads, and the tests around this one fork.

Reads a JSON list of [expression, letters, total_steps] from standard input; writes an .npz to the path given: arr_0,
arr_1, .., each a float64 curve of the steps 0 .. total_steps - 1, and `names`, the functions of optax.schedules.
"""

from __future__ import annotations

import inspect
import json
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from parity.rows import TOTALS, Array, evaluate


def curve(expression: str, letters: dict[str, Any], total_steps: int) -> Array:
    names = {name: getattr(optax, name) for name in dir(optax) if name.endswith(("schedule", "decay"))}
    schedule = evaluate(expression, {**names, "dict": dict, **letters})
    if "onecycle" in expression:
        # this one takes one count at a time
        schedule = jax.vmap(schedule)
    # of one length for all, since jax compiles each operation anew for each
    counts = jnp.arange(TOTALS[-1], dtype=jnp.int64)
    return np.broadcast_to(np.asarray(schedule(counts), dtype=np.float64), counts.shape)[:total_steps]


def main() -> None:
    with jax.enable_x64(True):
        curves = [curve(*asked) for asked in json.load(sys.stdin)]
    public = [name for name, value in vars(optax.schedules).items() if inspect.isfunction(value)]
    np.savez(sys.argv[1], *curves, names=np.array(public))


if __name__ == "__main__":
    main()
