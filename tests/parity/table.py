"""All rows of the parity table, and what has none."""

from __future__ import annotations

from parity import formula_rows, optax_rows, torch_rows, transformers_rows

ROWS = [*transformers_rows.ROWS, *torch_rows.ROWS, *optax_rows.ROWS, *formula_rows.ROWS]
NOT_EXPRESSIBLE = {
    "transformers": transformers_rows.NOT_EXPRESSIBLE,
    "torch": torch_rows.NOT_EXPRESSIBLE,
    "optax": optax_rows.NOT_EXPRESSIBLE,
    **formula_rows.NOT_EXPRESSIBLE,
}
