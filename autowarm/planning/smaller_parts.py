"""Into how many parts to cut a batch that did not fit into memory."""

from __future__ import annotations

# More accumulation than this says that it is the model that does not fit.
MAX_PARTS = 64


def next_split(parts: int, batch_size: int) -> int | None:
    """Return the parts to try after `parts` were too few; None where there is nothing left to try.

    Twice as many; where those do not divide the batch, the next number that does.

    Args:
        parts: tried before; 1 is whole batches.
        batch_size: examples in a batch of the loader, not in a step.

    >>> next_split(1, 32), next_split(4, 12), next_split(3, 15), next_split(32, 32)
    (2, 12, 15, None)
    """
    return next((n for n in range(2 * parts, min(batch_size, MAX_PARTS) + 1) if batch_size % n == 0), None)
