"""Which errors are a want of memory, and what to do about one."""

from __future__ import annotations

from collections.abc import Iterator

import torch

# What libraries say in a RuntimeError; torch's own class is for what its GPU allocators refuse.
_WORDS = (
    "DefaultCPUAllocator: can't allocate memory",
    "DefaultCPUAllocator: not enough memory",
    "CUDA error: out of memory",
    "CUDA out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "MPS backend out of memory",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error says that memory ran out, be it itself or what it was raised for.

    Those are `torch.OutOfMemoryError`, `MemoryError`, and a RuntimeError by torch's allocators for the CPU and for
    Apple's GPUs or by CUDA's libraries.
    """
    return any(
        isinstance(e, torch.OutOfMemoryError | MemoryError)
        or (isinstance(e, RuntimeError) and any(words in str(e) for words in _WORDS))
        for e in _chain(error)
    )


def out_of_memory_reason(parts: int) -> str:
    """Return the line that a record has for a training that ran out of memory.

    The same for all of them, so that a study of which each trial does is seen to fail in the same way.

    Args:
        parts: that its batches were cut into.
    """
    tried = f", even with each batch in {parts} parts" if parts > 1 else ""
    return (
        f"the training ran out of memory{tried}. Smaller batches with more accumulation take less and train on the "
        "same examples a step: set oom_retry: true in the study, which does that"
    )


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
