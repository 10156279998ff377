"""The errors of autowarm: one root, and messages that suggest the nearest name."""

from __future__ import annotations

import inspect

import pytest

from autowarm import errors
from autowarm.errors import AutowarmError, RecordError, ScheduleError, SettingsError, unknown


def test_every_error_has_the_one_root() -> None:
    classes = [c for _, c in inspect.getmembers(errors, inspect.isclass) if c.__module__ == errors.__name__]
    assert len(classes) == 9
    assert all(issubclass(c, AutowarmError) for c in classes)


@pytest.mark.parametrize("error", [ScheduleError, SettingsError, RecordError])
def test_errors_about_values_are_value_errors(error: type[Exception]) -> None:
    assert issubclass(error, ValueError)


def test_unknown_suggests_the_nearest_name_and_lists_all_in_order() -> None:
    message = unknown("decay", "cosin", ["linear", "cosine"])
    assert message == "unknown decay 'cosin': did you mean 'cosine'? Known: cosine, linear"


@pytest.mark.parametrize("name", ["zzz", 3, None, ["linear"]])
def test_unknown_suggests_nothing_where_nothing_is_near(name: object) -> None:
    message = unknown("decay", name, iter(["wsd", "cosine"]))
    assert message == f"unknown decay {name!r}. Known: cosine, wsd"
