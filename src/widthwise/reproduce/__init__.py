"""The paper's claims put on trial: presets, what each claim needs, and verdicts."""

from widthwise.reproduce.claims import CLAIMS, Claim, Trial, trials
from widthwise.reproduce.judging import Evidence, Judgement
from widthwise.reproduce.presets import PresetName, all_presets, preset
from widthwise.reproduce.running import Finding, judge_all, run_needed, specifications

__all__ = [
    "CLAIMS",
    "Claim",
    "Evidence",
    "Finding",
    "Judgement",
    "PresetName",
    "Trial",
    "all_presets",
    "judge_all",
    "preset",
    "run_needed",
    "specifications",
    "trials",
]
