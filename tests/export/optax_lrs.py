"""Runs exports for optax in a process of its own: jax stays out of the tests' process, and is set for it anew.

Reads from stdin, as JSON, [text of the module, total_steps, "eager" or "jit"] by name; writes the learning rates of
steps 0 .. total_steps + 2 by name. The first argument is 1 for double precision.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import jax
import jax.numpy as jnp


class NoAutowarm:
    """Makes `import autowarm` fail."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name.partition(".")[0] == "autowarm":
            raise AssertionError(f"an export imports {name}")


def lrs(text: str, total_steps: int, how: str) -> list[float]:
    namespace: dict[str, Any] = {}
    exec(text, namespace)  # noqa: S102 - the export is what is tested
    steps = range(total_steps + 3)
    if how == "jit":
        compiled = jax.jit(namespace["schedule"])
        return [float(compiled(step)) for step in steps]
    # a constant is the same for any steps
    return [float(lr) for lr in jnp.broadcast_to(namespace["schedule"](jnp.array(steps)), len(steps))]


def main() -> None:
    jax.config.update("jax_enable_x64", sys.argv[1] == "1")  # type: ignore[no-untyped-call]
    sys.meta_path.insert(0, NoAutowarm())
    told = {name: lrs(*given) for name, given in json.load(sys.stdin).items()}
    json.dump(told, sys.stdout)


if __name__ == "__main__":
    main()
