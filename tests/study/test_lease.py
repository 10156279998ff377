from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from autowarm.study.lease import GRACE_SECONDS, Watch, gone


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def elsewhere(**changes: Any) -> dict[str, Any]:
    """Return a lease of a process on another machine."""
    return {"owner": "abc", "name": "far:1", "pid": 1, "began": 5, "place": "another boot", "beat": 0, **changes}


def test_ours_are_alive_and_what_has_no_lease_is_dead(clock: Clock) -> None:
    watch = Watch(clock=clock)
    assert not watch.dead(1, watch.owner.lease(0))
    assert watch.dead(2, None)


def test_another_owner_of_this_process_is_dead_once_it_is_closed(clock: Clock) -> None:
    watch, other = Watch(clock=clock), Watch()
    assert not watch.dead(1, other.owner.lease(0))
    other.close()
    assert watch.dead(1, other.owner.lease(0))


def test_a_process_of_this_machine_is_dead_when_it_is_gone() -> None:
    code = """
import json
from autowarm.study.lease import Watch
print(json.dumps(Watch().owner.lease(0)), flush=True)
input()
"""
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as far:
        assert far.stdout is not None
        lease = json.loads(far.stdout.readline())
        assert not Watch().dead(1, lease)
        assert not gone(lease)
        far.kill()
        # nobody has waited for it yet, as in a container whose first process never does
        assert os.waitid(os.P_PID, far.pid, os.WEXITED | os.WNOWAIT)
        assert gone(lease)
    assert Watch().dead(1, lease)
    assert gone(lease)


def test_a_number_that_came_again_is_another_process() -> None:
    watch, other = Watch(), Watch()
    lease = {**other.owner.lease(0), "began": 1}
    assert watch.dead(1, lease)


def test_a_lease_from_elsewhere_is_dead_when_it_is_not_renewed_for_long(clock: Clock) -> None:
    watch = Watch(clock=clock)
    for beat in range(5):
        assert not watch.dead(1, elsewhere(beat=beat))
        clock.now += GRACE_SECONDS
    assert not watch.dead(1, elsewhere(beat=4))
    clock.now += 1
    assert watch.dead(1, elsewhere(beat=4))
    assert not watch.dead(2, elsewhere(beat=4)), "another trial, seen for the first time"
    assert not watch.dead(1, elsewhere(beat=5)), "it was only slow"


def test_clocks_of_other_machines_do_not_count(clock: Clock) -> None:
    watch = Watch(clock=clock)
    for jumped in ("1999-01-01T00:00:00+00:00", "2099-01-01T00:00:00+00:00", "no time"):
        assert not watch.dead(1, elsewhere(at=jumped))


@pytest.mark.parametrize("lease", [{}, {"owner": 3}, {"place": 1, "pid": "x"}, "words", 5])
def test_what_is_no_lease_does_not_fail(lease: Any, clock: Clock) -> None:
    watch = Watch(clock=clock)
    watch.dead(1, lease)
    clock.now += GRACE_SECONDS + 1
    assert watch.dead(1, lease)
