"""What has been logged of an epoch that is not over: sums that become a mean at its end, and torchmetrics."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from lightning.pytorch import Trainer
from torch import Tensor
from torchmetrics import Metric

_DICTIONARIES = ("_callback_metrics", "_logged_metrics", "_progress_bar_metrics")
_SUMS = ("value", "cumulated_batch_size")
# By these Lightning knows whether a sum is to begin anew.
_MARKS = ("_first_loop_iter", "_current_fx")


def running_metrics(trainer: Trainer) -> dict[str, Any]:
    """Return what is logged and what is being summed up, for a snapshot; the tensors are the training's own."""
    connector = trainer._logger_connector  # noqa: SLF001 - Lightning has no other way to its dictionaries
    results = trainer.fit_loop.epoch_loop._results  # noqa: SLF001
    return {
        "marks": {name: getattr(connector, name) for name in _MARKS},
        "told": {name: dict(getattr(connector, name)) for name in _DICTIONARIES},
        "sums": {
            key: {name: getattr(result, name) for name in _SUMS if hasattr(result, name)}
            for key, result in results.items()
            if result.is_tensor and result.meta.on_epoch and not result.has_reset
        },
        "metrics": {
            name: {"state": dict(metric.metric_state), "updates": metric._update_count}  # noqa: SLF001
            for name, metric in _metrics(trainer)
        },
    }


def restore_running_metrics(trainer: Trainer, saved: Mapping[str, Any]) -> None:
    """Put back what `running_metrics` returned.

    Args:
        trainer: at the point of a training that the metrics were taken at, restored but for them.
        saved: tensors of any device.
    """
    connector = trainer._logger_connector  # noqa: SLF001
    device = trainer.strategy.root_device
    for name, mark in saved["marks"].items():
        setattr(connector, name, mark)
    for name, told in saved["told"].items():
        dictionary = getattr(connector, name)
        dictionary.clear()
        dictionary.update({key: x.to(device) if isinstance(x, Tensor) else x for key, x in told.items()})
    for name, metric in _metrics(trainer):
        if name not in saved["metrics"]:
            continue
        for attribute, value in saved["metrics"][name]["state"].items():
            setattr(metric, attribute, _on(device, value))
        metric._update_count = saved["metrics"][name]["updates"]  # noqa: SLF001
        metric._computed = None  # noqa: SLF001
    if saved["sums"]:
        _await(trainer, dict(saved["sums"]))


def _metrics(trainer: Trainer) -> Iterator[tuple[str, Metric]]:
    return ((name, m) for name, m in trainer.lightning_module.named_modules() if isinstance(m, Metric))


def _on(device: Any, value: Any) -> Any:
    return [x.to(device) for x in value] if isinstance(value, list) else value.to(device)


def _await(trainer: Trainer, sums: dict[str, Any]) -> None:
    """Go on with a sum where the job logs it next: only then does Lightning know how it is to be summed."""
    results = trainer.fit_loop.epoch_loop._results  # noqa: SLF001
    kind = type(results)

    class Awaiting(kind):  # type: ignore[misc, valid-type]
        def __setitem__(self, key: str, result: Any) -> None:
            super().__setitem__(key, result)
            for name, value in sums.pop(key, {}).items():
                setattr(result, name, value)

        def reset(self, metrics: bool | None = None, fx: str | None = None) -> None:
            super().reset(metrics, fx)
            # the epoch of these sums is over
            for key in [key for key in sums if fx is None or key.startswith(f"{fx}.")]:
                del sums[key]

    results.__class__ = Awaiting
