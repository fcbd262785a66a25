import os
import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
DIRECT = PROJECT["project"]["dependencies"]
GROUPS = PROJECT["dependency-groups"]
LOCKS = {
    "requirements.lock": [*DIRECT, *GROUPS["build"]],
    "requirements-dev.lock": [*DIRECT, *GROUPS["build"], *GROUPS["dev"]],
}
CONDA_NAMES = {"redis-py": "redis"}  # conda -> PyPI, where they differ


def bounds(requirements):
    parsed = [Requirement(text) for text in requirements]
    return {canonicalize_name(each.name): each.specifier for each in parsed}


def pins(lock):
    """Return the pins of a lock: name -> what stands in its entry."""
    entries = re.split(r"^(?=\w)", (ROOT / lock).read_text(), flags=re.MULTILINE)[1:]
    return {canonicalize_name(entry.split("==")[0]): entry for entry in entries}


@pytest.fixture(scope="module")
def conda():
    dependencies = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    plain = [each for each in dependencies if isinstance(each, str)]
    (pip,) = [each["pip"] for each in dependencies if isinstance(each, dict)]
    named = [re.sub(r"^[\w-]+", lambda m: CONDA_NAMES.get(m[0], m[0]), text) for text in plain]
    return bounds([*named, *(text for text in pip if not text.startswith("-e"))])


def test_conda_has_the_same_dependencies_and_bounds(conda):
    del conda["pip"]
    python = conda.pop("python")
    assert conda == bounds(DIRECT)
    assert set(bounds([f"python{PROJECT['project']['requires-python']}"])["python"]) <= set(python)


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_pins_every_direct_dependency_within_its_bounds(lock):
    entries = pins(lock)
    for name, allowed in bounds(LOCKS[lock]).items():
        version = re.match(r"\S+?==([^\s;\\]+)", entries[name])[1]
        assert allowed.contains(version), f"{name} {version}: run `uv pip compile` again"


@pytest.mark.parametrize("lock", LOCKS)
def test_every_pin_has_hashes(lock):
    for name, entry in pins(lock).items():
        assert "==" in entry, name
        assert "--hash=sha256:" in entry, name


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_names_no_index_and_no_host(lock):
    text = (ROOT / lock).read_text()
    command = re.search(r"^#.*uv pip compile.*$", text, re.MULTILINE)
    rest = text.replace(command[0], "")
    assert not re.search(r"://|@ |index-url|find-links|trusted-host|^\s*/|\s/", rest, re.MULTILINE)
    assert "--no-emit-index-url" in command[0]


def test_the_locks_agree():
    runtime, everything = pins("requirements.lock"), pins("requirements-dev.lock")
    assert runtime.keys() <= everything.keys()
    for name, entry in runtime.items():
        assert entry.split()[0] == everything[name].split()[0]


def test_no_lock_has_what_benchmarks_compare_with():
    assert not bounds(GROUPS["bench"]).keys() & pins("requirements-dev.lock").keys()


@pytest.mark.parametrize("script", ["panel_serve.sh", "tests/run.sh", ".ci/run"])
def test_scripts_can_be_executed(script):
    assert os.access(ROOT / script, os.X_OK)


def test_ci_only_calls_the_tests():
    code = [
        line
        for line in (ROOT / ".ci" / "run").read_text().splitlines()
        if line and not line.startswith("#")
    ]
    assert code == ['cd "$(dirname "$0")/.." && exec tests/run.sh "$@"']
