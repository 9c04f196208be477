import subprocess
import sys

from core.domain.options import CellChoice, Device, FeatureEngine
from core.domain.settings import ROOT


def test_choices_are_the_words_of_the_command_line():
    assert [str(choice) for choice in CellChoice] == ["auto", "one", "all"]
    assert [str(engine) for engine in FeatureEngine] == ["fast", "reference"]
    assert [str(device) for device in Device] == ["auto", "cpu", "cuda"]


def test_asking_for_the_choices_imports_no_numpy():
    code = "import sys, core.domain.options; print('numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
