"""pytorch-tabular's FTTransformer, as published, on the prices of 53,940 diamonds.

The data is the diamonds table that the package `plotnine` ships (the one of ggplot2). The target is the logarithm of
the price in dollars, so that `valid_loss`, a mean squared error, is about the squared relative error of the price.
pytorch-tabular comes with a Trainer of its own, which is left out: its `TabularModel` prepares the data and the
module, both of the `pytorch_lightning` namespace, and autowarm trains them. Run in the environment of `make examples`.
"""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pytorch_tabular import TabularModel
from pytorch_tabular.config import DataConfig, OptimizerConfig, TrainerConfig
from pytorch_tabular.models import FTTransformerConfig

from autowarm import Training

# Which diamonds validate and which are left for a test, the same for every trial and every seed of a trial.
SPLIT_SEED = 0
VALIDATION = 2000
TRAINING = 40000


@cache
def diamonds() -> pd.DataFrame:
    """Return the table, with `log_price` in the place of the price, in an order drawn with SPLIT_SEED."""
    # not imported: plotnine takes a second, and the table is a file of it
    spec = importlib.util.find_spec("plotnine")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("plotnine is not installed: run `make examples`", name="plotnine")
    table = pd.read_csv(Path(spec.origin).parent / "data" / "diamonds.csv")
    table["log_price"] = np.log(table.pop("price"))
    return table.sample(frac=1.0, random_state=SPLIT_SEED, ignore_index=True)


def build(
    batch_size: int = 128,
    lr: float = 1e-3,
    total_steps: int = 300,
    lr_scheduler: str | None = None,
    lr_scheduler_params: dict[str, Any] | None = None,
) -> Training:
    """Build one fresh training.

    Args:
        batch_size: diamonds in a batch.
        lr: pytorch-tabular's default is 1e-3.
        total_steps: optimizer steps.
        lr_scheduler: name of a scheduler in torch.optim.lr_scheduler, as pytorch-tabular takes it; default: none.
        lr_scheduler_params: its arguments.
    """
    table = diamonds()
    tabular = TabularModel(
        data_config=DataConfig(
            target=["log_price"],
            continuous_cols=["carat", "depth", "table", "x", "y", "z"],
            categorical_cols=["cut", "color", "clarity"],
        ),
        model_config=FTTransformerConfig(
            task="regression", learning_rate=lr, input_embed_dim=16, num_heads=4, num_attn_blocks=2
        ),
        optimizer_config=OptimizerConfig(lr_scheduler=lr_scheduler, lr_scheduler_params=lr_scheduler_params or {}),
        trainer_config=TrainerConfig(batch_size=batch_size),
        verbose=False,
        suppress_lightning_logger=True,
    )
    data = tabular.prepare_dataloader(
        train=table[VALIDATION : VALIDATION + TRAINING], validation=table[:VALIDATION], seed=SPLIT_SEED
    )
    return Training(
        module=tabular.prepare_model(data),
        # the loaders, as its own train() hands over: a second setup() of the datamodule finds its table gone
        data=data.train_dataloader(),
        val_data=data.val_dataloader(batch_size=VALIDATION),
        trainer={"max_steps": total_steps, "accelerator": "cpu"},
    )
