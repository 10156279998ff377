"""Marks of the tests that compare what trainings end with that go on from a state; apart from their jobs."""

from __future__ import annotations

import pytest

MARKS = [
    pytest.mark.usefixtures("one_thread"),
    # of a machine with one core
    pytest.mark.filterwarnings("ignore:This DataLoader will create"),
    # of the loader that cannot go on where it was, and of one whose order is drawn on purpose: which some are about
    pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before the epoch ended"),
    pytest.mark.filterwarnings("ignore:Your `val_dataloader`'s sampler has shuffling enabled"),
]
