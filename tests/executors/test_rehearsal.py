from __future__ import annotations

import os
import sys

import pytest

from autowarm.executors.rehearsal import rehearse


def test_the_rehearsal_goes_through_and_starts_nothing_that_a_fork_would_lose(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["forkserver"])
    rehearse()
    threads = len(os.listdir("/proc/self/task"))  # noqa: PTH208 - threads of C libraries count
    result = rehearse()
    assert result.outcome == "COMPLETE", result
    assert result.steps == len(result.rungs) == 20
    assert len(os.listdir("/proc/self/task")) == threads  # noqa: PTH208
