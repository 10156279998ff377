"""`TunedSchedule` for projects on the `pytorch_lightning` package, whose Trainer takes no callback of another one."""

from __future__ import annotations

from pytorch_lightning import Callback

from autowarm.adapters.steering import Steering


class TunedSchedule(Steering, Callback):
    """Applies a schedule to any LightningModule of `pytorch_lightning`; as `autowarm.TunedSchedule` in all else."""
