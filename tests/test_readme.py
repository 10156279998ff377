from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from autowarm.cli import _parser, main
from autowarm.decays import DECAY_PARAMETERS, DECAYS
from autowarm.settings import load_study
from autowarm.warmups import WARMUPS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_the_plain_loop_runs_as_it_stands() -> None:
    (loop,) = (block for block in blocks("python") if "for step in range" in block)
    done = subprocess.run([sys.executable, "-W", "error", "-c", loop], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_study_file_loads(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("model: {}\n")
    (tmp_path / "study.yaml").write_text(blocks("yaml")[0])
    settings = load_study(tmp_path / "study.yaml")
    assert (settings.name, settings.n_trials, settings.total_steps) == ("mine", 30, (2000,))


COMMANDS = [
    line.split("#")[0].strip()
    for block in blocks("bash")
    for line in block.splitlines()
    if line.startswith("autowarm ")
]


def test_the_commands_on_results_run_in_their_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # on the committed results of the demo, in place of those of a study that would have to run first
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies/mine").mkdir()
    committed = (ROOT / "studies/char_gpt/trials.jsonl").read_bytes()
    (tmp_path / "studies/mine/trials.jsonl").write_bytes(committed)
    monkeypatch.chdir(tmp_path)
    commands = [shlex.split(line)[1:] for line in COMMANDS]
    assert {words[0] for words in commands} == {"plan", "tune", "status", "report", "recommend", "export", "show"}
    rows = [f"{10 ** (-4 + i / 10)},{i % 5},1000,{1 + (i - 15) ** 2 / 100}" for i in range(30)]
    (tmp_path / "sweep.csv").write_text("\n".join(["lr,warmup,max_steps,val_loss", *rows]), encoding="utf-8")
    for words in commands:
        if words[0] in ("report", "recommend", "export", "show"):
            main(words)
    said = capsys.readouterr().out
    assert "val_loss 2.1535" in said
    assert said.count("For 20,000 steps: initial_lr ") == said.count("For 50,000 steps: initial_lr ") == 1
    assert (tmp_path / "sweep_report/report.html").is_file()
    assert (tmp_path / "best.yaml").is_file()


def _commands_of(text: str) -> Iterator[list[str]]:
    """Yield the commands of autowarm in the code of a text, without the shell around them."""
    for block in re.findall(r"```(?:bash)?\n(.*?)```", text, flags=re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            if found := re.match(r"\s*(?:\w+=\S+ +)*(?:srun .*?)?\bautowarm +([a-z]+ .*)", line.split(" #")[0]):
                yield shlex.split(found[1])


CLUSTER = (ROOT / "docs/cluster.md").read_text(encoding="utf-8")


def test_every_command_of_the_docs_is_one_that_the_command_line_takes() -> None:
    commands = [words for text in (README, CLUSTER) for words in _commands_of(text)]
    (job,) = (part for part in yaml.safe_load_all(_yaml_of(CLUSTER)) if part["kind"] == "Job")
    (worker,) = job["spec"]["template"]["spec"]["containers"]
    commands.append(worker["command"][1:])
    assert sum(words[0] == "worker" for words in commands) >= 3
    for words in commands:
        assert _parser()[0].parse_args(words).command == words[0]


def _yaml_of(text: str) -> str:
    (block,) = re.findall(r"```yaml\n(.*?)```", text, flags=re.DOTALL)
    return str(block)


def test_the_batch_scripts_of_the_docs_are_of_the_shell() -> None:
    scripts = re.findall(r"```bash\n(#!.*?)```", CLUSTER, flags=re.DOTALL)
    assert len(scripts) == 2
    for script in scripts:
        subprocess.run(["bash", "-n"], input=script, text=True, check=True)


def test_every_target_of_make_is_there() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"(?:^|`)make ([a-z-]+)", README, flags=re.MULTILINE))
    assert {"demo", "test", "check"} <= targets
    assert all(re.search(rf"^{target}:", makefile, flags=re.MULTILINE) for target in targets)


def test_every_schedule_is_in_the_table() -> None:
    for name in (*DECAYS, *WARMUPS, *DECAY_PARAMETERS):
        assert f"`{name}`" in README


def test_every_link_leads_somewhere() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", README)
    assert links
    for link in links:
        assert (ROOT / link).exists(), link


def test_what_the_demo_is_said_to_print_is_what_its_records_say() -> None:
    from autowarm.record import read_jsonl
    from autowarm.report.summary import summary

    folder = ROOT / "studies/char_gpt"
    said = summary(read_jsonl(folder / "trials.jsonl"), folder, {"initial_lr": (3e-4, 0.1), "warmup_ratio": (0, 0.3)})
    shown = said[: said.index("Results:")].rstrip()
    assert shown in README
