"""Which studies there are, and where their files lie."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias, cast, get_args

from autowarm.errors import RecordError
from autowarm.record import read_jsonl
from autowarm.report.files import RECORDS, REPORT
from autowarm.settings import StudySettings, load_study
from studies.claims.findings import Findings, Records

Scale: TypeAlias = Literal["cpu", "gpu"]
SCALES: tuple[Scale, ...] = get_args(Scale)

# In the order of the table.
STUDIES = ("stability", "optimum", "speed", "finetuning", "decays", "scaling", "rivals")
ROOT = Path(__file__).parents[1]
TABLE = ROOT / "README.md"


@dataclass(frozen=True)
class Place:
    """A study at a scale.

    Attributes:
        name: of the study, and of its folder in `root`.
        scale: `cpu` is sized for two cores; `gpu`, for one large GPU, has its files in a folder of that name.
        root: the folder of all studies.
    """

    name: str
    scale: Scale = "cpu"
    root: Path = ROOT

    @property
    def folder(self) -> Path:
        """Where study files, records and page lie."""
        return self.root / self.name / ("gpu" if self.scale == "gpu" else "")

    @property
    def records_file(self) -> Path:
        """The records of all arms."""
        return self.folder / RECORDS

    @property
    def page(self) -> Path:
        """The page that is written from them."""
        return self.folder / REPORT

    @property
    def arms(self) -> dict[str, Path]:
        """Each arm with its study file; `study.yaml` is the arm of a study that has but one."""
        return {path.stem: path for path in sorted(self.folder.glob("*.yaml"))}

    def settings(self, arm: str) -> StudySettings:
        """Read the study file of an arm.

        Raises:
            SettingsError: it cannot be read or is not valid.
        """
        return load_study(self.arms[arm])

    def work(self, arm: str) -> Path:
        """Return the folder that an arm is tuned in; git ignores it."""
        return self.root / self.name / (".work" if self.scale == "cpu" else f".work-{self.scale}") / arm

    def records(self) -> Records:
        """Return the records of each arm.

        Raises:
            RecordError: there are none yet, or they cannot be read.
        """
        if not self.records_file.is_file():
            raise RecordError(f"{self.name} has no records: `{self.command}` makes them")
        read = read_jsonl(self.records_file)
        return {arm: [r for r in read if r.study == arm] for arm in self.arms}

    @property
    def command(self) -> str:
        """What runs the study."""
        return f"python -m studies.claims run {self.name}" + (f" --scale {self.scale}" * (self.scale != "cpu"))

    def findings(self, records: Records) -> Findings:
        """Return what records of the study say."""
        module = importlib.import_module(f"studies.{self.name}.findings")
        judge = cast("Callable[[Records], Findings]", module.findings)
        return judge(records)

    @property
    def curves(self) -> tuple[str, ...]:
        """Curves of the records, beside the rungs, that the study's findings read."""
        module = importlib.import_module(f"studies.{self.name}.findings")
        return tuple(getattr(module, "CURVES", ()))
