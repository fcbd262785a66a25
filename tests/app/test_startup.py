import subprocess
import sys

import pytest

from tests.plants import ROOT


@pytest.mark.parametrize("module", ["app.api", "app.views.shell", "enms_core.commands.run"])
def test_what_a_start_waits_for_does_not_wait_for_scikit_learn(module):
    code = f"import sys, {module}; sys.exit('sklearn' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
