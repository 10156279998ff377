"""Which errors say that memory ran out."""

from __future__ import annotations

import pytest
import sample_jobs as jobs
import torch

from autowarm import Training
from autowarm.memory import is_out_of_memory
from autowarm.specs import JobSpec, TrainingSpec
from autowarm.trial import run_trial


class Greedy(jobs.Regression):
    """Asks for more memory than any machine has: an exabyte."""

    def training_step(self, batch: jobs.Batch) -> torch.Tensor:
        return torch.empty(2**58).sum() + super().training_step(batch)


class Tired(jobs.Regression):
    """Has no memory left for a Python object; says so by an error of its own."""

    def training_step(self, batch: jobs.Batch) -> torch.Tensor:
        try:
            raise MemoryError  # noqa: TRY301 - as Python would
        except MemoryError as e:
            raise ValueError("the batch is too large for me") from e


def greedy() -> Training:
    return jobs.build(module=Greedy())


def tired() -> Training:
    return jobs.build(module=Tired())


@pytest.mark.parametrize(("job", "words"), [(greedy, "DefaultCPUAllocator"), (tired, "too large for me")])
def test_a_training_that_ran_out_of_memory_says_so_and_what_to_do(job: object, words: str) -> None:
    """torch's own words are what its allocator says here."""
    spec = TrainingSpec(job=JobSpec(factory=job), monitor="val_loss", total_steps=4, rungs=(4,))  # type: ignore[arg-type]
    result = run_trial(spec)
    assert (result.outcome, result.out_of_memory) == ("FAILED", True)
    assert str(result.reason).startswith("the training ran out of memory. Smaller batches")
    assert "oom_retry: true" in str(result.reason)
    assert words in str(result.error)


def test_another_failure_does_not() -> None:
    result = run_trial(TrainingSpec(job=JobSpec(factory=jobs.raises), monitor="val_loss", total_steps=4, rungs=(4,)))
    assert (result.outcome, result.out_of_memory) == ("FAILED", False)
    assert result.reason == "ValueError: the third step is cursed"


@pytest.mark.parametrize(
    ("error", "is_it"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), True),
        (MemoryError(), True),
        # the words of torch 2.13's sources for Linux, Windows, cuBLAS and Apple
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"), True),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 9.00 GB)"), True),
        (
            RuntimeError(
                "Caught RuntimeError in DataLoader worker process 0. DefaultCPUAllocator: can't allocate memory"
            ),
            True,
        ),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("CUDA out of memory"), False),
        (KeyError("memory"), False),
    ],
)
def test_errors_of_memory_are_known(error: Exception, is_it: bool) -> None:
    assert is_out_of_memory(error) is is_it


def test_an_error_raised_while_another_was_handled_is_told_by_the_first() -> None:
    first, second = MemoryError(), KeyError("x")
    second.__context__ = first
    assert is_out_of_memory(second)
    second.__suppress_context__ = True
    assert not is_out_of_memory(second)
    # a chain that bites its tail ends
    first.__context__ = second
    second.__suppress_context__, second.__context__ = False, ValueError()
    second.__context__.__context__ = second
    assert not is_out_of_memory(second)
