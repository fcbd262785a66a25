"""The notebooks run from top to bottom on a real plant, and show what they say."""

import os
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tests.plants import ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.fixture
def executed(shared, monkeypatch):
    """Give a function that executes a notebook against the plant and returns it."""
    for name, value in shared.settings.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))

    def execute(path: Path) -> nbformat.NotebookNode:
        notebook = nbformat.read(path, as_version=4)
        NotebookClient(notebook, timeout=180, kernel_name="python3").execute(cwd=str(ROOT))
        return notebook

    return execute


def texts(notebook: nbformat.NotebookNode) -> list[str]:
    """Return what the cells showed, as text."""
    outputs = [out for cell in notebook.cells for out in cell.get("outputs", [])]
    return [out.get("data", {}).get("text/plain", out.get("text", "")) for out in outputs]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_first_look_shows_machines_readings_and_anomalies(executed):
    shown = "\n".join(texts(executed(ROOT / "notebooks" / "01_first_look.ipynb")))
    assert "Compressor-1" in shown
    assert "power_kw" in shown
    assert "expected for" in shown
    assert "energy_kwh" in shown
    assert "coverage" in shown


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_training_moves_in_its_cell_and_gives_a_model(executed):
    notebook = executed(ROOT / "notebooks" / "02_train_a_baseline.ipynb")
    started = next(cell for cell in notebook.cells if "plant.train(" in cell.source)
    assert any("completed, version 2" in text for text in texts_of(started))
    shown = "\n".join(texts(notebook))
    assert "on unseen days" in shown
    assert "training.started" in shown
    assert "training.completed" in shown


def texts_of(cell: nbformat.NotebookNode) -> list[str]:
    """Return what one cell showed."""
    return [out.get("data", {}).get("text/plain", "") for out in cell.outputs]


def test_every_notebook_is_executed_here():
    assert [path.name for path in NOTEBOOKS] == ["01_first_look.ipynb", "02_train_a_baseline.ipynb"]
