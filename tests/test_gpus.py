"""Which GPUs a trial gets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autowarm.errors import SettingsError
from autowarm.gpus import GpuSlots, checked_gpus_per_trial, gpus_seen, visible


@pytest.mark.parametrize(
    ("given_number", "number"), [(1, 1.0), (2, 2.0), (0.5, 0.5), (0.33, 1 / 3), (0.25, 0.25), (0.17, 1 / 6)]
)
def test_whole_gpus_and_one_over_a_whole_number_are_taken(given_number: float, number: float) -> None:
    assert checked_gpus_per_trial(given_number) == number


@pytest.mark.parametrize("wrong", [0, -1, 1.5, 0.75, 0.3, float("nan"), float("inf"), "1", None, True])
def test_other_numbers_are_refused_with_what_to_write(wrong: object) -> None:
    with pytest.raises(SettingsError, match=r"0\.5 for two, 0\.25 for four"):
        checked_gpus_per_trial(wrong)


@pytest.mark.parametrize(
    ("count", "variable", "names"),
    [
        (0, None, ()),
        (3, None, ("0", "1", "2")),
        (0, "", ()),
        (2, "4, 7", ("4", "7")),
        # of these, CUDA sees those before the one that is not there
        (1, "0,-1,2", ("0",)),
        (2, "GPU-8932f937,MIG-1c1", ("GPU-8932f937", "MIG-1c1")),
    ],
)
def test_the_gpus_here_have_the_names_of_the_environment(
    count: int, variable: str | None, names: tuple[str, ...]
) -> None:
    environment = {} if variable is None else {"CUDA_VISIBLE_DEVICES": variable}
    assert gpus_seen(count, environment) == names


def test_a_process_sees_the_gpus_it_is_given_by_the_names_of_its_owner() -> None:
    assert visible(("4", "7")) == {"CUDA_VISIBLE_DEVICES": "4,7"}


def test_trials_have_gpus_of_their_own() -> None:
    slots = GpuSlots(["0", "1"])
    assert (slots.trials_at_once, slots.memory_share) == (2, None)
    first, second = slots.acquire(), slots.acquire()
    assert (first, second, slots.acquire()) == (("0",), ("1",), None)
    assert second is not None
    slots.release(second)
    assert slots.acquire() == ("1",)


def test_trials_that_share_fill_the_emptiest_gpu_first() -> None:
    slots = GpuSlots(["4", "7"], 0.5)
    assert slots.trials_at_once == 4
    # a little is left for what torch does not count
    assert slots.memory_share == pytest.approx(0.45)
    assert [slots.acquire() for _ in range(5)] == [("4",), ("7",), ("4",), ("7",), None]
    slots.release(("4",))
    slots.release(("4",))
    slots.release(("7",))
    assert [slots.acquire() for _ in range(2)] == [("4",), ("4",)]


def test_a_trial_may_have_several_gpus_and_what_is_left_over_has_none() -> None:
    slots = GpuSlots(["0", "1", "2", "3", "4"], 2)
    assert slots.trials_at_once == 2
    assert [slots.acquire() for _ in range(3)] == [("0", "1"), ("2", "3"), None]
    slots.release(("0", "1"))
    assert slots.acquire() == ("0", "1")


def test_more_than_there_are_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"gpus_per_trial=2 is more than the 1 GPUs here \(0\)"):
        GpuSlots(["0"], 2)
    with pytest.raises(SettingsError, match="none"):
        GpuSlots([])


def test_what_was_not_taken_cannot_be_given_back() -> None:
    slots = GpuSlots(["0", "1"])
    slots.acquire()
    with pytest.raises(ValueError, match="GPU 1 was not acquired"):
        slots.release(("0", "1"))
    # nothing was given back
    assert [slots.acquire(), slots.acquire()] == [("1",), None]


@given(
    st.integers(1, 8),
    st.sampled_from([1, 2, 3, 0.5, 0.25]),
    st.lists(st.booleans(), max_size=60),
)
def test_no_gpu_has_more_trials_than_its_share(count: int, gpus_per_trial: float, takes: list[bool]) -> None:
    names = [str(i) for i in range(count)]
    if gpus_per_trial > count:
        return
    slots = GpuSlots(names, gpus_per_trial)
    held: list[tuple[str, ...]] = []
    for take in takes:
        if take:
            taken = slots.acquire()
            # there is room exactly where fewer run than fit
            assert (taken is not None) == (len(held) < slots.trials_at_once)
            held += [taken] if taken is not None else []
        elif held:
            slots.release(held.pop(0))
        for name in names:
            assert sum(name in taken for taken in held) <= max(1, round(1 / gpus_per_trial))
