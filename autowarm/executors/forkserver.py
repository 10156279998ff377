"""What multiprocessing's forkserver imports at its start; imported nowhere else."""

from __future__ import annotations

import os
import signal

from autowarm.executors.preload import VARIABLE, ends_with_owner, preload

if VARIABLE in os.environ:
    # multiprocessing ignores Ctrl-C only after this import; the owner decides what it means
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
# Tools that import every module (doctest, type checkers) must not be changed by it.
if VARIABLE in os.environ:
    with ends_with_owner():
        preload()
