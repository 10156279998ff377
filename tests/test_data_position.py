"""A loader that goes on in the middle of an epoch: the same batches, and none of the examples before them."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import sample_jobs as jobs
import sample_kept as kept
import torch
from torch.utils.data import DataLoader, RandomSampler, SequentialSampler, WeightedRandomSampler

from autowarm.data_position import _keep, _Positioned
from autowarm.random_state import random_state, set_random_state

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")


class Numbers(torch.utils.data.Dataset[int]):
    """The numbers below 50; keeps those it was asked for."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def __len__(self) -> int:
        return 50

    def __getitem__(self, index: int) -> int:
        self.asked.append(index)
        return index


def positioned(**keywords: Any) -> _Positioned:
    loader: DataLoader[Any] = DataLoader(Numbers(), **{"batch_size": 4, **keywords})
    _keep(loader)
    assert isinstance(loader, _Positioned)
    return loader


LOADERS: dict[str, Any] = {
    "in order": dict,
    "shuffled": lambda: {"shuffle": True},
    "drop_last": lambda: {"shuffle": True, "drop_last": True},
    "one by one": lambda: {"shuffle": True, "batch_size": None},
    "generator": lambda: {"shuffle": True, "generator": torch.Generator().manual_seed(1)},
    "weighted": lambda: {"sampler": WeightedRandomSampler([1.0, 2.0] * 25, 40)},
    "replacement": lambda: {"sampler": RandomSampler(range(50), replacement=True, num_samples=70)},
    "workers": lambda: {"shuffle": True, "num_workers": 2},
    "spawned workers": lambda: {"num_workers": 1, "multiprocessing_context": "spawn"},
}


def numbers(batches: Any) -> list[list[int]]:
    return [batch.tolist() if isinstance(batch, torch.Tensor) else [batch] for batch in batches]


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if "spawned" in name else []) for name in LOADERS]
)
def test_the_rest_of_an_epoch_is_the_same_and_nothing_is_loaded_again(name: str) -> None:
    torch.manual_seed(0)
    loader = positioned(**LOADERS[name]())
    # a second epoch, as the first one may be special
    list(loader)
    batches = iter(loader)
    # as hooks do at the start of an epoch; without workers the order is drawn with the first batch
    torch.rand(1)
    first = numbers(next(batches) for _ in range(5))
    place = loader.state_dict()
    rest = numbers(batches)
    assert first
    assert rest

    torch.manual_seed(1)
    again = positioned(**LOADERS[name]())
    again.load_state_dict(place)
    assert numbers(again) == rest
    if name != "workers":
        asked = again.dataset.asked  # type: ignore[attr-defined]
        assert asked == ([] if "workers" in name else [i for batch in rest for i in batch])
    assert again.state_dict()["taken"] == len(first) + len(rest)
    # the next epoch is a whole one again
    assert len(numbers(again)) == len(first) + len(rest)


@pytest.mark.parametrize("name", ["shuffled", "generator", "weighted"])
def test_a_loader_that_keeps_its_position_draws_as_any_other(name: str) -> None:
    def drawn(loader: DataLoader[Any]) -> list[Any]:
        torch.manual_seed(0)
        found: list[Any] = []
        for _ in range(2):
            found += [(batch.tolist(), float(torch.rand(1))) for batch in loader]
        return found

    plain: DataLoader[Any] = DataLoader(Numbers(), batch_size=4, **LOADERS[name]())
    assert drawn(positioned(**LOADERS[name]())) == drawn(plain)


def test_workers_that_draw_random_numbers_are_noticed_and_load_again_what_was_taken() -> None:
    def loader() -> _Positioned:
        made: DataLoader[Any] = DataLoader(kept.Drawn(), batch_size=4, num_workers=2)
        _keep(made)
        assert isinstance(made, _Positioned)
        return made

    torch.manual_seed(0)
    whole = loader()
    batches = iter(whole)
    for _ in range(5):
        next(batches)
    place = whole.state_dict()
    rest = list(batches)
    assert place["draws"]
    again = loader()
    again.load_state_dict(place)
    for (x, y), (x_again, y_again) in zip(rest, again, strict=True):
        assert torch.equal(x, x_again)
        assert torch.equal(y, y_again)


def test_workers_that_draw_none_are_not_noticed() -> None:
    loader = positioned(num_workers=2)
    list(loader)
    assert loader.state_dict()["draws"] is False


class Own(SequentialSampler):
    """A sampler of the job's own."""


class OwnLoader(DataLoader[Any]):
    """A loader of the job's own."""

    def __iter__(self) -> Any:
        yield from super().__iter__()


@pytest.mark.parametrize(
    "made",
    [
        lambda: DataLoader(jobs.Stream(), batch_size=8),
        lambda: DataLoader(jobs.dataset(), sampler=Own(jobs.dataset())),
        lambda: DataLoader(jobs.dataset(), num_workers=2, in_order=False),
        lambda: OwnLoader(jobs.dataset()),
        lambda: [1, 2, 3],
    ],
)
def test_what_cannot_be_put_back_is_left_alone(made: Callable[[], Any]) -> None:
    loader = made()
    kind = type(loader)
    _keep(loader)
    assert type(loader) is kind


def test_random_numbers_go_on_from_plain_data() -> None:
    def draw() -> list[float]:
        return [
            float(torch.randn(1)),
            float(np.random.randn()),  # noqa: NPY002
            random.gauss(),
            random.random(),
            float(np.random.rand()),  # noqa: NPY002
        ]

    # an odd number of normal draws: both generators keep the other one of a pair
    draw()
    state = random_state()
    drawn = [draw(), draw()]
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    torch.manual_seed(1)
    set_random_state(state)
    assert [draw(), draw()] == drawn
