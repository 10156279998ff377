"""MiniLM, fine-tuned to tell the section of a BBC news story from its headline: studies/headlines_minilm, shortened."""

from __future__ import annotations

from autowarm import Training
from studies.headlines_minilm.job import build as build_study


def build(total_steps: int = 60) -> Training:
    """Build one fresh training.

    Args:
        total_steps: optimizer steps.
    """
    return build_study(total_steps=total_steps, limit_val_batches=1)
