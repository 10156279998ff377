"""What a look at a job tells, for tests that plan."""

from __future__ import annotations

from autowarm.specs import JobInfo

INFO = JobInfo(
    total_steps=1000,
    dataset_size=640,
    batch_size=8,
    steps_per_epoch=80.0,
    val_batches=8,
    step_seconds=0.01,
    validation_seconds=0.1,
    fixed_seconds=1.0,
    lrs=None,
    scheduler=None,
    schedule=None,
    beta2=None,
    accelerator="cpu",
)
