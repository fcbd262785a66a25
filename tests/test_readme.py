"""The README is true: its commands run, its settings, channels and rooms are those of the code."""

import os
import re
import shlex
import signal
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from enms_core.commands import COMMANDS, PARTS
from enms_core.events import CHANNELS
from enms_core.settings import Settings
from tests.plants import ROOT

README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```sh\n(.*?)```", README, flags=re.DOTALL)
LINES = [line for block in BLOCKS for line in block.strip().splitlines()]
COMMAND_LINES = [line for line in LINES if line.startswith("enms ")]
# What else it tells to type: `running` plants start the first, this suite was started by the
# second, and the third is what `_run` does.
OTHERS = ["./panel_serve.sh", "tests/run.sh", 'export PATH="$PWD/.venv/bin:$PATH"']
ENDLESS = ("--follow", "--speed")
STREAM_S = 4.0


def test_every_line_to_type_is_known_here():
    assert [line for line in LINES if line not in COMMAND_LINES] == OTHERS


@pytest.mark.slow
def test_its_commands_do_what_they_say(shared, tmp_path):
    env = {**os.environ, **shared.settings.environment()}
    env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{env['PATH']}"
    said = {line: _run(line, env, tmp_path) for line in COMMAND_LINES}
    assert "172,800 readings" in said[COMMAND_LINES[1]]
    stored = next(text for line, text in said.items() if line.startswith("enms import"))
    assert "172800 readings: 172800 stored, 0 duplicate, 0 quarantined" in stored
    trained = next(text for line, text in said.items() if line.startswith("enms train"))
    assert "100 %  version 1" in trained
    assert "anomalies" in next(text for line, text in said.items() if "detect" in line)
    assert "Press shop" in said["enms machine list"]
    assert '"pid"' in said["enms status --json"]
    assert "training_completed" in said["enms events --last 20"]


def _run(line: str, env: dict[str, str], folder: Path) -> str:
    """Run a line; one that never ends is interrupted, as its reader would."""
    endless = any(word in line for word in ENDLESS)
    process = subprocess.Popen(
        shlex.split(line), env=env, cwd=folder, text=True, stdout=-1, stderr=subprocess.STDOUT
    )
    try:
        said, _ = process.communicate(timeout=STREAM_S if endless else 120)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=30)
        assert endless, f"{line} did not end: {said}"
    assert process.returncode in ((0, 130) if endless else (0,)), f"{line}: {said}"
    return said


def test_it_lists_every_setting_as_the_code_has_it():
    rows = dict(re.findall(r"^\| `(ENMS_\w+)` \| (.*?) \| .*? \|$", README, flags=re.MULTILINE))
    assert rows == {f.metadata["variable"]: f.metadata["doc"] for f in fields(Settings)}


def test_it_lists_every_channel():
    assert sorted(re.findall(r"^\| `(\w+\.\w+)` \|", README, flags=re.MULTILINE)) == sorted(
        CHANNELS
    )


def test_it_shows_every_command_a_person_uses():
    used = {line.split()[1] for line in COMMAND_LINES}
    assert used == set(COMMANDS) - set(PARTS) - {"run", "setup"}


def test_its_rooms_and_pictures_exist():
    paths = re.findall(
        r"\]\((?!http)([^)]+)\)|`((?:enms_core|app|notebooks|tests)/[\w/.]*)`", README
    )
    for path in (link or room for link, room in paths):
        assert (ROOT / path).exists(), path


def test_its_python_names_exist():
    import enms_core as enms

    block = re.search(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert block
    for name in re.findall(r"plant\.(\w+)\(", block[1]):
        assert hasattr(enms.Plant, name)
