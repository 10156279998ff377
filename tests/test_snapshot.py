"""The state of a fit in memory: one snapshot starts many fits, each as the first one went on."""

from __future__ import annotations

from collections import Counter, OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sample_jobs as jobs
import sample_kept as kept
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import nn

from autowarm.data_position import keep_positions
from autowarm.errors import CheckpointError
from autowarm.snapshot import Snapshot, Start, at_boundaries, capture, plain

pytestmark = pytest.mark.usefixtures("one_thread")


class Taker(Callback):
    """Takes a snapshot after each step; or begins from one."""

    def __init__(self, start: Snapshot | None = None) -> None:
        self.taken: dict[int, Snapshot] = {}
        self.start = Start(start, lambda _: None) if start is not None else None
        self.steps: list[int] = []

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        keep_positions(trainer)
        if self.start is not None:
            self.start.on_setup(trainer)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.start is not None:
            self.start.on_fit_start(trainer)

        def take(epoch_over: bool) -> None:
            self.taken[trainer.global_step] = capture(trainer, epoch_over=epoch_over)

        at_boundaries(trainer, take)

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        self.steps.append(trainer.global_step)


def fit(taker: Taker, **keywords: Any) -> torch.Tensor:
    torch.manual_seed(0)
    ends: list[torch.Tensor] = []
    # momentum: a state that an optimizer changes in place
    module = kept.Network(ends, momentum=True)
    trainer = Trainer(
        **{"max_steps": 20, "max_epochs": -1, "accelerator": "cpu", "logger": False, **keywords},
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        callbacks=[taker],
    )
    trainer.fit(module, jobs.loader())
    return ends[0]


@pytest.mark.filterwarnings("ignore:You passed in a `val_dataloader`", "ignore:You defined a `validation_step`")
@pytest.mark.parametrize("step", [3, 8])
def test_one_snapshot_starts_many_fits_and_stays_as_it_is(step: int) -> None:
    whole = Taker()
    end = fit(whole)
    assert list(whole.taken) == list(range(1, 21))
    for _ in range(2):
        branch = Taker(whole.taken[step])
        assert torch.equal(fit(branch), end)
        assert branch.steps[0] == step + 1
        assert branch.start is not None
        assert branch.start.exact


@pytest.mark.filterwarnings("ignore:You defined a `validation_step`")
def test_nothing_is_taken_in_the_middle_of_an_accumulation() -> None:
    taker = Taker()
    fit(taker, accumulate_grad_batches=3)
    # 8 batches an epoch in steps of 3, 3 and 2; the last one of them is taken after the epoch
    assert list(taker.taken) == list(range(1, 21))
    ends = [step for step, taken in taker.taken.items() if taken["epoch_over"]]
    assert ends == [3, 6, 9, 12, 15, 18, 20]


@pytest.mark.filterwarnings("ignore:You defined a `validation_step`")
def test_a_training_on_another_kind_of_device_does_not_go_on() -> None:
    whole = Taker()
    fit(whole, max_steps=2)
    with pytest.raises(CheckpointError, match="ran on cuda and would go on on cpu"):
        fit(Taker({**whole.taken[1], "device": "cuda"}))


class Odd:
    """No plain data."""


def test_plain_copies_what_it_is_given_and_keeps_its_kinds() -> None:
    weights: Any = nn.BatchNorm1d(2).state_dict()
    tensor = torch.ones(2)
    given: dict[str, Any] = {
        "weights": weights,
        "list": [1, 2.5, None, True, "x", b"y", (3, {4})],
        "counter": Counter({3: 2}),
        "number": np.float64(0.5),
        "tensor": tensor,
    }
    found = plain(given, "it")
    tensor += 1
    assert found["tensor"].tolist() == [1, 1]
    assert found["list"] == given["list"]
    assert type(found["list"][-1]) is tuple
    assert type(found["weights"]) is OrderedDict
    assert vars(found["weights"])["_metadata"] == weights._metadata
    assert (type(found["counter"]), found["counter"][3]) == (Counter, 2)
    assert type(found["number"]) is float


def test_plain_data_is_read_by_torch_without_running_code(tmp_path: Path) -> None:
    given = plain({"weights": nn.BatchNorm1d(2).state_dict(), "counter": Counter({3: 2}), "set": {1}}, "it")
    torch.save(given, tmp_path / "file")
    found = torch.load(tmp_path / "file", weights_only=True)
    assert found["weights"]._metadata == given["weights"]._metadata
    assert found["counter"] == given["counter"]


@pytest.mark.parametrize(
    ("value", "where"),
    [
        ({"a": [1, Odd()]}, r"it\['a'\]\[1\] is a .*Odd"),
        ({Odd(): 1}, "it is a .*Odd"),
        (np.zeros(2), "it is a numpy.ndarray"),
        (type("Own", (dict,), {})(), "it is a .*Own"),
    ],
)
def test_what_is_no_plain_data_is_refused_with_its_place(value: Any, where: str) -> None:
    with pytest.raises(CheckpointError, match=where):
        plain(value, "it")
