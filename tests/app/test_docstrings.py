import doctest
import importlib
import pkgutil

import pytest

import app

SCRIPTS = ("app.main", "app.startup")  # run by `panel serve`
MODULES = [
    info.name for info in pkgutil.walk_packages(app.__path__, "app.") if info.name not in SCRIPTS
]


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0
