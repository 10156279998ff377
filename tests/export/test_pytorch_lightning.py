from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from autowarm import Schedule
from autowarm.export import export

SCHEDULE = Schedule(initial_lr=0.2, warmup_ratio=0.25, decay="cosine", final_lr_ratio=0.1)
SCRIPT = """
from pytorch_lightning import Callback
from pytorch_lightning.cli import LightningCLI
import sample_pl_jobs

class PrintLrs(Callback):
    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        print(f"lr={optimizer.param_groups[0]['lr']!r}")

LightningCLI(sample_pl_jobs.Regression, sample_pl_jobs.Data, save_config_callback=None)
"""
USER_YAML = """
trainer:
  max_steps: 20
  accelerator: cpu
  logger: false
  enable_checkpointing: false
  enable_progress_bar: false
  callbacks: [{class_path: __main__.PrintLrs}]
"""


def test_an_exported_overlay_steers_a_command_line_of_that_package(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(SCRIPT)
    (tmp_path / "user.yaml").write_text(USER_YAML)
    (tmp_path / "tuned.yaml").write_text(export(SCHEDULE, "pytorch_lightning"))
    command = [sys.executable, "train.py", "fit", "--config", "user.yaml", "--config", "tuned.yaml"]
    paths = {"PYTHONPATH": str(Path(__file__).parents[1]), "OMP_NUM_THREADS": "1", "PATH": "/usr/bin"}
    done = subprocess.run(command, cwd=tmp_path, env=paths, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    seen = [float(word) for word in re.findall(r"lr=(\S+)", done.stdout)]
    assert seen == SCHEDULE.lrs(total_steps=20).tolist()
