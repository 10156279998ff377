from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer, seed_everything

from studies.digits.job import build, datasets

if TYPE_CHECKING:
    from torch.utils.data import TensorDataset


def shares(data: TensorDataset) -> torch.Tensor:
    """Share of each digit."""
    return torch.bincount(data.tensors[1], minlength=10) / len(data)


def fit(steps: int) -> tuple[dict[str, float], int]:
    """Metrics at the end, and steps taken."""
    seed_everything(0, verbose=False)
    training = build(total_steps=steps)
    trainer = Trainer(
        **training.trainer,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        val_check_interval=steps,
        check_val_every_n_epoch=None,
    )
    trainer.fit(cast(LightningModule, training.module), **training.fit_arguments)
    return {name: float(value) for name, value in trainer.callback_metrics.items()}, trainer.global_step


def test_split_is_fixed_disjoint_and_even() -> None:
    train, val = datasets()
    assert (len(train), len(val)) == (1437, 360)
    assert torch.allclose(shares(train), shares(val), atol=0.004)
    again, _ = datasets()
    assert torch.equal(train.tensors[0], again.tensors[0])
    # the set holds no image twice, so an image on both sides would be a leak
    pixels = torch.cat([train.tensors[0], val.tensors[0]])
    assert len(torch.unique(pixels, dim=0)) == 1797
    assert (float(pixels.min()), float(pixels.max())) == (0.0, 1.0)


def test_each_build_is_a_fresh_training() -> None:
    one, two = build(), build()
    assert one.module is not two.module
    assert not {id(p) for p in one.module.parameters()} & {id(p) for p in two.module.parameters()}


def test_arguments_reach_the_training() -> None:
    training = build(batch_size=32, hidden=(16,), lr=0.5, total_steps=7)
    fit_arguments = training.fit_arguments
    assert fit_arguments["train_dataloaders"].batch_size == 32
    assert [p.shape for p in training.module.parameters()] == [(16, 64), (16,), (10, 16), (10,)]
    optimizer = training.module.configure_optimizers()
    assert isinstance(optimizer, torch.optim.AdamW)
    assert optimizer.param_groups[0]["lr"] == 0.5
    assert training.trainer["max_steps"] == 7


def test_it_learns_the_digits() -> None:
    metrics, steps = fit(100)
    assert steps == 100
    assert metrics["val_loss"] < 0.5
    assert metrics["val_acc"] > 0.85


def test_the_same_seed_gives_the_same_training() -> None:
    assert fit(20)[0] == pytest.approx(fit(20)[0], rel=0, abs=0)
