"""The paper's claims put on trial: presets, what each claim needs, and verdicts."""

import warnings
from typing import Any

from widthwise.reproduce.claims import CLAIMS, Claim, Trial, trials
from widthwise.reproduce.judging import Evidence, Judgement
from widthwise.reproduce.presets import PresetName, all_presets, preset
from widthwise.reproduce.running import TrialResult, judge_all, run_needed, specifications

__all__ = [
    "CLAIMS",
    "Claim",
    "Evidence",
    "Judgement",
    "PresetName",
    "Trial",
    "TrialResult",
    "all_presets",
    "judge_all",
    "preset",
    "run_needed",
    "specifications",
    "trials",
]


def __getattr__(name: str) -> Any:
    if name != "Finding":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    warnings.warn(
        "widthwise.reproduce.Finding is called TrialResult", DeprecationWarning, stacklevel=2
    )
    return TrialResult
