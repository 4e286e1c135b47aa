"""A command in a process of its own says what it says from a terminal, and nothing else."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from moodline.experiments.tasks import hide_folders

# What starts with moodline's command line loaded, as the installed script does.
SCRIPT = """
from pathlib import Path
from moodline.cli.main import main
if __name__ == "__main__":
    from moodline.experiments.tasks import run_commands
    run_commands([["prepare", "table", "talk.csv", "-o", "corpus"]], Path("log.txt"), 1)
"""


@pytest.mark.slow
def test_its_log_is_what_the_command_says(tmp_path: Path) -> None:
    (tmp_path / "talk.csv").write_text("words,label,conversation,speaker\nyes,happy,a,b\n")
    (tmp_path / "script.py").write_text(SCRIPT)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "script.py"], cwd=tmp_path, env=environment, check=True)
    assert (tmp_path / "log.txt").read_text() == "corpus: 1 conversation, 1 utterance; left out: 0\n"


def test_the_package_is_the_command_line() -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    said = subprocess.run(
        [sys.executable, "-m", "moodline", "--version"], env=environment, check=True, capture_output=True, text=True
    )
    assert said.stdout.startswith("moodline ")
    assert said.stderr == ""


def test_a_command_that_is_shown_has_no_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    command = f"moodline train '/home/ann/my corpus' --recipe {tmp_path}/out/recipes/base.yaml --seed 1 -o runs/one"
    shown = "moodline train 'my corpus' --recipe out/recipes/base.yaml --seed 1 -o runs/one"
    assert hide_folders(command) == shown
    assert hide_folders(shown) == shown
