"""Processes that do without PyTorch, and so start in a tenth of the time."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType


def without_torch():
    """From now on this process has what workers need of PyTorch: nothing."""
    torch = ModuleType("torch")
    torch.set_num_threads = torch.set_flush_denormal = lambda number: None
    sys.modules["torch"] = torch
    # The package without what its __init__ imports.
    families = ModuleType("widthwise.families")
    (root,) = importlib.util.find_spec("widthwise").submodule_search_locations
    families.__path__ = [str(Path(root) / "families")]
    sys.modules["widthwise.families"] = families


def main(connection):
    without_torch()
    from widthwise.execution import worker

    worker.main(connection)
