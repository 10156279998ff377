"""What multiprocessing's forkserver imports at its start; imported nowhere else."""

from __future__ import annotations

import os

from autowarm.executors.preload import VARIABLE, preload

# Tools that import every module (doctest, type checkers) must not be changed by it.
if VARIABLE in os.environ:
    preload()
