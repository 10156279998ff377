"""Fits of the sample jobs, and what they used."""

from __future__ import annotations

from typing import Any

import sample_jobs as jobs
from lightning.pytorch import LightningModule, Trainer


def fit(module: LightningModule, *callbacks: Any, ckpt_path: Any = None, data: Any = None, **keywords: Any) -> Trainer:
    """Train for 20 steps, or as the keywords of the Trainer say."""
    settings: dict[str, Any] = {
        "max_steps": 20,
        "max_epochs": -1,
        "accelerator": "cpu",
        "logger": False,
        "enable_progress_bar": False,
    }
    settings |= {"enable_model_summary": False, "enable_checkpointing": False, "num_sanity_val_steps": 0, **keywords}
    trainer = Trainer(callbacks=list(callbacks), **settings)
    train = data if data is not None else jobs.loader()
    trainer.fit(module, train, jobs.loader(shuffle=False), ckpt_path=ckpt_path, weights_only=True)
    return trainer


def lrs_of(recorder: jobs.Recorder) -> list[float]:
    """Return the learning rate of each optimizer step, of the first param group."""
    return [lrs[0] for lrs in recorder.lrs]
