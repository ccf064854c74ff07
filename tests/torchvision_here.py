"""torchvision for tests; without it they are skipped."""

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1]))  # validation is not part of the package

from validation import torchvision_here


def import_torchvision():
    try:
        return torchvision_here.import_torchvision()
    except ImportError:
        pytest.skip("torchvision is not installed", allow_module_level=True)
