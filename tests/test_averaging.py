"""The average of the weights, and that validating with it leaves a training as it is."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import sample_jobs as jobs
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers.logger import DummyLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchmetrics import MeanSquaredError, MinMetric

from autowarm import Schedule, Training
from autowarm.averaging import AveragedWeights, averageable
from autowarm.pruning import ema_rungs_of, rungs_of
from autowarm.specs import JobSpec, Link, TrainingSpec
from autowarm.trial import fit, prepare, run_trial
from autowarm.watcher import Watcher

STEPS = 80
SCHEDULE = Schedule(initial_lr=0.1, warmup_ratio=0.1, decay="linear")


def spec_of(factory: Callable[..., Training], **fields: Any) -> TrainingSpec:
    given: dict[str, Any] = {"rungs": rungs_of(STEPS), "ema_rungs": ema_rungs_of(STEPS), **fields}
    return TrainingSpec(job=JobSpec(factory=factory), monitor="val_loss", total_steps=STEPS, schedule=SCHEDULE, **given)


class Busy(jobs.Regression):
    """Holds all that a second validation could disturb."""

    seen: Tensor
    last: Tensor

    def __init__(self) -> None:
        super().__init__(adam=True)
        self.network = nn.Sequential(nn.Dropout(0.2), nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 1))
        # one object for training and validation
        self.error = MeanSquaredError()
        # the best validation so far
        self.best = MinMetric()
        self.register_buffer("seen", torch.zeros(()))
        self.register_buffer("last", torch.zeros(()))
        self.total = torch.zeros(())
        self.outputs: list[Tensor] = []
        self.by_name: dict[str, list[float]] = {"losses": []}
        self.validations = 0

    def training_step(self, batch: jobs.Batch) -> Tensor:
        x, y = batch
        out = self.network(x)
        self.error(out, y)
        self.log("train_error", self.error, on_step=False, on_epoch=True)
        return nn.functional.mse_loss(out, y)

    def validation_step(self, batch: jobs.Batch) -> None:
        x, y = batch
        out = self.network(x)
        self.error(out, y)
        loss = nn.functional.mse_loss(out, y)
        self.log("val_loss", loss, prog_bar=True)
        self.log("noise", torch.rand(()))
        self.seen += 1
        self.last = loss.clone()
        self.total += loss
        self.outputs.append(loss)
        self.by_name["losses"].append(float(loss))

    def on_validation_epoch_end(self) -> None:
        self.validations += 1
        self.best(self.outputs[-1])
        self.log("best", self.best.compute())
        if self.validations == 7:
            # the averaged weights are validated seventh, too, and what they leave behind is taken away
            self.late = self.validations


class Witness(Callback):
    """Keeps everything that can be seen after each batch, and counts validations."""

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []
        self.hooks = 0

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        self._tell(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._tell(trainer, pl_module)

    def _tell(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, Busy)
        optimizer = trainer.optimizers[0]
        told = {
            "weights": [p.detach().clone() for p in pl_module.parameters()],
            "gradients": [p.grad is None for p in pl_module.parameters()],
            "buffers": [b.clone() for b in pl_module.buffers()],
            "optimizer": [
                v.clone() if isinstance(v, Tensor) else v for s in optimizer.state.values() for v in s.values()
            ],
            "random": (torch.get_rng_state(), np.random.get_state(legacy=False), random.getstate()),  # noqa: NPY002
            "modes": [m.training for m in pl_module.modules()],
            "metrics": [
                {name: float(value) for name, value in metrics.items()}
                for metrics in (trainer.callback_metrics, trainer.logged_metrics, trainer.progress_bar_metrics)
            ],
            "error": [pl_module.error.sum_squared_error.clone(), pl_module.error.total.clone()],
            "updates": (pl_module.error._update_count, pl_module.best._update_count),
            "best": pl_module.best.min_value.clone(),
            "plain": (pl_module.validations, float(pl_module.total), getattr(pl_module, "late", None)),
            "lists": ([float(loss) for loss in pl_module.outputs], list(pl_module.by_name["losses"])),
            "hooks": self.hooks,
            "loop": dict(trainer.fit_loop.epoch_loop.val_loop.batch_progress.state_dict()),
        }
        self.told.append(told)

    def on_validation_start(self, *_: Any) -> None:
        self.hooks += 1

    def on_validation_batch_end(self, *_: Any, **__: Any) -> None:
        self.hooks += 1

    def on_validation_end(self, *_: Any) -> None:
        self.hooks += 1


def same(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor | np.ndarray):
        return bool(np.array_equal(np.asarray(a), np.asarray(b)))
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[name], b[name]) for name in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return bool(a == b)


def busy(generator: torch.Generator | None = None) -> Training:
    # in the order of a generator of its own, which two validations would advance twice
    shuffled = DataLoader(
        jobs.dataset(), batch_size=8, shuffle=True, generator=generator or torch.Generator().manual_seed(5)
    )
    return replace(jobs.build(module=Busy()), val_data=shuffled)


def watched(spec: TrainingSpec) -> tuple[Witness, Watcher]:
    witness, watcher = Witness(), Watcher(spec, Link())
    fit(prepare(spec), spec, [witness, watcher])
    return witness, watcher


@pytest.mark.filterwarnings("ignore:Your `val_dataloader`'s sampler has shuffling enabled")
def test_validating_with_averaged_weights_leaves_the_training_bit_for_bit_as_it_is() -> None:
    spec = spec_of(busy)
    with_ema, watcher = watched(spec)
    without, plain = watched(replace(spec, ema_rungs=()))
    assert [step for step, _ in watcher.ema_rungs] == list(ema_rungs_of(STEPS))
    assert len(watcher.ema_rungs) == 14
    # they are something else than the weights
    assert all(ema != dict(watcher.rungs)[step] for step, ema in watcher.ema_rungs)
    assert plain.ema_rungs == []
    assert watcher.rungs == plain.rungs
    assert watcher.train_curve == plain.train_curve
    assert watcher.grad_norms == plain.grad_norms
    assert (watcher.val_batches, plain.val_batches) == ((20 + 14) * 8, 20 * 8)
    assert len(with_ema.told) == len(without.told) == STEPS + 1
    # of the last validation the witness sees nothing until the end
    assert without.told[-1]["hooks"] == 20 * (1 + 8 + 1)
    for step, (a, b) in enumerate(zip(with_ema.told, without.told, strict=True)):
        assert {name for name in a if not same(a[name], b[name])} == set(), f"step {step}"


def test_the_average_is_that_of_the_weights_after_each_step() -> None:
    class Weights(Callback):
        def __init__(self) -> None:
            self.weights: list[Tensor] = []

        def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
            self.weights.append(torch.cat([p.detach().flatten() for p in pl_module.parameters()]).double())

    spec = spec_of(jobs.build)
    weights, watcher = Weights(), Watcher(spec, Link())
    fit(prepare(spec), spec, [weights, watcher])
    x, y = jobs.dataset().tensors
    average = weights.weights[0]
    emas = dict(watcher.ema_rungs)
    for step, now in enumerate(weights.weights, start=1):
        # a window of 80 / 40 steps
        average = average + (now - average) / 2
        if step in emas:
            expected = (x.double() @ average[:4] + average[4] - y.double().squeeze()).square().mean()
            assert emas[step] == pytest.approx(float(expected), rel=1e-4)


def test_running_statistics_are_averaged_with_the_weights_and_other_buffers_are_not() -> None:
    layer = nn.BatchNorm1d(2)
    layer.register_buffer("mask", torch.zeros(2))
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    averaged = AveragedWeights(400)
    for value in (0.0, 10.0):
        for tensor in (layer.weight, layer.running_mean, layer.get_buffer("mask")):
            assert tensor is not None
            torch.nn.init.constant_(tensor, value)
        averaged.update(layer, optimizer)
    with averaged.in_place():
        assert layer.running_mean is not None
        assert layer.weight.tolist() == layer.running_mean.tolist() == [1.0, 1.0]
        assert layer.get_buffer("mask").tolist() == [10.0, 10.0]
    assert layer.weight.tolist() == layer.running_mean.tolist() == [10.0, 10.0]


def test_weights_of_half_precision_are_averaged_in_float32() -> None:
    weight = nn.Parameter(torch.zeros(1, dtype=torch.bfloat16))
    optimizer = torch.optim.SGD([weight], lr=0.1)
    averaged = AveragedWeights(40 * 100)
    averaged.update(nn.Module(), optimizer)
    with torch.no_grad():
        weight.add_(1)
    for _ in range(100):
        averaged.update(nn.Module(), optimizer)
    with averaged.in_place():
        # in bfloat16 steps of a hundredth would be lost from .5 on
        assert weight.item() == pytest.approx(1 - 0.99**100, abs=4e-3)
    assert weight.item() == 1


def test_weights_that_a_job_begins_to_train_later_are_averaged_from_then_on() -> None:
    first, second = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([first], lr=0.1)
    averaged = AveragedWeights(80)
    averaged.update(nn.Module(), optimizer)
    optimizer.add_param_group({"params": [second]})
    with torch.no_grad():
        first.add_(1)
        second.add_(1)
    averaged.update(nn.Module(), optimizer)
    with averaged.in_place():
        assert (first.item(), second.item()) == (1.5, 2.0)


@pytest.mark.filterwarnings("ignore:You defined a `validation_step`")
def test_what_a_validation_does_not_measure_is_not_validated_twice() -> None:
    def without_validation() -> Training:
        return replace(jobs.build(), val_data=None)

    spec = replace(spec_of(without_validation), monitor="train_loss")
    assert run_trial(spec).ema_rungs == ()
    # with one, which says nothing of the training's metric: a single try
    result = run_trial(replace(spec, job=JobSpec(factory=jobs.build)))
    assert (result.outcome, result.ema_rungs, result.val_batches) == ("COMPLETE", (), 21 * 8)


def test_a_rung_is_told_with_the_averaged_metric_where_there_is_one() -> None:
    class Ear(Link):
        def __init__(self) -> None:
            self.told: list[tuple[int, float, float | None]] = []

        def rung(self, step: int, value: float, ema: float | None = None) -> str | None:
            self.told.append((step, value, ema))
            return "behind" if step == 48 else None

    ear = Ear()
    result = run_trial(spec_of(jobs.build), ear)
    assert (result.outcome, result.steps) == ("PRUNED", 48)
    emas = dict(result.ema_rungs)
    assert list(emas) == [24, 28, 32, 36, 40, 44, 48]
    assert ear.told == [(step, value, emas.get(step)) for step, value in result.rungs]


def test_a_kept_logger_hears_the_raw_validations_alone() -> None:
    class Ledger(DummyLogger):
        def __init__(self) -> None:
            super().__init__()
            self.logged: list[dict[str, float]] = []

        def log_metrics(self, metrics: Any, step: int | None = None) -> None:
            self.logged.append({name: value for name, value in metrics.items() if name.startswith("val")})

    def ledger(ema_rungs: tuple[int, ...]) -> list[dict[str, float]]:
        kept = Ledger()

        class Keeps(Callback):
            def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
                trainer.loggers = [kept]

        spec = spec_of(jobs.build, ema_rungs=ema_rungs)
        fit(prepare(spec), spec, [Keeps(), Watcher(spec, Link())])
        return [told for told in kept.logged if told]

    heard = ledger(ema_rungs_of(STEPS))
    assert len(heard) == 20
    assert heard == ledger(())


def test_a_validation_that_raises_still_leaves_the_weights_as_they_were() -> None:
    weight = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=0.1)
    averaged = AveragedWeights(80)
    averaged.update(nn.Module(), optimizer)
    with torch.no_grad():
        weight.add_(1)
    with pytest.raises(ZeroDivisionError), averaged.in_place():
        assert weight.item() / weight.item() == 1
    assert weight.item() == 1


def test_of_shards_no_average_is_made() -> None:
    def trainer(strategy: str) -> Any:
        return SimpleNamespace(strategy=type(strategy, (), {})())

    assert averageable(trainer("SingleDeviceStrategy"))
    assert averageable(trainer("DDPStrategy"))
    assert not averageable(trainer("FSDPStrategy"))


def test_a_lazy_layer_that_nothing_runs_is_left_alone() -> None:
    class Lazy(jobs.Regression):
        def __init__(self) -> None:
            super().__init__()
            self.network = nn.Sequential(nn.LazyLinear(8), nn.LazyBatchNorm1d(), nn.Linear(8, 1))
            self.unused = nn.LazyLinear(3)

    # torch warns that it is new
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = run_trial(spec_of(lambda: jobs.build(module=Lazy())))
    assert (result.outcome, len(result.ema_rungs)) == ("COMPLETE", 14), result


def test_a_module_that_holds_itself_and_its_loss_trains_on() -> None:
    class Knot(jobs.Regression):
        def __init__(self) -> None:
            super().__init__()
            self.knot: list[Any] = [{}]
            self.knot[0]["knot"] = self.knot

        def training_step(self, batch: jobs.Batch) -> Tensor:
            self.loss = super().training_step(batch)
            return self.loss

    result = run_trial(spec_of(lambda: jobs.build(module=Knot())))
    assert (result.outcome, len(result.ema_rungs)) == ("COMPLETE", 14), result
