from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest

from autowarm.interrupts import interrupts


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_they_are_counted_once_there_is_something_to_keep(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with interrupts() as seen:
        seen.begin()
        os.kill(os.getpid(), number)
        assert seen.count == 1
        signal.raise_signal(number)
        assert seen.count == 2
    assert signal.getsignal(number) == before


def test_before_that_ctrl_c_is_one() -> None:
    with pytest.raises(KeyboardInterrupt), interrupts() as seen:  # noqa: PT012 - the second line tells
        signal.raise_signal(signal.SIGINT)
        seen.count = -1
    assert seen.count == 0
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_before_that_sigterm_ends_the_process() -> None:
    script = """
import os, signal
from autowarm.interrupts import interrupts
with interrupts():
    os.kill(os.getpid(), signal.SIGTERM)
    print("still there", flush=True)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (-signal.SIGTERM, "")


def test_a_signal_that_was_ignored_still_is() -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with interrupts() as seen:
            signal.raise_signal(signal.SIGTERM)
        assert seen.count == 0
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)


def test_handlers_come_back_after_an_error() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(ValueError, match="anything"), interrupts():
        raise ValueError("anything")
    assert signal.getsignal(signal.SIGTERM) == before


def test_outside_of_the_main_thread_nothing_is_counted() -> None:
    before, found = signal.getsignal(signal.SIGINT), []

    def works() -> None:
        with interrupts() as seen:
            seen.begin()
            found.append((seen.count, signal.getsignal(signal.SIGINT) == before))

    thread = threading.Thread(target=works)
    thread.start()
    thread.join()
    assert found == [(0, True)]
