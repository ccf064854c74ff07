"""Studies: what to run, where its results lie, and what they say."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from widthwise.study.spec import StudySpec
    from widthwise.study.stable_rates import ProbeOptions
    from widthwise.study.status import StudyStatus
    from widthwise.study.study import Study

# Loaded when first used: whoever asks how far a study has come needs no PyTorch.
_HOME = {
    "ProbeOptions": "stable_rates",
    "Study": "study",
    "StudySpec": "spec",
    "StudyStatus": "status",
}

__all__ = ["ProbeOptions", "Study", "StudySpec", "StudyStatus"]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
