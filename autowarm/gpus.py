"""Which GPUs a trial gets: whole ones of its own, or a share of one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from autowarm.errors import SettingsError
from autowarm.values import is_number

_VARIABLE = "CUDA_VISIBLE_DEVICES"
# How far a share may be from one over a whole number: 0.33 is a third.
_ROUNDING = 0.025
# What trials that share a GPU may have of it together: a context of CUDA's takes some for each process, beside torch.
_SHARED = 0.9


def checked_gpus_per_trial(gpus_per_trial: object) -> float:
    """Return a number of GPUs for each trial.

    Args:
        gpus_per_trial: a whole number from 1, or one over a whole number: that many trials share a GPU (0.5: two).

    Raises:
        SettingsError: anything else.
    """
    if is_number(gpus_per_trial):
        number = float(gpus_per_trial)  # type: ignore[arg-type] # is_number has seen it
        if number >= 1 and number == round(number):
            return number
        if 0 < number < 1 and abs(number * round(1 / number) - 1) <= _ROUNDING:
            return 1 / round(1 / number)
    raise SettingsError(
        "gpus_per_trial must be a whole number of GPUs for each trial (1, 2, ...), or one over the number of trials "
        f"that share a GPU (0.5 for two, 0.25 for four), got {gpus_per_trial!r}"
    )


def gpus_seen(count: int, environment: Mapping[str, str]) -> tuple[str, ...]:
    """Return the names of the GPUs that a process of this environment sees, as `CUDA_VISIBLE_DEVICES` names them.

    Args:
        count: of the GPUs that a training has seen; asking CUDA here would take memory of the first one.
        environment: of this process.

    >>> gpus_seen(2, {}), gpus_seen(2, {"CUDA_VISIBLE_DEVICES": "3,5"})
    (('0', '1'), ('3', '5'))
    """
    named = [name.strip() for name in environment.get(_VARIABLE, "").split(",") if name.strip()]
    # CUDA takes no notice of the names after one that is not there
    return tuple(named[:count] if named else (str(i) for i in range(count)))


def visible(gpus: Sequence[str]) -> dict[str, str]:
    """Return what a process must have in its environment, before it asks CUDA, to see these GPUs alone."""
    return {_VARIABLE: ",".join(gpus)}


class GpuSlots:
    """Keeps which GPUs are free.

    Args:
        gpus: those there are, as `CUDA_VISIBLE_DEVICES` names them.
        gpus_per_trial: as for `checked_gpus_per_trial`.

    Attributes:
        trials_at_once: that fit on the GPUs.
        memory_share: of its GPU's memory that a trial may take, for `TrainingSpec.gpu_memory_share`; None: all of it.

    Raises:
        SettingsError: not a number of GPUs, or more than there are.
    """

    def __init__(self, gpus: Sequence[str], gpus_per_trial: float = 1.0) -> None:
        number = checked_gpus_per_trial(gpus_per_trial)
        self._each = max(1, round(number))
        self._sharing = max(1, round(1 / number))
        if self._each > len(gpus):
            raise SettingsError(
                f"gpus_per_trial={self._each} is more than the {len(gpus)} GPUs here ({', '.join(gpus) or 'none'})"
            )
        self._trials_on = dict.fromkeys(gpus, 0)
        self.trials_at_once = len(self._trials_on) // self._each * self._sharing
        self.memory_share = _SHARED / self._sharing if self._sharing > 1 else None

    def acquire(self) -> tuple[str, ...] | None:
        """Take the GPUs of a trial, those that the fewest others use; None where there is no room for one."""
        free = sorted((n, i, gpu) for i, (gpu, n) in enumerate(self._trials_on.items()) if n < self._sharing)
        if len(free) < self._each:
            return None
        taken = tuple(gpu for _, _, gpu in free[: self._each])
        for gpu in taken:
            self._trials_on[gpu] += 1
        return taken

    def release(self, gpus: Sequence[str]) -> None:
        """Give back what `acquire` returned, once the trial's processes have ended."""
        for gpu in gpus:
            if not self._trials_on.get(gpu):
                raise ValueError(f"GPU {gpu} was not acquired")
        for gpu in gpus:
            self._trials_on[gpu] -= 1
