"""Schedule-Free, the rival that needs no schedule, at its documented default use.

`schedulefree` 1.4.1 (Defazio et al. 2024, "The Road Less Scheduled"). AdamW: the defaults of the class (lr .0025); SGD:
ten times the job's learning rate, the lower end of what its documentation names as a starting point. Warmup, which it
recommends without a length, over 5 % of the run. Weight decay and betas stay the job's.
"""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from autowarm.job import build
from autowarm.specs import JobSpec
from studies.tuner_race.entries import Entry
from studies.tuner_race.fitting import true_fit

WARMUP = 0.05


class Modes(Callback):
    """Switches the optimizer with the model: it trains at one point and is validated at another."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """To the point that is trained."""
        _optimizer(trainer).train()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """To the point that is validated."""
        _optimizer(trainer).eval()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Back."""
        _optimizer(trainer).train()


def _optimizer(trainer: Trainer) -> Any:
    return trainer.optimizers[0]


def schedule_free(entry: Entry, seed: int) -> float:
    """Train the job with the Schedule-Free kin of its optimizer and return the final `val_loss`."""
    from schedulefree import AdamWScheduleFree, SGDScheduleFree

    training = build(JobSpec(factory=entry.factory), seed=seed)
    module: Any = training.module
    group = module.configure_optimizers().param_groups[0]
    shared = {"weight_decay": group["weight_decay"], "warmup_steps": round(WARMUP * entry.total_steps)}

    def configure_optimizers() -> Any:
        if entry.sgd:
            return SGDScheduleFree(
                module.parameters(), lr=10 * entry.today.initial_lr, momentum=group["momentum"], **shared
            )
        return AdamWScheduleFree(module.parameters(), betas=group["betas"], **shared)

    module.configure_optimizers = configure_optimizers
    return true_fit(entry, Modes(), seed, training=training)
