"""The paper's claims put on trial: presets, what each claim needs, and verdicts."""

from typing import TYPE_CHECKING, Any

from widthwise.deprecated import old_name
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


if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        return old_name(__name__, name)
