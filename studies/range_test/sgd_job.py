"""The digits job with SGD and momentum in two param groups: weights, and biases at twice their learning rate."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from autowarm import Training
from studies.digits.job import DigitsMLP
from studies.digits.job import build as build_digits


class SgdDigits(DigitsMLP):
    """The digits MLP, trained with SGD (momentum 0.9); biases have twice the learning rate of the weights."""

    def configure_optimizers(self) -> torch.optim.SGD:  # type: ignore[override] # another optimizer is the point
        """Return SGD at a constant learning rate."""
        biases: list[Tensor] = [p for p in self.parameters() if p.ndim == 1]
        weights: list[Tensor] = [p for p in self.parameters() if p.ndim > 1]
        groups: list[dict[str, Any]] = [{"params": weights}, {"params": biases, "lr": 2 * self.lr}]
        return torch.optim.SGD(groups, lr=self.lr, momentum=0.9)


def build(lr: float = 0.01, total_steps: int = 300) -> Training:
    """Build one fresh training.

    Args:
        lr: learning rate of the weights, constant, greater than 0.
        total_steps: optimizer steps, at least 1.
    """
    training = build_digits(lr=lr, total_steps=total_steps)
    training.module = SgdDigits(hidden=(128, 128), lr=lr)
    return training
