"""The random numbers of a process, as plain data: what a training would draw next."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch


def random_state() -> dict[str, Any]:
    """Return the states of torch (CPU and every CUDA device), numpy's global generator and Python's.

    Plain numbers and tensors alone, which `torch.load` reads with ``weights_only=True``.
    """
    version, words, gauss = random.getstate()
    numpy = np.random.get_state(legacy=False)  # noqa: NPY002 - the generator that jobs share
    assert isinstance(numpy, dict)  # noqa: S101 - so says legacy=False
    twister = numpy["bit_generator"] == "MT19937"
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "python": (version, torch.tensor(words, dtype=torch.int64), gauss),
        # a job that has put another bit generator in its place keeps that to itself
        "numpy": (
            torch.from_numpy(numpy["state"]["key"].astype(np.int64)),
            int(numpy["state"]["pos"]),
            int(numpy["has_gauss"]),
            float(numpy["gauss"]),
        )
        if twister
        else None,
    }


def set_random_state(state: Mapping[str, Any]) -> None:
    """Go on with the random numbers of a state that `random_state` returned."""
    torch.set_rng_state(state["torch"])
    if torch.cuda.is_available():
        for device, drawn in zip(range(torch.cuda.device_count()), state["cuda"], strict=False):
            torch.cuda.set_rng_state(drawn, device)
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words.tolist()), gauss))
    if state["numpy"] is not None:
        key, position, has_gauss, cached = state["numpy"]
        np.random.set_state(("MT19937", key.numpy().astype(np.uint32), position, has_gauss, cached))  # noqa: NPY002


def generators_of(loaders: Iterable[Any]) -> list[torch.Generator]:
    """Return the generators that data loaders draw from by themselves, each once."""
    owners = [
        owner
        for loader in loaders
        for owner in (loader, getattr(loader, "sampler", None), getattr(loader, "batch_sampler", None))
    ]
    found = (getattr(owner, "generator", None) for owner in owners)
    return list({id(generator): generator for generator in found if isinstance(generator, torch.Generator)}.values())


def generator_states(loaders: Iterable[Any]) -> list[torch.Tensor]:
    """Return the states of the loaders' own generators."""
    return [generator.get_state() for generator in generators_of(loaders)]


def set_generator_states(loaders: Iterable[Any], states: Iterable[torch.Tensor]) -> None:
    """Set the loaders' own generators to what `generator_states` returned for the same loaders.

    Raises:
        ValueError: the loaders have another number of generators.
    """
    for generator, state in zip(generators_of(loaders), states, strict=True):
        generator.set_state(state)
